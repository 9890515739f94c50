"""`ubiety policy` while people are signed in: they come and go at once, politely (facts: User policy)."""

from __future__ import annotations

import ssl

import httpx

from tests.interop.own_node import Clients, all_settled, bodies, received, refusal, saw, write


async def test_a_blocked_watcher_sees_offline_until_let_in_again(clients: Clients) -> None:
    anna, ben = await clients.friends()
    done = clients.ask("policy", "block", anna.user, ben.bare)
    assert (done["default"], done["blocked"]) == ("system", [ben.bare])
    await saw(ben, anna, "unavailable")
    await saw(anna, ben, "unavailable")
    # Polite: nothing that Anna does shows, and no answer differs from one about somebody offline.
    anna.send("<presence><show>dnd</show></presence>")
    ben.send(f"<presence to='{anna.bare}' type='probe'/>")
    await all_settled(anna)
    assert [tag for tag in await received(ben) if anna.bare in (tag.get("from") or "")] == []
    write(ben, anna.bare, "shut-out")
    assert await refusal(ben, "shut-out") == "service-unavailable"
    assert await bodies(anna) == []
    assert clients.ask("policy", "remove", anna.user, ben.bare)["blocked"] == []
    assert (await saw(ben, anna, None)).need("show").text == "dnd"
    await saw(anna, ben, None)
    write(ben, anna.bare, "let-in")
    assert (await anna.expect_message("let-in")).get("from") == ben.jid


async def test_block_all_lets_in_who_is_allowed(clients: Clients) -> None:
    anna, ben = await clients.friends()
    (carl,) = await clients.online(1)
    clients.ask("policy", "allow", anna.user, carl.bare)
    done = clients.ask("policy", "set", anna.user, "--default", "block")
    assert (done["applies"], done["allowed"]) == ("block", [carl.bare])
    await saw(ben, anna, "unavailable")
    write(ben, anna.bare, "shut-out")
    assert await refusal(ben, "shut-out") == "service-unavailable"
    write(carl, anna.bare, "allowed")
    await anna.expect_message("allowed")
    carl.send(f"<presence to='{anna.bare}' type='subscribe'/>")
    await saw(carl, anna, None)
    clients.ask("policy", "set", anna.user, "--default", "system")
    await saw(ben, anna, None)


async def test_a_whole_domain_is_blocked_but_for_one_person(clients: Clients) -> None:
    clients.node.command("domain", "add", "example.com")
    (anna,) = await clients.online(1)
    names = clients.node.take_users(2)
    for name in names:
        clients.node.command(
            "user", "add", name, "--domain", "example.com", "--password-stdin", given="secret\n"
        )
    foe, friend = [await clients.client(name, domain="example.com") for name in names]
    clients.ask("policy", "block", anna.user, "example.com")
    clients.ask("policy", "allow", anna.user, friend.bare)
    write(foe, anna.bare, "from-the-domain")
    assert await refusal(foe, "from-the-domain") == "service-unavailable"
    write(friend, anna.bare, "from-the-friend")
    await anna.expect_message("from-the-friend")


async def test_clients_that_show_the_list_are_told(clients: Clients) -> None:
    (anna,) = await clients.online(1)
    await anna.iq("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
    clients.ask("policy", "block", anna.user, "pest@example.net")
    pushed = await anna.expect(lambda tag: tag.find("block", "urn:xmpp:blocking") is not None)
    assert pushed.need("item").get("jid") == "pest@example.net"
    listed = await anna.iq("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
    assert [item.get("jid") for item in listed.need("blocklist").children] == ["pest@example.net"]


async def test_a_policy_set_while_signed_out_holds_at_the_next_login(clients: Clients) -> None:
    anna, ben = await clients.friends()
    await anna.close()
    await saw(ben, anna, "unavailable")
    clients.ask("policy", "block", anna.user, ben.bare)
    again = await clients.client(anna.user)
    assert [tag for tag in await received(ben) if tag.get("from") == again.jid] == []
    write(ben, anna.bare, "after")
    assert await refusal(ben, "after") == "service-unavailable"


async def test_the_system_default_applies_to_who_has_not_chosen(clients: Clients) -> None:
    anna, ben = await clients.friends()
    clients.ask("policy", "set", ben.user, "--default", "allow")
    clients.set("presence.default_policy", "block")
    assert clients.ask("policy", "show", anna.user)["applies"] == "block"
    await saw(ben, anna, "unavailable")
    write(ben, anna.bare, "by-default")
    assert await refusal(ben, "by-default") == "service-unavailable"
    clients.set("presence.default_policy", "allow")
    await saw(ben, anna, None)


async def test_the_server_itself_reaches_everybody(clients: Clients) -> None:
    (anna,) = await clients.online(1)
    clients.ask("policy", "set", anna.user, "--default", "block")
    clients.node.command("announce", "Fire drill at ten", "--to-all")
    assert (await anna.expect_message("Fire drill at ten")).get("from") == clients.node.domain


async def test_policies_by_rest(clients: Clients) -> None:
    anna, ben = await clients.friends()
    token = clients.node.command("token", "add", f"for-{anna.user}", "--role", "helpdesk").split()[0]
    port, trusted = clients.node.ports["api"], clients.node.data / "certificates" / "ca.pem"
    with httpx.Client(
        verify=ssl.create_default_context(cafile=trusted), headers={"Authorization": f"Bearer {token}"}
    ) as web:
        address = f"https://127.0.0.1:{port}/api/policy"
        done = web.post(f"{address}/block", json={"userid": anna.user, "entry": ben.bare})
        assert (done.status_code, done.json()["blocked"]) == (200, [ben.bare])
        await saw(ben, anna, "unavailable")
        shown = web.get(f"{address}/show", params={"userid": anna.user}).json()
        assert shown["blocked"] == [ben.bare]
        wrong = web.post(f"{address}/set", json={"userid": anna.user, "default": "perhaps"})
        assert wrong.status_code == 422
