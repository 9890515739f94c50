"""People at addresses that have no home in this cluster, as the gateway that speaks for them uses it.

Who shares our domain but lives on a Microsoft server, and people of other domains. A relation with them has
one side here: our person's. What they ask for is judged by the policy that holds between our own people; what
our person answers, then or later, goes back as a stanza through the router. Presence is in
``outside_presence``.
"""

from dataclasses import dataclass
from enum import Enum

from ubiety.routing.homes import Person
from ubiety.routing.verdict import DELIVERED, Pending, Verdict
from ubiety.stanza import Stanza
from ubiety.users import outside_presence, relations, subscribing
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.outside import Outside
from ubiety.users.outside_presence import (
    come_home,
    composed_of,
    glimpsed_by,
    is_outside,
    seen_by,
    watchers_outside,
)
from ubiety.users.relations import Side, Terms

__all__ = [
    "Outcome",
    "Outside",
    "Standing",
    "come_home",
    "composed_of",
    "glimpsed_by",
    "is_outside",
    "receive",
    "seen_by",
    "subscribe_from_outside",
    "watchers_outside",
]


class Standing(Enum):
    """What somebody outside is to one of our people, after what they have sent."""

    GRANTED = "granted"
    """Subscribed: they see the person's presence from now on."""
    PENDING = "pending"
    """The person is asked; the answer is a stanza of type subscribed or unsubscribed, routed to them."""
    DENIED = "denied"
    """Shut out by the person's policy: they are to see offline and nothing else (polite blocking)."""
    ENDED = "ended"
    """Not subscribed (any more)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a subscription stanza from outside came to."""

    state: Standing


async def subscribe_from_outside(context: Context, person: Person, stanza: Stanza) -> Outcome:
    """Take a subscription stanza of somebody outside to one of our people, at the person's home.

    ``subscribe`` and ``unsubscribe`` are about our person's presence, ``subscribed`` and ``unsubscribed``
    answer what our person has asked for. The person's clients are told as if it came from one of our people.
    Asking again changes nothing.

    Raises StanzaError (resource-constraint) when the person has as many watchers or contacts as are allowed,
    LookupError when the person was deleted meanwhile, StoreError, and Fenced, a StoreError, when another node
    serves the person.
    """
    assert stanza.from_ is not None and stanza.type is not None
    user = await context.load(person)
    stanza = stanza.replace(from_=stanza.from_.bare_jid(), to=user.jid.bare_jid())
    terms = _terms(context, user, stanza)
    side = await subscribing.write(context, relations.receive, person, stanza, terms)
    if side is None:
        is_shut_out = stanza.type == "subscribe"
        return Outcome(Standing.DENIED if is_shut_out else Standing.ENDED)
    present = context.actors.get(person.address_id)
    if present is not None:
        _follow(context, present, side, stanza)
    if side.state.is_seen:
        return Outcome(Standing.GRANTED)
    return Outcome(Standing.PENDING if side.state.pending else Standing.ENDED)


def _terms(context: Context, user: User, stanza: Stanza) -> Terms:
    sender, policy = stanza.from_, user.policy
    assert sender is not None
    is_blocked = policy is not None and not policy.allows(sender)
    is_admitted = policy is not None and policy.admits(sender)
    return subscribing.make_terms(context, lambda _: is_blocked, lambda _: is_admitted)


def _follow(context: Context, user: User, side: Side, stanza: Stanza) -> None:
    sender = stanza.from_
    assert sender is not None
    outside_presence.meet(user, side.contact_id, sender)
    deliver = [stanza.to_bytes() for kind in side.deliver if kind == stanza.type]
    subscribing.take_change(context, user, subscribing.change_of(side, deliver))


def receive(context: Context, user: User, stanza: Stanza) -> Verdict:
    """Take a subscription stanza that was routed to a person: our own people's never come this way."""
    sender = stanza.from_
    if sender is None or not is_outside(context, sender):
        return DELIVERED
    pending = Pending()
    context.spawn(subscribing.settle(pending, lambda: _receive(context, user.person, stanza)))
    return pending


async def _receive(context: Context, person: Person, stanza: Stanza) -> None:
    assert stanza.from_ is not None
    outcome = await subscribe_from_outside(context, person, stanza)
    if stanza.type == "subscribe" and outcome.state is Standing.GRANTED:
        answer = Stanza("presence", stanza.from_.bare_jid(), person.jid.bare_jid(), type="subscribed")
        context.router.route(answer)
