"""Fixtures: a node's people without sockets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.users.place import Place, open_place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """People on a real SQLite database."""
    opened = open_place(tmp_path)
    yield opened
    await opened.close()
