"""The SIP side of a node, wired: stack, gateway, and the services that an administrator starts and stops.

Below ``app.py``, which makes the node itself.
"""

import asyncio
from collections.abc import Callable, Mapping
from random import random
from secrets import token_bytes

from ubiety.cluster.control import Hooks
from ubiety.cluster.services import SIP_FEDERATION, SIP_PROXY
from ubiety.config import Config
from ubiety.gateway.clients import Clients
from ubiety.gateway.doorman import Doorman
from ubiety.gateway.federation import FederationCopy
from ubiety.gateway.im import Conversations
from ubiety.gateway.phones import Phones
from ubiety.gateway.presence import Presence
from ubiety.gateway.relay import Relay
from ubiety.gateway.sending import Sender
from ubiety.gateway.service import Gateway
from ubiety.gateway.ways import Name, StaticWays
from ubiety.net import sip_tls
from ubiety.net.certificates import Certificates
from ubiety.net.pacing import Backoff
from ubiety.net.sip import SipStack, places_of
from ubiety.net.sip_dns import Resolver
from ubiety.net.sip_socket import in_uri, own_address
from ubiety.net.sip_tokens import Tokens
from ubiety.routing.homes import Person
from ubiety.routing.links import Links
from ubiety.routing.verdict import Verdict
from ubiety.sip.digest import Nonces
from ubiety.sip.outputs import Peer
from ubiety.stanza import Stanza
from ubiety.store.digests import Vault
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users.context import Context
from ubiety.users.service import Users

STOPPED = "The SIP federation service of this node is stopped."
NONCE_SECRET_BYTES = 32
RETRY_SECONDS = 1.0
ADDRESS_SECONDS = 10.0
"""For which our own address is taken to stay as it is."""
EVERYWHERE = ("0.0.0.0", "::")
ANYWHERE = "192.0.2.1"
"""An address of nobody: what is sent there leaves from our own address that most others see."""


