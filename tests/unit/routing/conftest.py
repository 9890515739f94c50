"""Fixtures: a node that can crash, with clients that check what was promised."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.rig import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A rig on an empty SQLite database."""
    made = Rig(tmp_path)
    yield made
    await made.close()
