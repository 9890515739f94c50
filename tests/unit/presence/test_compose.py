"""The precedence of presence sources: every row, every pair of rows, and where notes come from."""

import itertools

import pytest

from ubiety.presence.compose import SIGNED_IN, SIGNED_OUT, Row, compose
from ubiety.presence.model import OFFLINE, Composed, Device, Situation, Source, State, Statement


def situation(*rows: Row, signed_in: bool = True, note: str = "") -> Situation:
    """Make what says exactly what these rows ask for."""
    said = {source: [row.said for row in rows if row.source is source] for source in Source}
    devices = tuple(Device(one, note) for one in said[Source.DEVICE])
    if signed_in and not devices:
        devices = (Device(State.EXTENDED_AWAY, note),)
    return Situation(
        devices,
        tuple(Statement(one) for one in said[Source.PHONE]),
        *(Statement(said[source][0]) if said[source] else None for source in (Source.CALENDAR, Source.OWN)),
    )


@pytest.mark.parametrize("row", SIGNED_IN, ids=str)
def test_each_row_decides_when_nothing_above_it_holds(row: Row) -> None:
    assert compose(situation(row)).state is row.state


@pytest.mark.parametrize("row", SIGNED_OUT, ids=str)
def test_each_row_decides_for_people_without_a_device(row: Row) -> None:
    assert compose(situation(row, signed_in=False)).state is row.state


@pytest.mark.parametrize("rows", [SIGNED_IN, SIGNED_OUT], ids=["in", "out"])
def test_the_upper_of_two_rows_wins(rows: tuple[Row, ...]) -> None:
    for upper, lower in itertools.combinations(rows, 2):
        both_at_once = upper.source is not lower.source or upper.source in (Source.DEVICE, Source.PHONE)
        if both_at_once:
            found = compose(situation(upper, lower, signed_in=rows is SIGNED_IN))
            assert found.state is upper.state, f"{upper} and {lower}"


def test_the_order_is_the_inferred_one() -> None:
    phone_dnd = SIGNED_IN.index(Row(Source.PHONE, State.DND, State.DND))
    assert all(row.source is Source.OWN for row in SIGNED_IN[:phone_dnd])
    assert [row.state for row in SIGNED_IN[phone_dnd:]] == [
        State.DND,
        State.DND,
        State.ON_THE_PHONE,
        State.ON_THE_PHONE,
        State.MEETING,
        State.OUT_OF_OFFICE,
        State.BUSY,
        State.AVAILABLE,
        State.AWAY,
        State.EXTENDED_AWAY,
    ]


def test_every_state_can_come_out() -> None:
    states = {row.state for row in (*SIGNED_IN, *SIGNED_OUT)} | {compose(Situation()).state}
    assert states == set(State)


def test_nobody_there_is_offline() -> None:
    assert compose(Situation()) == OFFLINE
    assert compose(Situation(phones=(Statement(State.DND),))) == OFFLINE


def test_a_choice_ends_with_the_last_device() -> None:
    own = Statement(State.DND, "Do not call", 5.0)
    assert compose(Situation(own=own)) == OFFLINE
    assert compose(Situation((Device(State.AVAILABLE),), own=own)) == Composed(State.DND, "Do not call", 5.0)


def test_the_best_device_is_the_most_available_one() -> None:
    devices = (Device(State.AWAY, "out", 10), Device(State.AVAILABLE, "here", 0), Device(State.EXTENDED_AWAY))
    assert compose(Situation(devices)) == Composed(State.AVAILABLE, "here")


def test_of_devices_that_say_the_same_priority_and_then_time_decides() -> None:
    first, second = Device(State.AWAY, "first", 1, 10.0), Device(State.AWAY, "second", 0, 20.0)
    assert compose(Situation((first, second))) == Composed(State.AWAY, "first", 10.0)
    third = Device(State.AWAY, "third", 1, 30.0)
    assert compose(Situation((third, first, second))) == Composed(State.AWAY, "third", 30.0)


def test_the_note_of_the_person_is_kept_when_the_phone_decides() -> None:
    devices = (Device(State.AVAILABLE, "At home today"),)
    phones = (Statement(State.ON_THE_PHONE, since=7.0),)
    assert compose(Situation(devices, phones)) == Composed(State.ON_THE_PHONE, "At home today", 7.0)
    own = Statement(State.AVAILABLE, "Really here")
    assert compose(Situation(devices, phones, own=own)) == Composed(State.AVAILABLE, "Really here")


def test_a_change_of_note_is_a_change() -> None:
    assert not Composed(State.AWAY, "a").is_like(Composed(State.AWAY, "b"))
    assert Composed(State.AWAY, "a", 1.0).is_like(Composed(State.AWAY, "a", 2.0))
    assert not OFFLINE.is_like(None)
