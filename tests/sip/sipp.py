"""Runs SIPp scenarios (Debian `sip-tester`) and reports what they counted and saw.

    report = await run_sipp("options_probe", port, directory=tmp_path, transport="tcp", calls=20)
    assert report.successful == 20, report

    async with answering("message_taken", directory=tmp_path, transport="udp") as server:
        ...                                   # send requests to server.port
        report = await server.report()        # waits for its calls

A scenario is a file in `scenarios/`, by name, or any path. `[remote_ip]`, `[local_port]`, ... are SIPp's own
words; others are given as `keys`: `keys={"user": "anna"}` is `[user]` in the file. Debian's SIPp has no TLS:
for that there is `relay.py`.
"""

import asyncio
import csv
import itertools
import os
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

SCENARIOS = Path(__file__).parent / "scenarios"
HOST = "127.0.0.1"
TRANSPORTS = {"udp": "u1", "tcp": "t1", "tcp-each": "tn"}
"""`tcp-each`: a connection for each call."""
EXIT_CODES = {
    0: "all calls succeeded",
    1: "a call failed",
    97: "ran out of time",
    99: "no call",
    255: "fault",
}
BETWEEN_MESSAGES = "-" * 47
ROWS = "rows.csv"
_numbers = itertools.count(1)


class SippError(Exception):
    """SIPp could not be run; the text says why."""


@dataclass(frozen=True)
class Report:
    """What one run of SIPp came to."""

    exit_code: int
    successful: int
    failed: int
    statistics: Mapping[str, str]
    """The last line of its statistics by column, such as `Retransmissions(C)`."""
    errors: str
    """What it did not expect, in its own words."""
    messages: str = field(repr=False)
    """All messages, as it saw them."""
    output: str = field(repr=False)

    @property
    def retransmissions(self) -> int:
        """How often it had to send something again."""
        return int(self.statistics.get("Retransmissions(C)", 0))

    @property
    def refusal(self) -> int:
        """The status of the last answer that it got or gave and that is no success; 0 without one."""
        found = re.findall(r"^SIP/2\.0 ([3-6]\d\d) ", self.messages, re.MULTILINE)
        return int(found[-1]) if found else 0

    def __str__(self) -> str:
        meaning = EXIT_CODES.get(self.exit_code, "?")
        head = f"SIPp: {self.successful} successful, {self.failed} failed, exit {self.exit_code} ({meaning})"
        return f"{head}\n{self.errors}\n{self.messages[-6000:]}" if self.exit_code else head


