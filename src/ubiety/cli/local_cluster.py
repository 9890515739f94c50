"""A cluster on one machine for trying out: PostgreSQL, NATS, a few nodes, and the process that keeps them."""

import asyncio
import contextlib
import fcntl
import json
import os
import pwd
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ubiety.cli.client import Client, CommandError, short_path
from ubiety.cli.cluster_files import Files, print_parts
from ubiety.cli.local_servers import (
    HOST,
    PROBE_SECONDS,
    Plan,
    Programs,
    create_database,
    environment,
    find_programs,
    issue_certificates,
    nats_part,
    postgresql_part,
    prepare_nats,
    prepare_postgresql,
)
from ubiety.cli.output import console, print_line
from ubiety.cli.supervisor import Keeper, Part, PartError
from ubiety.config import KEYS
from ubiety.net import authority

PEOPLE = ("ada", "grace", "alan", "hedy", "linus", "margaret")
_SERVER_USERS = ("postgres", "nobody")


def main(options: dict[str, Any]) -> int:
    """Runs the cluster until a signal comes; returns the exit code."""
    os.umask(0o077)
    try:
        return asyncio.run(_run(options))
    except (CommandError, PartError, authority.CertificateError) as error:
        screen = console(stderr=True)
        screen.print("Error: ", style="bold red", end="")
        screen.print(str(error))
        if isinstance(error, CommandError) and error.cure:
            screen.print(error.cure)
        return 1


async def _run(options: dict[str, Any]) -> int:
    files = Files(Path(options["data"]))
    programs = find_programs()
    files.make(is_shared=os.geteuid() == 0)
    with _only_one(files.lock):
        plan = make_plan(files, options)
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        cluster = LocalCluster(plan, programs)
        running = asyncio.create_task(cluster.run())
        stopped = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            stopped.cancel()
            await cluster.stop(running)
    return 0


class LocalCluster:
    """The parts of a local cluster and what keeps each of them running."""

    def __init__(self, plan: Plan, programs: "Programs") -> None:
        self.plan = plan
        self._programs = programs
        self._keepers: list[Keeper] = []
        self._is_up = False
        self._began = time.time()

    async def run(self) -> None:
        """Start everything and keep it running. Raises PartError."""
        plan = self.plan
        issue_certificates(plan)
        prepare_postgresql(plan, self._programs)
        prepare_nats(plan)
        await self._start(postgresql_part(plan, self._programs), nats_part(plan, self._programs))
        await asyncio.to_thread(create_database, plan, self._programs)
        first, *others = [node_part(plan, number) for number in range(1, plan.nodes + 1)]
        await self._start(first)  # it makes the tables and is the publisher
        await self._start(*others)
        await asyncio.to_thread(add_people, plan)
        await asyncio.to_thread(pair_nodes, plan)
        self._is_up = True
        self._changed("")
        print_parts(self.document)
        print_line(describe(plan))
        sys.stdout.flush()
        async with asyncio.TaskGroup() as group:
            for keeper in self._keepers:
                group.create_task(keeper.keep())

    async def stop(self, running: asyncio.Task[None]) -> None:
        """Stop the nodes, then the bus and the database."""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        servers, nodes = self._keepers[:2], self._keepers[2:]
        self._is_up = False
        print_line("Stopping ...")
        await asyncio.gather(*(keeper.stop() for keeper in nodes))
        await asyncio.gather(*(keeper.stop() for keeper in servers))
        self.plan.files.state.unlink(missing_ok=True)

    @property
    def document(self) -> dict[str, Any]:
        """What `ubiety cluster status` shows."""
        return {
            "process": os.getpid(),
            "is_up": self._is_up,
            "began": self._began,
            "domain": self.plan.domain,
            "people": [f"{name}@{self.plan.domain}" for name in PEOPLE],
            "password": self.plan.passwords["people"],
            "authority": str(self.plan.files.authority),
            "database_url": self.plan.database_url,
            "bus_url": self.plan.bus_url,
            "ports": self.plan.ports,
            "parts": [keeper.row for keeper in self._keepers],
        }

    async def _start(self, *parts: Part) -> None:
        keepers = [Keeper(part, self._changed) for part in parts]
        self._keepers += keepers
        for part in parts:
            print_line(f"Starting {part.name} ...")
        await asyncio.gather(*(keeper.start() for keeper in keepers))

    def _changed(self, sentence: str) -> None:
        if sentence:
            print_line(time.strftime("%H:%M:%S ") + sentence)
            sys.stdout.flush()
        state = self.plan.files.state
        fresh = state.with_suffix(".new")
        fresh.write_text(json.dumps(self.document, indent=1))
        fresh.replace(state)


# -- what is needed -----------------------------------------------------------------------------------


