"""The checks of an installation: admin/inspect_*.py and checks.py."""

import asyncio
import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.unit.admin.small_node import SmallNode, do
from ubiety.admin.finding import Finding, worst
from ubiety.admin.inspect_dns import inspect_dns, zone_lines
from ubiety.admin.inspect_host import (
    clock_state,
    inspect_clock,
    inspect_descriptors,
    inspect_disk,
    inspect_permissions,
)
from ubiety.admin.inspect_node import inspect_postgresql
from ubiety.store.database import Database

PORTS = {"c2s": 5222, "c2s_tls": 5223}


class NameServer:
    """A DNS server on loopback that knows a few SRV records."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.is_silent = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def resolver(self) -> dns.asyncresolver.Resolver:
        made = dns.asyncresolver.Resolver(configure=False)
        made.nameservers = ["127.0.0.1"]
        made.port = self._socket.getsockname()[1]
        return made

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                data, peer = self._socket.recvfrom(4096)
            except OSError:
                return
            if self.is_silent:
                continue
            query = dns.message.from_wire(data)
            answer = dns.message.make_response(query)
            name = query.question[0].name.to_text()
            if name in self.records:
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", *self.records[name]))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), peer)


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.close()


def records(port: int = 5222, tls_port: int = 5223, host: str = "im.example.org.") -> dict[str, list[str]]:
    return {
        "_xmpp-client._tcp.example.org.": [f"0 5 {port} {host}"],
        "_xmpps-client._tcp.example.org.": [f"0 5 {tls_port} {host}"],
    }


async def look(server: NameServer, *domains: str) -> list[Finding]:
    return await inspect_dns(domains or ["example.org"], PORTS, ["im.example.org"], server.resolver)


async def test_right_records_pass(name_server: NameServer) -> None:
    name_server.records = records()
    (finding,) = await look(name_server)
    assert finding.outcome == "passed" and "im.example.org" in finding.text


async def test_missing_records_are_printed_as_zone_lines(name_server: NameServer) -> None:
    name_server.records = records()
    first, second = await look(name_server, "example.org", "bücher.example")
    assert (first.outcome, second.outcome) == ("passed", "warning")
    assert second.lines == (
        "_xmpp-client._tcp.xn--bcher-kva.example. 3600 IN SRV 0 5 5222 im.example.org.",
        "_xmpps-client._tcp.xn--bcher-kva.example. 3600 IN SRV 0 5 5223 im.example.org.",
    )
    del name_server.records["_xmpps-client._tcp.example.org."]
    (partial,) = await look(name_server)
    assert partial.outcome == "warning" and len(partial.lines) == 1 and "_xmpps" in partial.lines[0]


async def test_wrong_records_are_told_apart(name_server: NameServer) -> None:
    name_server.records = records(port=5269)
    (finding,) = await look(name_server)
    assert finding.outcome == "warning" and "5269" in finding.text and "5222" in finding.cure
    name_server.records = records(port=0, host=".")
    (finding,) = await look(name_server)
    assert finding.outcome == "failed"


async def test_without_a_network_it_is_quick_and_still_prints_the_lines(name_server: NameServer) -> None:
    name_server.is_silent = True
    begun = time.monotonic()
    findings = await look(name_server, "example.org", "example.com", "example.net")
    assert time.monotonic() - begun < 4
    assert all(one.outcome == "warning" and len(one.lines) == 2 for one in findings)


async def test_domains_that_no_dns_knows_are_no_fault(name_server: NameServer) -> None:
    findings = await look(name_server, "localhost", "127.0.0.1", "im.test", "printserver")
    assert {one.outcome for one in findings} == {"passed"}


def test_zone_lines_have_a_public_name() -> None:
    (line,) = zone_lines("example.org", {"c2s": 5222}, ["localhost", "127.0.0.1", "host.example.com"])
    assert line == "_xmpp-client._tcp.example.org. 3600 IN SRV 0 5 5222 host.example.com."


@pytest.mark.parametrize(
    ("limit", "outcome"), [(-1, "passed"), (1_000_000, "passed"), (4096, "warning"), (256, "failed")]
)
def test_open_files(limit: int, outcome: str) -> None:
    assert inspect_descriptors(limit).outcome == outcome


def test_clock() -> None:
    assert inspect_clock(1_795_000_000.0, 0).outcome == "passed"
    assert inspect_clock(1_795_000_000.0, 5).outcome == "warning"
    assert inspect_clock(0.0, 0).outcome == "failed"
    state = clock_state()
    assert state is None or 0 <= state <= 5


def test_disk(tmp_path: Path) -> None:
    assert "GiB" in inspect_disk(tmp_path).text
    assert inspect_disk(tmp_path / "gone").outcome == "failed"


async def test_open_permissions_are_named_with_the_command_that_closes_them(node: SmallNode) -> None:
    (finding,) = inspect_permissions(node.config)
    assert finding.outcome == "passed"
    node.config.data_dir.chmod(0o755)
    (finding,) = inspect_permissions(node.config)
    assert finding.outcome == "warning" and finding.lines == (f"chmod go-rwx {node.config.data_dir}",)
    key = node.config.certificates_dir / "server-key.pem"
    key.chmod(0o644)
    (finding,) = inspect_permissions(node.config)
    assert finding.outcome == "failed" and f"chmod go-rwx {key}" in finding.lines
    (finding,) = inspect_permissions(dataclasses.replace(node.config, data_dir=node.config.data_dir / "gone"))
    assert finding.outcome == "failed"


async def found(node: SmallNode) -> dict[str, str]:
    report = await do(node, "node.check")
    assert report.outcome == worst([Finding(f.check, f.outcome, f.text) for f in report.findings])
    return {one.check: one.outcome for one in report.findings}


async def test_the_whole_report_of_a_node(node: SmallNode) -> None:
    listener = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    node.ports = {"c2s": port}
    report = await found(node)
    assert report["certificate"] == report["ports"] == report["database"] == report["settings"] == "passed"
    assert report["people"] == "warning"
    listener.close()
    await listener.wait_closed()
    node.domains.append("example.com")
    (node.config.certificates_dir / "server.pem").unlink()
    report = await found(node)
    assert report["certificate of example.com"] == "failed" and report["ports"] == "failed"
    node.database.write_now(lambda conn: conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0'"))
    assert (await found(node))["database"] == "failed"


def test_postgresql_without_a_standby_is_a_warning(postgres_url: str) -> None:
    database = Database(postgres_url)
    try:
        finding = database.read_now(inspect_postgresql)
        assert finding.outcome == "warning" and "synchronous_standby_names" in finding.cure
        database.write_now(lambda conn: conn.exec_driver_sql("SET synchronous_commit = off"))
    finally:
        database.close()
