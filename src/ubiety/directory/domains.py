"""User ids, domains and the addresses made of them (pure).

A user id is what an organisation calls a person (`jdoe`, `jane.doe@example.com`); the address is the user id,
escaped where it must be (XEP-0106), at a domain that this installation serves.
"""

from collections.abc import Collection
from dataclasses import dataclass

from ubiety import jid
from ubiety.jid import JidError

MAX_USERID = 255
"""Characters. Escaping triples some of them, and a local part holds 1,023 bytes (RFC 7622 §3.3)."""


@dataclass(frozen=True, slots=True)
class Name:
    """A person's user id and domain, and the bare address that they make."""

    userid: str
    domain: str
    address: str


def prepare_domain(text: str) -> str:
    """Returns the form in which a domain is stored and compared. Raises JidError."""
    return jid.make("", text.strip()).domain


def read_name(text: str, domain: str | None, served: Collection[str], default: str) -> Name:
    """Reads a user id or an address as an administrator types it.

    With `domain`, all of `text` is the user id. Without, `jdoe@example.com` is an address when example.com is
    served here; otherwise all of it is a user id of the default domain, "@" included. Raises JidError.
    """
    text = text.strip()
    if domain is None:
        userid, at, behind = text.rpartition("@")
        if at and userid and (known := _known(behind, served)) is not None:
            # What stands in an address is escaped already: jane\40example.com@example.org.
            return make_name(jid.unescape_local(userid), known)
    return make_name(text, prepare_domain(domain) if domain is not None else default)


def make_name(userid: str, domain: str) -> Name:
    """Makes the address of a user id at a prepared domain. Raises JidError."""
    if not userid:
        raise JidError("the user id is empty")
    if len(userid) > MAX_USERID:
        raise JidError(f"the user id is longer than {MAX_USERID} characters")
    return Name(userid, domain, jid.make(jid.escape_local(userid), domain).bare)


def _known(domain: str, served: Collection[str]) -> str | None:
    try:
        prepared = prepare_domain(domain)
    except JidError:
        return None
    return prepared if prepared in served else None
