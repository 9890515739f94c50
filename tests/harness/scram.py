"""The client's side of SASL PLAIN and SCRAM (RFC 5802), for tests only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from functools import lru_cache

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


def plain(username: str, password: str, authzid: str = "") -> str:
    """Return the base64 of a PLAIN message (RFC 4616)."""
    return base64.b64encode(f"{authzid}\0{username}\0{password}".encode()).decode()


@lru_cache(maxsize=4096)
def _salted(hash_name: str, password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, iterations)


class ScramClient:
    """One SCRAM exchange as the client; messages are base64 text."""

    def __init__(self, mechanism: str, username: str, password: str, gs2: str = "n,,") -> None:
        self._hash = HASHES[mechanism]
        self._password = password
        self._gs2 = gs2
        self._nonce = base64.b64encode(os.urandom(15)).decode()
        escaped = username.replace("=", "=3D").replace(",", "=2C")
        self._first = f"n={escaped},r={self._nonce}"
        self._expected = b""

    def first(self) -> str:
        """Return the client-first message."""
        return base64.b64encode((self._gs2 + self._first).encode()).decode()

    def final(self, challenge: str) -> str:
        """Answer the server-first message; raises AssertionError when its nonce is not ours."""
        server_first = base64.b64decode(challenge).decode()
        fields = dict(part.split("=", 1) for part in server_first.split(","))
        assert fields["r"].startswith(self._nonce), "the server changed the nonce"
        key = _salted(self._hash, self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        binding = base64.b64encode(self._gs2.encode()).decode()
        without_proof = f"c={binding},r={fields['r']}"
        auth = f"{self._first},{server_first},{without_proof}".encode()
        proof = self._proof(key, auth)
        self._expected = self._hmac(self._hmac(key, b"Server Key"), auth)
        return base64.b64encode(f"{without_proof},p={proof}".encode()).decode()

    def is_genuine(self, success: str) -> bool:
        """Tell whether the server's signature proves that it knows the keys."""
        return base64.b64decode(success).decode() == "v=" + base64.b64encode(self._expected).decode()

    def _proof(self, key: bytes, auth: bytes) -> str:
        client_key = self._hmac(key, b"Client Key")
        signature = self._hmac(hashlib.new(self._hash, client_key).digest(), auth)
        return base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, self._hash).digest()
