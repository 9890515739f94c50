"""What a signed-in client publishes of its person: categories in containers (MS-PRES 2.2.2, 3.10)."""

import re
import time
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from ubiety.element import Element, ElementError, parse_element
from ubiety.lab.availability import ACTIVITIES, AVAILABLE, OFFLINE, Shown

NS_CATEGORIES = "http://schemas.microsoft.com/2006/09/sip/categories"
NS_ROAMING = "http://schemas.microsoft.com/2006/09/sip/roaming-self"
NS_STATE = "http://schemas.microsoft.com/2006/09/sip/state"
NS_NOTE = "http://schemas.microsoft.com/2006/09/sip/note"
NS_CARD = "http://schemas.microsoft.com/2006/09/sip/contactcard"
NS_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_DECLARATION = re.compile(rb"\A\s*<\?xml[^>]*\?>\s*")
OWN = 2
"""The container whose state everybody's is made from."""
NOTES = 200
"""The container that colleagues read."""

Key = tuple[str, int, int]
"""Category, instance, container."""


@dataclass(slots=True)
class Publication:
    """One published value and its version, which goes up with every change."""

    version: int
    expire_type: str
    content: Element | None
    published: float


@dataclass(slots=True)
class Book:
    """All publications of one person."""

    entries: dict[Key, Publication] = field(default_factory=dict)
    version: int = 0
    """That of the aggregated state."""

    def publish(self, body: bytes) -> tuple[list[Key], dict[int, int]]:
        """Takes a publish body; returns the changed keys, or the right versions by index if one was wrong.

        Raises ElementError.
        """
        rows = [_row(one) for one in _publications(body)]
        wrong = {}
        for index, (key, version, _, _) in enumerate(rows, 1):
            known = self.entries.get(key)
            if version != (known.version if known else 0):
                wrong[index] = known.version if known else 0
        if wrong:
            return [], wrong
        for key, version, expire_type, content in rows:
            if content is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = Publication(version + 1, expire_type, content, time.time())
        return [key for key, *_ in rows], {}

    def drop_endpoint(self) -> None:
        """Forgets what lasts only as long as its client is signed in."""
        gone = [key for key, one in self.entries.items() if one.expire_type in ("endpoint", "device")]
        for key in gone:
            del self.entries[key]

    def aggregate(self) -> Shown:
        """The one state that is made of all: the least available one wins (MS-PRES 3.10.5)."""
        number, activity, note = 0, "", ""
        for (category, _, container), one in self.entries.items():
            if one.content is None:
                continue
            if category == "state" and container == OWN:
                found, token = read_state(one.content)
                if found > number:
                    number, activity = found, token
            if category == "note" and container == NOTES:
                body = one.content.find("body", NS_NOTE)
                note = body.text if body is not None else ""
        return Shown(number or AVAILABLE, activity, note)


def parse_body(body: bytes) -> Element:
    """Reads an XML body of a client, with or without a declaration before it. Raises ElementError."""
    return parse_element(_DECLARATION.sub(b"", body), "")


def _publications(body: bytes) -> list[Element]:
    root = parse_body(body)
    return [child for group in root.elements for child in group.elements if child.name == "publication"]


def _row(one: Element) -> tuple[Key, int, str, Element | None]:
    def number(name: str) -> int:
        text = one.get(name) or "0"
        if not text.isdecimal():
            raise ElementError(f"{name} is no number")
        return int(text)

    is_over = one.get("expires") == "0" or not one.elements
    key = (one.get("categoryName") or "", number("instance"), number("container"))
    content = None if is_over else one.elements[0]
    return key, number("version"), one.get("expireType") or "static", content


def read_state(state: Element) -> tuple[int, str]:
    """The number and the activity of a published state."""
    found = state.find("availability", state.ns)
    text = found.text.strip() if found is not None else ""
    activity = state.find("activity", state.ns)
    token = (activity.get("token") or "") if activity is not None else ""
    return (int(text) if text.isdecimal() else 0), token if token in ACTIVITIES else ""


def stamp(seconds: float) -> str:
    """A time as Microsoft's servers write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000", time.gmtime(seconds))


def write_state(shown: Shown) -> str:
    """The aggregated state as XML."""
    activity = f"<activity token={quoteattr(shown.activity)}/>" if shown.activity else ""
    return (
        f'<state xmlns="{NS_STATE}" xmlns:xsi="{NS_XSI}" xsi:type="aggregateState">'
        f"<availability>{shown.number or OFFLINE}</availability>{activity}</state>"
    )


def write_roaming(uri: str, book: Book, keys: list[Key], shown: Shown, more: str = "") -> bytes:
    """The roaming data of a person: what stands under `keys`, and the aggregated state."""
    rows = []
    for key in keys:
        name, instance, container = key
        one = book.entries.get(key)
        where = f'<category name={quoteattr(name)} container="{container}"'
        if one is None or one.content is None:
            rows.append(f"{where}/>")
            continue
        rows.append(
            f'{where} instance="{instance}" publishTime="{stamp(one.published)}" version="{one.version}"'
            f' expireType="{one.expire_type}">{one.content.to_bytes(NS_CATEGORIES).decode()}</category>'
        )
    book.version += 1
    rows.append(
        f'<category name="state" container="{OWN}" instance="1" publishTime="{stamp(time.time())}"'
        f' version="{book.version}" expireType="user">{write_state(shown)}</category>'
    )
    return (
        f'<roamingData xmlns="{NS_ROAMING}"><categories xmlns="{NS_CATEGORIES}" uri="sip:{uri}">'
        f"{''.join(rows)}</categories>{more}</roamingData>"
    ).encode()


def write_fault(wrong: dict[int, int]) -> bytes:
    """The answer to a publication of an old version (MS-PRES 2.2.2.1.5)."""
    rows = "".join(f'<operation index="{index}" curVersion="{version}"/>' for index, version in wrong.items())
    return (
        '<Fault xmlns="http://schemas.microsoft.com/2006/09/sip/error/">'
        f"<Faultcode>Client.BadCall.WrongDelta</Faultcode><details>{rows}</details></Fault>"
    ).encode()
