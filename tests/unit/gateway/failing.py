"""A real database that is out of reach, or slow, for as long as a test wants."""

import asyncio
from collections.abc import Callable
from typing import Any

from ubiety.store.database import Database
from ubiety.store.errors import DatabaseUnavailable


class Failing:
    """Stands before a database, for what is written to it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.failures = 0
        self.writes = 0
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def write(self, fn: Callable[..., Any], *args: Any) -> Any:
        self.writes += 1
        await asyncio.sleep(0)  # nothing that is asked of a thread is answered at once
        await self.may_write.wait()
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("gone")
        return await self.database.write(fn, *args)
