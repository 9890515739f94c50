"""SCRAM keys as the text that ``users.scram`` holds: JSON, binary values in base64."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable

from ubiety.xmpp.sasl import ScramKeys


def encode(keys: Iterable[ScramKeys]) -> str:
    """Return the text for ``users.set_scram``."""
    return json.dumps(
        {
            key.hash_name: [
                b64encode(key.salt).decode(),
                key.iterations,
                b64encode(key.stored_key).decode(),
                b64encode(key.server_key).decode(),
            ]
            for key in keys
        }
    )


def decode(text: str | None) -> dict[str, ScramKeys]:
    """Return hash name -> keys; empty for a person without a password."""
    if not text:
        return {}
    return {
        name: ScramKeys(name, b64decode(salt), iterations, b64decode(stored), b64decode(server))
        for name, (salt, iterations, stored, server) in json.loads(text).items()
    }
