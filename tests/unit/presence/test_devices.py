"""What a client's presence says."""

import pytest

from ubiety.presence import fanout
from ubiety.presence.devices import read
from ubiety.presence.model import Device, State
from ubiety.stanza import parse_stanza


def device(children: str, attributes: str = "") -> Device:
    stanza = parse_stanza(f"<presence xmlns='jabber:client'{attributes}>{children}</presence>".encode())
    return read(fanout.tail(stanza), 3, 9.0)


@pytest.mark.parametrize(
    ("show", "state"),
    [
        ("", State.AVAILABLE),
        ("<show>chat</show>", State.AVAILABLE),
        ("<show>away</show>", State.AWAY),
        ("<show>xa</show>", State.EXTENDED_AWAY),
        ("<show>dnd</show>", State.DND),
        ("<show> dnd\n</show>", State.DND),
        ("<show>lunch</show>", State.AVAILABLE),
    ],
)
def test_show(show: str, state: State) -> None:
    assert device(show) == Device(state, "", 3, 9.0)


def test_status_is_the_note() -> None:
    assert device("<status> At &lt;home&gt; </status>").note == "At <home>"
    texts = "<status xml:lang='de'>Zu Hause</status><status>At home</status>"
    assert device(texts, " xml:lang='en' id='7'").note == "At home"
    assert device("<status xml:lang='de'>Zu Hause</status>").note == "Zu Hause"


def test_only_the_clients_own_show_counts() -> None:
    assert device("<x xmlns='urn:other'><show>dnd</show></x>").state is State.AVAILABLE
    assert device("<show xmlns='urn:other'>dnd</show>").state is State.AVAILABLE
