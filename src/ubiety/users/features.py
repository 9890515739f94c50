"""All that accounts and the server can do: the one list of features."""

from collections.abc import Callable
from dataclasses import dataclass

from ubiety.users import (
    availability,
    outside_presence,
    pep_publish,
    policy_changes,
    registration,
    setting_effects,
)
from ubiety.users import private_xml as private
from ubiety.users import vcard as cards
from ubiety.users.archive_query import message_archive
from ubiety.users.blocking import blocking
from ubiety.users.carbons import carbon_handlers
from ubiety.users.context import Context
from ubiety.users.disco import Disco, Feature
from ubiety.users.iq import Handler
from ubiety.users.last import last
from ubiety.users.multicast import MULTICAST_MAX, multicast
from ubiety.users.pep import pep
from ubiety.users.ping import ping_handlers
from ubiety.users.preferences import MULTI_DEVICE
from ubiety.users.private_xml import private_xml
from ubiety.users.registration import Registration
from ubiety.users.roster import Roster, RosterCache
from ubiety.users.time import time
from ubiety.users.vcard import vcard
from ubiety.users.version import version
from ubiety.xmpp import ns

SETTINGS = (
    private.PRIVATE_BYTES,
    cards.VCARD_BYTES,
    policy_changes.MAX_ENTRIES,
    pep_publish.PEP_BYTES,
    pep_publish.PEP_NODES,
    MULTICAST_MAX,
    registration.REMOVAL,
    registration.PER_HOUR,
)


@dataclass(frozen=True, slots=True)
class Features:
    """What the composition root needs of the features."""

    handlers: list[Handler]
    """The queries that are answered."""
    stream_feature: Callable[[str], bytes]
    """The server's entity capabilities, for the stream features (XEP-0115 §6.3)."""


def compose(context: Context, accounts: Registration) -> Features:
    """Make all features of a node."""
    features = [
        Feature(tuple(Roster(RosterCache()).handlers()), server=(ns.ROSTER,)),
        Feature(tuple(ping_handlers()), server=(ns.PING,), account=(ns.PING,)),
        Feature(tuple(carbon_handlers()), server=(ns.CARBONS, ns.CARBONS_RULES), when=MULTI_DEVICE),
        Feature(server=("msgoffline",), account=(ns.STANZA_ID,)),  # XEP-0160 §6, XEP-0359 §5
        version(),
        time(),
        last(context.clock.now()),
        private_xml(),
        vcard(),
        blocking(),
        pep(context),
        message_archive(),
        multicast(context),
        accounts.feature(),
    ]
    setting_effects.watch(context)
    context.sources.watch(lambda user_id: availability.source_changed(context, user_id))
    context.sources.watch(lambda user_id: outside_presence.source_changed(context, user_id))
    disco = Disco(features, context.settings)
    handlers = [handler for feature in features for handler in feature.handlers] + disco.handlers()
    return Features(handlers, disco.stream_feature)
