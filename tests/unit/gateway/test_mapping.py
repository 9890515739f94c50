"""Every cell of tables 5 to 8 of seed 000, through the documents that carry them."""

import pytest

from ubiety.element import Element, parse_content
from ubiety.gateway.mapping import (
    ACTIVITIES,
    FROM_MICROSOFT,
    IN_PIDF,
    RICH,
    SHOWS,
    TO_MICROSOFT,
    Microsoft,
    microsoft_state,
    phone_state,
    presence_payload,
    to_composed,
    to_sip,
)
from ubiety.presence.devices import SHOWS as DEVICE_SHOWS
from ubiety.presence.model import Composed, State
from ubiety.sip import pidf
from ubiety.sip.pidf import PIDF, SipPresence

CLIENTS = ("Cisco Jabber", "Cisco Unified Personal Communicator 8.x", "Third-Party XMPP Clients")
TABLE_5 = {
    "Available": ("Available", "Available", "Available"),
    "Away": ("Away", "Away", "Away"),
    "Be Right Back": ("Away", "Away", "Away"),
    "Busy": ("Busy", "Busy", "Busy"),
    "Do Not Disturb": ("Busy", "Busy", "Busy"),
    "Appear Offline": ("Offline", "Offline", "Offline"),
    "Offline": ("Offline", "Offline", "Offline"),
}
TABLE_6 = {
    "Available": "Available",
    "Busy": "Busy",
    "On the Phone": "Busy",
    "Meeting": "Busy",
    "Away": "Away",
    "Do Not Disturb": "Busy",
    "Offline": "Offline",
    "Offline - On the Phone": "Offline",
    "Offline - Meeting": "Offline",
    "Offline - Out of Office": "Offline",
}
TABLE_7 = {
    "Available": "Available",
    "Away": "Away",
    "Do Not Disturb": "Busy",
    "Out of Office": "Offline",
    "Offline": "Offline",
}
TABLE_8 = {
    "Available": "Available",
    "Away": "Away",
    "Extended Away": "Away",
    "Do Not Disturb": "Busy",
    "Offline": "Offline",
}
OUTWARDS = [
    (table, ours, theirs)
    for table, cells in (("6", TABLE_6), ("7", TABLE_7), ("8", TABLE_8))
    for ours, theirs in cells.items()
]
INWARDS = [
    (theirs, client, ours)
    for theirs, cells in TABLE_5.items()
    for client, ours in zip(CLIENTS, cells, strict=True)
]
SHOWN_AS = {"Available": "", "Away": "away", "Busy": "dnd"}


def travelled(presence: SipPresence) -> SipPresence:
    """What arrives when this is written and read."""
    content_type, document = pidf.write("sip:ann@example.com", presence)
    return pidf.read(document, content_type)


@pytest.mark.parametrize(("theirs", "client", "ours"), INWARDS)
def test_table_5(theirs: str, client: str, ours: str) -> None:
    is_open, activities = IN_PIDF[Microsoft(theirs)]
    composed = to_composed(travelled(SipPresence(is_open, activities)))
    assert composed.state.value == ours
    if not composed.state.is_offline:
        payload = parse_content(presence_payload(composed))
        show = payload.find("show", "jabber:client")
        assert (show.text if show is not None else "") == SHOWN_AS[ours], client


@pytest.mark.parametrize(("table", "ours", "theirs"), OUTWARDS)
def test_tables_6_to_8(table: str, ours: str, theirs: str) -> None:
    composed = Composed(State(ours))
    arrived = travelled(to_sip(composed, is_microsoft=True))
    assert microsoft_state(arrived).value == theirs, table
    assert arrived.is_open == (theirs != "Offline")


@pytest.mark.parametrize("state", State)
def test_a_note_travels_with_whoever_is_there(state: State) -> None:
    for is_microsoft in (True, False):
        arrived = travelled(to_sip(Composed(state, "Back <soon> & well ☕"), is_microsoft, "Ann Able"))
        assert arrived.note == ("Back <soon> & well ☕" if arrived.is_open else "")
        assert arrived.display_name == "Ann Able"


@pytest.mark.parametrize("state", State)
def test_other_sip_peers_are_told_all_there_is(state: State) -> None:
    arrived = travelled(to_sip(Composed(state), is_microsoft=False))
    assert arrived.is_open == RICH[state][0]
    assert arrived.activities >= RICH[state][1]
    assert (phone_state(arrived) is State.ON_THE_PHONE) == (
        state in (State.ON_THE_PHONE, State.OFFLINE_ON_THE_PHONE)
    )


def test_the_tables_are_whole() -> None:
    assert set(FROM_MICROSOFT) == set(IN_PIDF) == set(Microsoft)
    assert set(TO_MICROSOFT) == set(RICH) == set(State)
    assert set(SHOWS) == {state for state in State if not state.is_offline}
    for state, show in SHOWS.items():
        if state is DEVICE_SHOWS.get(show):
            continue
        assert DEVICE_SHOWS[show] in (State.DND, State.EXTENDED_AWAY)


@pytest.mark.parametrize(("token", "state"), ACTIVITIES.items())
def test_activities(token: str, state: Microsoft) -> None:
    assert microsoft_state(SipPresence(True, frozenset({token}))) is state
    assert microsoft_state(SipPresence(True, frozenset({token, "gardening"}))) is state
    assert microsoft_state(SipPresence(False, frozenset({token}))) is Microsoft.OFFLINE
    busier = microsoft_state(SipPresence(True, frozenset({token, "do-not-disturb"})))
    assert busier is Microsoft.DND


def test_phones() -> None:
    assert phone_state(SipPresence(True, frozenset({"on-the-phone", "busy"}))) is State.ON_THE_PHONE
    assert phone_state(SipPresence(True, frozenset({"do-not-disturb"}))) is State.DND
    assert phone_state(SipPresence(True)) is None


@pytest.mark.parametrize(
    ("composed", "status"),
    [
        (Composed(State.AVAILABLE), None),
        (Composed(State.BUSY), "Busy"),
        (Composed(State.BUSY, "In a call & <away>"), "In a call & <away>"),
        (Composed(State.AWAY, "lunch"), "lunch"),
        (Composed(State.DND), None),
    ],
)
def test_payloads(composed: Composed, status: str | None) -> None:
    found = parse_content(presence_payload(composed)).find("status", "jabber:client")
    assert (found.text if isinstance(found, Element) else None) == status


def test_the_type_that_is_written() -> None:
    assert pidf.write("sip:a@b", SipPresence(True))[0] == PIDF
