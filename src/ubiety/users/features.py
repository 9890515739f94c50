"""All that accounts and the server are asked: the list of every feature's handlers."""

from ubiety.users.carbons import carbon_handlers
from ubiety.users.context import Context
from ubiety.users.iq import Handler
from ubiety.users.ping import ping_handlers
from ubiety.users.roster import Roster, RosterCache


def handlers(context: Context) -> list[Handler]:
    """Return the handlers of all features."""
    return [*Roster(RosterCache()).handlers(), *ping_handlers(), *carbon_handlers()]
