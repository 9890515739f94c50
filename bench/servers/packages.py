"""Debian packages of the peers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.process import BenchError

_POLICY = Path("/usr/sbin/policy-rc.d")


def install_package(package: str, program: str) -> None:
    """Install a Debian package unless its program is there, without letting Debian start the service."""
    if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/bin"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BenchError(f"package {package} is missing: apt-get install {package}")
    # A policy script that exits 101 forbids invoke-rc.d to start what was just unpacked.
    made = not _POLICY.exists()
    if made:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        _run(["apt-get", "update", "-qq"], package)
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], package)
    finally:
        if made:
            _POLICY.unlink()


def _run(command: list[str], package: str) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise BenchError(f"package {package} could not be installed: {done.stderr[-500:]}")


def package_version(package: str) -> str:
    """The installed version of a Debian package, for the heading of the table."""
    command = ["dpkg-query", "-W", "-f=${Version}", package]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
