"""Checks of the running node: certificate, ports, database, settings."""

import asyncio
from collections.abc import Iterator

from sqlalchemy import Connection, text

from ubiety.admin.context import Node
from ubiety.admin.finding import FAILED, PASSED, WARNING, Finding, Outcome
from ubiety.store import users
from ubiety.store.errors import StoreError
from ubiety.store.migrate import newest_revision, revision

SOON = 21 * 86400.0
TIMEOUT = 2.0
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def inspect_certificate(node: Node) -> Iterator[Finding]:
    """Whether clients will accept the certificate."""
    certificate, now = node.certificates.current, node.clock.now()
    days = int((certificate.not_after - now) // 86400)
    renew = "Replace the files named in [tls] of ubiety.toml; they are taken over within a minute."
    if certificate.is_local:
        renew = "Run: ubiety certificate reload"
    if now > certificate.not_after:
        yield Finding("certificate", FAILED, f"The certificate {certificate.path} has ended.", renew)
    elif now < certificate.not_before:
        cure = "Set the clock of this machine."
        yield Finding("certificate", FAILED, "The certificate is of the future.", cure)
    elif certificate.not_after - now < SOON:
        yield Finding("certificate", WARNING, f"The certificate ends in {days} days.", renew)
    elif certificate.is_local:
        known = f"Valid for {days} days. It is from the local authority, which clients must trust:"
        yield Finding("certificate", PASSED, known, lines=(str(node.certificates.ca_path),))
    else:
        yield Finding("certificate", PASSED, f"Valid for {days} days, issued by {certificate.issuer}.")
    for domain in node.domains:
        if not certificate.covers(domain):
            cure = f"Get a certificate that also holds {domain} as DNS name."
            if certificate.is_local:
                cure = renew
            yield Finding(
                f"certificate of {domain}", FAILED, f"The certificate does not hold {domain}.", cure
            )


async def inspect_ports(node: Node) -> list[Finding]:
    """Whether something answers on every address of every listener."""
    places = [
        (name, _LOOPBACK.get(host, host), port)
        for name, port in node.ports.items()
        for host in node.config.hosts
    ]
    answers = await asyncio.gather(*(_connect(host, port) for _, host, port in places))
    silent = [
        f"{name} {host} port {port}: {reason}"
        for (name, host, port), reason in zip(places, answers, strict=True)
        if reason
    ]
    if not places:
        return [Finding("ports", FAILED, "The node listens nowhere.", "See the log of the node.")]
    if silent:
        outcome: Outcome = FAILED if len(silent) == len(places) else WARNING
        cure = "Free the port or change [listen] in ubiety.toml, then restart the node."
        return [Finding("ports", outcome, "Nothing answers on some addresses.", cure, tuple(silent))]
    ports = ", ".join(f"{name} {port}" for name, port in node.ports.items())
    return [Finding("ports", PASSED, f"All listeners answer: {ports}.")]


async def _connect(host: str, port: int) -> str:
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""


async def inspect_database(node: Node) -> list[Finding]:
    """Whether the database answers, has the right tables and keeps what it acknowledged."""
    try:
        found = await node.database.read(revision)
        newest = newest_revision()
        findings = [Finding("database", PASSED, f"The tables have the revision {found}.")]
        if found != newest:
            text_ = f"The tables have the revision {found}, this release wants {newest}."
            findings = [Finding("database", FAILED, text_, "Restart the node: it migrates them.")]
        if not node.database.is_sqlite:
            findings.append(await node.database.read(inspect_postgresql))
        people, _ = await node.database.read(users.count)
    except StoreError as error:
        cure = "See that the database runs and that [database] url in ubiety.toml is right."
        return [Finding("database", FAILED, f"The database does not answer: {error}.", cure)]
    if not people:
        cure = 'Add one: ubiety user add USERID --name "..." --password-stdin'
        findings.append(Finding("people", WARNING, "There are no people yet.", cure))
    return findings


def inspect_postgresql(conn: Connection) -> Finding:
    """Whether a commit outlives a crash of the database, and the loss of its machine (design promise 1)."""
    name = "durability"
    rows = conn.execute(
        text(
            "SELECT name, setting FROM pg_settings"
            " WHERE name IN ('fsync', 'synchronous_commit', 'synchronous_standby_names')"
        )
    )
    values = {row[0]: row[1] for row in rows}
    for setting in ("fsync", "synchronous_commit"):
        if values.get(setting) == "off":
            text_ = f"{setting} is off: acknowledged messages are lost when PostgreSQL crashes."
            return Finding(name, FAILED, text_, f"Set {setting} = on in postgresql.conf.")
    if not values.get("synchronous_standby_names"):
        text_ = "PostgreSQL has no synchronous standby: what was acknowledged last is lost with its machine."
        return Finding(name, WARNING, text_, "Set up one if you need that: synchronous_standby_names.")
    return Finding(name, PASSED, "Commits are on two machines.")


def inspect_settings(node: Node) -> Finding:
    """Whether all settings are in effect."""
    services = node.settings.restart_needed()
    if services:
        lines = tuple(f"{service}: {', '.join(names)}" for service, names in services.items())
        text_ = "Some settings take effect only after a restart."
        return Finding("settings", WARNING, text_, "Restart these services:", lines)
    return Finding("settings", PASSED, "All settings are in effect.")
