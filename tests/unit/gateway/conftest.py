"""People, and the gateway's presence with a peer, in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.gateway.rig import Rig
from tests.unit.users.place import open_place


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Two sides that speak SIP."""
    place = open_place(tmp_path)
    yield Rig(place)
    await place.close()
