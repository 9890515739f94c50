"""Presence bodies as a Microsoft front end writes them for others, and reads them from others.

The dialect puts activities below `status` in the namespace of an early RPID draft, and knows nothing of
RFC 4480's `person`. RFC 3863 is the frame.
"""

from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from ubiety.lab.availability import (
    AVAILABLE,
    AWAY,
    BE_RIGHT_BACK,
    BUSY,
    DO_NOT_DISTURB,
    OFFLINE,
    Shown,
    range_of,
)

PIDF = "application/pidf+xml"
CPIM_PIDF = "application/cpim-pidf+xml"
NS_PIDF = "urn:ietf:params:xml:ns:pidf"
NS_STATUS = "urn:ietf:params:xml:ns:pidf:status:rpid-status"
NS_NAME = "urn:ietf:params:xml:ns:pidf:cipid"

TOKENS = {
    "away": AWAY,
    "busy": BUSY,
    "do-not-disturb": DO_NOT_DISTURB,
    "be-right-back": BE_RIGHT_BACK,
    "on-the-phone": BUSY,
    "meeting": BUSY,
    "in-a-meeting": BUSY,
    "in-a-conference": BUSY,
    "appointment": BUSY,
    "out-of-office": AWAY,
    "vacation": AWAY,
    "permanent-absence": OFFLINE,
}
"""What a Microsoft client makes of an activity that it is told; unknown ones leave `basic` alone."""


class BodyError(ValueError):
    """A presence body that a front end cannot make sense of."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a body says of somebody."""

    entity: str
    is_open: bool
    activities: tuple[str, ...] = ()
    note: str = ""
    display_name: str = ""

    @property
    def shown(self) -> Shown:
        """The same as a Microsoft client would show it."""
        if not self.is_open:
            return Shown(OFFLINE, note=self.note)
        number = next((TOKENS[token] for token in self.activities if token in TOKENS), AVAILABLE)
        activity = next(iter(self.activities), "")
        return Shown(number, "" if activity == range_of(number).token else activity, self.note)


def write_pidf(entity: str, shown: Shown, display_name: str = "") -> bytes:
    """Returns the body for one user; `entity` is the SIP address with its scheme."""
    token = shown.activity or range_of(shown.number).token
    basic = "open" if shown.is_online else "closed"
    activities = f"<ep:activities><ep:activity>{escape(token)}</ep:activity></ep:activities>" if token else ""
    if not shown.is_online:
        activities = ""
    note = f"<note>{escape(shown.note)}</note>" if shown.note else ""
    name = f"<ci:display-name>{escape(display_name)}</ci:display-name>" if display_name else ""
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<presence xmlns="{NS_PIDF}" xmlns:ep="{NS_STATUS}" xmlns:ci="{NS_NAME}" entity={quoteattr(entity)}>'
        f'<tuple id="0"><status><basic>{basic}</basic>{activities}</status>{note}</tuple>{name}</presence>'
    ).encode()


@dataclass(slots=True)
class _Collector:
    path: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    entity: str = ""
    basics: list[str] = field(default_factory=list)
    activities: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if not self.path:
            self.entity = attributes.get("entity", "")
        elif self.path == ["presence", "tuple", "status", "activities"] and local != "activity":
            self.activities.append(local)  # RPID as it was published: the name is the activity
        self.path.append(local)
        self.text.clear()

    def end(self, _name: str) -> None:
        text, path = "".join(self.text).strip(), self.path
        match path:
            case ["presence", "tuple", "status", "basic"]:
                self.basics.append(text)
            case ["presence", "tuple", "status", "activities", "activity"]:
                self.activities.append(text)
            case ["presence", "note"] | ["presence", "tuple", "note"] if text:
                self.notes.append(text)
            case ["presence", "display-name"]:
                self.name = text
        path.pop()
        self.text.clear()

    def refuse(self, *_: object) -> None:
        raise BodyError("a document type declaration")


def read_pidf(body: bytes) -> Seen:
    """Reads what a Microsoft client looks at: basic, and activities below status. Raises BodyError."""
    collector = _Collector()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.text.append
    parser.StartDoctypeDeclHandler = collector.refuse
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise BodyError(str(error)) from error
    if not collector.basics:
        raise BodyError("no tuple with a basic status")
    return Seen(
        collector.entity,
        "open" in collector.basics,
        tuple(collector.activities),
        next(iter(collector.notes), ""),
        collector.name,
    )
