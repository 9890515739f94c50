"""Where a local cluster keeps its files, and how its state is shown."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ubiety.cli.output import moment, print_table


@dataclass(frozen=True)
class Files:
    """The directory of a local cluster."""

    data: Path

    @property
    def state(self) -> Path:
        """Written by the supervisor: what runs."""
        return self.data / "run" / "cluster.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor; holds its process id."""
        return self.data / "run" / "lock"

    @property
    def passwords(self) -> Path:
        """What was made up for this cluster."""
        return self.data / "run" / "passwords.json"

    @property
    def certificates(self) -> Path:
        """The authority and the certificate that all parts share."""
        return self.data / "certificates"

    @property
    def authority(self) -> Path:
        """What clients trust."""
        return self.certificates / "ca.pem"

    @property
    def postgresql(self) -> Path:
        """The database."""
        return self.data / "postgresql"

    @property
    def nats(self) -> Path:
        """The bus."""
        return self.data / "nats"

    @property
    def logs(self) -> Path:
        """What the parts print."""
        return self.data / "logs"

    def make(self, *, is_shared: bool) -> None:
        """Make the directories. `is_shared`: another user must find his own one here."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_shared:
            self.data.chmod(0o711)
        for path in (self.lock.parent, self.certificates, self.postgresql, self.nats, self.logs):
            path.mkdir(mode=0o700, exist_ok=True)

    def read_state(self) -> dict[str, Any] | None:
        """Return what the supervisor has written; None where none runs."""
        try:
            document: dict[str, Any] = json.loads(self.state.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return document


def print_parts(document: Mapping[str, Any]) -> None:
    """Print a table of what runs."""
    titles = ["Part", "State", "Health", "Process", "Since", "Restarts", "At"]
    names = ("name", "state", "health", "process", "since", "restarts", "address")
    rows = (
        [moment(part[name]) if name == "since" else part[name] for name in names]
        for part in document["parts"]
    )
    print_table(titles, rows, "Nothing runs yet.")
