"""Presence between a node and SIPp as the Microsoft side: subscriptions both ways, with real XMPP clients."""

from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.tags import Tag
from tests.sip.federated import Federated
from tests.sip.sipp import answering, calling, run_sipp

OPEN, CLOSED = r"<basic>open</basic>", r"<basic>closed</basic>"
ROSTER = "jabber:iq:roster"


def activities(*names: str) -> str:
    """The status of a tuple as Microsoft's servers write it."""
    inner = "".join(f"<ep:activity>{name}</ep:activity>" for name in names)
    return f"<basic>open</basic><ep:activities>{inner}</ep:activities>"


TABLE_5 = {
    "available": ("<basic>open</basic>", ""),
    "away": (activities("away"), "away"),
    "right-back": (activities("be-right-back"), "away"),
    "busy": (activities("busy"), "dnd"),
    "phone": (activities("on-the-phone"), "dnd"),
    "disturb": (activities("busy", "do-not-disturb"), "dnd"),
    "offline": ("<basic>closed</basic>", None),
}
"""What the Microsoft side says of each state, and the <show/> that it comes to; None: unavailable."""


async def test_a_lync_user_watches_one_of_our_people(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    keys = {"ours": anna.user, "theirs": "watcher"}
    async with calling("presence_watched", federated.port, directory=tmp_path, keys=keys) as sipp:
        await sipp.until(OPEN)
        anna.send("<presence><show>dnd</show></presence>")
        await sipp.until(OPEN, 3)  # changed, refreshed
        anna.send("<presence><show>xa</show></presence>")
        await sipp.until("away")
        anna.send("<presence type='unavailable'/>")
        report = await sipp.report()
    assert report.successful == 1, report
    entities = f"entity='sip:{anna.bare}'"
    assert report.messages.count(entities) >= 5, report.messages


async def test_a_lync_user_watches_over_udp(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    keys = {"ours": anna.user, "theirs": "watcher"}
    async with calling(
        "presence_watched", federated.port, directory=tmp_path, transport="udp", keys=keys
    ) as sipp:
        await sipp.until(OPEN)
        anna.send("<presence><show>dnd</show></presence>")
        await sipp.until(OPEN, 3)  # changed, refreshed
        anna.send("<presence><show>away</show></presence>")
        await sipp.until("away")
        anna.send("<presence type='unavailable'/>")
        report = await sipp.report()
    assert report.successful == 1, report


@pytest.fixture
def asked(federated: Federated) -> object:
    """People are asked who may see them."""
    federated.set("presence.auto_authorize", "false")
    yield
    federated.set("presence.auto_authorize", "true")


@pytest.mark.usefixtures("asked")
async def test_one_of_our_people_is_asked_and_agrees(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    keys = {"ours": anna.user, "theirs": "agreed"}
    async with calling("presence_asked", federated.port, directory=tmp_path, keys=keys) as sipp:
        request = await anna.expect(lambda tag: tag.name == "presence" and tag.get("type") == "subscribe")
        assert request.get("from") == "agreed@example.org"
        await sipp.until("Subscription-State: pending")
        anna.send("<presence type='subscribed' to='agreed@example.org'/>")
        report = await sipp.report()
    assert report.successful == 1, report


@pytest.mark.usefixtures("asked")
async def test_who_is_refused_sees_somebody_offline(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    keys = {"ours": anna.user, "theirs": "refused"}
    async with calling("presence_denied", federated.port, directory=tmp_path, keys=keys) as sipp:
        await anna.expect(lambda tag: tag.name == "presence" and tag.get("type") == "subscribe")
        await sipp.until("Subscription-State: pending")
        anna.send("<presence type='unsubscribed' to='refused@example.org'/>")
        await sipp.until(CLOSED)
        anna.send("<presence><show>dnd</show></presence>")  # nobody outside is to see this
        report = await sipp.report()
    assert report.successful == 1, report
    assert "<basic>open" not in report.messages


async def test_a_lync_user_looks_once(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    keys = {"ours": anna.user, "theirs": "looker"}
    report = await run_sipp("presence_fetched", federated.port, directory=tmp_path, keys=keys)
    assert report.successful == 1, report


async def test_somebody_who_is_watched_is_deleted(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    keys = {"ours": anna.user, "theirs": "watcher"}
    async with calling("presence_deleted", federated.port, directory=tmp_path, keys=keys) as sipp:
        await sipp.until("200 OK.*CSeq: 1[0-9]* NOTIFY")
        federated.console.post("user.delete", userid=anna.user)
        report = await sipp.report()
    assert report.successful == 1, report


@pytest.mark.parametrize(
    ("event", "accept", "status"),
    [
        ("vnd-microsoft-roaming-contacts", "*/*", 489),
        ("presence", "application/msrtc-event-categories+xml, text/xml+msrtc.pidf", 406),
    ],
)
async def test_subscriptions_that_cannot_be_had(
    federated: Federated, tmp_path: Path, event: str, accept: str, status: int
) -> None:
    (anna,) = await federated.log_in()
    keys = {"ours": anna.user, "theirs": "watcher", "event": event, "accept": accept}
    report = await run_sipp("subscribe_refused", federated.port, directory=tmp_path, keys=keys)
    assert report.refusal == status, report


async def test_one_of_our_people_adds_a_lync_user(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    port = federated.route("bob1")
    bob = "bob1@example.org"
    async with answering(
        "presence_shown", directory=tmp_path, port=port, calls=1, keys={"theirs": "bob1"}
    ) as sipp:
        await _add(anna, bob)
        await _agreed(anna, bob)
        await _seen(anna, bob, "")
        await _seen(anna, bob, "dnd")
        item = (await anna.iq("get", f"<query xmlns='{ROSTER}'/>")).need("item")
        assert (item.get("jid"), item.get("subscription")) == (bob, "to")
        await anna.iq("set", f"<query xmlns='{ROSTER}'><item jid='{bob}' subscription='remove'/></query>")
        report = await sipp.report()
    assert report.successful == 1, report
    assert f"<sip:{anna.bare}>;tag=" in report.messages


async def test_a_subscription_is_refreshed_before_it_ends(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    port = federated.route("bob2")
    keys = {"theirs": "bob2"}
    async with answering(
        "presence_shown_refreshed", directory=tmp_path, port=port, calls=1, keys=keys
    ) as sipp:
        await _add(anna, "bob2@example.org")
        await _seen(anna, "bob2@example.org", "")
        report = await sipp.report()
        await _seen(anna, "bob2@example.org", "dnd")
    assert report.successful == 1, report


async def test_every_state_of_lync_is_shown_as_table_5_says(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    port = federated.route("state-*")
    rows = [[f"state-{name}@example.org", status] for name, (status, _) in TABLE_5.items()]
    async with answering(
        "presence_shown_once", directory=tmp_path, port=port, calls=len(rows), rows=rows,
        options=["-infindex", "rows.csv", "0"],
    ) as sipp:  # fmt: skip
        for (address, _), (_, show) in zip(rows, TABLE_5.values(), strict=True):
            await _add(anna, address)
            await _agreed(anna, address)
            if show is not None:
                await _seen(anna, address, show)
        report = await sipp.report()
    assert report.successful == len(rows), report
    offline = [item for item in anna.wire.inbox if isinstance(item, Tag) and _is_of(item, rows[-1][0])]
    assert not [tag for tag in offline if tag.get("type") is None], offline


@pytest.mark.parametrize(
    ("answer", "condition"),
    [("SIP/2.0 404 Not Found", "item-not-found"), ("SIP/2.0 403 Forbidden", "forbidden")],
)
async def test_a_lync_user_who_cannot_be_watched(
    federated: Federated, tmp_path: Path, answer: str, condition: str
) -> None:
    (anna,) = await federated.log_in()
    name = f"unwatched{answer.split()[1]}"
    port = federated.route(name)
    async with answering(
        "presence_refused", directory=tmp_path, port=port, calls=1, keys={"answer": answer}
    ) as sipp:
        anna.send(f"<presence type='subscribe' to='{name}@example.org'/>")
        told = await anna.expect(
            lambda tag: tag.name == "presence" and tag.get("from") == f"{name}@example.org"
        )
        report = await sipp.report()
    assert report.successful == 1, report
    assert (told.get("type"), told.condition()) in (("error", condition), ("unsubscribed", None)), told


async def _add(client: Client, address: str) -> None:
    await client.iq("set", f"<query xmlns='{ROSTER}'><item jid='{address}'/></query>")
    client.send(f"<presence type='subscribe' to='{address}'/>")


async def _agreed(client: Client, address: str) -> None:
    await client.expect(lambda tag: tag.get("type") == "subscribed" and _is_of(tag, address))


async def _seen(client: Client, address: str, show: str) -> None:
    found = await client.expect(lambda tag: _is_of(tag, address) and tag.get("type") is None)
    element = found.child("show")
    assert (element.text if element is not None else "") == show, found


def _is_of(tag: Tag, address: str) -> bool:
    return tag.name == "presence" and (tag.get("from") or "").partition("/")[0] == address
