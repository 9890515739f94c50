"""Dialogs: what makes them, where their requests go, which requests they take, and how they are stored."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.sip.dialog import Dialog, Refusal, id_of
from ubiety.sip.headers import MAX_CSEQ
from ubiety.sip.message import Request, make_request, make_response
from ubiety.sip.syntax import SipSyntaxError

# A URI as Lync's GRUUs have it: nothing of it may be changed on the way.
GRUU = "sip:bob@example.org;opaque=user:epid:AbC-1_2;gruu"

DIALOG = Dialog(
    call_id="call",
    local_tag="alice",
    remote_tag="bob",
    local_uri="sip:alice@example.org",
    remote_uri="sip:bob@example.org",
    remote_target=GRUU,
    local_cseq=7,
    is_caller=True,
)


def invite(*record_routes: str, contact: str | None = "<sip:alice@10.0.0.1>") -> Request:
    return make_request(
        "INVITE",
        "sip:bob@example.org",
        '"Alice A." <sip:alice@example.org>;tag=alice',
        "<sip:bob@example.org>",
        "call",
        7,
        contact=contact,
        headers=[("Record-Route", route) for route in record_routes],
    )


def incoming(method: str, cseq: int, contact: str | None = None, tags: tuple[str, str] = ("bob", "alice")):
    """Return a request of Bob in the dialog."""
    return make_request(
        method,
        "sip:alice@10.0.0.1",
        f"<sip:bob@example.org>;tag={tags[0]}",
        f"<sip:alice@example.org>;tag={tags[1]}",
        "call",
        cseq,
        contact=contact,
    )


def routes(request: Request) -> tuple[str, ...]:
    return request.headers.all("route")


def test_the_answer_makes_the_callers_dialog():
    """RFC 3261 §12.1.2: the route is the Record-Route backwards."""
    request = invite("<sip:p2.example;lr>", "<sip:p1.example;lr>")
    response = make_response(request, 200, to_tag="bob", headers=[("Contact", f'"Bob" <{GRUU}>;q=1')])
    dialog = Dialog.from_response(request, response)
    assert dialog == replace(DIALOG, route_set=("<sip:p1.example;lr>", "<sip:p2.example;lr>"))
    assert dialog.remote_cseq is None


def test_the_request_makes_the_callees_dialog():
    """RFC 3261 §12.1.1: the route is the Record-Route as it is."""
    dialog = Dialog.from_request(invite("<sip:p2.example;lr>, <sip:p1.example;lr>"), "bob")
    assert dialog == Dialog(
        call_id="call",
        local_tag="bob",
        remote_tag="alice",
        local_uri="sip:bob@example.org",
        remote_uri="sip:alice@example.org",
        remote_target="sip:alice@10.0.0.1",
        route_set=("<sip:p2.example;lr>", "<sip:p1.example;lr>"),
        remote_cseq=7,
    )


@pytest.mark.parametrize(
    ("via", "transport"), [("UDP", "udp"), ("TLS", "tls"), ("tcp", "tcp"), ("WS", "tcp")]
)
def test_a_dialog_stays_on_the_transport_that_it_was_made_over(via, transport):
    request = invite()
    request = request.replace(
        headers=request.headers.first("Via", f"SIP/2.0/{via} a.example;branch=z9hG4bKa")
    )
    response = make_response(request, 200, to_tag="bob", headers=[("Contact", "<sip:bob@10.0.0.2>")])
    for dialog in (Dialog.from_request(request, "bob"), Dialog.from_response(request, response)):
        assert dialog.transport == transport
        assert Dialog.from_record(dialog.to_record()) == dialog


def test_both_sides_are_in_the_same_dialog():
    request = invite("<sip:p.example;lr>")
    response = make_response(request, 200, to_tag="bob", headers=[("Contact", "<sip:bob@10.0.0.2>")])
    caller = Dialog.from_response(request, response)
    callee = Dialog.from_request(request, "bob")
    ours, caller = caller.request("MESSAGE")
    theirs, callee = callee.request("MESSAGE")
    assert id_of(ours) == callee.id
    assert id_of(theirs) == caller.id
    assert isinstance(callee.accepts(ours), Dialog)
    assert isinstance(caller.accepts(theirs), Dialog)
    assert (ours.cseq.number, theirs.cseq.number) == (8, 1)


def test_without_a_contact_the_peer_is_where_it_was():
    request = invite(contact=None)
    assert Dialog.from_request(request, "bob").remote_target == "sip:alice@example.org"
    assert Dialog.from_response(request, make_response(request, 200)).remote_target == "sip:bob@example.org"


def test_a_peer_without_a_tag_has_the_empty_one():
    """RFC 3261 §12.1.1, §12.2.1.1: RFC 2543 peers; an absent tag stays absent."""
    request = invite()
    dialog = Dialog.from_response(request, make_response(request, 200))
    assert dialog.remote_tag == ""
    bye, _ = dialog.request("BYE")
    assert bye.to.tag is None
    answer = make_request(
        "BYE", "sip:a@x", "<sip:bob@example.org>", "<sip:alice@example.org>;tag=alice", "call", 1
    )
    assert isinstance(dialog.accepts(answer), Dialog)


def test_a_notify_may_make_the_dialog_before_the_answer():
    """RFC 6665 §4.4.1"""
    subscribe = make_request(
        "SUBSCRIBE",
        "sip:bob@example.org",
        "<sip:alice@example.org>;tag=alice",
        "<sip:bob@example.org>",
        "call",
        7,
    )
    notify = incoming("NOTIFY", 3, f"<{GRUU}>")
    notify = notify.replace(headers=notify.headers.added("Record-Route", "<sip:p1.example;lr>"))
    dialog = Dialog.from_notify(notify, subscribe)
    assert dialog == replace(DIALOG, route_set=("<sip:p1.example;lr>",), remote_cseq=3)
    refresh, _ = dialog.request("SUBSCRIBE")
    assert refresh.cseq.number == 8


# Requests of ours (RFC 3261 §12.2.1.1).


def test_a_request_says_who_and_which():
    request, after = DIALOG.request(
        "MESSAGE",
        contact="<sip:alice@10.0.0.1>",
        headers=[("Supported", "x")],
        content_type="text/plain",
        body=b"hi",
    )
    assert (request.method, request.uri, request.call_id) == ("MESSAGE", GRUU, "call")
    assert (str(request.from_), str(request.to)) == (
        "<sip:alice@example.org>;tag=alice",
        "<sip:bob@example.org>;tag=bob",
    )
    assert (request.cseq.number, after.local_cseq) == (8, 8)
    assert after == replace(DIALOG, local_cseq=8)
    assert (request.max_forwards, request.content_type, request.body) == (70, "text/plain", b"hi")
    assert request.headers.get("supported") == "x"
    assert request.headers.get("contact") == "<sip:alice@10.0.0.1>"
    assert "via" not in request.headers
    assert after.request("BYE")[0].cseq.number == 9


def test_loose_routers_are_listed_and_the_request_names_the_peer():
    dialog = replace(DIALOG, route_set=("<sip:p1.example;lr>", '"P2" <sip:p2.example:5070;lr=on>;x=1'))
    request, _ = dialog.request("MESSAGE")
    assert request.uri == GRUU
    assert routes(request) == ("<sip:p1.example;lr>", '"P2" <sip:p2.example:5070;lr=on>;x=1')
    assert dialog.next_uri == "sip:p1.example;lr"


def test_a_strict_router_is_named_and_the_peer_is_listed_last():
    dialog = replace(
        DIALOG, route_set=("<sip:p1.example;method=INVITE;x=1?Subject=y>", "<sip:p2.example;lr>")
    )
    request, _ = dialog.request("MESSAGE")
    assert request.uri == "sip:p1.example;x=1"
    assert routes(request) == ("<sip:p2.example;lr>", f"<{GRUU}>")
    plain, _ = replace(DIALOG, route_set=("<sip:P1.example>",)).request("BYE")
    assert (plain.uri, routes(plain)) == ("sip:P1.example", (f"<{GRUU}>",))


def test_without_a_route_the_request_goes_to_the_peer():
    assert routes(DIALOG.request("BYE")[0]) == ()
    assert DIALOG.next_uri == GRUU


def test_the_ack_has_the_number_and_the_credentials_of_its_invite():
    """RFC 3261 §13.2.2.4"""
    first = invite()
    headers = first.headers.added("Proxy-Authorization", "Digest a").added("Authorization", "Digest b")
    dialog = replace(DIALOG, local_cseq=12, route_set=("<sip:p1.example;lr>",))
    ack = dialog.ack(first.replace(headers=headers))
    assert (ack.method, ack.uri, str(ack.cseq)) == ("ACK", GRUU, "7 ACK")
    assert routes(ack) == ("<sip:p1.example;lr>",)
    assert (ack.headers.get("authorization"), ack.headers.get("proxy-authorization")) == (
        "Digest b",
        "Digest a",
    )
    assert id_of(ack) == ("call", "bob", "alice")


# Requests of the peer (RFC 3261 §12.2.2).


def test_numbers_must_grow():
    dialog = DIALOG.accepts(incoming("MESSAGE", 5))
    assert isinstance(dialog, Dialog)
    assert dialog.remote_cseq == 5
    for number in (0, 4, 5):
        assert dialog.accepts(incoming("MESSAGE", number)) == Refusal(500)
    for number in (6, 4711, MAX_CSEQ):
        after = dialog.accepts(incoming("MESSAGE", number))
        assert isinstance(after, Dialog)
        assert after.remote_cseq == number


def test_ack_and_cancel_have_the_number_of_their_invite():
    dialog = replace(DIALOG, remote_cseq=5)
    for method in ("ACK", "CANCEL"):
        assert dialog.accepts(incoming(method, 5)) == dialog
        assert dialog.accepts(incoming(method, 3)) == dialog


@pytest.mark.parametrize("tags", [("bob", "other"), ("other", "alice"), ("alice", "bob")])
def test_a_request_of_another_dialog_is_refused(tags: tuple[str, str]):
    assert DIALOG.accepts(incoming("MESSAGE", 1, tags=tags)) == Refusal(481)


def test_a_request_of_another_call_or_outside_of_dialogs_is_refused():
    assert replace(DIALOG, call_id="CALL").accepts(incoming("MESSAGE", 1)) == Refusal(481)
    request = incoming("MESSAGE", 1)
    outside = request.replace(headers=request.headers.with_("To", "<sip:alice@example.org>"))
    assert DIALOG.accepts(outside) == Refusal(481)
    assert id_of(outside) == ("call", "", "bob")


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"])
def test_the_peer_moves_with_these_requests(method: str):
    moved = DIALOG.accepts(incoming(method, 1, "<sip:bob@10.0.0.9>"))
    assert isinstance(moved, Dialog)
    assert moved.request("BYE")[0].uri == "sip:bob@10.0.0.9"
    stayed = DIALOG.accepts(incoming(method, 1))
    assert isinstance(stayed, Dialog)
    assert stayed.remote_target == GRUU


@pytest.mark.parametrize("method", ["MESSAGE", "INFO", "BYE", "OPTIONS"])
def test_the_peer_does_not_move_with_others(method: str):
    after = DIALOG.accepts(incoming(method, 1, "<sip:bob@10.0.0.9>"))
    assert isinstance(after, Dialog)
    assert after.remote_target == GRUU


def test_the_peer_moves_with_its_answer():
    request, dialog = replace(DIALOG, route_set=("<sip:p1.example;lr>",)).request("SUBSCRIBE")
    contact = [("Contact", "<sip:bob@10.0.0.9>"), ("Record-Route", "<sip:p9.example;lr>")]
    moved = dialog.learned(make_response(request, 200, headers=contact))
    assert moved.remote_target == "sip:bob@10.0.0.9"
    assert moved.route_set == ("<sip:p1.example;lr>",)  # it was fixed when the dialog was made
    assert dialog.learned(make_response(request, 481, headers=contact)) is dialog
    assert dialog.learned(make_response(request, 200)) is dialog
    message, dialog = dialog.request("MESSAGE")
    assert dialog.learned(make_response(message, 200, headers=contact)) is dialog


# Storage and take-over.

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
NUMBER = st.integers(0, MAX_CSEQ)


@given(
    TEXT,
    TEXT,
    TEXT,
    st.lists(st.sampled_from(["<sip:p1.example;lr>", "<sip:p2.example>", '"ü" <sip:x@[::1]>']), max_size=3),
    NUMBER,
    st.none() | NUMBER,
    st.booleans(),
)
def test_a_dialog_comes_back_from_its_record(
    call_id: str,
    ours: str,
    theirs: str,
    route_set: list[str],
    local_cseq: int,
    remote_cseq: int | None,
    is_caller: bool,
):
    dialog = Dialog(
        call_id,
        ours,
        theirs,
        DIALOG.local_uri,
        DIALOG.remote_uri,
        GRUU,
        tuple(route_set),
        local_cseq,
        remote_cseq,
        is_caller,
    )
    assert Dialog.from_record(json.loads(json.dumps(dialog.to_record()))) == dialog


@pytest.mark.parametrize(
    "change",
    [
        {"call_id": 1},
        {"remote_target": None},
        {"route_set": None},
        {"route_set": [1]},
        {"route_set": ["nonsense"]},
        {"local_cseq": "1"},
        {"local_cseq": -1},
        {"local_cseq": True},
        {"remote_cseq": 2**31},
        {"remote_uri": "nonsense"},
        {"is_caller": 1},
        {"more": 1},
    ],
)
def test_a_bad_record_is_refused(change: dict[str, object]):
    with pytest.raises(ValueError):
        Dialog.from_record(DIALOG.to_record() | change)


def test_half_a_record_is_refused():
    for name in DIALOG.to_record():
        record = DIALOG.to_record()
        del record[name]
        with pytest.raises(ValueError):
            Dialog.from_record(record)


def test_who_takes_a_dialog_over_jumps():
    request, _ = DIALOG.jumped().request("MESSAGE")
    assert request.cseq.number == 1008
    assert DIALOG.jumped(by=5).local_cseq == 12
    last = replace(DIALOG, local_cseq=MAX_CSEQ - 10).jumped()
    assert last.request("BYE")[0].cseq.number == MAX_CSEQ


def test_where_no_request_can_go_no_dialog_leads():
    with pytest.raises(SipSyntaxError):
        Dialog.from_request(invite(contact="<tel:+1>"), "bob")
    answer = make_response(invite(), 200, to_tag="bob", headers=[("Contact", "<tel:+1>")])
    with pytest.raises(SipSyntaxError):
        Dialog.from_response(invite(), answer)
    with pytest.raises(ValueError):
        Dialog.from_record(DIALOG.to_record() | {"remote_target": "tel:+1"})
    stayed = DIALOG.accepts(incoming("NOTIFY", 1, "<tel:+1>"))
    assert stayed == replace(DIALOG, remote_cseq=1)
    assert DIALOG.learned(answer) is DIALOG


def test_parts_that_a_request_uri_may_not_have_are_left_out_of_the_target():
    """RFC 3261 §19.1.1"""
    dialog = Dialog.from_request(invite(contact="<sip:a@10.0.0.1;method=INVITE;x=1?Subject=y>"), "bob")
    assert dialog.remote_target == "sip:a@10.0.0.1;x=1"


def test_a_route_that_is_none_is_an_error_and_not_a_crash():
    with pytest.raises(SipSyntaxError):
        Dialog.from_request(invite("nonsense"), "bob")
    with pytest.raises(SipSyntaxError):
        replace(DIALOG, route_set=("<tel:+1>",)).request("BYE")
