"""Another organisation's people behind Kamailio, an independent SIP presence server: presence and messages.

Each test is run with a domain that is reached over TCP, with one over UDP, and with one over mutual TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.interop.slix import SlixClient
from tests.node import Node
from tests.sip.certificates import Authority
from tests.sip.kamailio import Kamailio, Ours
from tests.sip.phone import Phone
from tests.sip.sipp import HOST
from ubiety.cli.client import Client as Console
from ubiety.net.sip_pool import RETRY_SECONDS

DOMAINS = {"example.com": "tcp", "example.net": "udp", "example.edu": "tls"}
PHONES = DOMAINS | {"example.edu": "tcp"}
"""What the phones of a domain speak with their own server."""
PEER = "localhost"
"""What Kamailio's certificate holds."""
RULES = {"carol": "allow", "patient": "allow", "strict": "block", "polite": "polite-block"}
"""Whom the people there let watch; who is not listed is asked."""
OURS = "example.org"
OPEN, CLOSED = "<basic>open</basic>", "<basic>closed</basic>"
TEXT = "Grüße 😀, <b>&\nzweite Zeile"

TYPING = """<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>"""


class Pair:
    """Our node and Kamailio, joined as the guide says (docs/guides/sip-interdomain.md)."""

    def __init__(self, directory: Path) -> None:
        firm = Authority(directory / "firm")
        self.node = Node(directory / "node", domain=OURS, environment=_environment(firm))
        self.node.start()
        plain, secured = self.node.ports["sip"], self.node.ports["sip_tls_peer"]
        ours = Ours(OURS, {"udp": plain, "tcp": plain, "tls": secured})
        self.kamailio = Kamailio(directory / "kamailio", DOMAINS, RULES, ours, firm.issue(PEER), firm.ca)
        self.kamailio.start()
        self.console = Console(self.node.data)
        self.console.post("acl.add", entry=HOST, domains=list(DOMAINS))
        self.console.post("tls_peer.add", subject=PEER)
        for domain, transport in DOMAINS.items():
            self.console.post("federation.add", domain=domain)
            pattern = "." + ".".join(reversed(domain.split(".")))
            port = self.kamailio.tls_port if transport == "tls" else self.kamailio.port
            host = PEER if transport == "tls" else HOST
            self.console.post(
                "route.add", pattern=pattern, kind="domain", next_hop=host, port=port, transport=transport
            )
        self.made: list[SlixClient] = []
        self.phones: list[Phone] = []

    def stop(self) -> None:
        """End both."""
        self.node.stop()
        self.kamailio.stop()

    def set(self, name: str, value: str) -> None:
        """Change a setting of the node."""
        self.console.post("setting.set", name=name, value=value)

    def status(self) -> Any:
        """What `ubiety federation status` tells."""
        return self.console.get("federation.status")

    async def anna(self, user: str = "") -> SlixClient:
        """One of our people, signed in with slixmpp."""
        client = SlixClient(self.node.place, user or self.node.take_users(1)[0], "xep_0085")
        self.made.append(client)
        return await client.start()

    async def carol(self, domain: str, name: str) -> Phone:
        """One of their people, registered at Kamailio."""
        phone = Phone(f"{name}@{domain}", (HOST, self.kamailio.port), PHONES[domain])
        self.phones.append(phone)
        return await phone.start()

    async def close(self) -> None:
        """Sign all people out."""
        for phone in self.phones:
            phone.stop()
        for client in self.made:
            if client.transport is not None:
                await client.disconnect(wait=0.5)
            client.cancel_connection_attempt()
        self.phones.clear()
        self.made.clear()


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The node and Kamailio, for all tests of the module."""
    made = Pair(tmp_path_factory.mktemp("kamailio"))
    yield made
    made.stop()


@pytest.fixture
async def pair(joined: Pair) -> AsyncIterator[Pair]:
    """The same, with nobody signed in."""
    yield joined
    await joined.close()


@pytest.mark.parametrize("domain", DOMAINS)
async def test_one_of_our_people_watches_somebody_there(pair: Pair, domain: str) -> None:
    anna = await pair.anna()
    carol = await pair.carol(domain, "carol")
    await carol.publish("open", note="at my desk")
    watchers = await carol.watch(carol.address, "presence.winfo")
    anna.send_presence_subscription(pto=carol.address, ptype="subscribe")
    await anna.saw_presence("subscribed", carol.address)
    await _seen(anna, carol, "", "at my desk")
    await carol.shown(watchers, f"sip:{anna.bare}", 'status="active"')
    await carol.publish("open", "busy")
    await _seen(anna, carol, "dnd")
    await carol.publish("open", "away", "à bientôt")
    await _seen(anna, carol, "away", "à bientôt")
    await carol.publish("closed")
    await anna.saw_presence("unavailable", carol.address)
    anna.del_roster_item(carol.address)
    await carol.shown(watchers, 'state="full"', 'package="presence"/>')  # nobody


@pytest.mark.parametrize("domain", DOMAINS)
async def test_who_does_not_let_us_watch(pair: Pair, domain: str) -> None:
    anna = await pair.anna()
    names = ("shy", "polite", "strict")
    phones = [await pair.carol(domain, name) for name in names]
    for phone in phones:
        await phone.publish("open")
        anna.send_presence_subscription(pto=phone.address, ptype="subscribe")
    shy, polite, strict = (phone.address for phone in phones)
    await anna.saw_presence("unsubscribed", strict)
    await anna.saw_presence("subscribed", polite)
    await anna.settle()
    assert not anna.has("presence_subscribed", lambda stanza: stanza["from"].bare == shy)
    assert not anna.has("presence_available", lambda stanza: stanza["from"].domain == domain)
    items = (await anna.fetch_roster())["roster"]["items"]
    found = {str(jid): (item["subscription"], item["ask"]) for jid, item in items.items()}
    assert found[shy] == ("none", "subscribe"), found
    assert found[polite] == ("to", ""), found
    assert found[strict] == ("none", ""), found


async def test_somebody_there_watches_one_of_our_people(pair: Pair) -> None:
    await asyncio.gather(*(_watch_from(pair, domain) for domain in DOMAINS))  # NOTIFYs are a second apart


async def _watch_from(pair: Pair, domain: str) -> None:
    anna = await pair.anna()
    carol = await pair.carol(domain, "watcher")
    watch = await carol.watch(anna.bare)
    assert watch.answer is not None and watch.answer.status in (200, 202), watch.answer
    assert f";transport={DOMAINS[domain]}>" in watch.answer.get("contact"), watch.answer
    shown = await carol.shown(watch, OPEN)
    assert f"sip:{anna.bare}" in shown.body, shown
    assert shown.all("via")[-1].startswith(f"SIP/2.0/{DOMAINS[domain].upper()} "), (
        "not over what its dialog is"
    )
    anna.send_presence(pshow="dnd", pstatus="nicht stören")
    await carol.shown(watch, OPEN, "busy", "nicht stören")
    anna.send_presence(pshow="xa")
    await carol.shown(watch, OPEN, "away")
    assert (await carol.refresh(watch)).status in (200, 202)
    await carol.shown(watch, OPEN, "away")
    anna.send_presence(ptype="unavailable")
    await carol.shown(watch, CLOSED)
    assert (await carol.refresh(watch, 0)).status in (200, 202)
    await carol.shown(watch, state="terminated")


@pytest.mark.parametrize("domain", DOMAINS)
async def test_one_of_our_people_is_asked(pair: Pair, domain: str) -> None:
    pair.set("presence.auto_authorize", "false")
    try:
        anna = await pair.anna()
        carol = await pair.carol(domain, "asking")
        watch = await carol.watch(anna.bare)
        await anna.saw_presence("subscribe", carol.address)
        pending = await carol.shown(watch, state="pending")
        assert OPEN not in pending.body
        anna.send_presence_subscription(pto=carol.address, ptype="subscribed")
        await carol.shown(watch, OPEN)
    finally:
        pair.set("presence.auto_authorize", "true")


@pytest.mark.parametrize("domain", DOMAINS)
async def test_messages_both_ways(pair: Pair, domain: str) -> None:
    anna = await pair.anna()
    carol = await pair.carol(domain, "writer")
    assert (await carol.write(anna.bare, TEXT)).status == 200
    got = await anna.saw_message(TEXT)
    assert got["from"].bare == carol.address
    anna.send_message(carol.address, TEXT, mtype="chat")
    for number in range(20):
        anna.send_message(carol.address, f"number {number}", mtype="chat")
    await carol.told("number 19")
    texts = [one.body.replace("\r\n", "\n") for one in carol.messages]
    assert texts == [TEXT, *(f"number {number}" for number in range(20))]
    first = carol.messages[0]
    assert first.all("via")[-1].startswith(f"SIP/2.0/{DOMAINS[domain].upper()} "), first
    assert first.get("from").startswith(f"<sip:{anna.bare}>"), first
    assert not first.tag("to"), "a page belongs to no dialog"
    assert (
        await carol.write(anna.bare, "<html><body>from <b>there</b></body></html>", "text/html")
    ).status == 200
    await anna.saw_message("from there")
    assert (await carol.write(anna.bare, TYPING, "application/im-iscomposing+xml")).status == 200
    await anna.saw("chatstate_composing", lambda stanza: stanza["from"].bare == carol.address)
    anna.send_message(carol.address, "long " * 500, mtype="chat")
    long = await carol.told("long " * 500)
    assert not long.all("via")[-1].startswith("SIP/2.0/UDP "), "RFC 3261 §18.1.1: too long for UDP"
    assert pair.status()["conversations"] == 0


@pytest.mark.parametrize("domain", DOMAINS)
async def test_a_message_that_is_not_taken(pair: Pair, domain: str) -> None:
    anna = await pair.anna()
    carol = await pair.carol(domain, "busy")
    assert (await carol.write(f"nobody@{OURS}", "hello")).status == 404
    assert (await carol.write(anna.bare, "x", "application/octet-stream")).status == 415
    anna.send_message(f"nobody@{domain}", "hello", mtype="chat")
    error = await anna.saw("message_error")
    assert (error["from"].bare, error["error"]["condition"]) == (f"nobody@{domain}", "item-not-found")
    carol.answer_with = "603 Decline"
    anna.send_message(carol.address, "hello", mtype="chat")
    error = await anna.saw("message_error")
    assert (error["from"].bare, error["error"]["condition"]) == (carol.address, "recipient-unavailable")


async def test_their_server_is_down_and_comes_back(pair: Pair) -> None:
    anna = await pair.anna()
    pair.kamailio.stop()
    try:
        anna.send_message("carol@example.com", "in vain", mtype="chat")
        error = await anna.saw("message_error")
        assert (error["from"].bare, error["error"]["type"]) == ("carol@example.com", "wait"), error
    finally:
        pair.kamailio.start()
    carol = await pair.carol("example.com", "carol")
    await asyncio.sleep(RETRY_SECONDS)  # until then nothing is tried again
    anna.send_message(carol.address, "at last", mtype="chat")
    await carol.told("at last")


async def test_our_node_restarts(pair: Pair) -> None:
    anna = await pair.anna()
    carols = [await pair.carol(domain, "patient") for domain in DOMAINS]
    watches = [await carol.watch(anna.bare) for carol in carols]
    for carol, watch in zip(carols, watches, strict=True):
        await carol.publish("open", note="before")
        anna.send_presence_subscription(pto=carol.address, ptype="subscribe")
        await _seen(anna, carol, "", "before")
        await carol.shown(watch, OPEN)
        watch.notices.clear()
    user = anna.boundjid.local
    pair.node.kill()
    await _gone(anna)
    pair.node.restart()
    anna = await pair.anna(user)
    for carol, watch in zip(carols, watches, strict=True):
        await carol.shown(watch, OPEN)
        await _seen(anna, carol, "", "before")
        await carol.publish("open", "away", "after")
        await _seen(anna, carol, "away", "after")


def _environment(firm: Authority) -> dict[str, str]:
    own = firm.issue(OURS, "localhost", HOST)
    return {
        "UBIETY_SIP_PORT": "0",
        "UBIETY_SIP_TLS_PEER_PORT": "0",
        "UBIETY_SIP_CA": str(firm.ca),
        "UBIETY_CERTIFICATE": str(own.certificate),
        "UBIETY_PRIVATE_KEY": str(own.key),
    }


async def _seen(client: SlixClient, phone: Phone, show: str, note: str = "") -> None:
    """Wait for a state of somebody there."""

    def is_so(stanza: Any) -> bool:
        found = stanza["from"].bare, stanza.xml.findtext("{jabber:client}show") or ""
        return found == (phone.address, show) and note in ("", stanza["status"])

    await client.saw("presence_available", is_so)


async def _gone(client: SlixClient) -> None:
    with suppress(AssertionError):
        await client.saw("disconnected", seconds=5)
    client.cancel_connection_attempt()
