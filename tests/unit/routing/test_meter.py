"""How much is on its way to another node."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ubiety.routing.meter import MARK_BYTES, Meter


def test_a_node_that_keeps_up_confirms_now_and_then_and_is_never_over() -> None:
    meter = Meter(4 * MARK_BYTES)
    marks = 0
    for _ in range(10_000):
        if meter.add(1000):
            marks += 1
            assert not meter.confirm(meter.sent)
        assert not meter.is_over
    assert marks == 10_000 * 1000 // (MARK_BYTES // 1000 * 1000 + 1000)


def test_a_node_that_does_not_keep_up_is_over_until_half_is_confirmed() -> None:
    meter = Meter(1_000_000)
    marks = []
    while not meter.is_over:
        if meter.add(50_000):
            marks.append(meter.sent)
    assert meter.sent == 1_050_000
    assert not meter.confirm(marks[0])
    assert meter.is_over
    assert meter.confirm(marks[-1])
    assert not meter.is_over


def test_a_new_process_begins_anew() -> None:
    meter = Meter(1000)
    meter.add(2000)
    assert meter.is_over
    meter.reset()
    assert not meter.is_over
    assert not meter.add(500)


@given(st.lists(st.integers(1, 3 * MARK_BYTES), max_size=60), st.integers(2, 8))
def test_whoever_is_over_gets_out_by_the_marks_that_are_on_their_way(sizes: list[int], factor: int) -> None:
    meter = Meter(factor * MARK_BYTES)
    marks = []
    for size in sizes:
        if meter.add(size):
            marks.append(meter.sent)
    for mark in marks:
        meter.confirm(mark)
    assert not meter.is_over
