"""Guessed passwords, and whatever else is done at the door (RFC 6120 §6.4.5, §13.12)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import median

import pytest

from tests.harness.client import SASL, Client, SaslFailedError
from tests.harness.tags import Tag
from tests.harness.wire import ConnectionGoneError
from tests.node import Node

# Longer than an honest failure takes, shorter than the first back-off.
PROMPT_SECONDS = 0.45
# Longer than an honest login takes, shorter than what the guesser has to wait by then.
LOGIN_SECONDS = 1.5


@dataclass(frozen=True)
class Guarded:
    """The module's node, and people of whom no other test knows.

    Back-off outlives a test: each comes from addresses of its own.
    """

    node: Node
    victim: str
    other: str
    third: str


@pytest.fixture
def guarded(own_node: Node) -> Guarded:
    """For one test."""
    return Guarded(own_node, *own_node.take_users(3))


async def test_account_backs_off_whatever_the_address(guarded: Guarded) -> None:
    """Guesses at one account get slower though each comes from another address."""
    waits = [await guess(guarded.node, guarded.victim, f"127.0.7.{number}") for number in range(1, 9)]
    assert median(waits[:5]) < PROMPT_SECONDS, waits
    assert waits[6] >= 0.45 and waits[7] >= 0.9, waits
    # The right password waits too, else it would be told apart; then it opens.
    started = time.monotonic()
    client = await Client(guarded.node.place, guarded.victim).login()
    assert time.monotonic() - started >= 0.9
    await client.close()
    # Nobody else waits.
    assert await login_seconds(guarded.node, guarded.other, "127.0.7.1") < LOGIN_SECONDS


async def test_address_backs_off_whatever_the_account(guarded: Guarded) -> None:
    """Guesses from one address get slower though each is at another account."""
    waits = [await guess(guarded.node, f"somebody{number}", "127.0.8.1") for number in range(14)]
    assert median(waits[:10]) < PROMPT_SECONDS, waits
    assert waits[12] >= 0.45 and waits[13] >= 0.9, waits
    assert await login_seconds(guarded.node, guarded.other, "127.0.8.2") < LOGIN_SECONDS
    assert await login_seconds(guarded.node, guarded.third, "127.0.8.1") >= 0.9


async def test_stream_ends_after_three_failures(guarded: Guarded) -> None:
    client = Client(guarded.node.place, guarded.victim, "wrong")
    client.source = "127.0.6.2"
    await client.connect()
    for _ in range(3):
        with pytest.raises((SaslFailedError, ConnectionGoneError)):
            await client.authenticate("PLAIN")
    await client.wire.lost()
    assert await login_seconds(guarded.node, guarded.victim, "127.0.6.1") < 5


async def test_unknown_account_looks_like_a_wrong_password(guarded: Guarded) -> None:
    """Nobody learns from the answers who exists: same condition, and a salt that stays the same."""
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"):
        for user in (guarded.victim, "no.such.person"):
            client = Client(guarded.node.place, user, "wrong")
            client.source = "127.0.9.1"
            await client.connect()
            with pytest.raises(SaslFailedError) as caught:
                await client.authenticate(mechanism)
            assert caught.value.condition == "not-authorized"
            client.abort()


@pytest.mark.parametrize(
    ("element", "conditions"),
    [
        (f"<auth xmlns='{SASL}' mechanism='BANANA'>AA==</auth>", {"invalid-mechanism"}),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>***</auth>", {"incorrect-encoding"}),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>AA==</auth>", {"malformed-request", "not-authorized"}),
        (f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>YmFuYW5h</auth>", {"malformed-request"}),
        (f"<response xmlns='{SASL}'>AA==</response>", {"malformed-request", "not-authorized"}),
    ],
    ids=["mechanism", "not-base64", "half-a-message", "not-scram", "response-to-nothing"],
)
async def test_nonsense_is_no_wrong_password(
    shared_node: Node, witness: Client, element: str, conditions: set[str]
) -> None:
    (user,) = shared_node.take_users(1)
    client = Client(shared_node.place, user)
    await client.connect()
    client.wire.write(element)
    failure = await client.wire.expect_tag("failure")
    assert failure.condition() in conditions
    await client.authenticate()
    await client.bind()
    assert await client.is_served()
    client.abort()


async def test_channel_binding_that_is_not_offered_is_no_wrong_password(
    shared_node: Node, witness: Client
) -> None:
    """A client that could bind but was offered none says `y`: no downgrade happened (RFC 5802 §6)."""
    (user,) = shared_node.take_users(1)
    client = Client(shared_node.place, user)
    features = await client.connect()
    offered = {tag.text for tag in features.walk() if tag.name == "mechanism"}
    assert not any(name.endswith("-PLUS") for name in offered)
    await client.authenticate(gs2="y,,")
    await client.bind()
    assert await client.is_served()
    client.abort()


async def test_login_without_tls_is_not_offered(shared_node: Node, witness: Client) -> None:
    (user,) = shared_node.take_users(1)
    client = Client(shared_node.place, user)
    features = await client.connect("none")
    assert [tag.name for tag in features.children] == ["starttls"]
    client.wire.write(f"<auth xmlns='{SASL}' mechanism='PLAIN'>AA==</auth>")
    answer = await client.wire.expect(lambda item: isinstance(item, Tag))
    assert isinstance(answer, Tag)
    assert answer.condition() in ("encryption-required", "not-authorized", "policy-violation")
    client.abort()


async def test_login_while_others_guess(guarded: Guarded) -> None:
    """A hundred guesses at once hold up nobody who knows a password."""
    guesses = [
        asyncio.create_task(guess(guarded.node, f"somebody{number}", f"127.0.5.{number % 20 + 1}"))
        for number in range(100)
    ]
    assert await login_seconds(guarded.node, guarded.other, "127.0.4.1") < 5
    for task in guesses:
        task.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)


async def guess(node: Node, user: str, source: str) -> float:
    """Try a wrong password from an address; returns how many seconds the refusal took."""
    client = Client(node.place, user, "wrong")
    client.source = source
    await client.connect()
    started = time.monotonic()
    with pytest.raises(SaslFailedError) as caught:
        await client.authenticate()
    client.abort()
    assert caught.value.condition in ("not-authorized", "temporary-auth-failure")
    return time.monotonic() - started


async def login_seconds(node: Node, user: str, source: str) -> float:
    """Log in from an address; returns how many seconds it took."""
    started = time.monotonic()
    client = Client(node.place, user)
    client.source = source
    await client.login()
    await client.close()
    return time.monotonic() - started
