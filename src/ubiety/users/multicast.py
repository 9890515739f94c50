"""One message to many (XEP-0033): the server's own address takes it and delivers a copy to each addressee.

This is the "broadcast" of the seed. Each copy goes the way of any message, policies and promises
included; the sender's message is settled when all copies are.
"""

from collections.abc import Iterable

from ubiety.conditions import StanzaError
from ubiety.element import Element, parse_content, write_content
from ubiety.jid import Jid, JidError, parse
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Pending, Refused, Settled, Verdict, refuse
from ubiety.settings import Setting
from ubiety.stanza import Stanza, make_error
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.disco import Feature
from ubiety.users.messages import origin_id
from ubiety.xmpp import ns

MULTICAST_MAX = Setting(
    "im.multicast_addresses",
    int,
    100,
    "addresses",
    "To how many people one message may be sent at a time (broadcast, XEP-0033).",
    minimum=0,
    maximum=10_000,
    zero="no broadcast",
)

ADDRESSES = (ns.ADDRESS, "addresses")
_RECIPIENTS = frozenset(("to", "cc", "bcc"))


def multicast(context: Context) -> Feature:
    """The server passes messages on to the addresses that they name."""
    context.hooks.messages[ADDRESSES] = lambda stanza, origin: spread(context, stanza, origin)
    return Feature(server=(ns.ADDRESS,))


def spread(context: Context, stanza: Stanza, origin: Session | None) -> Verdict:
    """Deliver a copy to everybody whom ``<addresses/>`` names and nobody has served yet."""
    user = context.actors.get(origin.address_id) if origin is not None else None
    if origin is None or user is None:
        return refuse("forbidden", "Only people of this server send to many at once.")
    try:
        recipients, payload = prepare(stanza, context.settings.get(MULTICAST_MAX))
    except StanzaError as error:
        return Refused(error)
    copies = [stanza.replace(to=to, payload=payload) for to in recipients]
    # The copies' rows do not count for the sender's stream: its message is settled after the last one.
    counted, origin.inbound = origin.inbound, 0
    try:
        verdicts = [(copy, _route(context, user, copy, origin)) for copy in copies]
    finally:
        origin.inbound = counted
    return _together(verdicts, origin)


def prepare(stanza: Stanza, limit: int) -> tuple[list[Jid], bytes]:
    """Return who gets a copy, each once, and the children of the copies.

    Raises StanzaError: bad-request, jid-malformed, not-acceptable (too many: XEP-0033 §8).
    """
    content = parse_content(stanza.payload)
    addresses = content.find(ADDRESSES[1], ADDRESSES[0])
    assert addresses is not None
    wanted = [address for address in addresses.findall("address") if _is_wanted(address)]
    if not wanted:
        raise StanzaError("bad-request", "The message names nobody to send it to.")
    if len(wanted) > limit:
        raise StanzaError("not-acceptable", f"A message goes to at most {limit} people at a time.")
    try:
        recipients = list(dict.fromkeys(parse(address.get("jid") or "") for address in wanted))
    except JidError as error:
        raise StanzaError("jid-malformed", error.reason) from None
    if not all(recipient.local for recipient in recipients):
        raise StanzaError("not-acceptable", "A message to many goes to people, not to servers.")
    for address in wanted:
        if address.get("type") == "bcc":
            addresses.children.remove(address)  # §4.4: nobody sees who else was told in secret
        else:
            address.attrs["delivered"] = "true"  # §6: so that nobody serves it a second time
    return recipients, write_content(content.children, ns.CLIENT)


def _is_wanted(address: Element) -> bool:
    return address.get("type") in _RECIPIENTS and address.get("delivered") is None


def _route(context: Context, user: User, copy: Stanza, origin: Session) -> Verdict:
    """Route one copy unless it repeats one that was settled before a crash (promise 1)."""
    assert copy.to is not None
    if user.policy is not None and user.policy.blocks(copy.to):
        return refuse("not-acceptable")  # XEP-0191 §3.2
    number = origin_id(copy) if origin.smacks is not None else None
    if not number:
        return context.router.route(copy, origin)
    first = user.first_verdict(copy.to.bare, number)
    if first is not None:
        return first
    verdict = context.router.route(copy, origin)
    if not isinstance(verdict, Refused):
        user.note_origin(copy.to.bare, number, verdict)
    return verdict


def _together(verdicts: Iterable[tuple[Stanza, Verdict]], origin: Session) -> Verdict:
    """Return one verdict for all: settled with the last. Who refuses is named to the sender, one by one."""
    together = Pending()
    left = 1

    def settle(copy: Stanza | None, settled: Settled) -> None:
        nonlocal left
        if copy is not None and isinstance(settled, Refused):
            origin.send(make_error(copy, settled.error).to_bytes())
        left -= 1
        if not left:
            together.settle(DELIVERED)

    for copy, verdict in verdicts:
        left += 1
        if isinstance(verdict, Pending):
            verdict.then(lambda settled, copy=copy: settle(copy, settled))  # type: ignore[misc]
        else:
            settle(copy, verdict)
    settle(None, DELIVERED)
    return together.verdict or together
