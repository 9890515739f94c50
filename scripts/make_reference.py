"""Write docs/reference/ from the declarations in the code; with --check only say whether it is up to date."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from typer.main import get_command

from ubiety.admin.operation import Operation
from ubiety.admin.operations import OPERATIONS
from ubiety.cli.main import make_app
from ubiety.config import KEYS
from ubiety.declared import SETTINGS
from ubiety.settings import Setting
from ubiety.sip.transaction import LENGTHS, MACHINES, REPEATED, Length, Machine, Timer, Timers
from ubiety.telemetry import Counters

NOTE = "Made by `scripts/make_reference.py` from the code; `make reference` makes it anew.\n"
SETTINGS_TEXT = """\
Shown by `ubiety setting list`, changed by `ubiety setting set NAME VALUE`. A change takes effect at once
where it says *live*, and for clients that connect afterwards where it says *reconnect*.
"""
BOOTSTRAP_TEXT = """\
What a node must know before it can read its database comes from `ubiety.toml` in the data directory, the
environment and the command line, later ones winning.
"""
OPERATIONS_TEXT = """\
Each is a REST call, described in full at `/api` of every node, and a command `ubiety SUBJECT VERB`. Arguments
with a question mark may be left out.
"""
COMMANDS_TEXT = """\
All take `--data DIR`, the data directory of the node; without it `UBIETY_DATA` names it. Exit codes: 0 done,
1 refused, 2 wrong usage, 3 no node serves the directory.
"""

TRANSACTIONS_TEXT = """\
What the four state machines of SIP transactions do: RFC 3261 §17 with the corrections of RFC 6026. A pair of
state and event that is not listed changes nothing. Timers run while a transaction is in one of their states.
"""


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def render_settings() -> str:
    """The settings page: what is in the database, and the few things that a node reads before it."""
    declared: list[Setting[Any]] = sorted(SETTINGS, key=attrgetter("name"))
    rows = [
        (f"`{one.name}`", f"`{one.format(one.default)}`", one.unit, one.allowed, one.effect, one.sentence)
        for one in declared
    ]
    head = ("setting", "default", "unit", "allowed", "takes effect", "meaning")
    keys = [(f"`[{key.section}] {key.key}`", f"`{key.variable}`", key.sentence) for key in KEYS]
    return (
        f"# Settings\n\n{NOTE}\n{SETTINGS_TEXT}\n{render_table(head, rows)}\n"
        f"## Bootstrap configuration\n\n{BOOTSTRAP_TEXT}\n"
        f"{render_table(('in `ubiety.toml`', 'environment', 'meaning'), keys)}"
    )


def render_operations() -> str:
    """The operations page: one table for the command line and REST."""
    rows = [_operation_row(operation) for operation in sorted(OPERATIONS, key=attrgetter("name"))]
    head = ("operation", "REST", "permission", "arguments", "does")
    return f"# Operations\n\n{NOTE}\n{OPERATIONS_TEXT}\n{render_table(head, rows)}"


def _operation_row(operation: Operation[Any, Any]) -> tuple[str, ...]:
    method = "POST" if operation.changes else "GET"
    path = "/api/" + operation.name.replace(".", "/")
    arguments = ", ".join(
        f"`{name}`" + ("" if field.is_required() else "?")
        for name, field in operation.arguments.model_fields.items()
    )
    return f"`{operation.name}`", f"{method} `{path}`", operation.permission, arguments, operation.sentence


def render_metrics() -> str:
    """The metrics page."""
    rows = [
        (f"`ubiety_{item.name}`", item.metadata["kind"], item.metadata["original"], item.metadata["sentence"])
        for item in fields(Counters)
    ]
    head = ("name at `/metrics`", "kind", "name in Cisco's counters", "meaning")
    return f"# Metrics\n\n{NOTE}\n{render_table(head, rows)}"


def render_commands() -> str:
    """The page of the command line: each command with its arguments and options."""
    group: Any = get_command(make_app())
    rows = [row for name, command in group.commands.items() for row in _command_rows(name, command)]
    head = ("command", "does", "options")
    return f"# Commands\n\n{NOTE}\n{COMMANDS_TEXT}\n{render_table(head, rows)}"


def _command_rows(name: str, command: Any) -> Iterable[tuple[str, ...]]:
    if hasattr(command, "commands"):
        for verb, leaf in command.commands.items():
            yield from _command_rows(f"{name} {verb}", leaf)
        return
    arguments = [one.name.upper() for one in command.params if one.param_type_name == "argument"]
    options = [one.opts[0] for one in command.params if one.param_type_name == "option"]
    words = " ".join(["ubiety", name, *arguments])
    yield (
        f"`{words}`",
        command.help.partition("\n\n")[0],
        ", ".join(f"`{option}`" for option in options if option != "--data"),
    )


def render_transactions() -> str:
    """The page of SIP transactions: their tables, and their timers."""
    machines = "".join(f"\n## {one.name}\n\n{_transaction_rows(one)}" for one in MACHINES)
    timers = render_table(
        ("timer", "over UDP", "over TCP and TLS", "then", "runs in"), [_timer_row(timer) for timer in Timer]
    )
    return f"# SIP transactions\n\n{NOTE}\n{TRANSACTIONS_TEXT}{machines}\n## Timers\n\n{timers}"


def _transaction_rows(machine: Machine) -> str:
    rows = [
        (
            state.value,
            f"timer {trigger.value}" if isinstance(trigger, Timer) else trigger.value,
            after.value,
            ", ".join(action.value for action in actions),
        )
        for (state, trigger), (after, actions) in machine.rows.items()
    ]
    return render_table(("state", "what happens", "next state", "what is done"), rows)


def _timer_row(timer: Timer) -> tuple[str, ...]:
    places = [
        f"{machine.name}: {state.value}"
        for machine in MACHINES
        for state, timers in machine.timers.items()
        if timer in timers
    ]
    growth = sorted({how.value for (_, one), how in REPEATED.items() if one is timer})
    return (timer.value, *map(_length_text, LENGTHS[timer]), ", ".join(growth), "; ".join(places))


def _length_text(length: Length | None) -> str:
    if length is None:
        return "does not run"
    name, factor = length
    seconds = f"{getattr(Timers(), name) * factor:g} s"
    if name not in ("t1", "t4") or not factor:
        return seconds
    return f"{seconds} ({f'{factor} * ' if factor != 1 else ''}{name.upper()})"


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or compare them; return the exit code."""
    folder = Path(__file__).resolve().parent.parent / "docs" / "reference"
    pages = {
        "settings.md": render_settings(),
        "operations.md": render_operations(),
        "metrics.md": render_metrics(),
        "commands.md": render_commands(),
        "sip-transactions.md": render_transactions(),
    }
    old = [
        name
        for name, text in pages.items()
        if not (folder / name).exists() or (folder / name).read_text("utf-8") != text
    ]
    if "--check" in arguments:
        sys.stdout.writelines(f"docs/reference/{name} is old: run `make reference`\n" for name in old)
        return 1 if old else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in old:
        (folder / name).write_text(pages[name], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
