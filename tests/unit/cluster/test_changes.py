"""What one node writes, the others take over: told over their links, or by looking themselves."""

import asyncio
import json

import pytest
from sqlalchemy import Connection

from tests.unit.cluster.nodes import add, cluster, until
from tests.unit.users.place import DOMAIN
from ubiety.cluster import changes as changing
from ubiety.store import changes, domains, nodes, users
from ubiety.store import settings as setting_rows
from ubiety.store.epochs import COUNTER_BITS
from ubiety.users import policy_changes
from ubiety.users.preferences import MAX_SESSIONS


async def test_people_are_known_at_once_everywhere(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        started = asyncio.get_running_loop().time()
        ada = await add(alpha, "ada", 1)
        await until(lambda: beta.set_of("ada") == 1 and alpha.set_of("ada") == 1)
        took = asyncio.get_running_loop().time() - started
        print(f"known at the other node after {took * 1000:.0f} ms")
        assert took < 0.9  # it was told, and did not find out by itself
        await alpha.database.write(users.set_enabled, ada.id, False)
        person = beta.place.context.homes.user(ada.id)
        assert person is not None
        await until(lambda: not beta.place.context.homes.user(ada.id).enabled)  # type: ignore[union-attr]
        await beta.database.write(users.delete, ada.id)
        await until(lambda: alpha.set_of("ada") is None and beta.set_of("ada") is None)


async def test_without_links_a_node_finds_out_by_itself(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta", bus=False) as (alpha, beta):
        await add(alpha, "ada", 2)
        await until(lambda: beta.set_of("ada") == 2)


async def test_a_transaction_that_ends_late_is_taken_over(postgres_url: str) -> None:
    """It took its place in the list first, and the others have read past it when it becomes visible."""
    async with cluster(postgres_url, "alpha", "beta", follows=False) as (alpha, beta):
        engine = alpha.database._write_engine
        with engine.connect() as slow:
            with slow.begin():
                domains.add(slow, "late.example", 1.0)
                await add(alpha, "ada", 1)
                await beta.changes.look()
                assert beta.set_of("ada") == 1
                assert beta.place.context.homes.domains == {DOMAIN}
            await beta.changes.look()
        assert beta.place.context.homes.domains == {DOMAIN, "late.example"}


async def test_a_copy_is_compared_with_the_database_before_it_counts(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(postgres_url, "alpha", "beta", follows=False) as (alpha, beta):
        await add(alpha, "ada", 1)
        assert await beta.changes.problem() == ""
        assert beta.set_of("ada") == 1, "it has looked by itself"
        await add(alpha, "grace", 1)
        monkeypatch.setattr(changing, "LATE_SECONDS", -1.0)
        assert "not taken over" in await beta.changes.problem()
        assert beta.set_of("grace") is None, "from then on that is the business of the service"


async def test_settings_follow_and_go_back_to_the_default(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        seen: list[object] = []
        beta.place.settings.watch(MAX_SESSIONS, seen.append)
        await alpha.database.write(setting_rows.put, MAX_SESSIONS.name, json.dumps(3))
        await until(lambda: beta.place.settings.get(MAX_SESSIONS) == 3)
        await alpha.database.write(setting_rows.put, "of.another_release", "1")
        await alpha.database.write(setting_rows.delete, MAX_SESSIONS.name)
        await until(lambda: beta.place.settings.get(MAX_SESSIONS) == MAX_SESSIONS.default)
        assert beta.place.settings.is_default(MAX_SESSIONS.name)
        await asyncio.sleep(0.05)
        assert seen == [3, MAX_SESSIONS.default]


async def test_domains_and_the_topology_follow(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        told: list[int] = []
        beta.topology.watch(lambda topology: told.append(len(topology.groups)))
        await alpha.database.write(domains.add, "second.example", 1.0)
        await alpha.database.write(nodes.add_group, "pair", "", [1, 2])
        await until(lambda: beta.topology.value.group_named("pair") is not None)
        await until(lambda: "second.example" in beta.place.context.homes.domains)
        assert told == [1]
        assert beta.topology.value.backup_of(beta.id) == beta.topology.value.node(alpha.id)


async def test_a_policy_changed_at_another_node_holds_for_who_is_loaded_here(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", beta.id)
        await until(lambda: beta.set_of("ada") == beta.id)
        client = await beta.place.sign_in("ada")
        assert client.user.policy is None
        await alpha.database.write(policy_changes._set_default, ada.id, "block")
        await until(lambda: client.user.policy is not None)
        assert client.edge.closed is None


async def test_who_is_disabled_elsewhere_is_signed_out_here(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", beta.id)
        await until(lambda: beta.set_of("ada") == beta.id)
        client = await beta.place.sign_in("ada")
        await alpha.database.write(users.set_enabled, ada.id, False)
        await until(lambda: client.edge.closed is not None)
        assert client.edge.closed == "not-authorized"
        assert not beta.place.context.actors


async def test_numbers_go_on_growing_for_who_comes_from_another_node(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", beta.id)
        await until(lambda: alpha.set_of("ada") == beta.id)
        last_of_beta = beta.place.context.next_number()
        assert alpha.place.context.next_number() < last_of_beta  # alpha started first
        await beta.database.write(users.assign, ada.id, beta.id, alpha.id)
        await until(lambda: alpha.set_of("ada") == alpha.id)
        assert alpha.place.context.next_number() > last_of_beta
        await asyncio.sleep(0.05)
        await alpha.changes.look()
        assert alpha.place.context.next_number() >> COUNTER_BITS == (last_of_beta >> COUNTER_BITS) + 1


async def test_who_is_moved_away_is_signed_out(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", beta.id)
        await until(lambda: beta.set_of("ada") == beta.id)
        client = await beta.place.sign_in("ada")
        await alpha.database.write(users.assign, ada.id, beta.id, alpha.id)
        await until(lambda: client.edge.closed is not None)
        assert client.edge.closed == "reset"
        assert not beta.place.context.actors
        assert beta.set_of("ada") == alpha.id


async def test_a_node_that_was_away_for_long_looks_at_everything(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta", bus=False, follows=False) as (alpha, beta):
        ada = await add(alpha, "ada", 1)
        await add(alpha, "grace", 1)
        await beta.changes.look()
        await alpha.database.write(users.delete, ada.id)
        await alpha.database.write(_forget_changes)
        await beta.changes.look()
        assert beta.set_of("ada") == 1
        beta.place.clock.advance(changes.KEEP_SECONDS)
        await beta.changes.look()
        assert (beta.set_of("ada"), beta.set_of("grace")) == (None, 1)


def _forget_changes(conn: Connection) -> None:
    changes.gc_changes(conn, -1.0)
