"""The order of the test files: what waits beside what computes (a pytest plugin of `tests`)."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
EARLIER = 0.8
"""By when the last file of whole nodes begins: it takes longer than one of unit tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Weave the files of the unit tests, which compute, among those of whole nodes, which wait.

    `--dist loadfile --no-loadscope-reorder` hands out files in this order. Every process that takes part
    must come to the same one.
    """
    files = [list(found) for _, found in groupby(items, key=lambda item: item.path)]
    unit = [file for file in files if file[0].path.is_relative_to(ROOT / "unit")]
    whole = [file for file in files if not file[0].path.is_relative_to(ROOT / "unit")]
    placed = [(EARLIER * at / len(whole), file) for at, file in enumerate(whole)]
    placed += [(at / len(unit), file) for at, file in enumerate(unit)]
    placed.sort(key=lambda pair: pair[0])  # stable: of two at the same place the one of whole nodes is first
    items[:] = [item for _, file in placed for item in file]
