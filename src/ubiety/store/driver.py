"""psycopg, imported when PostgreSQL is first spoken to: a node on SQLite starts 0.1 s sooner without it."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import (
        Connection,
        DataError,
        Error,
        NotSupportedError,
        OperationalError,
        ProgrammingError,
        connect,
        errors,
    )

    __all__ = (
        "Connection",
        "DataError",
        "Error",
        "NotSupportedError",
        "OperationalError",
        "ProgrammingError",
        "connect",
        "errors",
    )
else:

    def __getattr__(name: str) -> Any:
        return getattr(importlib.import_module("psycopg"), name)
