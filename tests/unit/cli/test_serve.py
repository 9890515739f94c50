"""`ubiety serve` as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ubiety.cli.serve import render_steps
from ubiety.config import Config

SERVE = [sys.executable, "-m", "ubiety.cli.main", "serve", "--listen", "127.0.0.1", "--data"]
NO_DATABASE = "postgresql+psycopg://nobody@127.0.0.1:1/none"
FREE = ["--c2s-port", "0", "--c2s-tls-port", "0", "--api-port", "0"]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("UBIETY_")}


def start(data: Path, *arguments: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    command = [*SERVE, str(data), *arguments]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment())


def wait_until_served(data: Path, process: "subprocess.Popen[str]") -> dict[str, int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (data / "run" / "ports.json").exists():
            ports: dict[str, int] = json.loads((data / "run" / "ports.json").read_text())
            return ports
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"it does not serve: {process.communicate()}")


def test_an_empty_node_starts_without_a_question_and_ends_cleanly(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start(data, "--domain", "example.org", *FREE)
    ports = wait_until_served(data, process)
    assert set(ports) == {"c2s", "c2s_tls", "api"} and all(ports.values())
    second = start(data)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 1 and f"process {process.pid}" in err and "Traceback" not in err
    out = end_cleanly(data, process, signal.SIGTERM)
    for step in ("1. Add people:", "2. Log in:", "3. Make it public:", str(data), "ca.pem"):
        assert step in out


def test_after_a_crash_it_starts_again_and_serves_its_domain_only(tmp_path: Path) -> None:
    data, database = tmp_path / "data", ["--database-url", f"sqlite:///{tmp_path / 'shared.db'}"]
    sip = [f"--sip-{name}" for name in ("port", "tls-peer-port", "tls-server-port")]
    given = [*database, *FREE, *[word for name in sip for word in (name, "0")]]
    first = start(data, "--domain", "example.org", *given)
    wait_until_served(data, first)
    first.kill()
    first.communicate()
    assert (data / "control.sock").exists()
    (data / "run" / "ports.json").unlink()
    second = start(data)  # the flags of the first start are remembered
    ports = wait_until_served(data, second)
    assert {"sip", "sip_tls_peer", "sip_tls_server"} <= set(ports) and all(ports.values())
    end_cleanly(data, second, signal.SIGINT)
    joining = start(tmp_path / "two", "--domain", "example.com", *database, *FREE)
    _, said = joining.communicate(timeout=60)
    assert joining.returncode == 1
    assert "--domain example.org" in said and "domain add example.com" in said


def end_cleanly(data: Path, process: "subprocess.Popen[str]", sign: signal.Signals) -> str:
    """End a node by a signal; returns what it has printed."""
    process.send_signal(sign)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and err == ""
    assert not (data / "control.sock").exists() and not (data / "run" / "ports.json").exists()
    events = [json.loads(line)["event"] for line in (data / "logs" / "ubiety.log").read_text().splitlines()]
    assert {"node_started", "node_stopped"} <= set(events)
    return out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--domain example.org"),
        (["--domain", "not a domain"], "not a domain name"),
        (["--domain", "example.org", "--c2s-port", "70000"], "from 0 to 65535"),
        (["--domain", "example.org", "--listen", "192.0.2.1", *FREE], "192.0.2.1"),
        (["--domain", "example.org", "--database-url", "nonsense", *FREE], "nonsense"),
        (["--domain", "example.org", "--database-url", NO_DATABASE, *FREE], "database cannot be used"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_a_sentence(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    process = start(tmp_path / "data", *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and complaint in err
    assert err.startswith("Error: ") and "Traceback" not in err and out == ""


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = start(tmp_path / "data", "--domain", "example.org", *FREE, "--api-port", port)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and port in err and "UBIETY_API_PORT" in err


def test_the_next_steps_name_real_ports(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, domain="example.org")
    steps = render_steps(config, {"c2s": 15222, "c2s_tls": 15223}, None)
    assert "port 15222 (STARTTLS) or 15223 (TLS)\n" in steps and "USERID@example.org" in steps
