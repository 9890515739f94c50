"""The blocking command (XEP-0191): what clients see and change of their person's policy."""

from ubiety.conditions import StanzaError
from ubiety.jid import Jid, JidError, parse
from ubiety.users import policy_changes
from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.xmpp import ns


def blocking() -> Feature:
    """People block and unblock others."""
    return Feature(
        (
            Handler(Asked.OWN, "get", ns.BLOCKING, "blocklist", _list),
            Handler(Asked.OWN, "set", ns.BLOCKING, "block", _block),
            Handler(Asked.OWN, "set", ns.BLOCKING, "unblock", _unblock),
        ),
        server=(ns.BLOCKING,),
    )


def _list(request: Request) -> Answer:
    if request.session is not None:
        request.session.wants_blocklist = True
    items = policy_changes.render_items(policy_changes.blocked(request.account.policy))
    return f"<blocklist xmlns='{ns.BLOCKING}'>{items}</blocklist>".encode()


async def _block(request: Request) -> Answer:
    targets = _targets(request)
    if not targets:
        raise StanzaError("bad-request", "Say whom to block.")  # XEP-0191 §3.2
    own = request.account.jid
    if any(target.text in (own.bare, own.domain) for target in targets):
        raise StanzaError("not-allowed", "People cannot block themselves or their own server.")
    await policy_changes.put(request.context, request.account.person, policy_changes.BLOCK, targets)
    return None


async def _unblock(request: Request) -> Answer:
    context, person, targets = request.context, request.account.person, _targets(request)
    if targets:
        await policy_changes.remove(context, person, targets, policy_changes.BLOCK)
    else:
        await policy_changes.clear(context, person, policy_changes.BLOCK)  # §3.3: no item is all of them
    return None


def _targets(request: Request) -> list[Jid]:
    payload = request.stanza.child(*request.stanza.children[0])
    assert payload is not None
    try:
        return [parse(item.get("jid") or "") for item in payload.findall("item", ns.BLOCKING)]
    except JidError as error:
        raise StanzaError("jid-malformed", error.reason) from None
