"""What a REGISTER asks for (RFC 3261 §10.3, RFC 5626 §4.2). Pure."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.uri import NameAddr, SipUri

MIN_EXPIRES: Final = 60
MAX_CONTACTS: Final = 10
"""In one request."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact of a REGISTER."""

    uri: SipUri
    expires: int
    """Seconds; 0 takes it back."""
    instance: str
    """What names the client however its address changes (RFC 5626 §4.1), "" if it does not say."""
    takes_messages: bool
    """Whether it does not say that it understands no MESSAGE (RFC 3840 §9)."""

    @property
    def resource(self) -> str:
        """The resource that stands for the client in its person's address: always the same one."""
        return f"sip-{sha256((self.instance or str(self.uri)).encode('utf-8', 'replace')).hexdigest()[:8]}"

    def is_of(self, other: "Contact") -> bool:
        """Tell whether two contacts are of the same client."""
        if self.instance and other.instance:
            return self.instance == other.instance
        return self.uri.matches(other.uri)


@dataclass(frozen=True, slots=True)
class Registration:
    """What a REGISTER asks for."""

    contacts: tuple[Contact, ...]
    removes_all: bool


def read_registration(request: Request, most: int) -> Registration | Response:
    """Return what a REGISTER asks for, or the answer that refuses it; nothing lasts longer than `most`."""
    try:
        default = request.expires
        if "*" in request.headers.all("contact"):
            if default != 0 or len(request.headers.all("contact")) > 1:
                return make_response(request, 400, "Contact: * goes with Expires: 0 alone")  # §10.2.2
            return Registration((), True)
        found = request.contacts
        if len(found) > MAX_CONTACTS:
            return make_response(request, 403, "Too Many Contacts")
        contacts = tuple([_read(one, most if default is None else default, most) for one in found])
    except SipSyntaxError as error:
        return make_response(request, error.status)
    if any(0 < one.expires < MIN_EXPIRES for one in contacts):
        return make_response(request, 423, headers=(("Min-Expires", str(MIN_EXPIRES)),))
    return Registration(contacts, False)


def _read(contact: NameAddr, default: int, most: int) -> Contact:
    if not isinstance(contact.uri, SipUri):
        raise SipSyntaxError("a contact that is no SIP address")
    text = contact.param("expires")
    # RFC 3261 §10.3: what cannot be read counts as an hour.
    seconds = int(text) if text and text.isascii() and text.isdigit() and len(text) < 11 else None
    expires = default if text is None else 3600 if seconds is None else seconds
    methods = (contact.param("methods") or "").strip('"').upper()
    return Contact(
        contact.uri.replace(headers="") if contact.uri.headers else contact.uri,
        min(expires, most),
        (contact.param("+sip.instance") or "").strip('"'),
        not methods or "MESSAGE" in methods,
    )
