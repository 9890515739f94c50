"""The client stream where a transcript does not say it: foreign SASL, late answers, pieces, and nonsense.

The conversations themselves are in tests/transcripts.
"""

import re
from base64 import b64decode, b64encode
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramClient

from tests.transcripts.edge import ENDPOINT_HASH, Edge
from tests.transcripts.test_transcripts import HEADER, LOGIN, SESSION
from ubiety import jid
from ubiety.stanza import Stanza
from ubiety.xmpp import ns, sasl
from ubiety.xmpp.c2s import C2sConfig, C2sStream, Phase
from ubiety.xmpp.outputs import (
    Authenticated,
    AuthenticationFailed,
    BindRequested,
    Close,
    CredentialsNeeded,
    PasswordNeeded,
    SmResumeRequested,
    StartTls,
    Write,
)
from ubiety.xmpp.xmlstream import Limits

OPEN = (HEADER % "example.org").encode()
PLAIN = LOGIN[1].encode()
BIND = SESSION[-1].encode()
MESSAGE = b"<message to='bob@example.org' id='m'><body>hi</body></message>"
ALICE = jid.parse("alice@example.org/desk")


def make_stream(secure: bool = True, **config) -> C2sStream:
    numbers = count(1)
    served = C2sConfig(
        domains=lambda domain: domain == "example.org", default_domain="example.org", secret=b"s", **config
    )
    return C2sStream(served, lambda: f"id{next(numbers)}", 0.0, secure, ENDPOINT_HASH if secure else None)


def bound_stream(**config) -> C2sStream:
    stream = make_stream(**config)
    stream.receive(OPEN, 0)
    stream.receive(PLAIN, 0)
    stream.password_checked(True, 0)
    stream.authorised()
    stream.receive(OPEN, 0)
    stream.receive(BIND, 0)
    stream.bound(ALICE)
    assert stream.phase is Phase.SESSION
    return stream


def written(outputs) -> bytes:
    return b"".join(output.data for output in outputs if isinstance(output, Write))


# A foreign client


@pytest.mark.parametrize(
    "mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1"]
)
@pytest.mark.parametrize("username", ["alice", "alice@example.org", "Alice"])
def test_a_foreign_scram_client_gets_in(mechanism, username):
    plus = mechanism.endswith("-PLUS")
    stream = make_stream(plus=plus)
    stream.receive(OPEN, 0)
    binding = ("tls-server-end-point", ENDPOINT_HASH) if plus else None
    client = ScramClient([mechanism], username, "secret", channel_binding=binding)
    first = b64encode(client.get_client_first().encode()).decode()
    auth = f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{first}</auth>"
    (asked,) = stream.receive(auth.encode(), 0)
    assert asked == CredentialsNeeded("alice", "example.org", mechanism, asked.hash_name)
    keys = sasl.derive_keys("secret", b"0123456789abcdef", 4096, asked.hash_name)
    client.set_server_first(content(stream.credentials(keys, 0)))
    final = b64encode(client.get_client_final().encode()).decode()
    (proven,) = stream.receive(f"<response xmlns='{ns.SASL}'>{final}</response>".encode(), 0)
    assert proven == Authenticated("alice", "example.org", mechanism)
    client.set_server_final(content(stream.authorised()))
    assert stream.username == "alice"
    assert ns.BIND.encode() in written(stream.receive(OPEN, 0))


def content(outputs) -> str:
    match = re.search(rb">([^<]+)</", written(outputs))
    assert match, outputs
    return b64decode(match[1]).decode()


# Answers of the driver


def test_an_answer_that_was_not_asked_for_lets_nobody_in():
    stream = make_stream()
    for answer in (stream.authorised, lambda: stream.password_checked(True, 0), lambda: stream.bound(ALICE)):
        assert answer() == []
    stream.receive(OPEN, 0)
    assert stream.authorised() == []
    (asked,) = stream.receive(PLAIN, 0)
    assert asked == PasswordNeeded("user", "example.org", "pencil")
    assert "pencil" not in repr(asked)
    assert stream.authorised() == []  # the password is not checked yet
    assert stream.credentials(None, 0) == []
    assert stream.phase is Phase.LOGIN
    stream.password_checked(False, 0)
    assert stream.password_checked(True, 0) == []
    assert stream.authorised() == []
    assert stream.resumed(ALICE, "sm", 0) == []
    assert stream.phase is Phase.LOGIN
    assert stream.jid is None


def test_a_refusal_is_told_and_another_try_is_open():
    stream = make_stream()
    stream.receive(OPEN, 0)
    for _ in range(4):
        stream.receive(PLAIN, 0)
        outputs = stream.refused("temporary-auth-failure", "Too many tries from your address.")
        assert b"<temporary-auth-failure/>" in written(outputs)
        assert not any(isinstance(output, AuthenticationFailed) for output in outputs)
    (asked,) = stream.receive(PLAIN, 0)
    assert isinstance(asked, PasswordNeeded)


