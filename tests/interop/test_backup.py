"""The commands of the guide on backup and restore, as they stand there, on a running node."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.interop.own_node import settled, write
from tests.node import Node, NodeFactory

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "backup-and-restore.md"


def commands(name: str, folder: Path, data: Path) -> str:
    """A block of the guide, with its directories moved to those of the test."""
    found = re.search(rf"^```sh {name}\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None, f"the guide has no block {name!r}"
    script = found[1].replace("/var/backups/ubiety", str(folder / "backup"))
    return script.replace("/var/lib/ubiety", str(data))


def run(script: str, database: str = "") -> None:
    """Run shell commands; any that fails ends them."""
    done = subprocess.run(
        ["bash", "-euc", script],
        env={**os.environ, "DATABASE": database},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"


async def fill(node: Node) -> None:
    """Two people who know each other; one has a message waiting and changed her policy."""
    node.add_users("anna", "ben")
    node.set_setting("roster.max_contacts", "321")
    node.command("policy", "block", "anna", "pest@example.com")
    anna = await Client(node.place, "anna").login("direct")
    anna.send("<presence/><presence to='ben@example.org' type='subscribe'/>")
    await anna.expect(lambda tag: tag.name == "presence" and tag.get("type") == "subscribed")
    write(anna, "ben@example.org", "before-the-backup")
    await settled(anna)
    node.command("status")  # by now the ledger's window is over
    await anna.close()


async def look(node: Node, authority: bytes) -> None:
    """See that all of it is there again, and that the node goes on."""
    assert (node.data / "certificates" / "ca.pem").read_bytes() == authority
    assert "321" in node.command("setting", "get", "roster.max_contacts")
    assert "pest@example.com" in node.command("policy", "show", "anna")
    ben = await Client(node.place, "ben").login("direct")
    ben.send("<presence/>")
    await ben.expect_message("before-the-backup")
    roster = await ben.iq("get", "<query xmlns='jabber:iq:roster'/>")
    assert roster.need("item").get("jid") == "anna@example.org"
    anna = await Client(node.place, "anna").login("direct")
    anna.send("<presence/>")
    write(ben, "anna@example.org", "after-the-restore")
    await anna.expect_message("after-the-restore")
    await anna.close()
    await ben.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_backup_of_a_running_node_is_restored(
    start_node: NodeFactory, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else None
    database = (url or "").replace("+psycopg", "")
    node = start_node(database_url=url)
    await fill(node)
    run(commands(f"backup {kind}", tmp_path, node.data), database)
    authority = (node.data / "certificates" / "ca.pem").read_bytes()
    node.stop()
    if kind == "postgresql":
        run('psql -q -c "DROP SCHEMA public CASCADE" -c "CREATE SCHEMA public" "$DATABASE"', database)
    run(commands(f"restore {kind}", tmp_path, tmp_path / "restored"), database)
    restored = start_node(database_url=url, data=tmp_path / "restored")
    await look(restored, authority)
