"""Secrets of people for SIP digest authentication: HA1, sealed (RFC 7616 §3.4.2).

HA1 is as good as the password for whoever has it, so what is stored is encrypted with a key of the cluster.
It stands beside the SCRAM keys, in the same value of the same row: whoever sets a password replaces both, and
no HA1 of an old password can stay behind. Its user name is the user id and its realm never changes, so it
outlives a change of address.
"""

import json
import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from ubiety.sip.digest import MD5, SHA_256, make_ha1
from ubiety.store import secrets

FIELD = "sip"
"""Where the sealed secrets stand in a person's stored keys."""
KEY = "sip digest key"
REALM = "sip digest realm"
KEY_BYTES = 32
NONCE_BYTES = 12
ALGORITHMS = (SHA_256, MD5)


class Vault:
    """Seals and opens the secrets of people. One per node, the same in the whole cluster."""

    def __init__(self, key: bytes, realm: str) -> None:
        self.realm = realm
        self._cipher = AESGCM(key)

    def seal(self, userid: str, password: str, *, with_md5: bool) -> str:
        """Return the sealed HA1s of a new password."""
        algorithms = ALGORITHMS if with_md5 else (SHA_256,)
        found = {algorithm: make_ha1(userid, self.realm, password, algorithm) for algorithm in algorithms}
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(found).encode(), userid.encode())
        return b64encode(nonce + sealed).decode()

    def open(self, userid: str, keys: str | None) -> dict[str, str]:
        """Return the HA1s by algorithm from a person's stored keys; nothing if they have none."""
        try:
            sealed = b64decode(json.loads(keys)[FIELD]) if keys else b""
            plain = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], userid.encode())
            return {str(algorithm): str(ha1) for algorithm, ha1 in json.loads(plain).items()}
        except (KeyError, TypeError, ValueError, Base64Error, InvalidTag):
            return {}


def load_vault(conn: Connection) -> Vault:
    """Return the vault of the cluster; the first to ask makes its key and its realm."""
    key = secrets.find_or_add(conn, KEY, os.urandom(KEY_BYTES))
    realm = secrets.find_or_add(conn, REALM, f"ubiety-{os.urandom(6).hex()}".encode())
    return Vault(key, realm.decode())