class Sipp:
    """One process of SIPp."""

    def __init__(
        self, scenario: str | Path, directory: Path, transport: str, port: int | None, host: str
    ) -> None:
        program = shutil.which("sipp")
        if program is None:
            raise SippError("There is no `sipp`. Install the Debian package sip-tester.")
        path = Path(scenario)
        self.scenario = path if path.suffix else SCENARIOS / f"{scenario}.xml"
        if not self.scenario.exists():
            raise SippError(f"There is no scenario {self.scenario}.")
        self.host = host
        self.port = port or free_port(host)
        """Where it listens, and sends from."""
        self._stem = directory / f"{self.scenario.stem}-{next(_numbers)}"
        self._transport = transport
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._report: Report | None = None

    async def start(
        self,
        target: tuple[str, int] | None,
        *,
        calls: int | None,
        rate: float,
        seconds: float,
        keys: Mapping[str, str],
        rows: Sequence[Sequence[str]],
        options: Sequence[str],
    ) -> None:
        """Start it; as a server (`target` None) it listens when this returns."""
        command = [self._program, *([_at(*target)] if target else []), "-sf", str(self.scenario)]
        command += ["-t", TRANSPORTS[self._transport], "-i", self.host, "-p", str(self.port), "-nostdin"]
        command += ["-r", str(rate), "-timeout", f"{seconds:g}s", "-timeout_error", "-max_reconnect", "1"]
        command += ["-max_socket", "1000"]
        command += ["-trace_err", "-error_file", f"{self._stem}.errors"]
        command += ["-trace_msg", "-message_file", f"{self._stem}.messages"]
        command += ["-trace_stat", "-stf", f"{self._stem}.csv", "-fd", "1"]
        command += ["-m", str(calls)] if calls is not None else []
        for name, value in keys.items():
            command += ["-key", name, value]
        if rows:
            command += ["-inf", self._write_rows(rows)]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            *options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "TERM": "dumb"},
            cwd=self._stem.parent,
        )
        self._reading = asyncio.create_task(self._process.communicate())
        if target is None:
            await self._until_listening()

    def _write_rows(self, rows: Sequence[Sequence[str]]) -> str:
        """Write them where the process runs; a scenario finds them by this name."""
        text = "SEQUENTIAL\n" + "".join(";".join(row) + ";\n" for row in rows)
        (self._stem.parent / ROWS).write_text(text)
        return ROWS

    async def _until_listening(self) -> None:
        table = Path("/proc/net") / ("udp" if self._transport == "udp" else "tcp")
        suffix = f":{self.port:04X} "
        for _ in range(500):
            tables = [table, table.with_name(table.name + "6")]
            if any(suffix in line[:50] for one in tables for line in one.read_text().splitlines()):
                return
            if self._reading.done():
                break
            await asyncio.sleep(0.01)
        report = await self.stop()
        raise SippError(f"SIPp does not listen on port {self.port}:\n{report}\n{report.output}")

    async def until(self, pattern: str, count: int = 1, seconds: float = 10.0) -> None:
        """Wait until so many messages, sent or received, have a place that matches."""
        path = Path(f"{self._stem}.messages")
        wanted = re.compile(pattern, re.DOTALL)
        deadline = time.monotonic() + seconds
        while sum(wanted.search(one) is not None for one in _read(path).split(BETWEEN_MESSAGES)) < count:
            if self._reading.done() or time.monotonic() > deadline:
                report = await self.stop()
                raise AssertionError(f"not {count} of {pattern!r}: {report}\n{report.messages[-6000:]}")
            await asyncio.sleep(0.02)

    async def report(self, seconds: float = 60.0) -> Report:
        """Wait until its calls are over, or its time is; what they came to."""
        if self._report is None:
            assert self._process is not None
            output, _ = await asyncio.wait_for(self._reading, seconds)
            self._report = self._read_report(self._process.returncode or 0, output.decode(errors="replace"))
        return self._report

    async def stop(self) -> Report:
        """End it if it still runs."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self.report()

    def _read_report(self, exit_code: int, output: str) -> Report:
        errors, messages = (
            _read(path) for path in (Path(f"{self._stem}.errors"), Path(f"{self._stem}.messages"))
        )
        statistics: dict[str, str] = {}
        path = Path(f"{self._stem}.csv")
        if path.exists():
            with path.open(newline="") as file:
                for row in csv.DictReader(file, delimiter=";"):
                    statistics = {name: value for name, value in row.items() if name}
        successful, failed = (int(statistics.get(f"{name}Call(C)") or 0) for name in ("Successful", "Failed"))
        return Report(exit_code, successful, failed, statistics, errors, messages, output)


@asynccontextmanager
async def calling(
    scenario: str | Path,
    port: int,
    *,
    directory: Path,
    transport: str = "tcp",
    source: str = HOST,
    seconds: float = 20.0,
    keys: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> AsyncIterator[Sipp]:
    """A scenario that makes one call and is still at it: see `until` and `report`."""
    sipp = Sipp(scenario, directory, transport, None, source)
    await sipp.start(
        (HOST, port), calls=1, rate=50, seconds=seconds, keys=keys or {}, rows=(), options=options
    )
    try:
        yield sipp
    finally:
        await sipp.stop()


async def run_sipp(
    scenario: str | Path,
    port: int,
    *,
    directory: Path,
    transport: str = "tcp",
    host: str = HOST,
    source: str = "",
    calls: int = 1,
    rate: float = 50.0,
    seconds: float = 20.0,
    keys: Mapping[str, str] | None = None,
    rows: Sequence[Sequence[str]] = (),
    local_port: int | None = None,
    options: Sequence[str] = (),
) -> Report:
    """Run a scenario whose first command is `<send>` against a port; `rate` is in calls per second.

    `source`: the address to send from, else that of the host.
    """
    sipp = Sipp(scenario, directory, transport, local_port, source or host)
    await sipp.start(
        (host, port), calls=calls, rate=rate, seconds=seconds, keys=keys or {}, rows=rows, options=options
    )
    return await sipp.report(seconds + 30)


@asynccontextmanager
async def answering(
    scenario: str | Path,
    *,
    directory: Path,
    transport: str = "tcp",
    host: str = HOST,
    port: int | None = None,
    calls: int | None = None,
    seconds: float = 60.0,
    keys: Mapping[str, str] | None = None,
    rows: Sequence[Sequence[str]] = (),
    options: Sequence[str] = (),
) -> AsyncIterator[Sipp]:
    """A scenario whose first command is `<recv>`, listening; it ends after `calls`, or with the block."""
    sipp = Sipp(scenario, directory, transport, port, host)
    await sipp.start(None, calls=calls, rate=10, seconds=seconds, keys=keys or {}, rows=rows, options=options)
    try:
        yield sipp
    finally:
        await sipp.stop()


def free_port(host: str = HOST) -> int:
    """A port that nobody uses at the moment, for UDP and TCP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        with (
            socket.socket(family, socket.SOCK_STREAM) as tcp,
            socket.socket(family, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind((host, 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind((host, port))
            except OSError:
                continue
            return port
    raise SippError("There is no free port.")


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
