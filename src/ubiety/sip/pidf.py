"""Presence documents: PIDF (RFC 3863) with rich presence (RFC 4480), and the older forms, both ways.

What Microsoft's servers and clients look at is `tuple/status/basic` and the activities inside `status`;
what all others look at is the `person` of RFC 4480. Both are written, and both are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ubiety.element import Element, escape_attribute, escape_text
from ubiety.sip import pidf_microsoft
from ubiety.sip.xmldoc import DocumentError, read_document

PIDF: Final = "application/pidf+xml"
CPIM_PIDF: Final = "application/cpim-pidf+xml"

NS_PIDF: Final = "urn:ietf:params:xml:ns:pidf"
NS_CPIM_PIDF: Final = "urn:ietf:params:xml:ns:cpim-pidf"
NS_STATUS_RPID: Final = "urn:ietf:params:xml:ns:pidf:status:rpid-status"  # COMPAT: Microsoft
NS_CIPID: Final = "urn:ietf:params:xml:ns:pidf:cipid"
NS_DATA_MODEL: Final = "urn:ietf:params:xml:ns:pidf:data-model"
NS_RPID: Final = "urn:ietf:params:xml:ns:pidf:rpid"

SYNONYMS: Final[dict[str, str]] = {
    "berightback": "be-right-back",
    "brb": "be-right-back",
    "dnd": "do-not-disturb",
    "donotdisturb": "do-not-disturb",
    "in-a-conference": "on-the-phone",
    "in-a-meeting": "meeting",
    "in-meeting": "meeting",
    "on-phone": "on-the-phone",
    "onthephone": "on-the-phone",
    "out-to-lunch": "lunch",
    "outtolunch": "lunch",
}
"""Spellings of activities, and the one that is used here."""

RPID_NAMES: Final[dict[str, str]] = {
    "be-right-back": "away",
    "do-not-disturb": "busy",
    "out-of-office": "away",
}
"""What RFC 4480 has no name for, and the nearest that it has."""
RPID: Final = frozenset({"away", "busy", "holiday", "lunch", "meeting", "on-the-phone", "travel", "vacation"})
MAX_NOTE: Final = 1024


class PidfError(ValueError):
    """A body is no presence document that can be read; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SipPresence:
    """What a presence document says of its presentity."""

    is_open: bool
    activities: frozenset[str] = frozenset()
    """Tokens in lower case, of RFC 4480 and Microsoft's, without the synonyms."""
    note: str = ""
    display_name: str = ""


def read(body: bytes, content_type: str, charset: str = "") -> SipPresence:
    """Return what a document of this type says; raises PidfError.

    `content_type` is in lower case and has no parameters. A document whose type is given wrongly is
    known by its root element.
    """
    try:
        root = read_document(body, charset)
    except DocumentError as error:
        raise PidfError(error.reason) from None
    if root.name not in ("presence", "presentity"):
        raise PidfError(f"a presence document does not begin with {root.name[:40]!r}")
    found = pidf_microsoft.read(root)
    if found is not None:
        is_open, activities, note, name = found
        return SipPresence(is_open, _normal(activities), note[:MAX_NOTE], name[:MAX_NOTE])
    return _read_pidf(root)


def write(entity: str, presence: SipPresence, content_type: str = PIDF) -> tuple[str, bytes]:
    """Return the Content-Type and the document; `entity` is the presentity's address, "sip:a@example.org".

    Raises PidfError for a type that is not written.
    """
    if content_type not in (PIDF, CPIM_PIDF):
        raise PidfError(f"{content_type} is not written")
    ns = NS_PIDF if content_type == PIDF else NS_CPIM_PIDF
    activities = sorted(presence.activities)
    parts = [
        "<?xml version='1.0' encoding='UTF-8'?>\n",
        f"<presence xmlns='{ns}' entity='{escape_attribute(entity)}'>",
        f"<tuple id='0'><status><basic>{'open' if presence.is_open else 'closed'}</basic>",
        _status_activities(activities),
        "</status></tuple>",
        f"<note>{escape_text(presence.note)}</note>" if presence.note else "",
        _display_name(presence.display_name),
        _person(activities),
        "</presence>",
    ]
    return content_type, "".join(parts).encode()


def _status_activities(activities: list[str]) -> str:
    if not activities:
        return ""
    inner = "".join([f"<ep:activity>{escape_text(token)}</ep:activity>" for token in activities])
    return f"<ep:activities xmlns:ep='{NS_STATUS_RPID}'>{inner}</ep:activities>"


def _display_name(name: str) -> str:
    return f"<ci:display-name xmlns:ci='{NS_CIPID}'>{escape_text(name)}</ci:display-name>" if name else ""


def _person(activities: list[str]) -> str:
    """Return RFC 4480 §3.2's element; activities that it has no name for are "other"."""
    names = dict.fromkeys(RPID_NAMES.get(token, token) for token in activities)
    inner = "".join(
        [f"<rp:{name}/>" if name in RPID else f"<rp:other>{escape_text(name)}</rp:other>" for name in names]
    )
    if not inner:
        return ""
    return (
        f"<dm:person xmlns:dm='{NS_DATA_MODEL}' xmlns:rp='{NS_RPID}' id='p'>"
        f"<rp:activities>{inner}</rp:activities></dm:person>"
    )


def _read_pidf(root: Element) -> SipPresence:
    tuples = _children(root, "tuple")
    basics = [
        basic.text.strip().lower()
        for one in tuples
        for status in _children(one, "status")
        for basic in _children(status, "basic")
    ]
    # RFC 3863 §4.1.1 allows a document without tuples: there is nothing by which to reach them.
    is_open = "open" in basics if basics else bool(tuples or _children(root, "person"))
    activities = {token for one in root.elements for token in _activities(one)}
    return SipPresence(is_open, _normal(activities), _note(root), _name(root))


def _activities(element: Element) -> Iterator[str]:
    """Yield the activities below an element, of whichever draft or dialect."""
    for child in element.elements:
        if child.name == "activities":
            for activity in child.elements:
                if activity.name in ("activity", "other"):
                    yield activity.text
                elif activity.name != "note":
                    yield activity.name
        elif child.name in ("status", "person"):
            yield from _activities(child)


def _normal(tokens: frozenset[str] | set[str]) -> frozenset[str]:
    words = (token.strip().lower() for token in tokens)
    return frozenset(
        [SYNONYMS.get(word, word) for word in words if word and word != "unknown" and len(word) <= 40]
    )


def _note(root: Element) -> str:
    holders = [root, *_children(root, "tuple"), *_children(root, "person")]
    notes = (note.text.strip() for holder in holders for note in _children(holder, "note"))
    return next((note for note in notes if note), "")[:MAX_NOTE]


def _name(root: Element) -> str:
    holders = [root, *_children(root, "tuple"), *_children(root, "person")]
    names = (name.text.strip() for holder in holders for name in _children(holder, "display-name"))
    return next((name for name in names if name), "")[:MAX_NOTE]


def _children(element: Element, name: str) -> list[Element]:
    """Return children by local name: the drafts differ in namespaces, not in names."""
    return [child for child in element.elements if child.name == name]
