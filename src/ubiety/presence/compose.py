"""All sources of a person's presence composed to one state: the precedence is a table. Pure.

No document gives the order; it is inferred from what the product's clients show (facts §4.3).
"""

from typing import NamedTuple

from ubiety.presence.model import Composed, Device, Situation, Source, State, Statement


class Row(NamedTuple):
    """If ``source`` says ``said``, and no row above holds, the person is ``state``."""

    source: Source
    said: State
    state: State


SIGNED_IN = (
    Row(Source.OWN, State.DND, State.DND),
    Row(Source.OWN, State.BUSY, State.BUSY),
    Row(Source.OWN, State.MEETING, State.MEETING),
    Row(Source.OWN, State.OUT_OF_OFFICE, State.OUT_OF_OFFICE),
    Row(Source.OWN, State.AWAY, State.AWAY),
    Row(Source.OWN, State.EXTENDED_AWAY, State.EXTENDED_AWAY),
    Row(Source.OWN, State.AVAILABLE, State.AVAILABLE),
    Row(Source.PHONE, State.DND, State.DND),
    Row(Source.DEVICE, State.DND, State.DND),
    Row(Source.PHONE, State.ON_THE_PHONE, State.ON_THE_PHONE),
    Row(Source.DEVICE, State.ON_THE_PHONE, State.ON_THE_PHONE),
    Row(Source.CALENDAR, State.MEETING, State.MEETING),
    Row(Source.CALENDAR, State.OUT_OF_OFFICE, State.OUT_OF_OFFICE),
    Row(Source.DEVICE, State.BUSY, State.BUSY),
    Row(Source.DEVICE, State.AVAILABLE, State.AVAILABLE),
    Row(Source.DEVICE, State.AWAY, State.AWAY),
    Row(Source.DEVICE, State.EXTENDED_AWAY, State.EXTENDED_AWAY),
)
"""The order while the person is signed in with at least one device."""

SIGNED_OUT = (
    Row(Source.PHONE, State.ON_THE_PHONE, State.OFFLINE_ON_THE_PHONE),
    Row(Source.CALENDAR, State.MEETING, State.OFFLINE_MEETING),
    Row(Source.CALENDAR, State.OUT_OF_OFFICE, State.OFFLINE_OUT_OF_OFFICE),
)
"""The order while there is no device; what the person had chosen ended when they signed out."""


def compose(situation: Situation) -> Composed:
    """Return what a person's watchers see.

    Of several devices that say the same the one of highest priority, then the newest, gives the note.
    """
    row, found = _deciding(situation)
    if row is None or found is None:
        return Composed(State.OFFLINE)
    return Composed(row.state, found.note or _note(situation), found.since)


def phone_of(situation: Situation) -> State | None:
    """Return what a signed-in person's phone says if that decides: ``ON_THE_PHONE`` or ``DND``."""
    row, _ = _deciding(situation)
    return row.state if row is not None and row.source is Source.PHONE and situation.devices else None


def _deciding(situation: Situation) -> tuple[Row, Statement] | tuple[None, None]:
    said = _said(situation)
    for row in SIGNED_IN if situation.devices else SIGNED_OUT:
        found = said.get((row.source, row.said))
        if found is not None:
            return row, found
    return None, None


def _said(situation: Situation) -> dict[tuple[Source, State], Statement]:
    said: dict[tuple[Source, State], Statement] = {}
    for device in sorted(situation.devices, key=_weight):
        said[Source.DEVICE, device.state] = Statement(device.state, device.note, device.since)
    for phone in situation.phones:
        said.setdefault((Source.PHONE, phone.state), phone)
    for source, one in ((Source.CALENDAR, situation.calendar), (Source.OWN, situation.own)):
        if one is not None:
            said[source, one.state] = one
    return said


def _note(situation: Situation) -> str:
    """Return the text to show where the source that decides has none: the person's own, else a device's."""
    if situation.own is not None and situation.devices and situation.own.note:
        return situation.own.note
    notes = [device.note for device in sorted(situation.devices, key=_weight, reverse=True)]
    return next((note for note in notes if note), "")


def _weight(device: Device) -> tuple[int, float]:
    return device.priority, device.since
