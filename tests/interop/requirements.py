"""What must be installed for the interop tests; a missing thing is a failure that names its package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = {
    "profanity": "profanity-light",
    "tmux": "tmux",
    "node": "nodejs",
    "npm": "npm",
}
JS = Path(__file__).parent / "js"
NODE_MAJOR = 18


def missing(*programs: str) -> list[str]:
    """Return one line per program that is not there, each naming its Debian package."""
    return [
        f"{program} is not installed: apt-get install {PACKAGES[program]}"
        for program in programs
        if shutil.which(program) is None
    ]


def need(*programs: str) -> None:
    """Fail the test, naming the Debian packages, unless all these programs are there."""
    lacking = missing(*programs)
    if lacking:
        pytest.fail("\n".join(lacking), pytrace=False)


def need_modules() -> Path:
    """Install the JavaScript packages of the lock file when they are not there; returns their folder."""
    need("node", "npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR:
        pytest.fail(
            f"node {version.strip()} is too old: apt-get install nodejs (>= {NODE_MAJOR})", pytrace=False
        )
    modules = JS / "node_modules"
    lock, installed = JS / "package-lock.json", modules / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        done = subprocess.run(["npm", "ci"], cwd=JS, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.fail(f"npm ci failed in {JS.name}/ (package @xmpp/client): {done.stderr}", pytrace=False)
    return modules
