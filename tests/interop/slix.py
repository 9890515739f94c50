"""A slixmpp client that remembers every event, so that tests wait for what they need and no longer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

from slixmpp import JID, ClientXMPP

from tests.harness.client import Place
from tests.harness.wire import trusting_context
from tests.node import PASSWORD

PLUGINS = ("xep_0030", "xep_0198", "xep_0199", "xep_0203", "xep_0280", "xep_0359")
EVENTS = (
    "session_start",
    "session_resumed",
    "sm_enabled",
    "sm_failed",
    "failed_auth",
    "disconnected",
    "message",
    "message_error",
    "carbon_received",
    "carbon_sent",
    "message_correction",
    "receipt_received",
    "marker_displayed",
    "attention",
    "chatstate_composing",
    "roster_update",
    "presence_available",
    "presence_away",
    "presence_chat",
    "presence_dnd",
    "presence_xa",
    "presence_unavailable",
    "presence_subscribe",
    "presence_subscribed",
    "presence_unsubscribed",
    "presence_unsubscribe",
    "presence_error",
    "pubsub_publish",
    "blocked",
    "unblocked",
    "csi_enabled",
)
SECONDS = 10.0
# slixmpp names an available presence after its <show/>.
_SHOWN = frozenset(("presence_away", "presence_chat", "presence_dnd", "presence_xa"))


# slixmpp's annotations are stricter than its behaviour (an address as text is fine): not checked.
_Untyped: Any = ClientXMPP


class SlixClient(_Untyped):  # type: ignore[misc]
    """One slixmpp client at a place; `saw` waits for an event, `saw_not` proves that none came."""

    def __init__(
        self,
        place: Place,
        user: str,
        *plugins: str,
        password: str = PASSWORD,
        resource: str = "slix",
        direct: bool = False,
    ) -> None:
        address = f"{user}@{place.domain}"
        super().__init__(f"{address}/{resource}" if resource else address, password)
        self.ssl_context = trusting_context()
        self.enable_direct_tls = direct
        self.enable_starttls = not direct
        self.auto_authorize = None
        self.auto_subscribe = False
        self.seen: list[tuple[str, Any]] = []
        self._news = asyncio.Event()
        self._address = (place.host, place.tls_port if direct else place.port)
        for plugin in dict.fromkeys(PLUGINS + plugins):
            self.register_plugin(plugin)
        for event in EVENTS:
            self.add_event_handler(event, lambda data, event=event: self._remember(event, data))
        logging.getLogger("slixmpp").setLevel(logging.ERROR)

    @property
    def bare(self) -> str:
        """Bare address of the account."""
        return str(self.boundjid.bare)

    @property
    def full(self) -> str:
        """Full address that the server bound."""
        return str(self.boundjid.full)

    async def start(self, presence: bool = True, roster: bool = True) -> SlixClient:
        """Log in; then, unless told otherwise, fetch the roster and send initial presence."""
        self.connect(*self._address)
        await self.saw("session_start")
        if roster:
            await self.get_roster()
        if presence:
            self.send_presence()
            await self.saw("presence_available", lambda stanza: stanza["from"] == self.full)
        return self

    def again(self) -> None:
        """Connect again after the connection was lost."""
        self.connect(*self._address)

    def cut(self) -> None:
        """Cut the connection without a word, as a lost network does."""
        self.transport.abort()

    async def saw(
        self, event: str, match: Callable[[Any], bool] = lambda data: True, seconds: float = SECONDS
    ) -> Any:
        """Take the first event of that name that matches; AssertionError when none comes in time."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            self._news.clear()
            for entry in self.seen:
                if entry[0] == event and match(entry[1]):
                    self.seen.remove(entry)
                    return entry[1]
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                seen = "; ".join(f"{name}: {data}" for name, data in self.seen[-8:])
                raise AssertionError(f"no {event} within {seconds} s; seen: {seen}") from None

    async def saw_message(self, body: str) -> Any:
        """Take the message with this body."""
        return await self.saw("message", lambda stanza: stanza["body"] == body)

    async def saw_presence(self, kind: str, bare: str) -> Any:
        """Take a presence ("available", "unavailable", "subscribe" ...) of somebody."""
        return await self.saw(f"presence_{kind}", lambda stanza: stanza["from"].bare == bare)

    async def fetch_roster(self, version: str | None = None) -> Any:
        """Fetch the contact list without slixmpp's own cache (RFC 6121 §2.1.3, §2.6)."""
        iq = self.make_iq_get()
        iq.append(Element("{jabber:iq:roster}query", {} if version is None else {"ver": version}))
        return await iq.send(timeout=SECONDS)

    async def settle(self) -> None:
        """Wait until the server has answered all that was sent on this stream so far."""
        await self["xep_0199"].send_ping(JID(self.boundjid.domain), timeout=SECONDS)

    def forget(self) -> None:
        """Drop the events that nobody has asked for yet."""
        self.seen.clear()

    def has(self, event: str, match: Callable[[Any], bool] = lambda data: True) -> bool:
        """Tell whether such an event is waiting."""
        return any(name == event and match(data) for name, data in self.seen)

    def _remember(self, event: str, data: Any) -> None:
        self.seen.append(("presence_available" if event in _SHOWN else event, data))
        self._news.set()


async def befriend(one: SlixClient, other: SlixClient) -> None:
    """Make two people subscribed to each other, through requests and approvals."""
    for asker, giver in ((one, other), (other, one)):
        asker.send_presence_subscription(pto=giver.bare, ptype="subscribe")
        await giver.saw_presence("subscribe", asker.bare)
        giver.send_presence_subscription(pto=asker.bare, ptype="subscribed")
        await asker.saw_presence("subscribed", giver.bare)
        await asker.saw_presence("available", giver.bare)