class Border:
    """What speaks SIP. Made in the loop; the services start it. Implements ``routing.homes.Homed``."""

    def __init__(
        self,
        config: Config,
        context: Context,
        federation: FederationCopy,
        certificates: Certificates,
        deliver: Callable[[Stanza], Verdict],
    ) -> None:
        """``deliver``: passes a message of somebody outside on to one of our people."""
        loop = asyncio.get_running_loop()
        self._config = config
        self._context = context
        self._loop = loop
        self._given_host = given_host(config)
        self._own_host = ""
        self._look_at = 0.0
        self._probing: asyncio.Task[None] | None = None
        self._token = Tokens()
        resolver = Resolver(loop)
        self.stack = SipStack(
            None,
            places_of(config),
            context.settings,
            context.counters,
            tls=sip_tls.of_node(certificates, config, context.settings),
            resolver=resolver,
            token=self._token,
            expects=lambda hop, names: federation.value.trust.accepts(names),
        )
        self.gateway = self._make_gateway(federation, resolver, deliver)
        self.gateway.refusal = STOPPED
        self.stack.handler = self.gateway
        context.outside = self.gateway

    def _make_gateway(
        self, federation: FederationCopy, resolver: Resolver, deliver: Callable[[Stanza], Verdict]
    ) -> Gateway:
        context, token, later, sleep = self._context, self._token, self._loop.call_later, asyncio.sleep
        name = Name(self._host, self._ports)
        why = self.stack.why_unreachable
        ways = StaticWays(federation, context.homes, context.settings, context.clock, name, why)
        relay = Relay(self.stack, context.spawn)
        sender = Sender(relay, ways)
        presence = Presence(context, relay, sender, ways, later, sleep, token, random)
        presence.phones = Phones(context, federation, relay, sender, ways, later, token, random)
        conversations = Conversations(context, relay, sender, ways, deliver, later, sleep, token, random)
        return Gateway(
            context,
            federation,
            ways,
            relay,
            sender,
            presence,
            conversations,
            resolver.find_names,
            token,
        )

    def admit(self, users: Users, vault: Vault, home_of: Callable[[Person, Peer], str]) -> None:
        """Let people sign in with SIP clients, where a setting allows it.

        ``home_of``: returns where the node that serves somebody takes requests like a peer's.
        """
        loop = asyncio.get_running_loop()
        nonces = Nonces(token_bytes(NONCE_SECRET_BYTES))
        addresses, accounts = Backoff(free=10, most=60.0), Backoff(free=5, most=10.0)
        doorman = Doorman(self._context, vault, nonces, addresses, accounts, self._token)
        clients = Clients(
            self._context, users, self.stack, self._contact_of, doorman, loop.call_later, self._token
        )
        clients.home_of = home_of
        self.stack.on_flow_closed = clients.flow_closed
        self.gateway.clients = clients

    def _contact_of(self, peer: Peer) -> str:
        """Return our Contact towards a client: on the listener that it has found us on."""
        host = in_uri(self._config.address or own_address(peer.address) or "127.0.0.1")
        port = self.stack.ports.get(peer.listener, 0)
        return f"<sip:{host}{f':{port}' if port else ''};transport={peer.transport}>"

    def _host(self) -> str:
        """Return the name of the group of nodes, or our address, for Contact."""
        if not self._given_host and self._loop.time() >= self._look_at:
            # Asking costs several system calls, and every NOTIFY has a Contact.
            self._look_at = self._loop.time() + ADDRESS_SECONDS
            self._own_host = in_uri(own_address(ANYWHERE) or "127.0.0.1")
        return self._given_host or self._own_host

    def _ports(self) -> dict[str, int]:
        """Return the ports for Contact, by listener: ours, unless the group's name has one."""
        ports, given = self.stack.ports, split_port(self._config.sip_name)[1]
        return dict.fromkeys(ports, given) if given else ports

    def join(self, links: Links) -> None:
        """Pass requests on to the nodes that serve the people they are for, and take those of other nodes."""
        self.gateway.relay.join(links, self.gateway)

    def hooks(self) -> Mapping[str, Hooks]:
        """Return the hooks of the services."""
        return {
            SIP_PROXY: Hooks(self.stack.start, self.stack.stop),
            SIP_FEDERATION: Hooks(self._open, self._close),
        }

    async def _open(self) -> None:
        self.gateway.refusal = ""
        self._probing = asyncio.get_running_loop().create_task(self.gateway.run())
        for set_id in sorted(self._context.homes.here):
            await self.gateway.load(set_id)

    async def _close(self) -> None:
        self.gateway.refusal = STOPPED
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None
        if self.gateway.clients is not None:
            self.gateway.clients.close()
        for set_id in sorted(self._context.homes.here):
            await self.gateway.hand_over(set_id)

    # -- routing.homes.Homed -----------------------------------------------------------------------

    async def load(self, set_id: int) -> None:
        """Take up what the people of a set have outside, if the service runs."""
        if not self.gateway.refusal:
            await self.gateway.load(set_id)

    async def hand_over(self, set_id: int) -> None:
        """Write what is still to be written."""
        await self.gateway.hand_over(set_id)

    def release(self, set_id: int) -> None:
        """Serve a set no more."""
        self.gateway.release(set_id)

    # -- routing.homes.Movable -----------------------------------------------------------------------

    def arrived(self, person: Person) -> None:
        """Take up what somebody has outside who was moved to this node."""
        if not self.gateway.refusal:
            self._context.spawn(self._take_up(person))

    async def _take_up(self, person: Person) -> None:
        while self._context.homes.is_here(person):
            try:
                await self.gateway.load_person(person)
                return
            except StoreError as error:
                event("sip_not_taken_up", "warning", person=person.jid.bare, reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def hand_over_person(self, person: Person) -> None:
        """Write what is still to be written of somebody who is being moved."""
        await self.gateway.hand_over_person(person)

    def left(self, person: Person) -> None:
        """Serve somebody no more."""
        self.gateway.release_person(person)

    def deleted(self, person: Person) -> None:
        """A person is gone."""
        self.gateway.deleted(person)


def given_host(config: Config) -> str:
    """Return what Contact names by the configuration, as it stands in a URI; "": it is to be found."""
    if config.sip_name:
        return split_port(config.sip_name)[0]
    listened = next((host for host in config.hosts if host not in EVERYWHERE), "")
    return in_uri(config.address or listened)


def split_port(name: str) -> tuple[str, int]:
    """Return the host, in brackets if it is an IPv6 address, and the port of `host:port`; 0: it has none."""
    host, colon, port = name.rpartition(":")
    if colon and port.isdecimal() and (host.endswith("]") or ":" not in host):
        return host, int(port)
    return in_uri(name), 0
