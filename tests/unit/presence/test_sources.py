"""Presence sources besides devices: who hears of which change."""

from ubiety.presence.model import Device, Situation, State, Statement
from ubiety.presence.sources import Sources

TALKING = Statement(State.ON_THE_PHONE)


def test_only_changes_are_told() -> None:
    sources, told = Sources(), list[int]()
    sources.watch(told.append)
    sources.put_phone(1, "line", None)
    assert told == []
    sources.put_phone(1, "line", TALKING)
    sources.put_phone(1, "line", TALKING)
    assert told == [1]
    sources.put_calendar(1, Statement(State.MEETING))
    sources.put_own(2, Statement(State.AWAY))
    assert told == [1, 1, 2]
    sources.put_phone(1, "line", None)
    sources.put_calendar(1, None)
    sources.put_own(2, None)
    assert told == [1, 1, 2, 1, 1, 2]
    assert len(sources) == 0


def test_lines_do_not_overwrite_each_other() -> None:
    sources = Sources()
    sources.put_phone(1, "desk", TALKING)
    sources.put_phone(1, "mobile", Statement(State.DND))
    sources.put_phone(1, "desk", None)
    assert sources.situation(1, ()) == Situation(phones=(Statement(State.DND),))


def test_a_situation_holds_everything() -> None:
    sources, devices = Sources(), (Device(State.AWAY),)
    assert sources.situation(1, devices) == Situation(devices)
    sources.put_phone(1, "desk", TALKING)
    sources.put_calendar(1, Statement(State.MEETING))
    sources.put_own(1, Statement(State.BUSY))
    assert sources.situation(1, devices) == Situation(
        devices, (TALKING,), Statement(State.MEETING), Statement(State.BUSY)
    )


def test_a_choice_ends_when_the_person_has_signed_out() -> None:
    sources, told = Sources(), list[int]()
    sources.put_own(1, Statement(State.BUSY))
    sources.put_phone(1, "desk", TALKING)
    sources.watch(told.append)
    sources.signed_out(1)
    sources.signed_out(1)
    sources.signed_out(3)
    assert told == [1]
    assert sources.situation(1, ()) == Situation(phones=(TALKING,))


def test_who_is_served_elsewhere_is_forgotten_without_a_word() -> None:
    sources, told = Sources(), list[int]()
    sources.put_phone(1, "desk", TALKING)
    sources.put_phone(2, "desk", TALKING)
    sources.watch(told.append)
    sources.forget((1, 3))
    assert not sources.knows(1)
    assert list(sources) == [2]
    assert told == []
