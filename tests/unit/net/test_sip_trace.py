"""The ring of SIP messages for the administrator."""

import pytest

from tests.sip.stacks import NOWHERE, hop_to, request, running
from ubiety.net import sip_trace
from ubiety.net.sip_trace import RECEIVED, SENT, Trace, Traced, shown
from ubiety.sip.outputs import Peer

FRONT_END = Peer(1, "tcp", "192.0.2.1", 5060, names=("fe1.example.com",))


def make(size: int = 3) -> Trace:
    return Trace(size, lambda: 5.0)


def put(trace: Trace, *texts: str) -> None:
    for text in texts:
        trace.add(SENT, FRONT_END, text.encode())


def numbers(found: list[Traced]) -> list[int]:
    return [one.number for one in found]


def test_the_newest_are_kept_and_numbered() -> None:
    trace = make()
    put(trace, "a", "b", "c", "d")
    assert numbers(trace.after()) == [2, 3, 4] and trace.last == 4
    assert numbers(trace.after(3)) == [4] and trace.after(4) == []
    assert numbers(trace.after(most=2)) == [3, 4]
    trace.resize(1)
    assert numbers(trace.after()) == [4]


def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_trace, "MOST_BYTES", 250)
    trace = make(1000)
    put(trace, *(["x" * 100] * 10))
    assert numbers(trace.after()) == [9, 10]


def test_with_size_0_nothing_is_kept_and_listeners_still_see_it() -> None:
    trace = make(0)
    put(trace, "a")
    seen: list[Traced] = []
    trace.listeners.append(seen.append)
    put(trace, "b")
    assert trace.after() == [] and [one.data for one in seen] == [b"b"]


def test_it_is_searched_by_peer_name_and_text() -> None:
    trace = make()
    put(trace, "SUBSCRIBE sip:Alice@example.org", "NOTIFY")
    assert numbers(trace.after(text="alice@")) == [1]
    assert numbers(trace.after(text="FE1.")) == numbers(trace.after(text="192.0.2.1")) == [1, 2]
    assert trace.after(text="bob") == []


def test_what_is_not_shown_is_not_searched_either() -> None:
    trace = make()
    put(trace, MESSAGE.decode())
    assert trace.after(text="secret plans") == trace.after(text="0123") == []
    assert numbers(trace.after(text="secret plans", with_text=True)) == [1]
    assert trace.after(text="0123", with_text=True) == []


MESSAGE = (
    b"MESSAGE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/TCP x\r\n"
    b'Authorization: Digest username="alice",\r\n response="0123"\r\nContent-Type: text/plain\r\n\r\n'
    b"secret plans"
)


def test_people_and_their_credentials_are_not_shown() -> None:
    text = shown(MESSAGE)
    assert "secret plans" not in text and "[12 bytes of text not shown]" in text
    assert "0123" not in text and "username" not in text and "Authorization: Digest [hidden]" in text
    assert text.startswith("MESSAGE sip:bob@example.org SIP/2.0\nVia: SIP/2.0/TCP x\n")
    openly = shown(MESSAGE, with_text=True)
    assert "secret plans" in openly and "0123" not in openly


@pytest.mark.parametrize("kind", ["application/sdp", "Application/PIDF+xml; charset=UTF-8"])
def test_sessions_and_presence_are_shown(kind: str) -> None:
    data = f"SIP/2.0 200 OK\r\nc: {kind}\r\n\r\nthe body".encode()
    assert shown(data).endswith("the body")


def test_the_first_message_in_an_invite_is_text_too() -> None:
    data = b"INVITE sip:b@x SIP/2.0\r\nms-text-format: text/plain;ms-body=c2VjcmV0\r\n\r\n"
    assert "c2VjcmV0" not in shown(data) and "c2VjcmV0" in shown(data, with_text=True)


async def test_a_stack_traces_both_directions() -> None:
    async with running() as (server, _), running(NOWHERE) as (client, user):
        await user.outcome(client.send(request(body=b"hello"), hop_to(server)))
        ours, theirs = client.trace.after(), server.trace.after()
        assert [one.direction for one in ours] == [SENT, RECEIVED]
        assert [one.direction for one in theirs] == [RECEIVED, SENT]
        assert [one.data for one in ours] == [one.data for one in theirs]
        record = client.trace.records(text="MESSAGE sip:bob", with_text=True)[0]
        assert record["peer"] == f"127.0.0.1:{server.ports['sip']}" and "hello" in record["text"]
        assert client.status()["connections"][0]["sent"] == 1
