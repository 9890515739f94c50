"""The way to people at addresses that have no home in this cluster, as the people of this node see it.

The gateway does it: ``Context.outside``, None where there is none. Stanzas for such people go through the
router; the gateway is a route too, before the people of this node. What else it must be told is here.
"""

from collections.abc import Sequence
from typing import Protocol

from ubiety.jid import Jid
from ubiety.presence.model import Composed
from ubiety.routing.sessions import Session
from ubiety.users.actor import User


class Outside(Protocol):
    """The people outside. Nothing here waits; all of it is called in the home of ``user``."""

    def claims(self, address: Jid) -> bool:
        """Tell whether an address without a home in this cluster belongs to somebody outside.

        Asked only for addresses that no person of this cluster has.
        """

    def shown(self, user: User, composed: Composed, watchers: Sequence[Jid]) -> None:
        """Show a person's presence to these watchers outside, and to no others.

        Called once for each change that they can see. Watchers are bare addresses that are subscribed to the
        person. Who is shut out by the person's policy is among them only when ``composed`` is ``OFFLINE``.
        """

    def look_around(self, user: User, session: Session) -> None:
        """Have a new session shown what is known of all contacts outside whom its person watches.

        Presence goes through ``Router.route``, to the session's full address.
        """

    def look_at(self, user: User, contact: Jid) -> None:
        """Have all sessions of a person shown what is known of one contact, subscribed or unblocked now."""

    def forgotten(self, user: User) -> None:
        """A person with contacts outside is not loaded any more.

        Their watchers have been told already if the person has gone; if another node serves the person from
        now on, nobody is to be told anything by this node.
        """
