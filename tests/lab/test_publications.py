"""What clients publish: versions, the aggregated state, and the bodies that answer."""

import pytest

from ubiety.element import ElementError, parse_element
from ubiety.lab.availability import Shown
from ubiety.lab.categories import read_batch, write_batch, write_categories
from ubiety.lab.people import Person
from ubiety.lab.plan import UserPlan
from ubiety.lab.publications import Book, write_fault, write_roaming

PUBLISH = (
    '<publish xmlns="http://schemas.microsoft.com/2006/09/sip/rich-presence">'
    '<publications uri="sip:bob@example.org">{}</publications></publish>'
)
STATE = (
    '<publication categoryName="state" instance="{instance}" container="2" version="{version}"'
    ' expireType="{type}">'
    '<state xmlns="http://schemas.microsoft.com/2006/09/sip/state"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="userState">'
    '<availability>{number}</availability><activity token="{token}"/></state></publication>'
)
NOTE = (
    '<publication categoryName="note" instance="0" container="200" version="0" expireType="static">'
    '<note xmlns="http://schemas.microsoft.com/2006/09/sip/note">'
    '<body type="personal" uri="">At &lt;home&gt;</body></note></publication>'
)


def state(number: int, version: int = 0, instance: int = 1, kind: str = "static", token: str = "") -> str:
    """One published state."""
    return STATE.format(number=number, version=version, instance=instance, type=kind, token=token)


def publish(book: Book, *parts: str) -> tuple[int, dict[int, int]]:
    """Publish; return how many values changed, and the faults."""
    keys, wrong = book.publish(PUBLISH.format("".join(parts)).encode())
    return len(keys), wrong


def test_the_least_available_state_wins() -> None:
    book = Book()
    assert book.aggregate().name == "available"
    assert publish(book, state(3500), state(15500, instance=2, kind="endpoint")) == (2, {})
    assert book.aggregate().name == "away"
    assert publish(book, state(6500, 1, token="on-the-phone"), state(3500, 1, 2, "endpoint")) == (2, {})
    assert book.aggregate() == Shown(6500, "on-the-phone")
    assert publish(book, state(18500, 2)) == (1, {})
    assert book.aggregate().name == "offline"


def test_note_and_unknown_activity() -> None:
    book = Book()
    publish(book, NOTE, state(6500, token="juggling"))
    assert book.aggregate() == Shown(6500, "", "At <home>")


def test_old_versions_are_refused_as_a_whole() -> None:
    book = Book()
    publish(book, state(3500), state(3500, instance=2))
    assert publish(book, state(6500, 1), state(6500, 7, 2), state(6500, 1, 3)) == (0, {2: 1, 3: 0})
    assert book.aggregate().name == "available"
    fault = parse_element(write_fault({2: 1, 3: 0}), "")
    details = fault.elements[1]
    assert [(one.get("index"), one.get("curVersion")) for one in details.elements] == [("2", "1"), ("3", "0")]


def test_removal_and_the_end_of_an_endpoint() -> None:
    book = Book()
    publish(book, state(6500, kind="endpoint"), state(15500, instance=2))
    removal = '<publication categoryName="state" instance="2" container="2" version="1" expires="0"/>'
    assert publish(book, removal) == (1, {})
    assert book.aggregate().name == "busy"
    book.drop_endpoint()
    assert not book.entries


def test_roaming_data_names_what_changed() -> None:
    book = Book()
    keys, _ = book.publish(PUBLISH.format(state(6500)).encode())
    root = parse_element(write_roaming("bob@example.org", book, keys, book.aggregate()), "")
    mine, whole = root.elements[0].elements
    assert (mine.get("version"), mine.get("instance"), mine.get("expireType")) == ("1", "1", "static")
    assert whole.elements[0].elements[0].text == "6500"
    keys, _ = book.publish(PUBLISH.format(state(3500, 1)).encode())
    again = parse_element(write_roaming("bob@example.org", book, keys, book.aggregate()), "")
    assert again.elements[0].elements[0].get("version") == "2"


@pytest.mark.parametrize(
    "body", [b"", b"<publish", b"<!DOCTYPE a><a/>", b'<a><b><publication version="x"/></b></a>']
)
def test_broken_bodies(body: bytes) -> None:
    with pytest.raises(ElementError):
        Book().publish(body)


def test_batches_of_2005_and_of_2007() -> None:
    new = (
        b'<?xml version="1.0" encoding="utf-8"?>\r\n'
        b'<batchSub xmlns="http://schemas.microsoft.com/2006/01/sip/batch-subscribe">'
        b'<action name="unsubscribe" id="1"><adhocList>'
        b'<resource uri="sip:Ann@example.org"><context/></resource>'
        b'<resource uri="sip:carl@example.org"/></adhocList></action></batchSub>'
    )
    assert read_batch(new).action == "unsubscribe"
    assert read_batch(new).uris == ("ann@example.org", "carl@example.org")
    old = (
        b'<adhoclist xmlns="urn:ietf:params:xml:ns:adrl" uri="sip:bob@example.org">'
        b'<create xmlns=""><resource uri="sip:ann@example.org"/></create></adhoclist>'
    )
    assert read_batch(old).uris == ("ann@example.org",)
    assert read_batch(old).action == "subscribe"


def test_batched_notification() -> None:
    carl = Person.of(UserPlan("carl@example.org", "Carl & Co"))
    kind, body = write_batch("bob@example.org", [(carl, Shown(6500, "in-a-meeting"))], ["ann@example.org"], 3)
    boundary = kind.rpartition("boundary=")[2].encode()
    parts = body.split(b"--" + boundary)
    assert parts[-1].strip() == b"--"
    head, _, listed = parts[1].partition(b"\r\n\r\n")
    assert b"application/rlmi+xml" in head
    resources = {
        one.get("uri"): one.elements[0].get("state") for one in parse_element(listed.strip(), "").elements
    }
    assert resources == {"sip:carl@example.org": "active", "sip:ann@example.org": "resubscribe"}
    assert b"in-a-meeting" in parts[2]


def test_categories() -> None:
    carl = Person.of(UserPlan("carl@example.org", "Carl & Co"))
    root = parse_element(write_categories(carl, Shown(9500, note="a < b")), "")
    assert {one.get("name") for one in root.elements} == {"contactCard", "state", "note"}
    assert b"Carl &amp; Co" in root.to_bytes()
    assert b"9500" in root.to_bytes()
