"""What a REGISTER asks for."""

import pytest

from ubiety.gateway.registration import Contact, Registration, read_registration
from ubiety.sip.message import Request, Response, make_request
from ubiety.sip.uri import SipUri

MOST = 3600


def register(*contacts: str, expires: str = "600") -> Request:
    headers = [("Contact", contact) for contact in contacts]
    if expires:
        headers.append(("Expires", expires))
    aor = "<sip:ann@example.org>"
    return make_request("REGISTER", "sip:example.org", f"{aor};tag=1", aor, "c1", 1, headers=headers)


def read(*contacts: str, expires: str = "600") -> tuple[Contact, ...]:
    found = read_registration(register(*contacts, expires=expires), MOST)
    assert isinstance(found, Registration)
    return found.contacts


def refused(*contacts: str, expires: str = "600") -> Response:
    found = read_registration(register(*contacts, expires=expires), MOST)
    assert isinstance(found, Response)
    return found


def test_how_long_it_lasts() -> None:
    # RFC 3261 §10.2.1.1: the contact's own time goes before that of the request
    assert [one.expires for one in read("<sip:a@192.0.2.1>;expires=90, <sip:b@192.0.2.1>")] == [90, 600]
    assert [one.expires for one in read("<sip:a@192.0.2.1>", expires="")] == [MOST]
    assert [one.expires for one in read("<sip:a@192.0.2.1>;expires=99999")] == [MOST]
    assert [one.expires for one in read("<sip:a@192.0.2.1>;expires=soon")] == [3600]
    assert [one.expires for one in read("<sip:a@192.0.2.1>;expires=0")] == [0]
    short = refused("<sip:a@192.0.2.1>;expires=5")
    assert (short.status, short.headers.get("min-expires")) == (423, "60")


def test_taking_all_back() -> None:
    assert read_registration(register("*", expires="0"), MOST) == Registration((), True)
    assert refused("*").status == 400
    assert refused("*", "<sip:a@192.0.2.1>", expires="0").status == 400
    assert read(expires="") == ()  # a question


@pytest.mark.parametrize("contact", ["<tel:+49301234>", "<sip:>", "<nonsense>"])
def test_contacts_that_nothing_can_be_sent_to(contact: str) -> None:
    assert refused(contact).status in (400, 416)


def test_which_contacts_are_of_one_client() -> None:
    old, new = read(
        '<sip:a@192.0.2.1:1000;transport=tcp>;+sip.instance="<urn:uuid:1>"',
        '<sip:a@192.0.2.1:2000;transport=tcp>;+sip.instance="<urn:uuid:1>"',
    )
    assert old.is_of(new) and old.resource == new.resource
    other, plain, same = read(
        '<sip:a@192.0.2.1:1000;transport=tcp>;+sip.instance="<urn:uuid:2>"',
        "<sip:a@192.0.2.1:1000;transport=tcp>",
        "<sip:a@192.0.2.1:1000;transport=TCP>",
    )
    assert not old.is_of(other) and plain.is_of(same) and not plain.is_of(new)
    assert other.resource != old.resource


def test_who_takes_messages() -> None:
    silent, able, unable = read(
        "<sip:a@192.0.2.1>",
        '<sip:b@192.0.2.1>;methods="INVITE, MESSAGE"',
        '<sip:c@192.0.2.1>;methods="INVITE, ACK"',
    )
    assert (silent.takes_messages, able.takes_messages, unable.takes_messages) == (True, True, False)


def test_what_a_contact_may_not_carry_is_left_out() -> None:
    (found,) = read("<sip:a@192.0.2.1?Route=%3Csip:x%3E>")
    assert found.uri == SipUri.parse("sip:a@192.0.2.1")


def test_too_many() -> None:
    assert refused(*[f"<sip:a@192.0.2.{number}>" for number in range(1, 20)]).status == 403
