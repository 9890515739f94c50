"""Ubiety as a cluster: nodes in pairs, on the PostgreSQL and the NATS that `ubiety cluster up` starts."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection

from bench import process
from bench.cluster.base import Cluster, Ground
from bench.cluster.crowd import Crowd
from bench.people import DOMAIN, ITERATIONS, PASSWORD, SALT
from bench.process import BenchError
from bench.servers.packages import install_package
from bench.servers.ubiety import write_settings
from ubiety.cli import local_cluster, local_servers
from ubiety.cli.client import CommandError
from ubiety.cli.cluster_files import Files
from ubiety.cli.local_servers import Plan
from ubiety.cli.supervisor import Part, as_user
from ubiety.directory.passwords import dump_keys, hash_password
from ubiety.store import domains, nodes
from ubiety.store.database import Database

#: The archive is off, as ejabberd's; all else is as it comes, the pace of logins too.
_SETTINGS: Mapping[str, object] = {"archive.enabled": False}
_POSTGRES_OPTIONS = ("-c", "shared_buffers=512MB", "-c", "max_wal_size=8GB")
_READY_SECONDS = 90.0

# One statement for each table. No trigger looks up what foreign keys refer to: that would take a minute.
_PEOPLE = """
SET LOCAL session_replication_role = replica;
CREATE TEMPORARY TABLE crowd ON COMMIT DROP AS
  SELECT number, 'person' || lpad(number::text, 5, '0') AS name
  FROM generate_series(0, {people} - 1) AS number;
INSERT INTO addresses (jid) SELECT name || '@{domain}' FROM crowd ORDER BY number;
INSERT INTO users (address_id, userid, domain_id, display_name, set_id, scram, created)
  SELECT a.id, c.name, {domain_id}, c.name, 1 + c.number % {nodes}, '{scram}', {now}
  FROM crowd c JOIN addresses a ON a.jid = c.name || '@{domain}' ORDER BY c.number;
CREATE TEMPORARY TABLE ring ON COMMIT DROP AS
  SELECT c.number, u.id AS user_id, u.address_id FROM crowd c JOIN users u ON u.userid = c.name;
CREATE UNIQUE INDEX ON ring (number);
ANALYZE ring;
INSERT INTO roster_items (user_id, contact_id, subscription)
  SELECT o.user_id, c.address_id, 3 FROM ring o CROSS JOIN unnest(ARRAY[{steps}]::int[]) AS step
  JOIN ring c ON c.number = (o.number + step + {people}) % {people} ORDER BY o.user_id;
"""


class UbietyCluster(Cluster):
    """Nodes 1 and 2 are a pair with high availability, 3 and 4 the next, and so on."""

    name = "ubiety"

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        home = ground.folder / self.name
        home.mkdir(mode=0o755)
        self._files = Files(home / "cluster")
        self._nodes: list[Part] = []

    def install(self) -> None:
        """Install PostgreSQL and NATS; Ubiety is the package beside this one."""
        install_package("nats-server", "nats-server")
        if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
            install_package("postgresql", "initdb")
        self.version = f"{version('ubiety')} (Python {platform.python_version()})"

    def provision(self) -> None:
        """Start the database and the bus, make the tables and write everybody."""
        self._files.make(is_shared=os.geteuid() == 0)
        crowd = self.ground.crowd
        try:
            options = {"nodes": crowd.nodes, "port_base": 0, "share_ports": False, "domain": DOMAIN}
            plan = local_cluster.make_plan(self._files, options)
            self._start_servers(plan)
        except CommandError as error:
            raise BenchError(str(error)) from error
        database = Database(plan.database_url)
        try:
            database.migrate()
            database.write_now(_write_cluster, crowd, {**_SETTINGS, "c2s.tls_required": self.ground.tls})
        finally:
            database.close()
        self._vacuum(plan)
        self._nodes = [local_cluster.node_part(plan, number + 1) for number in range(crowd.nodes)]
        kind = "c2s_tls" if self.ground.tls else "c2s"
        self._ports = [plan.ports[f"node{number + 1} {kind}"] for number in range(crowd.nodes)]

    def start(self) -> None:
        """Start the nodes and turn high availability on for each pair."""
        certificate = self.ground.certificate
        own = {"UBIETY_CERTIFICATE": str(certificate.chain), "UBIETY_PRIVATE_KEY": str(certificate.key)}
        for part in self._nodes:
            pid = process.spawn(part.command, part.log, {**part.environment, **own})
            self.add(part.name, pid, is_node=True)
        for part, running, port in zip(self._nodes, self.nodes, self.ports, strict=True):
            process.wait_for_port(running.pid, port, part.log)
        for pair in range(len(self._nodes) // 2):
            self._until_done("prg", "enable-ha", f"group{pair + 1}")

    @property
    def ports(self) -> list[int]:
        """Of direct TLS, or the plain ones."""
        return self._ports

    def _start_servers(self, plan: Plan) -> None:
        programs = local_servers.find_programs()
        local_servers.issue_certificates(plan)
        local_servers.prepare_postgresql(plan, programs)
        local_servers.prepare_nats(plan)
        postgresql = local_servers.postgresql_part(plan, programs)
        for part, more in ((postgresql, _POSTGRES_OPTIONS), (local_servers.nats_part(plan, programs), ())):
            pid = process.spawn([*as_user(part.user), *part.command, *more], part.log, part.environment)
            self.add(part.name, pid)
            process.wait_for_port(pid, plan.ports[part.name], part.log)
        local_servers.create_database(plan, programs)

    def _vacuum(self, plan: Plan) -> None:
        """What autovacuum would do some minutes later, in the middle of a measurement."""
        psql = shutil.which("psql") or "psql"
        command = [psql, "-q", "-d", plan.database_url.replace("+psycopg", ""), "-c", "VACUUM ANALYZE"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"VACUUM failed: {done.stderr}")

    def _until_done(self, *words: str) -> None:
        """Run a command until it is no longer refused: the nodes have to find each other first."""
        end = time.monotonic() + _READY_SECONDS
        command = [sys.executable, "-m", "ubiety.cli.main", *words]
        env = {**os.environ, "UBIETY_DATA": str(self._files.data / "node1")}
        while True:
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                return
            if time.monotonic() > end:
                raise BenchError(f"ubiety {' '.join(words)}: {done.stdout[-500:]}{done.stderr[-500:]}")
            time.sleep(1)


def _write_cluster(conn: Connection, crowd: Crowd, settings: Mapping[str, object]) -> None:
    now = time.time()
    write_settings(conn, settings)
    for number in range(1, crowd.nodes + 1):
        nodes.register(conn, f"node{number}", "", "", now, group=f"group{(number + 1) // 2}")
    words = {
        "people": crowd.people,
        "nodes": crowd.nodes,
        "steps": ",".join(map(str, crowd.steps)),
        "domain": DOMAIN,
        "domain_id": domains.add(conn, DOMAIN, now, is_default=True).id,
        "scram": dump_keys(hash_password(PASSWORD, ITERATIONS, (SALT, SALT))),
        "now": now,
    }
    for statement in _PEOPLE.format(**words).split(";")[:-1]:
        conn.exec_driver_sql(statement.replace("%", "%%"))
