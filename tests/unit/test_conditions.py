"""The table of failures and how they are written."""

import pytest
from lxml import etree

from ubiety.conditions import (
    ERROR_TYPES,
    SASL_FAILURES,
    STANZA_ERRORS,
    STREAM_ERRORS,
    Condition,
    StanzaError,
    error_bytes,
    stream_error_bytes,
)


def test_every_condition_has_a_type_of_its_own():
    assert len(STANZA_ERRORS) == len(Condition) == 22  # RFC 6120 §8.3.3
    assert set(STANZA_ERRORS.values()) <= ERROR_TYPES
    assert STANZA_ERRORS["item-not-found"] == Condition.ITEM_NOT_FOUND.default_type == "cancel"
    assert len(STREAM_ERRORS) == 25  # RFC 6120 §4.9.3
    assert len(SASL_FAILURES) == 11  # RFC 6120 §6.5


@pytest.mark.parametrize("condition", sorted(STANZA_ERRORS))
def test_an_error_is_written_with_type_condition_and_text(condition):
    error = etree.fromstring(error_bytes(condition, text="a < b"))
    assert error.get("type") == STANZA_ERRORS[condition]
    ns = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
    assert [child.tag for child in error] == [ns + condition, ns + "text"]
    assert error[1].text == "a < b"


def test_type_and_extra_can_be_given():
    data = error_bytes("not-acceptable", "cancel", extra=b"<blocked xmlns='urn:xmpp:blocking:errors'/>")
    error = etree.fromstring(data)
    assert error.get("type") == "cancel"
    assert error[-1].tag == "{urn:xmpp:blocking:errors}blocked"


def test_a_condition_that_does_not_exist_is_a_mistake_of_ours():
    for write in (error_bytes, stream_error_bytes, StanzaError):
        with pytest.raises(KeyError):
            write("no-such-condition")


def test_stream_errors_are_written():
    data = (
        b"<s xmlns:stream='http://etherx.jabber.org/streams'>" + stream_error_bytes("reset", "new") + b"</s>"
    )
    (error,) = etree.fromstring(data)
    assert error.tag == "{http://etherx.jabber.org/streams}error"
    assert [child.tag.rpartition("}")[2] for child in error] == ["reset", "text"]


def test_an_error_as_exception_carries_what_is_told():
    error = StanzaError("forbidden", "not yours")
    assert (error.condition, error.type, error.text) == ("forbidden", "auth", "not yours")
    assert StanzaError("forbidden", type="cancel").type == "cancel"
