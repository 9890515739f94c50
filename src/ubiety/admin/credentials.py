"""Setting passwords: the rules and the hashing, outside of the loop."""

import asyncio
import os
import secrets

from pydantic import SecretStr

from ubiety.admin.context import Node
from ubiety.admin.problems import INVALID, Problem
from ubiety.directory.passwords import (
    HASHES,
    ITERATIONS,
    MAX_LENGTH,
    MINIMUM_LENGTH,
    SALT_BYTES,
    dump_keys,
    hash_password,
)
from ubiety.gateway.client_settings import CLIENTS, DIGEST_MD5
from ubiety.xmpp.sasl import SaslError


async def make_keys(node: Node, userid: str, password: SecretStr) -> str:
    """Checks a person's new password and derives the keys to store, in a thread. Raises Problem."""
    text = password.get_secret_value()
    least = node.settings.get(MINIMUM_LENGTH)
    if not least <= len(text) <= MAX_LENGTH:
        raise Problem(INVALID, f"A password has from {least} to {MAX_LENGTH} characters.")
    salts = [secrets.token_bytes(SALT_BYTES) for _ in HASHES]
    try:
        keys = await asyncio.to_thread(hash_password, text, node.settings.get(ITERATIONS), salts)
    except SaslError as error:
        raise Problem(INVALID, "The password holds characters that a password cannot have.") from error
    settings = node.settings
    if not settings.get(CLIENTS):
        return dump_keys(keys)
    return dump_keys(keys, node.vault.seal(userid, text, with_md5=settings.get(DIGEST_MD5)))


async def make_many_keys(
    node: Node, passwords: list[tuple[str, SecretStr | None]]
) -> list[str | Problem | None]:
    """Keys for many passwords, by user ids; a Problem stands in the place of one that cannot be."""
    # The loop keeps one processor for itself.
    gate = asyncio.Semaphore(max(1, (os.cpu_count() or 2) - 1))

    async def one(userid: str, password: SecretStr | None) -> str | Problem | None:
        if password is None:
            return None
        async with gate:
            try:
                return await make_keys(node, userid, password)
            except Problem as problem:
                return problem

    return await asyncio.gather(*(one(userid, password) for userid, password in passwords))
