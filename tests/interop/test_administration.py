"""What administrators do to people who are signed in: sessions listed and ended, announcements."""

from __future__ import annotations

import pytest

from tests.harness.client import Client, SaslFailedError
from tests.interop.own_node import Clients, bodies, saw, settled
from tests.node import NodeError

ANNOUNCED = "urn:xmpp:delay"


async def test_sessions_are_listed_as_their_clients_are(clients: Clients) -> None:
    anna, ben = await clients.friends()
    phone = await clients.client(
        anna.user, "phone", "<presence><show>dnd</show><priority>7</priority></presence>"
    )
    silent = await clients.client(anna.user, "silent", "")
    silent.send("<inactive xmlns='urn:xmpp:csi:0'/>")
    await silent.is_served()
    listed = clients.ask("session", "list", "--user", anna.user)
    assert [one["address"] for one in listed] == sorted(one.jid for one in (anna, phone, silent))
    desk, dnd, quiet = listed
    assert (desk["state"], desk["presence"], desk["priority"]) == ("online", "available", 0)
    assert (dnd["presence"], dnd["priority"], dnd["transport"]) == ("dnd", 7, "TLSv1.3")
    assert (quiet["state"], quiet["presence"]) == ("inactive", "unavailable")
    assert all(one["remote"].startswith("127.0.0.1") for one in listed)
    everybody = clients.ask("session", "list")
    assert {ben.jid, phone.jid} <= {one["address"] for one in everybody}
    assert phone.jid in clients.node.command("session", "list", "--domain", clients.node.domain)
    assert clients.ask("user", "show", anna.user)["sessions"] == 3


async def test_a_lost_connection_is_listed_as_suspended(clients: Clients) -> None:
    (anna,) = await clients.online(1)
    await anna.enable()
    anna.abort()
    await anna.wire.lost()
    (listed,) = clients.ask("session", "list", "--user", anna.user)
    assert (listed["state"], listed["remote"]) == ("suspended", "")
    clients.node.command("session", "kick", anna.user)
    assert clients.ask("session", "list", "--user", anna.user) == []


async def test_a_session_is_ended_and_its_client_told_why(clients: Clients) -> None:
    anna, ben = await clients.friends()
    phone = await clients.client(anna.user, "phone")
    done = clients.node.command("session", "kick", anna.bare + "/phone", "--reason", "Lost phone")
    assert done == f"Ended 1 session of {phone.jid}.\n"
    error = await phone.wire.expect_tag("error")
    assert (error.condition(), error.need("text").text) == ("policy-violation", "Lost phone")
    await phone.wire.lost()
    await saw(ben, phone, "unavailable")
    assert await anna.is_served()
    clients.node.command("session", "kick", anna.user)
    await anna.wire.lost()
    await saw(ben, anna, "unavailable")
    with pytest.raises(NodeError, match="has no session"):
        clients.node.command("session", "kick", anna.user)
    again = await clients.client(anna.user)  # nothing keeps them from logging in
    assert await again.is_served()


async def test_a_kicked_session_cannot_be_resumed(clients: Clients) -> None:
    (anna,) = await clients.online(1)
    await anna.enable()
    ledger = anna.ledger
    clients.node.command("session", "kick", anna.user)
    await anna.wire.lost()
    again = Client(clients.node.place, anna.user)
    clients.made.append(again)
    await again.connect("direct")
    await again.authenticate()
    assert (await again.resume(ledger)).name == "failed"


async def test_somebody_disabled_is_out_at_once_and_stays_out(clients: Clients) -> None:
    anna, ben = await clients.friends()
    assert "1 session was ended" in clients.node.command("user", "disable", anna.user)
    await anna.wire.lost()
    await saw(ben, anna, "unavailable")
    with pytest.raises(SaslFailedError, match="account-disabled"):
        await clients.client(anna.user)
    clients.node.command("user", "enable", anna.user)
    assert await (await clients.client(anna.user)).is_served()


async def test_an_announcement_reaches_everybody_the_absent_at_their_login(clients: Clients) -> None:
    anna, ben = await clients.online(2)
    await ben.close()
    people = len(clients.ask("user", "list"))
    done = clients.node.command("announce", "To everybody", "--to-all", "--subject", "News & more")
    assert done == f"Sent to {people} people.\n"
    message = await anna.expect_message("To everybody")
    assert (message.get("from"), message.need("subject").text) == (clients.node.domain, "News & more")
    assert message.find("delay", ANNOUNCED) is None
    again = await clients.client(ben.user, presence="")
    await again.enable()  # so that it says what it has got
    again.send("<presence/>")
    assert (await again.expect_message("To everybody")).need("delay", ANNOUNCED).get("stamp")
    await settled(again)
    await again.close()
    once_more = await clients.client(ben.user)
    assert await bodies(once_more) == []


async def test_an_announcement_to_a_department_or_who_is_online(clients: Clients) -> None:
    anna, ben = await clients.online(2)
    clients.node.command("user", "update", anna.user, "--department", "Tool shop")
    assert clients.node.command("announce", "Oil", "--department", "Tool shop") == "Sent to 1 person.\n"
    await anna.expect_message("Oil")
    assert "Oil" not in await bodies(ben)
    online = {one["address"].partition("/")[0] for one in clients.ask("session", "list")}
    done = clients.node.command("announce", "-", "--online", given="From a pipe\n")
    assert done == f"Sent to {len(online)} people.\n" and len(online) > 1
    await ben.expect_message("From a pipe")
    with pytest.raises(NodeError, match="Nobody is in that audience"):
        clients.node.command("announce", "x", "--department", "None such")
