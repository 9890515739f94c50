"""Passwords as they are stored: SCRAM keys and never the password (RFC 5802 §3)."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from ubiety.settings import Setting
from ubiety.store.digests import FIELD
from ubiety.xmpp.sasl import ScramKeys, derive_keys

ITERATIONS = Setting(
    "password.iterations",
    int,
    10_000,
    "iterations",
    "Work to derive keys from a password (PBKDF2), for passwords that are set from now on.",
    minimum=4096,  # RFC 7677 §4
    maximum=1_000_000,
)
MINIMUM_LENGTH = Setting(
    "password.minimum_length",
    int,
    1,
    "characters",
    "Shortest password that may be set.",
    minimum=1,
    maximum=128,
)
SETTINGS = (ITERATIONS, MINIMUM_LENGTH)

HASHES = ("sha256", "sha1")
SALT_BYTES = 16
MAX_LENGTH = 1023
"""Characters; bounds the work that a stranger can ask for."""


def hash_password(password: str, iterations: int, salts: Sequence[bytes]) -> list[ScramKeys]:
    """Derives the keys for each of `HASHES`, with one salt for each. SLOW: run it in a thread.

    Raises SaslError for a password with characters that cannot be typed everywhere.
    """
    return [derive_keys(password, salt, iterations, name) for name, salt in zip(HASHES, salts, strict=True)]


def dump_keys(keys: Sequence[ScramKeys], digests: str = "") -> str:
    """Keys as they are stored: JSON. `digests`: the sealed secrets for SIP (`store.digests`)."""
    found: dict[str, Any] = {
        one.hash_name: [
            one.iterations,
            *(b64encode(part).decode() for part in (one.salt, one.stored_key, one.server_key)),
        ]
        for one in keys
    }
    return json.dumps(found | {FIELD: digests} if digests else found)


def load_keys(text: str) -> dict[str, ScramKeys]:
    """Reads stored keys, by the name of their hash. Raises ValueError."""
    try:
        return {
            name: ScramKeys(name, b64decode(salt), int(iterations), b64decode(stored), b64decode(server))
            for name, (iterations, salt, stored, server) in _scram(text)
        }
    except (AttributeError, TypeError) as error:
        raise ValueError("these are no stored keys") from error


def _scram(text: str) -> Iterable[tuple[str, Any]]:
    return [(name, value) for name, value in json.loads(text).items() if name != FIELD]
