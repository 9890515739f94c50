"""Presence documents that only Microsoft's servers and clients send (facts §5.4; MS-SIP, MS-PRES).

XPIDF (`application/xpidf+xml`) has atoms with addresses; `text/xml+msrtc.pidf` has one availability and one
activity, as numbers, and of later servers states with numbers of their own.
"""

from typing import Final, NamedTuple

from ubiety.element import Element

XPIDF: Final = "application/xpidf+xml"
MSRTC_PIDF: Final = "text/xml+msrtc.pidf"


class Found(NamedTuple):
    """What such a document says."""

    is_open: bool
    activities: frozenset[str]
    note: str
    display_name: str


SUBSTATES: Final[dict[str, str]] = {
    "away": "away",
    "idle": "away",
    "busy": "busy",
    "berightback": "be-right-back",
    "onthephone": "on-the-phone",
    "outtolunch": "lunch",
}
"""MSN's substates in XPIDF; those that are not listed ("online") are available."""

ACTIVITIES_2005: Final[tuple[tuple[int, str], ...]] = (
    (150, "away"),
    (200, "lunch"),
    (300, "away"),
    (400, "be-right-back"),
    (500, ""),
    (600, "on-the-phone"),
    (700, "busy"),
    (800, "away"),
)
"""`activity/@aggregate` of Live Communications Server 2005: below each number, what it means."""
ONLINE_2005: Final = 100
"""From which `availability/@aggregate` on the user is online."""

AVAILABILITIES: Final[tuple[tuple[int, str | None], ...]] = (
    (3000, None),
    (6000, ""),  # 4500 and more: idle
    (9000, "busy"),
    (12000, "do-not-disturb"),
    (15000, "be-right-back"),
    (18000, "away"),
)
"""`state/@avail` of Office Communications Server 2007 and later: below each number, None is offline."""


def read(root: Element) -> Found | None:
    """Return what a document of these dialects says, None if it is of another."""
    names = {child.name for child in root.elements}
    if "atom" in names:
        return _read_atoms(root)
    if names & {"availability", "activity", "userInfo"}:
        return _read_aggregates(root)
    return None


def activity_of(availability: int) -> str | None:
    """Return the activity that a number of Office Communications Server means, None for offline."""
    return next((word for below, word in AVAILABILITIES if availability < below), None)


def _read_atoms(root: Element) -> Found:
    statuses = [element for element in _walk(root) if element.name == "status"]
    substates = [element for element in _walk(root) if element.name == "msnsubstatus"]
    said = {(element.get("status") or "").lower() for element in statuses}
    words = {SUBSTATES.get((element.get("substatus") or "").lower(), "") for element in substates}
    if "inuse" in said:
        words.add("busy")
    if "inactive" in said:
        words.add("away")
    return Found(bool(said & {"open", "inuse", "inactive"}), frozenset(words - {""}), "", "")


def _read_aggregates(root: Element) -> Found:
    note = next((element.text.strip() for element in _walk(root) if element.name == "note"), "")
    name = next((_text_of(element) for element in _walk(root) if element.name == "displayName"), "")
    numbers = [_number(element.get("avail")) for element in _walk(root) if element.name == "state"]
    states = [number for number in numbers if number is not None]
    words = {"out-of-office" for element in _walk(root) if element.name == "oof"}
    if states:
        word = activity_of(max(states))
        return Found(word is not None, frozenset({*words, word or ""} - {""}), note, name)
    availability = _aggregate(root, "availability")
    if availability is not None and availability < ONLINE_2005:
        return Found(False, frozenset(words), note, name)
    activity = _aggregate(root, "activity")
    known = ((below, word) for below, word in ACTIVITIES_2005 if activity is not None and activity < below)
    word = next((word for _, word in known), "")
    return Found(availability is not None, frozenset({*words, word} - {""}), note, name)


def _aggregate(root: Element, name: str) -> int | None:
    found = (_number(child.get("aggregate")) for child in root.elements if child.name == name)
    return next((number for number in found if number is not None), None)


def _text_of(element: Element) -> str:
    return (element.get("displayName") or element.text).strip()


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _walk(element: Element) -> list[Element]:
    found = []
    for child in element.elements:
        found += [child, *_walk(child)]
    return found
