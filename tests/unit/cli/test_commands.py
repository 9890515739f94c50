"""The commands, against a node on its local socket."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.unit.admin.small_node import SmallNode, served, small_node
from tests.unit.cli.conftest import Done, Run
from ubiety import __version__
from ubiety.cli.main import COMMANDS, GROUPS, make_app, run
from ubiety.directory.passwords import load_keys
from ubiety.store import users
from ubiety.xmpp.sasl import check_password


def read(done: Done) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


async def test_a_person_from_the_first_to_the_last_command(node: SmallNode, ubiety: Run) -> None:
    added = await ubiety(
        "user",
        "add",
        "user1",
        "--name",
        "User [One]",
        "--department",
        "Sales",
        "--password-stdin",
        given="secret\n",
    )
    assert (added.code, added.out) == (0, "Added user1@example.org.\n")
    stored = await node.database.read(users.load_credentials, "user1@example.org")
    assert stored is not None and check_password(load_keys(stored.scram or "")["sha256"], "secret")
    listed = await ubiety("user", "list")
    assert "User [One]" in listed.out and "user1@example.org" in listed.out
    assert read(await ubiety("user", "list", "--json"))[0]["department"] == "Sales"
    shown = await ubiety("user", "show", "user1")
    assert "Has password" in shown.out and "yes" in shown.out
    assert read(await ubiety("user", "show", "user1", "--json"))["sessions"] == 0
    assert (await ubiety("user", "update", "user1", "--title", "Clerk")).code == 0
    assert read(await ubiety("user", "list", "--text", "one", "--json"))[0]["title"] == "Clerk"
    assert (
        "Set the password" in (await ubiety("user", "password", "user1", "--password-stdin", given="new")).out
    )
    assert "Disabled" in (await ubiety("user", "disable", "user1")).out
    assert "Enabled" in (await ubiety("user", "enable", "user1")).out
    assert (await ubiety("user", "delete", "user1", given="n\n")).code == 1
    assert "Deleted" in (await ubiety("user", "delete", "user1", "--yes")).out
    assert read(await ubiety("user", "list", "--json")) == []


async def test_failures_name_cause_and_cure_on_standard_error(ubiety: Run) -> None:
    gone = await ubiety("user", "show", "nobody")
    assert (gone.code, gone.out) == (1, "")
    assert gone.err.startswith("Error: There is nobody with the address nobody@example.org.\nSee: ubiety")
    await ubiety("user", "add", "user1")
    assert "exists already" in (await ubiety("user", "add", "user1")).err
    assert (await ubiety("user", "password", "user1")).code == 2
    assert "no password" in (await ubiety("user", "password", "user1", "--password-stdin")).err
    assert (await ubiety("user", "frobnicate")).code == 2
    assert (await ubiety("session", "list", "--limit", "none")).code == 2


async def test_lists_longer_than_a_page_are_whole(ubiety: Run, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("userid\n" + "".join(f"user{number}\n" for number in range(1203)))
    assert (await ubiety("user", "import", str(file))).out == "1203 added, 0 updated, 0 failed, 0 skipped.\n"
    assert len(read(await ubiety("user", "list", "--json"))) == 1203
    assert len(read(await ubiety("user", "list", "--json", "--limit", "1001"))) == 1001


async def test_an_import_reports_bad_rows_and_keeps_the_good_ones(ubiety: Run, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("userid,name,password\nuser1,One,a\nuser2\nuser1,Two,b\nuser3,Three,c\n")
    dry = await ubiety("user", "import", str(file), "--dry-run")
    assert dry.code == 1 and "Would be done: 2 added, 0 updated, 2 failed" in dry.out
    assert read(await ubiety("user", "list", "--json")) == []
    done = await ubiety("user", "import", str(file))
    assert done.code == 1 and "2 added" in done.out and "line 2 already" in done.out
    again = await ubiety("user", "import", str(file), "--update", "--json")
    report = json.loads(again.out)
    assert (report["updated"], report["failed"]) == (2, 2)
    assert [row["number"] for row in report["rows"]] == [2, 3, 4, 5]
    piped = await ubiety("user", "import", "-", given="dn: uid=user9\nuid: user9\nuserPassword: {SSHA}x\n")
    assert piped.code == 0 and "{SSHA}" in piped.out and "1 added" in piped.out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"userid\nus\xe9r\n", "iconv"), (b"name\nx\n", "no column for the user id"), (None, "cannot be read")],
)
async def test_a_file_that_cannot_be_read_changes_nothing(
    ubiety: Run, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "people.csv"
    if content is not None:
        file.write_bytes(content)
    done = await ubiety("user", "import", str(file))
    assert done.code == 1 and complaint in done.err
    assert read(await ubiety("user", "list", "--json")) == []


async def test_domains_settings_and_tokens(ubiety: Run) -> None:
    assert (await ubiety("domain", "add", "example.com")).out == "Added example.com.\n"
    assert [one["name"] for one in read(await ubiety("domain", "list", "--json"))] == [
        "example.com",
        "example.org",
    ]
    assert "example.com" in (await ubiety("domain", "list")).out
    assert (await ubiety("user", "add", "user1", "--domain", "example.com")).code == 0
    assert "cannot be deleted" in (await ubiety("domain", "delete", "example.com")).err
    changed = await ubiety("setting", "set", "roster.maximum", "7")
    assert changed.out == "roster.maximum is 7. Takes effect at once.\n"
    assert read(await ubiety("setting", "get", "roster.maximum", "--json"))["value"] == 7
    assert "0: no limit" in (await ubiety("setting", "get", "roster.maximum")).out
    assert len(read(await ubiety("setting", "list", "--changed", "--json"))) == 2
    assert "Most contacts of a person." in (await ubiety("setting", "list")).out
    assert "from 0 to 5000" in (await ubiety("setting", "set", "roster.maximum", "-1")).err
    assert "200, the default" in (await ubiety("setting", "reset", "roster.maximum")).out
    made = await ubiety("token", "add", "ci", "--role", "auditor")
    assert made.out.startswith("ubi_")
    assert read(await ubiety("token", "list", "--json"))[0]["name"] == "ci"
    assert (await ubiety("token", "delete", "ci")).code == 0
    actors = {one["actor"] for one in read(await ubiety("audit", "list", "--json"))}
    assert len(actors) == 1 and actors.pop().startswith("unix:")


async def test_sessions_and_announcements(node: SmallNode, ubiety: Run) -> None:
    await ubiety("user", "add", "user1")
    for resource in ("a", "b", "c"):
        node.sessions.add(f"user1@example.org/{resource}")
    assert len(read(await ubiety("session", "list", "--json"))) == 3
    assert "TLSv1.3" in (await ubiety("session", "list", "--user", "user1")).out
    assert "Ended 1 session of" in (await ubiety("session", "kick", "user1@example.org/b")).out
    assert "Ended 2 sessions of" in (await ubiety("session", "kick", "user1")).out
    assert (await ubiety("announce", "Hello", "--subject", "News")).out == "Sent to 1 person.\n"
    assert (await ubiety("announce", "-", given="From a pipe\n")).code == 0
    assert [one[2] for one in node.announced] == ["Hello", "From a pipe"]
    assert (await ubiety("announce", "x", "--online", "--domain", "example.org")).code == 2


async def test_status_check_and_certificate(node: SmallNode, ubiety: Run) -> None:
    assert read(await ubiety("status", "--json"))["node"] == "node1"
    assert "example.org" in (await ubiety("status")).out
    report = await ubiety("check", "--json")
    findings = {one["check"]: one["outcome"] for one in json.loads(report.out)["findings"]}
    assert findings["certificate"] == findings["database"] == "passed"
    assert "certificate: Valid for" in (await ubiety("check")).out
    assert read(await ubiety("certificate", "show", "--json"))["is_local"]
    assert "Clients trust" in (await ubiety("certificate", "reload")).out


def test_without_a_node_the_error_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--data", str(tmp_path)]) == 3
    assert f"ubiety serve --data {tmp_path}" in capsys.readouterr().err
    assert run(["user", "list", "--data", str(tmp_path / "gone")]) == 3
    assert "--data DIR" in capsys.readouterr().err
    assert run(["check", "--data", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["findings"][0]["check"] == "node" and report["outcome"] == "failed"


async def test_a_long_path_to_the_data_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = tmp_path / ("a" * 100)
    async with small_node(long) as node, served(node):
        assert await asyncio.to_thread(run, ["status", "--data", str(long), "--json"]) == 0
    assert '"node": "node1"' in capsys.readouterr().out


def test_every_listing_has_json() -> None:
    group: Any = typer.main.get_command(make_app())
    for name, command in group.commands.items():
        for sub, leaf in getattr(command, "commands", {}).items():
            if sub in ("list", "show", "get"):
                assert "--json" in {flag for option in leaf.params for flag in option.opts}, f"{name} {sub}"


def test_a_group_is_called_what_the_table_says() -> None:
    """Else it would be found in the whole command line only, which is made when a word is unknown."""
    for name in (*COMMANDS, *GROUPS):
        alone: Any = typer.main.get_command(make_app([name]))
        assert list(alone.commands) in (["version", name], [name, "version"])


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"
