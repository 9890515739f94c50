"""Certificates for front ends: one authority, as many names as are wanted."""

import time
from pathlib import Path

from ubiety.net.authority import Files, issue, make_authority


def make_certificates(directory: Path, *names: str) -> list[Files]:
    """One authority and a certificate of it for each name; the first one's directory has the authority."""
    made = []
    for name in names:
        files = Files(directory / name)
        files.directory.mkdir(parents=True)
        if made:
            for kind in ("ca", "ca_key"):
                getattr(files, kind).write_bytes(getattr(made[0], kind).read_bytes())
        else:
            make_authority(files, "lab", time.time())
        issue(files, [name], time.time())
        made.append(files)
    return made
