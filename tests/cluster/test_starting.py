"""A node of a cluster whose database is away when it starts: it waits, says so, and can be stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.nursery import Child, nursery
from tests.postgres import Postgres

SECONDS = 30.0


@pytest.fixture
def waiting(own_postgres: Postgres, tmp_path: Path) -> Iterator[Child]:
    """A node that was started without its database."""
    url = own_postgres.make_database()
    own_postgres.stop()
    environment = {
        **os.environ,
        "UBIETY_DATABASE_URL": url,
        "UBIETY_BUS_URL": "nats://127.0.0.1:9",
        "UBIETY_LISTEN": "127.0.0.1",
        **{f"UBIETY_{name}_PORT": "0" for name in ("C2S", "C2S_TLS", "API")},
    }
    command = ["serve", "--domain", "example.org", "--data", str(tmp_path / "node")]
    with (tmp_path / "log").open("wb") as log, open(os.devnull, "rb") as nothing:
        process = nursery().start(command, environment, nothing, log, log)
    yield process
    process.kill()
    process.wait(10)


def ask(data: Path, path: str) -> httpx.Response:
    """Ask the local socket as soon as it answers."""
    deadline = time.monotonic() + SECONDS
    while True:
        transport = httpx.HTTPTransport(uds=str(data / "control.sock"))
        with contextlib.suppress(httpx.ConnectError), httpx.Client(transport=transport) as client:
            return client.get(f"http://node{path}", timeout=5)
        assert time.monotonic() < deadline, (data.parent / "log").read_text()
        time.sleep(0.1)


def test_it_says_what_it_waits_for_and_ends_when_told(
    waiting: Child, own_postgres: Postgres, tmp_path: Path
) -> None:
    data, deadline = tmp_path / "node", time.monotonic() + SECONDS
    while "database" not in (health := ask(data, "/healthz")).json()["reason"]:
        assert time.monotonic() < deadline, health.text
        time.sleep(0.1)
    assert health.status_code == 503
    assert health.json()["status"] == "starting"
    refused = ask(data, "/api/node/status")
    assert refused.status_code == 503
    assert "waits. database:" in refused.json()["detail"]

    log = data / "logs" / "ubiety.log"
    while "IDSReplicationFailure" not in log.read_text():
        assert time.monotonic() < deadline, "no alarm was raised"
        time.sleep(0.2)
    raised = [json.loads(line) for line in log.read_text().splitlines() if "alarm_raised" in line]
    assert len(raised) == 1

    own_postgres.start()  # the bus stays away: the node starts all the same, and says that, too
    while "BusUnavailable" not in log.read_text():
        assert time.monotonic() < deadline, "no alarm was raised about the bus"
        time.sleep(0.2)
    (told,) = (json.loads(line) for line in log.read_text().splitlines() if "BusUnavailable" in line)
    cause = "cannot be reached: [Errno 111] Connection refused. Is nats-server running there?"
    assert told["text"] == f"The bus at 127.0.0.1:9 {cause}"
    (finding,) = (one for one in ask(data, "/api/node/check").json()["findings"] if one["check"] == "bus")
    assert (finding["outcome"], finding["text"]) == ("failed", told["text"])

    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(20) == 0