def test_answers_after_the_end_are_void():
    stream = make_stream()
    stream.receive(OPEN, 0)
    stream.receive(PLAIN, 0)
    assert isinstance(stream.close("system-shutdown")[-1], Close)
    assert stream.password_checked(True, 0) == stream.authorised() == stream.bound(ALICE) == []
    assert stream.receive(OPEN, 0) == stream.tick(1e9) == stream.close("reset") == []
    assert stream.deadline() is None
    assert stream.phase is Phase.CLOSED


def test_a_stanza_before_the_third_wrong_password_is_not_taken_after_it():
    stream = make_stream()
    stream.receive(OPEN, 0)
    for _ in range(2):
        stream.receive(PLAIN, 0)
        stream.password_checked(False, 0)
    stream.receive(PLAIN + PLAIN, 0)
    outputs = stream.password_checked(False, 0)
    assert isinstance(outputs[-1], Close)
    assert outputs.count(Close()) == 1


def test_input_is_held_while_an_answer_is_due():
    stream = make_stream()
    stream.receive(OPEN, 0)
    stream.receive(PLAIN, 0)
    assert stream.receive(OPEN[:30], 0) == []
    assert stream.receive(OPEN[30:], 0) == []
    stream.password_checked(True, 0)
    outputs = stream.authorised()  # the new header came early
    assert b"<success" in outputs[0].data
    assert ns.BIND.encode() in outputs[1].data
    assert stream.receive(BIND + MESSAGE[:20], 0) == [BindRequested("desk")]
    assert stream.receive(MESSAGE[20:] + MESSAGE, 0) == []
    result, first, second = stream.bound(ALICE)
    assert b"<jid>alice@example.org/desk</jid>" in result.data
    assert first == second == Stanza("message", jid.parse("bob@example.org"), ALICE, "m", None, "en",
                                     ((ns.CLIENT, "body"),), b"<body>hi</body>")  # fmt: skip


@pytest.mark.parametrize("binding", [False, True])
def test_what_is_held_is_bounded(binding):
    stream = make_stream(limits=Limits(stanza_bytes_before_auth=1000, stanza_bytes=2000))
    stream.receive(OPEN, 0)
    stream.receive(PLAIN, 0)
    if binding:
        stream.password_checked(True, 0)
        stream.authorised()
        stream.receive(OPEN, 0)
        stream.receive(BIND, 0)
    bound = 2000 if binding else 1000
    assert stream.receive(b" " * bound, 0) == []
    outputs = stream.receive(b" ", 0)
    assert b"<policy-violation" in written(outputs)
    assert isinstance(outputs[-1], Close)


def test_resumption_sends_again_before_anything_new():
    stream = make_stream()
    for data in (OPEN, PLAIN):
        stream.receive(data, 0)
    stream.password_checked(True, 0)
    stream.authorised()
    stream.receive(OPEN, 0)
    resume = b"<resume xmlns='urn:xmpp:sm:3' previd='p' h='5'/>"
    assert stream.receive(resume + MESSAGE, 0) == [SmResumeRequested("p", 5)]
    again = [b"<message id='1'/>", b"<message id='2'/>"]
    first, second = stream.resumed(ALICE, "p", 9, again)
    assert first.data == b"<resumed xmlns='urn:xmpp:sm:3' previd='p' h='9'/>" + b"".join(again)
    assert isinstance(second, Stanza)
    assert stream.jid is ALICE


# Time, TLS, the end


def test_the_time_for_negotiation_is_bounded_and_not_the_session():
    stream = make_stream(negotiation_timeout=7)
    assert stream.deadline() == 7
    stream.receive(OPEN, 6)
    assert stream.deadline() == 7
    assert stream.tick(6.9) == []
    assert b"<connection-timeout" in written(stream.tick(7))
    assert bound_stream().deadline() is None


def test_a_handshake_that_hangs_is_closed_without_a_word():
    stream = make_stream(secure=False)
    stream.receive(OPEN, 0)
    outputs = stream.receive(f"<starttls xmlns='{ns.TLS}'/>".encode(), 0)
    assert outputs[-1] == StartTls()
    assert stream.receive(PLAIN, 1) == []
    assert stream.tick(100) == [Close()]
    assert stream.tls_ready(None, 101) == []
    assert stream.receive(OPEN, 101) == []


def test_channel_binding_needs_the_hash_of_the_certificate():
    stream = make_stream(secure=False, plus=True)
    stream.receive(OPEN, 0)
    stream.receive(f"<starttls xmlns='{ns.TLS}'/>".encode(), 0)
    stream.tls_ready(None, 0)
    assert stream.secure
    assert b"-PLUS" not in written(stream.receive(OPEN, 0))


