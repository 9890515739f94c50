"""Reads people from LDIF (RFC 2849), with the attributes of inetOrgPerson and Active Directory (pure)."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ubiety.directory.records import MAX_PHOTO, Entry, Fault, Record, Skipped

ATTRIBUTES = {
    "userid": ("uid", "samaccountname"),
    "name": ("displayname", "cn"),
    "given_name": ("givenname",),
    "surname": ("sn",),
    "mail": ("mail",),
    "department": ("department", "ou", "departmentnumber"),
    "title": ("title",),
    "phone": ("telephonenumber",),
}
PHOTOS = ("jpegphoto", "thumbnailphoto")
PERSONS = {"person", "organizationalperson", "inetorgperson", "user"}
NOT_PERSONS = {"computer", "group", "organizationalunit", "groupofnames", "contact"}
DISABLED = 0x2
"""ACCOUNTDISABLE in userAccountControl of Active Directory."""
MAX_VALUE = 8 * 1024 * 1024

_SCHEME = re.compile(r"\{([A-Za-z0-9_./-]+)\}")


class _Unreadable(Exception):
    """A line of an entry that breaks the grammar."""


@dataclass(slots=True)
class _Raw:
    """The unfolded lines of one entry."""

    number: int
    lines: list[str] = field(default_factory=list)


def read_ldif(lines: Iterable[str]) -> Iterator[Entry]:
    """Reads people from the lines of a file, one entry at a time. Bad entries become faults."""
    for raw in _split(lines):
        try:
            attributes = _read_attributes(raw)
        except _Unreadable as error:
            yield Fault(raw.number, "", str(error))
            continue
        if attributes and set(attributes) != {"version"}:
            yield _read_entry(raw.number, attributes)


def _split(lines: Iterable[str]) -> Iterator[_Raw]:
    """Unfolds lines and divides them into entries at empty lines (RFC 2849, note 2)."""
    raw = _Raw(1)
    in_comment = False
    for number, text in enumerate(lines, 1):
        line = text.rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "\r\n")
        if not line:
            if raw.lines:
                yield raw
            raw, in_comment = _Raw(number + 1), False
        elif line.startswith(" ") and (in_comment or raw.lines):
            if not in_comment and len(raw.lines[-1]) < MAX_VALUE:
                raw.lines[-1] += line[1:]
        else:
            in_comment = line.startswith("#")
            if not in_comment:
                if not raw.lines:
                    raw.number = number
                raw.lines.append(line)
    if raw.lines:
        yield raw


def _read_attributes(raw: _Raw) -> dict[str, list[bytes]]:
    attributes: dict[str, list[bytes]] = {}
    for line in raw.lines:
        described, colon, value = line.partition(":")
        name = described.partition(";")[0].strip().lower()
        if not colon or not name:
            raise _Unreadable(f"{line[:40]!r} is no line of LDIF: a colon is missing.")
        attributes.setdefault(name, []).append(_read_value(name, value))
    return attributes


def _read_value(name: str, value: str) -> bytes:
    if value.startswith("<"):
        raise _Unreadable(f"{name} refers to a file or an address ({value[1:].strip()[:40]}): not supported.")
    if not value.startswith(":"):
        return value.lstrip(" ").encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(value[1:].strip(), validate=True)
    except binascii.Error as error:
        raise _Unreadable(f"The value of {name} is no base64.") from error


def _read_entry(number: int, attributes: dict[str, list[bytes]]) -> Entry:
    name = _text(attributes, "dn") or "entry"
    change = (_text(attributes, "changetype") or "add").lower()
    if change != "add":
        return Skipped(number, name, f"It is a change ({change}), not a person to add.")
    classes = {value.decode("utf-8", "replace").lower() for value in attributes.get("objectclass", [])}
    if classes & NOT_PERSONS or (classes and not classes & PERSONS):
        return Skipped(number, name, "It is not a person.")
    try:
        return _read_person(number, name, attributes)
    except UnicodeDecodeError:
        return Fault(number, name, "It holds text that is not UTF-8.")


def _read_person(number: int, name: str, attributes: dict[str, list[bytes]]) -> Entry:
    record = Record(number)
    for field_name, sources in ATTRIBUTES.items():
        for source in sources:
            if (text := _text(attributes, source)) and field_name not in record.values:
                record.values[field_name] = text
    if not record.userid:
        return Fault(number, name, "It has neither uid nor sAMAccountName.")
    _read_password(record, _text(attributes, "userpassword"))
    _read_photo(record, attributes)
    control = _text(attributes, "useraccountcontrol")
    if control.lstrip("-").isdigit():
        record.enabled = not int(control) & DISABLED
    return record


def _read_password(record: Record, text: str) -> None:
    scheme = _SCHEME.match(text)
    if scheme is None:
        if text:
            record.values["password"] = text
    elif scheme[1].lower() in ("clear", "cleartext", "plain"):
        record.values["password"] = text[scheme.end() :]
    else:
        record.notes.append(f"The password is hashed ({scheme[0]}) and cannot be taken over: set a new one.")


def _read_photo(record: Record, attributes: dict[str, list[bytes]]) -> None:
    photo = next((attributes[name][0] for name in PHOTOS if attributes.get(name)), b"")
    if len(photo) > MAX_PHOTO:
        record.notes.append(
            f"The photo has {len(photo) // 1024} kB and was left out; {MAX_PHOTO // 1024} are allowed."
        )
    elif photo and not photo.startswith(b"\xff\xd8"):
        record.notes.append("The photo is no JPEG and was left out.")
    else:
        record.photo = photo


def _text(attributes: dict[str, list[bytes]], name: str) -> str:
    values = attributes.get(name)
    return values[0].decode().strip() if values else ""
