"""Checks of the machine and the data directory; they need no running node."""

import ctypes
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ubiety.admin.finding import FAILED, PASSED, WARNING, Finding
from ubiety.config import Config

GIB = 1024**3
LOW_DISK = GIB
NO_DISK = 100 * 1024**2
ENOUGH_DESCRIPTORS = 16_384
RESERVED_DESCRIPTORS = 200
EARLIEST = 1_790_000_000.0
"""September 2026: a machine that believes in an earlier date has lost its clock."""
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


def inspect_host(config: Config, now: float) -> Iterator[Finding]:
    """All checks of this module."""
    yield from inspect_permissions(config)
    yield inspect_disk(config.data_dir)
    yield inspect_descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield inspect_clock(now, clock_state())


def inspect_disk(path: Path) -> Finding:
    """Whether there is room for messages and logs."""
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        return Finding("disk space", FAILED, f"{path} cannot be looked at: {error}.", "Mount or create it.")
    text = f"{usage.free / GIB:.1f} GiB of {usage.total / GIB:.1f} GiB are free at {path}."
    cure = "Free space or move the data directory to a larger disk; messages are refused when it is full."
    if usage.free < NO_DISK:
        return Finding("disk space", FAILED, text, cure)
    if usage.free < LOW_DISK:
        return Finding("disk space", WARNING, text, cure)
    return Finding("disk space", PASSED, text)


def inspect_descriptors(limit: int) -> Finding:
    """Whether the process may open enough files: each client is one."""
    name = "open files"
    if limit == resource.RLIM_INFINITY:
        return Finding(name, PASSED, "The number of open files is not limited.")
    text = f"{limit} open files are allowed: about {max(0, limit - RESERVED_DESCRIPTORS)} clients."
    if limit < ENOUGH_DESCRIPTORS:
        cure = "Raise it: LimitNOFILE=65536 in the systemd unit, or `ulimit -n 65536` before the start."
        return Finding(name, WARNING if limit > 1000 else FAILED, text, cure)
    return Finding(name, PASSED, text)


def inspect_clock(now: float, state: int | None) -> Finding:
    """Whether the time of day can be believed; certificates and messages' time stamps depend on it."""
    cure = "Run a time service: apt install chrony."
    if now < EARLIEST:
        return Finding("clock", FAILED, "The clock of this machine is years behind.", cure)
    if state == _UNSYNCHRONISED:
        return Finding("clock", WARNING, "No time service keeps the clock of this machine right.", cure)
    if state is None:
        return Finding(
            "clock", PASSED, "The date is plausible; whether it is kept right cannot be seen here."
        )
    return Finding("clock", PASSED, "The clock of this machine is kept right by a time service.")


def clock_state() -> int | None:
    """What the kernel says of its clock: the result of adjtimex(2); None where it does not say."""
    buffer = ctypes.create_string_buffer(1024)  # all zero: mode 0 only asks
    try:
        state: int = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    return state if state >= 0 else None


def inspect_permissions(config: Config) -> Iterator[Finding]:
    """Whether others can read what is secret."""
    name = "data directory"
    secrets = [config.certificates_dir / "ca-key.pem", config.certificates_dir / "server-key.pem"]
    secrets += [config.private_key] if config.private_key else []
    wrong = [f"chmod go-rwx {path}" for path in [config.data_dir, config.control_socket] if _is_open(path)]
    exposed = [f"chmod go-rwx {path}" for path in secrets if _is_open(path)]
    if not config.data_dir.is_dir():
        yield Finding(
            name, FAILED, f"{config.data_dir} is not there.", "Start the node once, or give --data."
        )
    elif not os.access(config.data_dir, os.W_OK | os.X_OK):
        owner = config.data_dir.stat().st_uid
        cure = f"Run the command as the owner (user id {owner}), or chown -R it."
        yield Finding(name, FAILED, f"{config.data_dir} cannot be written by this user.", cure)
    elif exposed:
        text = "Other users of this machine can read private keys."
        yield Finding(name, FAILED, text, "Close the files:", tuple(exposed + wrong))
    elif wrong:
        text = "Other users of this machine can look into the data directory."
        yield Finding(name, WARNING, text, "Close it:", tuple(wrong))
    else:
        yield Finding(name, PASSED, f"{config.data_dir} is closed to other users.")


def _is_open(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:
        return False
