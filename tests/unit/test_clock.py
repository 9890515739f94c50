"""clock.py"""

import pytest

from ubiety.clock import Clock, ManualClock, SystemClock


def test_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(now=50.0, monotonic=7.0)
    assert (clock.now(), clock.monotonic()) == (50.0, 7.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (52.5, 9.5)


def test_a_jump_of_the_wall_clock_leaves_deadlines_alone() -> None:
    clock = ManualClock(now=50.0, monotonic=7.0)
    clock.jump(-20)
    assert (clock.now(), clock.monotonic()) == (30.0, 7.0)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ManualClock().advance(-1)


def test_system_clock_is_a_clock() -> None:
    clock: Clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first
    assert clock.now() > 1_700_000_000
