"""The operation that adds many people at once: every row for itself, none half."""

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from sqlalchemy import Connection

from ubiety.admin.context import Node
from ubiety.admin.credentials import make_many_keys
from ubiety.admin.naming import load_by_address, name_of
from ubiety.admin.operation import InDomain, Operation, Result
from ubiety.admin.people import WRITE, Profile, insert
from ubiety.admin.problems import INVALID, Problem, from_error
from ubiety.admin.rbac import Caller
from ubiety.directory.assignment import MODE
from ubiety.directory.domains import Name
from ubiety.directory.importing import read_people
from ubiety.directory.placing import Placing
from ubiety.directory.records import Entry, Fault, ImportFault, Record
from ubiety.store import users
from ubiety.store.errors import Conflict, DataRefused, translate
from ubiety.users import avatars

MAX_ROWS = 500
STEP = 100
"""Rows of one transaction."""
MAX_CONTENT = 900_000
"""Characters of a file that is sent whole; longer ones are sent in parts, as the command does."""

Outcome = Literal["added", "updated", "failed", "skipped"]


class ImportRow(BaseModel):
    """One person to add. Whatever is wrong with it becomes a line of the report."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(description="Where it stands in the file; comes back in the report.")
    userid: str
    domain: str | None = None
    name: str | None = None
    given_name: str | None = None
    surname: str | None = None
    mail: str | None = None
    department: str | None = None
    title: str | None = None
    phone: str | None = None
    password: SecretStr | None = None
    enabled: bool = True
    photo: str = Field("", description="JPEG, in base64.")


class ImportPeople(InDomain):
    """People to add: rows, or the text of a file."""

    rows: list[ImportRow] = Field([], max_length=MAX_ROWS)
    content: Annotated[str, Field(max_length=MAX_CONTENT, description="A CSV or LDIF file.")] = ""
    format: Literal["", "csv", "ldif"] = Field("", description="Of `content`; guessed when empty.")
    update: bool = Field(False, description="Change people who exist already, instead of refusing them.")
    dry_run: bool = Field(False, description="Only report what would be done.")

    def record(self) -> dict[str, Any]:
        """For the audit: how many, not who and not their passwords."""
        about = self.model_dump(exclude={"rows", "content"}, exclude_none=True, exclude_defaults=True)
        return about | {"rows": len(self.rows), "content": len(self.content)}


class RowReport(Result):
    """What became of one row."""

    number: int
    userid: str
    outcome: Outcome
    reason: str


class ImportReport(Result):
    """What became of all rows."""

    added: int
    updated: int
    failed: int
    skipped: int
    rows: list[RowReport]


class _Task:
    """A row on its way into the database."""

    def __init__(self, row: ImportRow, name: Name, profile: Profile, photo: bytes) -> None:
        self.row = row
        self.name = name
        self.profile = profile
        self.photo = photo
        self.keys: str | None = None


async def import_people(node: Node, caller: Caller, arguments: ImportPeople) -> ImportReport:
    """Adds people. Each row is added wholly or not at all, and bad ones do not keep the others out."""
    rows, reports = list(arguments.rows), []
    if arguments.content:
        entries = await asyncio.to_thread(_read_content, arguments)
        for entry in entries:
            if isinstance(entry, Record):
                rows.append(row_of(entry))
            else:
                reports.append(report_of(entry))
    for start in range(0, len(rows), STEP):
        reports += await _import_step(node, caller, arguments, rows[start : start + STEP])
    counts = Counter(report.outcome for report in reports)
    reports.sort(key=lambda report: report.number)
    return ImportReport(
        added=counts["added"],
        updated=counts["updated"],
        failed=counts["failed"],
        skipped=counts["skipped"],
        rows=reports,
    )


def row_of(record: Record) -> ImportRow:
    """A record of a file as a row of the request."""
    photo = base64.b64encode(record.photo).decode()
    values: dict[str, Any] = {**record.values}
    return ImportRow(number=record.number, enabled=record.enabled, photo=photo, **values)


def report_of(entry: Entry) -> RowReport:
    """What is reported of an entry that is no row."""
    if isinstance(entry, Fault):
        return RowReport(number=entry.number, userid=entry.userid, outcome="failed", reason=entry.reason)
    assert not isinstance(entry, Record)
    return RowReport(number=entry.number, userid=entry.what, outcome="skipped", reason=entry.reason)


def _read_content(arguments: ImportPeople) -> list[Entry]:
    try:
        return list(read_people(arguments.content.splitlines(keepends=True), arguments.format))
    except ImportFault as error:
        raise Problem(INVALID, str(error)) from error


async def _import_step(
    node: Node, caller: Caller, arguments: ImportPeople, rows: Sequence[ImportRow]
) -> list[RowReport]:
    reports: list[RowReport] = []
    tasks: list[_Task] = []
    for row in rows:
        try:
            tasks.append(_check(node, caller, arguments, row))
        except (Problem, ValueError) as error:
            reports.append(_failed(row, error))
    if not arguments.dry_run:
        tasks = await _hash(node, tasks, reports)
    now = node.clock.now()
    mode = node.settings.get(MODE)
    done, changed = await node.database.write(_write, tasks, arguments.update, arguments.dry_run, now, mode)
    if changed and not arguments.dry_run:
        await node.people_changed(changed)
    return reports + done


def _check(node: Node, caller: Caller, arguments: ImportPeople, row: ImportRow) -> _Task:
    given = row.model_dump(exclude={"number", "password", "enabled", "photo"}, exclude_none=True)
    try:
        profile = Profile.model_validate(given)
        photo = base64.b64decode(row.photo, validate=True)
    except ValidationError as error:
        reasons = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise Problem(INVALID, "; ".join(reasons)) from error
    name = name_of(profile.userid, profile.domain or arguments.domain, node.domains)
    if not caller.holds(WRITE, name.domain):
        raise Problem(INVALID, f"{caller.name} lacks the permission {WRITE} in {name.domain}.")
    return _Task(row, name, profile, photo)


async def _hash(node: Node, tasks: list[_Task], reports: list[RowReport]) -> list[_Task]:
    hashed = await make_many_keys(node, [(task.name.userid, task.row.password) for task in tasks])
    good: list[_Task] = []
    for task, keys in zip(tasks, hashed, strict=True):
        if isinstance(keys, Problem):
            reports.append(_failed(task.row, keys))
        else:
            task.keys = keys
            good.append(task)
    return good


def _write(
    conn: Connection, tasks: Sequence[_Task], update: bool, dry_run: bool, now: float, mode: str
) -> tuple[list[RowReport], list[int]]:
    whole = conn.begin_nested()
    reports: list[RowReport] = []
    changed: list[int] = []
    for report, address_id in _write_rows(conn, tasks, update, now, mode):
        reports.append(report)
        changed += [address_id] if address_id is not None else []
    if dry_run:
        whole.rollback()
    else:
        whole.commit()
    return reports, changed


def _write_rows(
    conn: Connection, tasks: Sequence[_Task], update: bool, now: float, mode: str
) -> Iterator[tuple[RowReport, int | None]]:
    placing = Placing(conn, mode)
    for task in tasks:
        single = conn.begin_nested()
        try:
            outcome, address_id = _write_row(conn, task, update, now, placing)
        except Exception as error:
            single.rollback()
            typed = error if isinstance(error, Problem) else translate(error)
            if not isinstance(typed, Problem | Conflict | DataRefused):
                raise
            yield _failed(task.row, typed), None
        else:
            single.commit()
            userid = task.row.userid
            yield RowReport(number=task.row.number, userid=userid, outcome=outcome, reason=""), address_id


def _write_row(
    conn: Connection, task: _Task, update: bool, now: float, placing: Placing
) -> tuple[Outcome, int]:
    present = load_by_address(conn, task.name.address) if update else None
    outcome: Outcome = "added" if present is None else "updated"
    if present is None:
        present = insert(conn, task.name, task.profile.columns(), task.keys, now, placing.next())
    else:
        users.update(conn, present.id, task.profile.columns())
        if task.keys is not None:
            users.set_scram(conn, present.id, task.keys)
    if present.enabled != task.row.enabled:
        users.set_enabled(conn, present.id, task.row.enabled)
    if task.photo:
        photo = avatars.Photo(task.photo, "image/jpeg")  # jpegPhoto: RFC 2798 §2.6
        avatars.publish(conn, present.id, photo, present.jid, now)
    return outcome, present.address_id


def _failed(row: ImportRow, error: Exception) -> RowReport:
    reason = from_error(error).detail
    return RowReport(number=row.number, userid=row.userid[:255], outcome="failed", reason=reason)


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "user.import",
        "Adds many people, with a report for each row.",
        ImportPeople,
        ImportReport,
        WRITE,
        True,
        import_people,
    ),
)
