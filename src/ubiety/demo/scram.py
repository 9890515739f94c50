"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), for the simulated people to log in with."""

import base64
import hashlib
import hmac


class ScramClient:
    """One exchange: `first()`, then `final(challenge)`, then `is_genuine(success)`. All texts are base64."""

    mechanism = "SCRAM-SHA-256"

    def __init__(self, username: str, password: str, nonce: str) -> None:
        """Take plain ASCII credentials (as the sample organisation makes them) and a fresh random nonce."""
        self._bare = f"n={username},r={nonce}"
        self._password = password.encode()
        self._nonce = nonce
        self._signature = b""

    def first(self) -> str:
        """Return the initial response."""
        return _encode(f"n,,{self._bare}".encode())

    def final(self, challenge: str) -> str:
        """Return the response to the challenge; hashes for some milliseconds.

        Raises ValueError where the challenge is not one for this exchange.
        """
        server_first = base64.b64decode(challenge).decode()
        fields = dict(field.split("=", 1) for field in server_first.split(","))
        if not fields.get("r", "").startswith(self._nonce) or not {"s", "i"} <= fields.keys():
            raise ValueError("the server's SCRAM challenge does not fit our nonce")
        salt, iterations = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = _sign(salted, b"Client Key")
        without_proof = f"c=biws,r={fields['r']}"
        exchange = f"{self._bare},{server_first},{without_proof}".encode()
        proof = _sign(hashlib.sha256(client_key).digest(), exchange)
        mixed = bytes(one ^ other for one, other in zip(client_key, proof, strict=True))
        self._signature = _sign(_sign(salted, b"Server Key"), exchange)
        return _encode(f"{without_proof},p={_encode(mixed)}".encode())

    def is_genuine(self, success: str) -> bool:
        """Whether the server proved that it knows the password's keys as well."""
        return hmac.compare_digest(base64.b64decode(success), f"v={_encode(self._signature)}".encode())


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _sign(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
