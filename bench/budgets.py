"""The rows of the table, and what Ubiety must reach and aims at in each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One operation: its title, and its budget as a ratio to ejabberd or as an absolute figure in `unit`."""

    key: str
    title: str
    unit: str
    must: float | None = None
    aim: float | None = None
    is_absolute: bool = False

    @property
    def scale(self) -> float:
        """Factor from seconds or bytes to the unit."""
        return {"µs": 1e6, "ms": 1e3, "kB": 1 / 1024}[self.unit]


ROWS: tuple[Row, ...] = (
    Row("message_plain", "1:1 message delivered, plain, saturated (400 sessions)", "µs", 0.40, 0.25),
    Row("message_tls", "same, TLS", "µs", 0.45, 0.30),
    Row("message_archive", "same, plain, archive on", "µs", 0.08, 0.05),
    Row("message_low", "same, plain, low load (1,000 messages/s)", "µs", 0.60, 0.40),
    Row("presence", "presence change, per watcher delivered (500 people × 50 contacts)", "µs", 0.15, 0.08),
    Row("login_plain", "login, plain (no contacts)", "ms", 0.60, 0.45),
    Row("login_tls", "login, TLS (no contacts)", "ms", 0.60, 0.45),
    Row("login_contacts", "login, plain, 50 contacts (49 of them offline)", "ms"),
    Row("memory_plain", "resident memory per idle session, plain", "kB", 25, 16, is_absolute=True),
    Row("memory_tls", "resident memory per idle session, TLS", "kB", 45, 30, is_absolute=True),
    Row("subscription", "mutual subscription exchange", "ms", 0.25, 0.10),
)

ROW_KEYS: tuple[str, ...] = tuple(row.key for row in ROWS)
BASELINE = "ejabberd"
OURS = "ubiety"
