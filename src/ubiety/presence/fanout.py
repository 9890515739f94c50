"""Presence stanzas as bytes, built once and addressed to many (budgets: fan-out decides).

A broadcast is a head (up to the sender's address), a tail (everything after the addresses), and
between them, for each watcher, only ``to``. Pure.
"""

from ubiety.element import escape_attribute
from ubiety.jid import Jid
from ubiety.stanza import Stanza


def head(sender: Jid) -> bytes:
    """Return the part of a presence stanza before the recipient's address."""
    return f"<presence from='{sender.xml}' to='".encode()


def tail(stanza: Stanza) -> bytes:
    """Return the part of a presence stanza after the recipient's address."""
    attributes = "'"
    if stanza.id is not None:
        attributes += f" id='{escape_attribute(stanza.id)}'"
    if stanza.type is not None:
        attributes += f" type='{stanza.type}'"
    if stanza.lang is not None:
        attributes += f" xml:lang='{escape_attribute(stanza.lang)}'"
    if not stanza.payload:
        return attributes.encode() + b"/>"
    return attributes.encode() + b">" + stanza.payload + b"</presence>"


UNAVAILABLE = b"' type='unavailable'/>"
"""The tail of a presence stanza of somebody who is gone without a word."""


def addressed(head: bytes, recipient: Jid, tail: bytes) -> bytes:
    """Return the whole stanza for one recipient."""
    return head + recipient.xml.encode() + tail