def make_plan(files: Files, options: dict[str, Any]) -> Plan:
    """Decide who runs where; passwords are made once per directory. Raises CommandError."""
    nodes, base = int(options["nodes"]), int(options["port_base"])
    wanted = {"postgresql": base + 1, "nats": base + 2}
    for number in range(1, nodes + 1):
        first = base + 10 * number
        names = (("c2s", first + 2), ("c2s_tls", first + 3), ("api", first + 8))
        wanted |= {f"node{number} {name}": port for name, port in names}
    if base and max(wanted.values()) > 65535:
        raise CommandError(f"{nodes} nodes from port {base} on do not fit.", "Give a lower --port-base.")
    ports = wanted if base else dict(zip(wanted, _free_ports(len(wanted)), strict=True))
    is_shared = bool(options["share_ports"])
    if is_shared:
        ports |= {name: ports[f"node1 {name.split()[1]}"] for name in ports if " c2s" in name}
    user = _server_user(files)
    return Plan(files, nodes, options["domain"], ports, _passwords(files.passwords), user, is_shared)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def _passwords(path: Path) -> dict[str, str]:
    if not path.exists():
        made = {name: secrets.token_urlsafe(18) for name in ("postgresql", "nats", "people")}
        path.write_text(json.dumps(made))
    passwords: dict[str, str] = json.loads(path.read_text())
    return passwords


def _server_user(files: Files) -> str | None:
    """PostgreSQL refuses to run as root, and nothing here needs to."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in _SERVER_USERS if name in known), None)
    if user is None:
        raise CommandError(
            "PostgreSQL does not run as root, and there is no user postgres or nobody.",
            "Run this as an ordinary user.",
        )
    closed = next((path for path in files.data.parents if not path.stat().st_mode & 0o001), None)
    if closed is not None:
        raise CommandError(
            f"PostgreSQL does not run as root but as {user}, who cannot enter {closed}.",
            "Run this as an ordinary user, or give --data another directory, for instance /var/tmp/cluster.",
        )
    return user


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(
                f"A cluster runs from {path.parent.parent} already.", "See: ubiety cluster status"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


# -- nodes --------------------------------------------------------------------------------------------


def node_part(plan: Plan, number: int) -> Part:
    """A node with its own directory and ports; each two of them make a redundancy group."""
    name = f"node{number}"
    data, certificates = plan.files.data / name, authority.Files(plan.files.certificates)
    ports = {kind: plan.ports[f"{name} {kind}"] for kind in ("c2s", "c2s_tls", "api")}
    known = {key.variable for key in KEYS}
    given = {
        "UBIETY_NODE": name,
        "UBIETY_REUSE_PORT": "true" if plan.is_shared else "",
        "UBIETY_DOMAIN": plan.domain,
        "UBIETY_GROUP": f"group{(number + 1) // 2}",
        "UBIETY_ADDRESS": HOST,
        "UBIETY_LISTEN": HOST,
        "UBIETY_DATABASE_URL": plan.database_url,
        "UBIETY_BUS_URL": plan.bus_url,
        "UBIETY_BUS_CA": str(certificates.ca),
        "UBIETY_CERTIFICATE": str(certificates.certificate),
        "UBIETY_PRIVATE_KEY": str(certificates.key),
        **{f"UBIETY_{kind.upper()}_PORT": str(port) for kind, port in ports.items()},
    }
    return Part(
        name=name,
        command=[sys.executable, "-m", "ubiety.cli.main", "serve", "--data", str(data)],
        log=plan.files.logs / f"{name}.log",
        probe=lambda: _ask_node(data),
        address=", ".join(f"{kind} {port}" for kind, port in ports.items()),
        environment=environment()
        | {key: value for key, value in given.items() if key in known}
        | {"UBIETY_SUPERVISED": "1"},  # it is ended when it hangs: it may share its ports
        is_watched=True,
    )


def add_people(plan: Plan) -> None:
    """Add sample accounts at the first start. Raises CommandError."""
    node = Client(plan.files.data / "node1")
    if node.get("user.list", limit=1)["people"]:
        return
    for name in PEOPLE:
        node.post("user.add", userid=name, name=name.title(), password=plan.passwords["people"])


def pair_nodes(plan: Plan) -> None:
    """Turn high availability on in each group of two; a group where that is refused stays without."""
    node = Client(plan.files.data / "node1")
    for group in node.get("prg.list")["groups"]:
        if len(group["nodes"]) == 2 and not group["high_availability"]:
            try:
                node.post("prg.enable-ha", name=group["name"])
            except CommandError as error:
                print_line(f"{group['name']} is without high availability: {error.detail} {error.cure}")


def describe(plan: Plan) -> str:
    """How to go on."""
    here = plan.files.data
    people = ", ".join(PEOPLE[:-1]) + f" or {PEOPLE[-1]}"
    return (
        f"\nLog in with any XMPP client as {people} @{plan.domain}, password {plan.passwords['people']},\n"
        f"at {HOST}, port {plan.ports['node1 c2s']} (STARTTLS) or that of another node;"
        f" let it trust {plan.files.authority}\n"
        f"Commands for a node: ubiety status --data {here / 'node1'}\n"
        f"See it: ubiety cluster status --data {here}\n"
        f"Stop it: Ctrl-C, or ubiety cluster down --data {here}\n"
    )


# -- how they are -------------------------------------------------------------------------------------


async def _ask_node(data: Path) -> str:
    """Ask a node's control socket: any answer shows that its loop runs."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            with short_path(data / "control.sock") as path:
                reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return ""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return ""
    try:
        return str(json.loads(body).get("status") or "answers")
    except (ValueError, AttributeError):
        return "answers"


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
