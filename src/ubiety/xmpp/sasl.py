"""SASL as a server: SCRAM (RFC 5802, 7677), PLAIN (RFC 4616) and what both need. No I/O, time or randomness.

Everything here is quick but `derive_keys` and `check_password`, which a driver runs in a thread.
"""

import hashlib
import hmac
import re
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from dataclasses import dataclass

from ubiety import jid

SCRAM_MECHANISMS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
"""Mechanism name (without -PLUS) to the name of its hash, the strongest first."""

PLUS = "-PLUS"
TLS_SERVER_END_POINT = "tls-server-end-point"
"""The one channel binding that we offer (RFC 5929 §4)."""


class SaslError(Exception):
    """An attempt failed; `condition` is one of RFC 6120 §6.5, `text` is for the client's log.

    `is_wrong_password` tells an attempt to guess (counted against address and account) from a technical one.
    """

    def __init__(self, condition: str, text: str = "", is_wrong_password: bool = False) -> None:
        super().__init__(text or condition)
        self.condition = condition
        self.text = text
        self.is_wrong_password = is_wrong_password


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What is stored instead of a password (RFC 5802 §3), for one hash ("sha256" or "sha1")."""

    hash_name: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


def derive_keys(password: str, salt: bytes, iterations: int, hash_name: str = "sha256") -> ScramKeys:
    """Derive the keys to store for a password. SLOW (milliseconds): run it in a thread.

    Raises SaslError (not-authorized) for a password with forbidden characters.
    """
    salted = hashlib.pbkdf2_hmac(hash_name, prepare_password(password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    server_key = hmac.digest(salted, b"Server Key", hash_name)
    return ScramKeys(hash_name, salt, iterations, hashlib.new(hash_name, client_key).digest(), server_key)


def check_password(keys: ScramKeys, password: str) -> bool:
    """Compare a password that came by PLAIN with stored keys. SLOW: run it in a thread."""
    try:
        derived = derive_keys(password, keys.salt, keys.iterations, keys.hash_name)
    except SaslError:
        return False
    return hmac.compare_digest(derived.stored_key, keys.stored_key)


def make_fake_keys(secret: bytes, username: str, domain: str, hash_name: str, iterations: int) -> ScramKeys:
    """Make keys for an account that is not there: always the same for the same name, matched by no password.

    So a stranger's challenge looks alike for every name (RFC 5802 §9). `iterations` must be what real
    accounts have, and real salts have 16 bytes.
    """
    seed = f"{hash_name}\0{username}\0{domain}".encode()
    salt = hmac.digest(secret, b"salt\0" + seed, "sha256")[:16]
    key = hmac.digest(secret, b"key\0" + seed, hash_name)
    return ScramKeys(hash_name, salt, iterations, key, key)


# Texts


def prepare_password(text: str) -> str:
    """Apply SASLprep (RFC 4013). Unassigned code points pass. Raises SaslError (not-authorized)."""
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    text = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if any(_is_prohibited(char) for char in text) or not _is_bidi_sound(text):
        raise SaslError("not-authorized", "The password contains a character that SASLprep forbids.", True)
    return text


_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _is_prohibited(char: str) -> bool:
    return any(is_in(char) for is_in in _PROHIBITED)


def _is_bidi_sound(text: str) -> bool:
    # RFC 3454 §6
    if not any(stringprep.in_table_d1(char) for char in text):
        return True
    if any(stringprep.in_table_d2(char) for char in text):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])


def find_local(username: str, domain: str) -> str:
    """Turn what a client calls its user name into the local part of an address in `domain`.

    Accepted: the local part, the whole bare address, and a user id that itself holds an `@` or another
    character which an address cannot (raw; it is escaped by XEP-0106). Raises SaslError (not-authorized).
    """
    name, at, host = username.rpartition("@")
    if at and host.lower() == domain:
        username = name
    try:
        return jid.make(username, domain).local or _refuse_name()
    except jid.JidError:
        pass
    try:
        return jid.make(jid.escape_local(username), domain).local or _refuse_name()
    except jid.JidError:
        return _refuse_name()


def _refuse_name() -> str:
    raise SaslError("not-authorized", "That user name cannot exist here.", True)


def is_own_authzid(authzid: str, local: str, domain: str) -> bool:
    """Say whether an authorisation identity is absent or the account's own bare address (RFC 6120 §6.3.8)."""
    if not authzid:
        return True
    try:
        return jid.parse(authzid).text == jid.make(local, domain).text
    except jid.JidError:
        return False


def decode(text: str) -> bytes:
    """Decode the character data of `<auth/>` or `<response/>`; "=" is empty (RFC 6120 §6.4.2).

    Raises SaslError (incorrect-encoding).
    """
    text = text.strip()
    if text == "=":
        return b""
    try:
        if len(text) % 4 == 0:
            return b64decode(text, validate=True)
    except ValueError:
        pass
    raise SaslError("incorrect-encoding", "That is not base64.")


def parse_plain(message: bytes) -> tuple[str, str, str]:
    """Split a PLAIN message into (authzid, user name, password). Raises SaslError (malformed-request)."""
    try:
        authzid, username, password = message.decode().split("\0")
    except ValueError:
        raise SaslError("malformed-request", "Not a PLAIN message (RFC 4616).") from None
    if not username or not password:
        raise SaslError("malformed-request", "User name and password must not be empty.")
    return authzid, username, password


