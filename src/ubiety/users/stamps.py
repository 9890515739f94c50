"""Moments as XMPP writes them (XEP-0082). Pure."""

from datetime import UTC, datetime


def format_stamp(stamp: float) -> str:
    """Return a time in seconds since 1970 as XEP-0082 DateTime, in UTC, with milliseconds."""
    return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def parse_stamp(text: str) -> float:
    """Return the seconds since 1970 of an XEP-0082 DateTime. Raises ValueError."""
    if "T" not in text:
        raise ValueError(f"{text!r} is no date with a time")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return moment.timestamp()
