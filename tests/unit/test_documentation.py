"""The documentation says what is there: files, commands, options, settings, metrics, events."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ubiety.cli.main import make_app
from ubiety.cluster.alarms import KINDS
from ubiety.cluster.services import SERVICES
from ubiety.declared import SETTINGS
from ubiety.telemetry import Counters, Metrics

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "docs" / "quickstart.md", ROOT / "docs" / "services.md", *GUIDES]
BLOCK = re.compile(r"^```(?:sh)?[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(ubiety [a-z][^`]*)`")
SECTIONS = "api|archive|audit|c2s|federation|ha|im|log|monitor|password|policy|presence|roster|sip"
SETTING = re.compile(rf"`((?!presence\.winfo)(?:{SECTIONS})\.[a-z_]+)`")  # that is an event package of SIP
METRIC = re.compile(r"`(ubiety_[a-z_]+)")
EVENT = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")
COMMAND_LINE: Any = typer.main.get_command(make_app())


def find_commands(page: Path) -> Iterator[list[str]]:
    """Yield the `ubiety` commands of a page, split into words."""
    text = page.read_text("utf-8")
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", "").splitlines()]
    for line in [*lines, *INLINE.findall(text)]:
        words = shlex.split(line, comments=True)
        if words[:1] == ["ubiety"]:
            yield words[1:]


def options_of(command: Any) -> set[str]:
    """The options that a command knows."""
    return {"--help", *(name for option in command.params for name in (*option.opts, *option.secondary_opts))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_and_option_that_a_page_shows_exists(page: Path) -> None:
    for words in find_commands(page):
        command = COMMAND_LINE
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = set(getattr(command, "commands", {}))
        assert not (known and words), f"{page.name}: ubiety {words[0]} is none of {sorted(known)}"
        shown = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert shown <= options_of(command), f"{page.name}: {command.name} has no {shown}"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_setting_and_metric_that_a_guide_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    assert set(SETTING.findall(text)) <= {setting.name for setting in SETTINGS}
    rendered = Metrics(Counters()).render().decode()
    assert [
        name for name in METRIC.findall(text) if f"# TYPE {name.removesuffix('_total')}" not in rendered
    ] == []


def test_every_event_that_the_guides_name_is_told_somewhere() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    monitoring = (ROOT / "docs" / "guides" / "monitoring.md").read_text("utf-8")
    table = monitoring.partition("`event` is what happened")[2]
    named = EVENT.findall(table)
    assert len(named) > 8
    assert [name for name in named if f'"{name}"' not in source] == []


def test_all_paths_exist_and_every_document_has_its_row() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "check_docs.py")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_rows_of_the_conformance_page_are_whole() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith(("| RFC", "| XEP"))
    ]
    assert len(rows) > 50
    names = [name for row in rows for name in row[0].split(", ")]
    assert len(set(names)) == len(names), "a document has two rows"
    for row in rows:
        named = [cell for cell in row[3:] if "`" in cell]
        state = row[2]
        assert re.match(r"(Yes|Partial|No|Passed through)\b", state), row
        if state.startswith("Yes"):
            assert len(named) == 2, f"where is it done, and tested? {row}"
        if state == "No":
            assert not named, row


def test_every_service_and_every_alarm_is_explained() -> None:
    page = (ROOT / "docs" / "services.md").read_text("utf-8")
    for service in SERVICES:
        needs = ", ".join(service.requires) or "-"
        assert f"| {service.name} | " in page and f" | {needs} | " in page
        assert service.sentence in page and all(f"`{alias}`" in page for alias in service.aliases)
    for kind in KINDS.values():
        assert f"| {kind.name} | {kind.severity} | {kind.meaning} | {kind.cure} |" in page
    assert set(re.findall(r"^\| (\w+) \| (?:critical|error|warning|notice) \|", page, re.M)) == set(KINDS)
    guide = (ROOT / "docs" / "guides" / "clusters.md").read_text("utf-8")
    assert not [name for name in KINDS if f"`{name}`" not in guide]
