"""Children on a core of their own, and what they cost: CPU and resident memory of a whole process tree."""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SERVER_CORE = 0
GENERATOR_CORE = 1


class BenchError(Exception):
    """The measurement cannot be made; the text says why."""


def prepare_generator() -> None:
    """Move this process to the core that the servers do not use, and let no signal leave them behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {GENERATOR_CORE})


def raise_descriptor_limit() -> int:
    """Allow as many open files as the machine permits and return that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def spawn(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> int:
    """Start a child on the servers' core, in a process group of its own, and return its process id."""
    core = str(SERVER_CORE)
    with log.open("ab") as out:
        child = subprocess.Popen(
            ["taskset", "-c", core, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    _children[child.pid] = child
    return child.pid


_children: dict[int, subprocess.Popen[bytes]] = {}


def stop(pid: int, patience: float = 10.0) -> None:
    """Ask the group of `pid` to end, kill it after `patience` seconds, and reap it."""
    child = _children.pop(pid, None)
    if child is None:
        return
    _signal_group(pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(patience)
    _signal_group(pid, signal.SIGKILL)
    child.wait()


def kill(pid: int) -> None:
    """End the group of `pid` as a crash does, and reap it."""
    child = _children.pop(pid, None)
    if child is not None:
        _signal_group(pid, signal.SIGKILL)
        child.wait()


def _signal_group(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, what)


def stop_all() -> None:
    """End every child that is left, whatever happened."""
    for pid in list(_children):
        stop(pid, patience=2.0)


atexit.register(stop_all)


def is_alive(pid: int) -> bool:
    """Whether the child still runs."""
    child = _children.get(pid)
    return child is not None and child.poll() is None


def wait_for_port(pid: int, port: int, log: Path, seconds: float = 60.0) -> None:
    """Wait until the child accepts connections. Raises BenchError with the end of its log otherwise."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not is_alive(pid):
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    said = log.read_text(errors="replace").splitlines() if log.exists() else []
    raise BenchError(f"nothing listens on port {port}; the server's last words:\n" + "\n".join(said[-6:]))


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += parents.get(found[-1], [])
    return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5) field 3), empty when the process has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time that these processes, and their children that ended, have used."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        # proc(5) fields 14 to 17: utime, stime, cutime, cstime.
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICK


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of these processes together."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return total


def proportional_bytes(pids: Sequence[int]) -> int:
    """Resident memory of these processes together, pages that they share counted once (proc(5) `Pss`)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def own_cpu_seconds() -> float:
    """What the generator itself has used."""
    times = os.times()
    return times.user + times.system