# SCRAM

_CLIENT_FIRST = re.compile(
    r"(?P<gs2>(?P<flag>n|y|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,]+))?,)(?P<bare>.*)", re.S
)
_BARE = re.compile(r"n=(?P<name>[^,]+),r=(?P<nonce>[!-+\--~]+)(?:,.*)?", re.S)
_CLIENT_FINAL = re.compile(
    r"(?P<bare>c=(?P<binding>[^,]+),r=(?P<nonce>[^,]+)(?:,.*)?),p=(?P<proof>[^,]+)", re.S
)


class ScramServer:
    """One SCRAM exchange: `start`, `challenge`, `finish`, each once and in this order."""

    __slots__ = (
        "_auth_message", "_endpoint_hash", "_gs2", "_is_plus", "_keys", "_nonce", "_plus_offered",
        "authzid", "hash_name", "username",
    )  # fmt: skip

    def __init__(self, mechanism: str, nonce: str, endpoint_hash: bytes | None = None) -> None:
        """`nonce`: random, printable ASCII without a comma. `endpoint_hash`: tls-server-end-point of this
        connection when -PLUS is advertised, else None. Raises SaslError (invalid-mechanism).
        """
        self._is_plus = mechanism.endswith(PLUS)
        if self._is_plus and endpoint_hash is None:
            raise SaslError("invalid-mechanism")
        try:
            self.hash_name = SCRAM_MECHANISMS[mechanism.removesuffix(PLUS)]
        except KeyError:
            raise SaslError("invalid-mechanism") from None
        self._nonce = nonce
        self._endpoint_hash = endpoint_hash
        self._gs2 = b""
        self._auth_message = ""
        self._keys: ScramKeys | None = None
        self.username = ""
        self.authzid = ""

    def start(self, message: bytes) -> str:
        """Take the client's first message and return the user name in it. Raises SaslError."""
        first = _match(_CLIENT_FIRST, message)
        self._check_binding(first["flag"], first["binding"])
        bare = _BARE.fullmatch(first["bare"])
        if bare is None:
            raise SaslError("malformed-request", "Not a SCRAM message (RFC 5802 §7).")
        self._gs2 = first["gs2"].encode()
        self._auth_message = first["bare"]
        self._nonce = bare["nonce"] + self._nonce
        self.authzid = _decode_name(first["authzid"] or "")
        self.username = _decode_name(bare["name"])
        return self.username

    def _check_binding(self, flag: str, binding: str | None) -> None:
        # RFC 5802 §6. None of these is a wrong password: slixmpp proposes tls-unique to any -PLUS.
        if binding is not None and binding != TLS_SERVER_END_POINT:
            raise SaslError("malformed-request", f"Only {TLS_SERVER_END_POINT} is supported here.")
        if self._is_plus != (binding is not None):
            raise SaslError("malformed-request", "Mechanism and channel binding flag disagree.")
        if flag == "y" and self._endpoint_hash is not None:
            raise SaslError(
                "malformed-request", "This server does offer channel binding: was it hidden from you?"
            )

    def challenge(self, keys: ScramKeys) -> bytes:
        """Return the server's first message for the keys that were found (or faked)."""
        self._keys = keys
        first = f"r={self._nonce},s={b64encode(keys.salt).decode()},i={keys.iterations}"
        self._auth_message += f",{first}"
        return first.encode()

    def finish(self, message: bytes) -> bytes:
        """Check the client's proof and return the server's last message. Raises SaslError."""
        final = _match(_CLIENT_FINAL, message)
        if not hmac.compare_digest(final["nonce"].encode(), self._nonce.encode()):
            raise SaslError("malformed-request", "That is not the nonce of this exchange.")
        expected = self._gs2 + (self._endpoint_hash or b"" if self._is_plus else b"")
        if not hmac.compare_digest(decode(final["binding"]), expected):
            raise SaslError("not-authorized", "The channel bindings differ: somebody is in between.")
        assert self._keys is not None, "challenge() comes first"
        auth_message = f"{self._auth_message},{final['bare']}".encode()
        if not _is_proof_right(self._keys, auth_message, decode(final["proof"])):
            raise SaslError("not-authorized", is_wrong_password=True)
        return b"v=" + b64encode(hmac.digest(self._keys.server_key, auth_message, self.hash_name))


def _is_proof_right(keys: ScramKeys, auth_message: bytes, proof: bytes) -> bool:
    # RFC 5802 §3: ClientKey := ClientProof XOR ClientSignature, and StoredKey := H(ClientKey)
    signature = hmac.digest(keys.stored_key, auth_message, keys.hash_name)
    if len(proof) != len(signature):
        return False
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.new(keys.hash_name, client_key).digest(), keys.stored_key)


def _match(pattern: re.Pattern[str], message: bytes) -> re.Match[str]:
    try:
        found = pattern.fullmatch(message.decode())
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise SaslError("malformed-request", "Not a SCRAM message (RFC 5802 §7).")
    return found


def _decode_name(text: str) -> str:
    # RFC 5802 §5.1: "=2C" is a comma and "=3D" an equals sign; no other "=" may appear.
    if "\0" in text or text.count("=") != text.count("=2C") + text.count("=3D"):
        raise SaslError("malformed-request", "A user name is encoded wrongly (RFC 5802 §5.1).")
    return text.replace("=2C", ",").replace("=3D", "=")
