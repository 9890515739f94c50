"""telemetry.py"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ubiety import telemetry
from ubiety.telemetry import Counters, Metrics, configure_log, event, event_counts


@pytest.fixture(autouse=True)
def restore_log() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_and_one_count(tmp_path: Path) -> None:
    configure_log(tmp_path / "logs" / "ubiety.log", console=False)
    before = event_counts().get(("login_refused", "warning"), 0)
    event("login_refused", "warning", address="192.0.2.1", attempt=3)
    (line,) = lines(tmp_path / "logs" / "ubiety.log")
    assert line.pop("timestamp")
    assert line == {"event": "login_refused", "level": "warning", "address": "192.0.2.1", "attempt": 3}
    assert event_counts()["login_refused", "warning"] == before + 1


def test_secrets_do_not_reach_the_log(tmp_path: Path) -> None:
    configure_log(tmp_path / "log", console=False)
    event("user_added", userid="user1", password="correct horse", api_token="abc")
    text = (tmp_path / "log").read_text()
    assert "user1" in text
    assert "correct horse" not in text and "abc" not in text


def test_the_log_is_closed_to_others_and_keeps_to_its_level(tmp_path: Path) -> None:
    configure_log(tmp_path / "log", level="warning", console=False)
    event("stream_opened")
    event("ledger_failed", "error")
    assert [line["event"] for line in lines(tmp_path / "log")] == ["ledger_failed"]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    telemetry.set_level("info")
    event("stream_opened")
    assert len(lines(tmp_path / "log")) == 2


def test_what_libraries_log_is_json_too(tmp_path: Path) -> None:
    configure_log(tmp_path / "log", console=False)
    try:
        raise RuntimeError("a cause")
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("it broke")
    (line,) = lines(tmp_path / "log")
    assert line["event"] == "it broke" and line["logger"] == "uvicorn.error"
    assert "a cause" in str(line["exception"])


def test_a_full_disk_loses_lines_and_not_the_node() -> None:
    configure_log(Path("/dev/full"), console=False)
    before = event_counts().get(("log_line_lost", "error"), 0)
    event("anything")
    assert event_counts()["log_line_lost", "error"] == before + 1


def test_metrics_show_counters_with_their_original_names() -> None:
    counters = Counters()
    metrics = Metrics(counters)
    counters.messages += 2
    counters.online_users = 5
    metrics.gauge("loaded_people", "People in memory.", lambda: 7)
    text = metrics.render().decode()
    assert "ubiety_messages_total 2.0" in text
    assert "# HELP ubiety_online_users People with at least one session. [JsmOnlineUsers]" in text
    assert "ubiety_online_users 5.0" in text
    assert "ubiety_loaded_people 7.0" in text
    assert "process_cpu_seconds_total" in text
    assert metrics.by_original_name()["JsmTotalMessagePackets"] == 2
    assert metrics.values()["online_users"] == 5


def test_events_are_metrics() -> None:
    event("certificate_reloaded")
    assert (
        'ubiety_events_total{event="certificate_reloaded",level="info"}'
        in Metrics(Counters()).render().decode()
    )


def test_a_slice_counts_its_own_messages_only() -> None:
    counters = Counters(messages=10)
    mark = counters.end_slice(0)
    counters.messages += 4
    counters.end_slice(mark)
    assert counters.messages_in_slice == 4
