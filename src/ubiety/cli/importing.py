"""`ubiety user import`: a file of people, sent to the node in parts."""

import base64
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ubiety.cli.client import Client, CommandError
from ubiety.cli.options import Data, Domain, Json, client
from ubiety.cli.output import console, print_json, print_line, print_table
from ubiety.directory.importing import FORMATS, read_people
from ubiety.directory.records import Entry, Fault, ImportFault, Record

PART_ROWS = 100
PART_BYTES = 2 * 1024 * 1024


def import_people(
    file: Annotated[Path, typer.Argument(help="CSV with a header, or LDIF; - reads standard input.")],
    format_: Annotated[str, typer.Option("--format", help="csv or ldif; guessed without it.")] = "",
    domain: Domain = None,
    update: Annotated[bool, typer.Option("--update", help="Change people who exist already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be done.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Add people from a CSV or LDIF file; bad rows are reported and do not keep the others out.

    CSV columns: userid, name, given_name, surname, mail, department, title, phone, domain, password.
    """
    if format_ not in ("", *FORMATS):
        raise CommandError(f"There is no format {format_!r}.", f"Give one of: {', '.join(FORMATS)}", 2)
    entries = _read(file, format_)
    reports = _send(client(data), entries, domain=domain, update=update, dry_run=dry_run)
    reports.sort(key=lambda report: report["number"])
    counts = Counter(report["outcome"] for report in reports)
    names = ("added", "updated", "failed", "skipped")
    if as_json:
        print_json({name: counts[name] for name in names} | {"dry_run": dry_run, "rows": reports})
    else:
        told = [report for report in reports if report["reason"]]
        if told:
            rows = ((r["number"], r["userid"], r["outcome"], r["reason"]) for r in told)
            print_table(["Line", "User id", "Outcome", "Reason"], rows, "")
        would = "Would be done: " if dry_run else ""
        print_line(would + ", ".join(f"{counts[name]} {name}" for name in names) + ".")
    if counts["failed"]:
        raise typer.Exit(1)


def _read(file: Path, format_: str) -> list[Entry]:
    """Reads the whole file before anything is sent: one that cannot be read changes nothing."""
    try:
        if str(file) == "-":
            return list(read_people(sys.stdin, format_))
        with file.open(encoding="utf-8", newline="") as lines:
            return list(read_people(lines, format_, file.name))
    except UnicodeDecodeError as error:
        cure = f"Convert it: iconv -f WINDOWS-1252 -t UTF-8 {file} > new-{file.name}"
        raise CommandError(f"{file} is not UTF-8 (byte {error.start}).", cure) from error
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
    except ImportFault as error:
        raise CommandError(f"{file}: {error}") from error


def _send(node: Client, entries: list[Entry], **about: Any) -> list[dict[str, Any]]:
    reports = []
    with _progress(len(entries)) as advance:
        for part in _parts(entries):
            rows = [_row(entry) for entry in part if isinstance(entry, Record)]
            reports += [_local_report(entry) for entry in part if not isinstance(entry, Record)]
            reports += [_note(entry) for entry in part if isinstance(entry, Record) and entry.notes]
            if rows:
                reports += node.post("user.import", rows=rows, **about)["rows"]
            advance(len(part))
    return reports


def _parts(entries: list[Entry]) -> Iterator[list[Entry]]:
    part: list[Entry] = []
    size = 0
    for entry in entries:
        weight = len(entry.photo) * 4 // 3 if isinstance(entry, Record) else 0
        if part and (len(part) >= PART_ROWS or size + weight > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(entry)
        size += weight
    if part:
        yield part


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"number": record.number, **record.values, "enabled": record.enabled}
    if record.photo:
        row["photo"] = base64.b64encode(record.photo).decode()
    return row


def _local_report(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Fault):
        about = {"userid": entry.userid, "outcome": "failed"}
    else:
        about = {"userid": getattr(entry, "what", ""), "outcome": "skipped"}
    return {"number": entry.number, **about, "reason": getattr(entry, "reason", "")}


def _note(record: Record) -> dict[str, Any]:
    reason = " ".join(record.notes)
    return {"number": record.number, "userid": record.userid, "outcome": "note", "reason": reason}


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Shows how far it is, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich import progress  # noqa: PLC0415  see ``output``

    bar = progress.Progress(
        progress.TextColumn("Importing"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