def test_close_in_a_session_tells_why():
    error, end = bound_stream().close(
        "conflict", "Your resource was taken over.", b"<x xmlns='urn:example:x'/>"
    )
    assert error.data.startswith(b"<stream:error><conflict ")
    assert error.data.endswith(b"<x xmlns='urn:example:x'/></stream:error></stream:stream>")
    assert end == Close()


# The hot path


def test_the_items_themselves_are_handed_on():
    stream = bound_stream()
    outputs = stream.receive(MESSAGE * 3, 1)
    assert [type(output) for output in outputs] == [Stanza] * 3
    assert all(output.from_ is ALICE for output in outputs)


@pytest.mark.parametrize("from_", ["alice@example.org", "alice@example.org/desk", "ALICE@example.org/desk"])
def test_an_own_address_is_stamped_over(from_):
    (stanza,) = bound_stream().receive(f"<message from='{from_}'/>".encode(), 1)
    assert stanza.from_ is ALICE


@pytest.mark.parametrize(
    "from_", ["bob@example.org", "alice@example.org/Desk", "example.org", "alice@example.com/desk", "", "@"]
)
@pytest.mark.parametrize("start", [b"", MESSAGE, b"<r xmlns='urn:xmpp:sm:3'/>"])
def test_a_forged_address_ends_the_stream(from_, start):
    outputs = bound_stream().receive(start + f"<message from='{from_}'/>".encode() + MESSAGE, 1)
    assert isinstance(outputs[-1], Close)
    assert b"<invalid-from" in written(outputs)
    assert sum(isinstance(output, Stanza) for output in outputs) == (start == MESSAGE)


def test_a_released_parser_goes_on():
    stream = bound_stream()
    assert stream.release()
    assert len(stream.receive(MESSAGE, 1)) == 1


# Nonsense

CONVERSATION = "".join(
    [
        *SESSION,
        "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
        "<presence/><message to='bob@example.org'><body>h\u00e9</body></message>",
        "<enable xmlns='urn:xmpp:sm:3' resume='true'/><message to='@'/>",
        "<r xmlns='urn:xmpp:sm:3'/></stream:stream>",
    ]
).encode()


def converse(pieces: list[bytes]) -> list[str]:
    edge = Edge((f"id{n}" for n in count(1)), secure=True)
    for piece in pieces:
        edge.receive(piece)
    return edge.said


# Up to <success/> a client has to wait for the answers: what comes in one piece is one stream.
STOPS = [len("".join(SESSION[:n]).encode()) for n in (1, 2, 3)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, len(CONVERSATION) - 1), max_size=12))
def test_pieces_make_no_difference(cuts):
    def cut(places) -> list[bytes]:
        places = [0, *sorted(set(places)), len(CONVERSATION)]
        return [CONVERSATION[a:b] for a, b in pairwise(places)]

    assert converse(cut([*STOPS, *cuts])) == converse(cut(STOPS))


PARTS = [
    OPEN,
    PLAIN,
    BIND,
    MESSAGE,
    b"</stream:stream>",
    b"<presence/>",
    b"<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>",
    b"<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    b"<message from='bob@example.org'/>",
    b"<message to='@'/>",
    b"<iq/>",
    f"<starttls xmlns='{ns.TLS}'/>".encode(),
    f"<abort xmlns='{ns.SASL}'/>".encode(),
    f"<response xmlns='{ns.SASL}'>=</response>".encode(),
    f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'/>".encode(),
    f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'>biwsbj11c2VyLHI9YWJj</auth>".encode(),
    b"<enable xmlns='urn:xmpp:sm:3' resume='1'/>",
    b"<resume xmlns='urn:xmpp:sm:3' previd='sm-id' h='0'/>",
    b"<r xmlns='urn:xmpp:sm:3'/>",
    b"<a xmlns='urn:xmpp:sm:3' h='0'/>",
    b"<active xmlns='urn:xmpp:csi:0'/>",
    b"<x",
    b"\xff",
    b" ",
]


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.booleans(), st.lists(st.sampled_from(PARTS), max_size=12))
def test_no_order_of_things_gets_past_the_login(secure, prepared, parts):
    edge = Edge((f"id{n}" for n in count(1)), secure=secure or prepared, registration=True)
    if prepared:
        parts = [OPEN, PLAIN, OPEN, *parts]
    for part in parts:
        edge.receive(part)
    said = edge.said
    passed = next((i for i, line in enumerate(said) if "<jid>" in line or "<resumed" in line), len(said))
    proven = next((i for i, line in enumerate(said) if "Authenticated(" in line), len(said))
    for place, line in enumerate(said):
        if line.startswith("S! Stanza"):
            assert place > passed > proven
            assert " from='user@example.org/" in line
        if line == "S! Close()":
            assert place == len(said) - 1
    assert (edge.stream.jid is not None) == (passed < len(said))
