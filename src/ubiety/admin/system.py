"""Operations on the node itself: status, certificate, audit."""

import asyncio
import os
from typing import Any

from pydantic import Field

from ubiety import __version__
from ubiety.admin.context import Certificate, Node
from ubiety.admin.operation import After, Arguments, OnNode, Operation, PageSize, Result
from ubiety.admin.problems import CONFLICT, Problem
from ubiety.admin.rbac import Caller
from ubiety.settings import Setting
from ubiety.store import audit, users
from ubiety.telemetry import LEVELS

LOG_LEVEL = Setting(
    "log.level",
    str,
    "info",
    "",
    "Least level of the events that are written to the log.",
    choices=LEVELS,
)
AUDIT_DAYS = Setting(
    "audit.keep_days",
    int,
    730,
    "days",
    "Time for which it is kept who changed what.",
    minimum=0,
    maximum=36_500,
    zero="for ever",
)
SETTINGS = (LOG_LEVEL, AUDIT_DAYS)


class Status(Result):
    """How the node is."""

    version: str
    node: str
    domains: list[str]
    process: int
    started: float
    uptime: float = Field(description="Seconds.")
    ports: dict[str, int]
    database: str
    people: int
    people_enabled: int
    sessions: int
    counters: dict[str, int]
    restart_needed: dict[str, list[str]]


class CertificateView(Result):
    """The certificate in use."""

    path: str
    is_local: bool
    authority_file: str | None = Field(description="Have clients trust it, if the local authority is used.")
    subject: str
    issuer: str
    names: list[str]
    not_before: float
    not_after: float
    fingerprint: str


class AuditEntry(Result):
    """Who changed what."""

    id: int
    at: float
    actor: str
    operation: str
    arguments: dict[str, Any]
    outcome: str


class AuditEntries(Result):
    """A page of the audit, the newest entry first."""

    entries: list[AuditEntry]
    next: int | None = Field(description="Pass it as `before` to get the next page; null on the last one.")


class ReadAudit(Arguments):
    """Which entries to read."""

    before: After | None = None
    limit: PageSize = 100


async def status(node: Node, caller: Caller, arguments: OnNode) -> Status:
    """Tells how the node is."""
    people, enabled = await node.database.read(users.count)
    return Status(
        version=__version__,
        node=node.config.node,
        domains=list(node.domains),
        process=os.getpid(),
        started=node.started,
        uptime=node.clock.now() - node.started,
        ports=dict(node.ports),
        database=node.database.url.render_as_string(hide_password=True),
        people=people,
        people_enabled=enabled,
        sessions=len(node.sessions.list()),
        counters=node.metrics.values(),
        restart_needed=node.settings.restart_needed(),
    )


async def show_certificate(node: Node, caller: Caller, arguments: OnNode) -> CertificateView:
    """Shows the certificate in use."""
    return _view(node, node.certificates.current)


async def reload_certificate(node: Node, caller: Caller, arguments: OnNode) -> CertificateView:
    """Reads the certificate files again; new connections use them at once."""
    try:
        return _view(node, await asyncio.to_thread(node.certificates.reload))
    except ValueError as error:
        raise Problem(CONFLICT, str(error), "Until then the old certificate stays in use.") from error


async def read_audit(node: Node, caller: Caller, arguments: ReadAudit) -> AuditEntries:
    """Reads who changed what."""
    before = audit.LARGEST if arguments.before is None else arguments.before
    rows = await node.database.read(audit.list_page, before=before, limit=arguments.limit)
    entries = [AuditEntry(**row._asdict()) for row in rows]
    return AuditEntries(entries=entries, next=entries[-1].id if len(entries) == arguments.limit else None)


def _view(node: Node, certificate: Certificate) -> CertificateView:
    authority = node.certificates.ca_path
    return CertificateView(
        path=str(certificate.path),
        is_local=certificate.is_local,
        authority_file=str(authority) if authority else None,
        subject=certificate.subject,
        issuer=certificate.issuer,
        names=list(certificate.names),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        fingerprint=certificate.fingerprint,
    )


READ, WRITE = "system.read", "system.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("node.status", "Tells how a node is.", OnNode, Status, READ, False, status, place="node"),
    Operation(
        "certificate.show",
        "Shows the certificate that a node uses.",
        OnNode,
        CertificateView,
        READ,
        False,
        show_certificate,
        place="node",
    ),
    Operation(
        "certificate.reload",
        "Has a node read its certificate files again.",
        OnNode,
        CertificateView,
        WRITE,
        True,
        reload_certificate,
        place="node",
    ),
    Operation(
        "audit.list", "Reads who changed what.", ReadAudit, AuditEntries, "audit.read", False, read_audit
    ),
)
