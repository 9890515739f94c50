"""The nursery's process: takes requests on its standard input and forks. See `tests.nursery`."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from tests.nursery import REPORT
from ubiety.cli import main as command
from ubiety.cli import started

LATE = (
    *("ubiety.cli.serve", "ubiety.net.bus", "ubiety.demo.service", "ubiety.lab.beside", "rich.table"),
    *("pydantic.v1", "cryptography.hazmat.backends.openssl", "uvicorn.protocols.http.auto"),
)
"""What nodes and commands bring in only once they need it."""

REQUEST_BYTES = 1 << 20
PR_SET_PDEATHSIG = 1  # prctl(2)
CLONE_NEWNET = 0x40000000  # setns(2)
CHILD = {signal.SIGCHLD}
_C = ctypes.CDLL(None, use_errno=True)
_execute = os.execv


class NodeWanted(BaseException):
    """`ubiety serve` would now be replaced by the node's process, with these arguments.

    No error: it leaves everything of the command behind, as exec does.
    """


def main() -> None:
    """Fork what is asked for until the pytest process ends."""
    command.make_app()  # which imports all commands
    for name in LATE:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, f"no fork beside threads: {threading.enumerate()}"
    reports: dict[int, int] = {}
    signal.signal(signal.SIGCHLD, lambda *_: _reap(reports))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which then stops the nodes
    gc.collect()
    gc.freeze()  # else the first collection in each child would copy every page
    with socket.socket(fileno=0) as requests:
        while True:
            request, files, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 4)
            if not request:
                os._exit(0)
            _fork(request, files, reports)


def _fork(request: bytes, files: Sequence[int], reports: dict[int, int]) -> None:
    nursery = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, CHILD)  # until it is known who is to hear of its end
    child = os.fork()
    if child == 0:
        _run(request, files, nursery)
    reports[child] = files[3]
    _tell(files[3], child)
    for file in files[:3]:
        os.close(file)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CHILD)


def _reap(reports: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):  # no more children
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            report = reports.pop(ended[0])
            _tell(report, os.waitstatus_to_exitcode(ended[1]))
            os.close(report)


def _tell(report: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the test did not wait for it
        os.write(report, REPORT.pack(number))


# -- in the child -------------------------------------------------------------------------------------


def _run(request: bytes, files: Sequence[int], nursery: int) -> NoReturn:
    code = 1
    try:
        _leave(files, nursery)
        _enter(*json.loads(request))
        code = _call()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        traceback.print_exc()
    # The end of an interpreter without freeing all modules, which costs 80 ms: as multiprocessing's children.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _leave(files: Sequence[int], nursery: int) -> None:
    """Drop what is the nursery's: its signal handlers and files; end when it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CHILD)
    _C.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != nursery:  # it ended before the line above
        os._exit(1)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _enter(arguments: list[str], environment: dict[str, str], directory: str, network: str) -> None:
    """Be the process that a subprocess with these would be."""
    if network:  # as `ip netns exec` does
        with open(f"/run/netns/{network}", "rb") as place:
            assert _C.setns(place.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(directory)
    sys.argv = ["ubiety", *arguments]
    sys.stdin, sys.stdout, sys.stderr = (
        _open(number, mode, how)
        for number, mode, how in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
    )


def _open(number: int, mode: str, how: str) -> io.TextIOWrapper:
    file = open(number, mode, encoding="utf-8", errors=how, closefd=False)  # noqa: SIM115
    assert isinstance(file, io.TextIOWrapper)
    file.reconfigure(line_buffering=number == 2)
    return file


def _call() -> int:
    os.execv = _replace
    try:
        command.main()
    except NodeWanted as wanted:
        return started.main(wanted.args[0])
    return 0


def _replace(path: Any, arguments: Any) -> NoReturn:
    """What `ubiety serve` execs is here already; other programs are executed."""
    if list(arguments[1:3]) != ["-m", started.__name__]:
        _execute(path, arguments)
    raise NodeWanted(arguments[3:])


if __name__ == "__main__":
    main()
