"""Presence of the pool's own people for real clients, in Microsoft's categories (MS-PRES 2.2.2.6)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from ubiety.element import Element
from ubiety.lab.availability import Shown
from ubiety.lab.people import Person
from ubiety.lab.plan import bare
from ubiety.lab.publications import NS_CARD, NS_CATEGORIES, NS_NOTE, parse_body, stamp, write_state

CATEGORIES = "application/msrtc-event-categories+xml"
RLMI = "application/rlmi+xml"
NS_RLMI = "urn:ietf:params:xml:ns:rlmi"


def write_categories(person: Person, shown: Shown) -> bytes:
    """What one colleague sees of another: card, state and note."""
    now = stamp(time.time())
    note = f'<body type="personal">{escape(shown.note)}</body>' if shown.note else ""
    card = (
        f'<contactCard xmlns="{NS_CARD}"><identity>'
        f"<name><displayName>{escape(person.name)}</displayName></name><email>{escape(person.uri)}</email></identity></contactCard>"
    )
    parts = (
        ("contactCard", 0, card),
        ("state", 1, write_state(shown)),
        ("note", 0, f'<note xmlns="{NS_NOTE}">{note}</note>'),
    )
    rows = "".join(
        f'<category name="{name}" instance="{instance}" publishTime="{now}">{content}</category>'
        for name, instance, content in parts
    )
    return f'<categories xmlns="{NS_CATEGORIES}" uri="sip:{person.uri}">{rows}</categories>'.encode()


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batched SUBSCRIBE asks for."""

    action: str
    uris: tuple[str, ...]


def read_batch(body: bytes) -> Batch:
    """Reads an adhoc list, of 2005 or of 2007 and later. Raises ElementError."""
    root = parse_body(body)
    action = "subscribe"
    uris: list[str] = []

    def walk(element: Element) -> None:
        nonlocal action
        if element.name == "action":
            action = element.get("name") or action
        if element.name == "resource":
            uris.append(bare(element.get("uri") or ""))
        for child in element.elements:
            walk(child)

    walk(root)
    return Batch(action, tuple(uri for uri in uris if uri))


def write_batch(
    me: str, known: Sequence[tuple[Person, Shown]], unknown: Sequence[str], version: int
) -> tuple[str, bytes]:
    """The body of a batched notification: the list, and a part for each person that we know (MS-SIP 3.3.5.1).

    Who is unknown has to be subscribed to one by one, along the static route. Returns type and body.
    """
    rows = [_resource(person.uri, 'state="active" cid=' + quoteattr(person.uri)) for person, _ in known]
    rows += [_resource(uri, 'state="resubscribe"') for uri in unknown]
    head = f'<list xmlns="{NS_RLMI}" uri="sip:{me}" version="{version}" fullState="false">'
    boundary = f"lab{version}{len(rows)}x50UBfW7LSCVLtggUPe5z"
    parts = [_part("resourceList", RLMI, f"{head}{''.join(rows)}</list>".encode())]
    parts += [_part(person.uri, CATEGORIES, write_categories(person, shown)) for person, shown in known]
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part for part in parts)
    kind = f'multipart/related; type="{RLMI}";start=resourceList;boundary={boundary}'
    return kind, body + f"--{boundary}--\r\n".encode()


def _resource(uri: str, instance: str) -> str:
    return f'<resource uri={quoteattr(f"sip:{uri}")}><instance id="0" {instance}/></resource>'


def _part(name: str, kind: str, content: bytes) -> bytes:
    head = f"Content-Transfer-Encoding: binary\r\nContent-ID: {name}\r\nContent-Type: {kind}\r\n\r\n"
    # COMPAT: libpurple 2.14 takes four bytes off the end; Microsoft's servers have the empty line too.
    return head.encode() + content + b"\r\n\r\n"
