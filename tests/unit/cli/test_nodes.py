"""`ubiety node` and `ubiety assignment` against a cluster of two in this process."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.admin.small_node import SmallNode, served
from tests.unit.cli.conftest import Done, Run
from tests.unit.cluster.nodes import ClusterNode, add, cluster, until
from ubiety.admin.live import LiveSessions
from ubiety.cli.main import run


@pytest.fixture
async def pair(postgres_url: str) -> AsyncIterator[list[ClusterNode]]:
    """Two nodes; all four people belong to the first."""
    async with cluster(postgres_url, "alpha", "beta") as made:
        for name in ("ada", "grace", "alan", "edsger"):
            await add(made[0], name, made[0].id)
        await until(lambda: all(len(node.place.context.homes) == 4 for node in made))
        yield made


@pytest.fixture
async def command(
    pair: list[ClusterNode],
    postgres_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Run]:
    """Runs a command at the first node."""
    first = pair[0]
    node = SmallNode(tmp_path / "data", postgres_url)
    context = first.place.context
    node.homes, node.topology, node.links = context.homes, first.topology, first.links
    node.settings, node.moving = context.settings, first.moving  # type: ignore[attr-defined]
    node.sessions = LiveSessions(context, first.place.users, first.topology)  # type: ignore[assignment]
    for one in pair:
        if one.links is not None:
            LiveSessions(one.place.context, one.place.users, one.topology).join(one.links)
    await node.domains_changed()
    node.certificates.open(node.domains)
    monkeypatch.setenv("UBIETY_DATA", str(node.config.data_dir))

    async def do(*arguments: str) -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO())
        capsys.readouterr()
        code = await asyncio.to_thread(run, list(arguments))
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    async with served(node):
        yield do
    node.database.close()


async def test_nodes_are_listed_and_shown(command: Run) -> None:
    listed = (await command("node", "list")).out
    assert "alpha" in listed
    assert "beta" in listed
    rows = json.loads((await command("node", "list", "--json")).out)
    assert [(row["name"], row["people"], row["sessions"]) for row in rows] == [
        ("alpha", 4, 0),
        ("beta", 0, 0),
    ]
    shown = (await command("node", "show", "beta")).out
    assert "Backup" in shown
    assert "none" in shown
    assert json.loads((await command("node", "show", "beta", "--json")).out)["id"] == 2
    missing = await command("node", "show", "gamma")
    assert (missing.code, "no node gamma" in missing.err) == (1, True)
    running = await command("node", "remove", "beta")
    assert (running.code, "Stop it first" in running.err) == (1, True)


async def test_people_are_assigned_and_spread_anew(command: Run) -> None:
    shown = (await command("assignment", "show")).out
    assert "User Assignment Mode for Presence Server: balanced" in shown
    preview = (await command("assignment", "rebalance", "--preview")).out
    assert preview.split()[-3:] == ["alpha", "beta", "2"]
    done = await command("assignment", "rebalance")
    assert (done.code, "Moved 2 people." in done.out) == (0, True)
    assert "Nobody has to move" in (await command("assignment", "rebalance")).err
    whose = await command("assignment", "set", "ada", "beta")
    assert "beta" in whose.out
    assert json.loads((await command("assignment", "show", "ada", "--json")).out)["person"]["node"] == "beta"
    nobody = await command("assignment", "set", "ada", "--nobody")
    assert "no node" in nobody.out
    assert "1 people are assigned to no node" in (await command("assignment", "show")).err
    assert json.loads((await command("assignment", "set", "ada", "alpha", "--json")).out)["node"] == "alpha"
    assert (await command("assignment", "set", "ada")).code == 2
    out = json.loads(
        (await command("assignment", "rebalance", "--preview", "--without", "alpha", "--json")).out
    )
    assert out["total"] == 2
