"""Result sets in pages (XEP-0059): reading what is asked for and saying what came. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_text
from ubiety.xmpp import ns


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page is asked for; ``before`` "" is the last page."""

    max: int | None = None
    after: str | None = None
    before: str | None = None


def read_paging(query: Element) -> Paging:
    """Return what ``<set/>`` in a query asks for. Raises StanzaError (bad-request)."""
    rsm = query.find("set", ns.RSM)
    if rsm is None:
        return Paging()
    if rsm.find("index") is not None:
        raise StanzaError("feature-not-implemented", "Pages are found by after and before here.")
    return Paging(_number(rsm.find("max")), _text(rsm.find("after")), _text(rsm.find("before")))


def _number(element: Element | None) -> int | None:
    if element is None:
        return None
    text = element.text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise StanzaError("bad-request", "max is a number.")
    return int(text)


def _text(element: Element | None) -> str | None:
    return None if element is None else element.text


def render_paging(ids: Sequence[str], count: int | None) -> str:
    """Return the ``<set/>`` of an answer with these items."""
    ends = f"<first>{escape_text(ids[0])}</first><last>{escape_text(ids[-1])}</last>" if ids else ""
    total = f"<count>{count}</count>" if count is not None else ""
    return f"<set xmlns='{ns.RSM}'>{ends}{total}</set>"
