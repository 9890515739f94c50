"""SIP addresses as XMPP addresses and back (RFC 7247 §5; XEP-0106 for what a Jid may not hold). Pure."""

from ubiety.jid import Jid, JidError, escape_local, make, unescape_local
from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.uri import SipUri, Uri, escape_user


class NoAddress(ValueError):
    """A URI names nobody whom XMPP could address; the text says why."""


def sip_of(address: Jid) -> str:
    """Return the SIP address of a person, "sip:ann@example.org"; a resource is left out.

    Domains that are not ASCII are written as DNS has them (RFC 7247 §5.1).
    """
    domain = address.domain
    if not domain.isascii():
        domain = domain.encode("idna").decode("ascii")
    if not address.local:
        return f"sip:{domain}"
    return f"sip:{escape_user(unescape_local(address.local))}@{domain}"


def jid_of(uri: Uri) -> Jid:
    """Return the bare XMPP address of a SIP address; raises NoAddress.

    A user part that is a Jid's local part without its XEP-0106 escapes comes back as it was.
    """
    if not isinstance(uri, SipUri):
        raise NoAddress(f"a {uri.scheme}: address has no counterpart in XMPP")
    try:
        return make(escape_local(uri.decoded_user) if uri.user else "", uri.host)
    except (JidError, SipSyntaxError) as error:
        raise NoAddress(f"{uri.aor}: {error}") from None
