"""What the commands print: tables for people, JSON for programs.

Rich is imported by what draws with it, which many commands never do: it takes a fifth of their time.
"""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDE = 250
"""Columns when the output is no terminal, so that nothing is cut off in a pipe or a file."""

_STYLES = {
    "passed": "green",
    "warning": "yellow",
    "failed": "red",
    "on": "green",
    "off": "yellow",
}
_CONTROLS = dict.fromkeys(map(ord, "\a\b\v\f\r"))


def console(*, stderr: bool = False) -> "Console":
    """The terminal, or a wide page where there is none."""
    from rich.console import Console  # noqa: PLC0415

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else WIDE, highlight=False, markup=False, soft_wrap=True
    )


def print_json(value: Any) -> None:
    """Prints JSON for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_line(text: str) -> None:
    """Prints a sentence."""
    print(text.translate(_CONTROLS), flush=True)


def print_note(text: str) -> None:
    """Prints a sentence that is no result, to standard error."""
    console(stderr=True).print(text, style="dim")


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Prints rows, or `empty` when there are none."""
    table = _make_table(header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    if table.row_count:
        console().print(table)
    else:
        print_note(empty)


def print_properties(properties: Mapping[str, object]) -> None:
    """Prints one thing, a property on each line."""
    table = _make_table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in properties.items():
        if value not in ("", None, [], {}):
            table.add_row(_make_text(name), _cell(value))
    console().print(table)


def moment(seconds: float | None) -> str:
    """A point in time, in the zone of whoever asks."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "never"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _make_table(**about: Any) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    return Table(box=None, pad_edge=False, **about)


def _make_text(text: str, style: str = "") -> "Text":
    from rich.text import Text  # noqa: PLC0415

    return Text(text, style=style)


def _cell(value: object) -> "Text":
    text = _words(value)
    return _make_text(text, _STYLES.get(text, ""))


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_words(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    return "" if value is None else str(value)
