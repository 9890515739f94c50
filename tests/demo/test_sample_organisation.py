"""`ubiety serve --demo` as a newcomer sees it: a message with passwords, colleagues online, answers."""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.harness.client import Client, Place
from tests.harness.tags import Tag
from tests.nursery import Child, nursery

SECONDS = 60.0
VARIABLES = {
    "UBIETY_LISTEN": "127.0.0.1",
    "UBIETY_C2S_PORT": "0",
    "UBIETY_C2S_TLS_PORT": "0",
    "UBIETY_API_PORT": "0",
}


class Demo:
    """A running `ubiety serve --demo`."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.output = data.parent / "output"
        self.process: subprocess.Popen[bytes] | Child | None = None
        self.place = Place("127.0.0.1", 0, 0, "example.org")

    def start(self, demo_mode: bool = True, is_forked: bool = True) -> None:
        """Start it and wait for the start-up message; AssertionError with its words where it ends instead."""
        ports_file = self.data / "run" / "ports.json"
        ports_file.unlink(missing_ok=True)
        command = ["serve", "--data", str(self.data)]
        command += ["--demo"] if demo_mode else ["--domain", "example.org"]
        environment = {**os.environ, **VARIABLES}
        with self.output.open("wb") as output, open(os.devnull, "rb") as nothing:
            if is_forked:
                self.process = nursery().start(command, environment, nothing, output, output)
            else:
                real = [sys.executable, "-m", "ubiety.cli.main", *command]
                self.process = subprocess.Popen(
                    real, env=environment, stdin=nothing, stdout=output, stderr=output
                )
        deadline = time.monotonic() + SECONDS
        greeting = "Log in as" if demo_mode else "Next steps"
        while not (ports_file.exists() and greeting in self.text):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        ports = json.loads(ports_file.read_text())
        self.place = Place("127.0.0.1", ports["c2s"], ports["c2s_tls"], "example.org")

    def command(self, *arguments: str, given: str) -> None:
        """Run a command of `ubiety` against it."""
        done = nursery().run([*arguments, "--data", str(self.data)], os.environ, given)
        assert done.returncode == 0, done.stderr

    def stop(self) -> int:
        """Stop it as Ctrl-C does; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text("utf-8", "replace")

    @property
    def visitors(self) -> list[tuple[str, str]]:
        """User ids and passwords that the start-up message offers."""
        return re.findall(r"^\W*([a-z.]+)@example\.org\s+([a-z]+-[a-z]+-\d\d)\b", self.text, re.MULTILINE)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo") / "data")
    demo.start(is_forked=False)  # as a newcomer does
    yield demo
    if demo.process is not None and demo.process.poll() is None:
        demo.stop()


async def log_in(demo: Demo, number: int) -> Client:
    user, password = demo.visitors[number]
    client = await Client(demo.place, user, password).login()
    await client.iq("get", "<query xmlns='jabber:iq:roster'/>")
    client.send("<presence/>")
    return client


def is_available(tag: Tag) -> bool:
    return tag.name == "presence" and tag.get("type") is None and "/ubiety-sample" in (tag.get("from") or "")


async def meet(client: Client, people: int) -> dict[str, Tag]:
    """Wait until so many simulated people are seen online; returns their presence by full address."""
    seen: dict[str, Tag] = {}
    async with asyncio.timeout(SECONDS):
        while len(seen) < people:
            presence = await client.expect(is_available, SECONDS)
            seen[presence.get("from") or ""] = presence
    return seen


def test_the_start_up_message_tells_all_that_is_needed(demo: Demo) -> None:
    assert len(demo.visitors) == 3
    for told in (
        str(demo.place.port),
        str(demo.place.tls_port),
        "ca.pem",
        "sample-people.csv",
        "example.org",
    ):
        assert told in demo.text


async def test_colleagues_are_online_and_answer_after_typing(demo: Demo) -> None:
    client = await log_in(demo, 0)
    seen = await meet(client, 10)
    address = next(iter(seen))
    client.send(f"<message to='{address}' type='chat' id='q1'><body>Hello!</body></message>")
    composing = await client.expect(lambda tag: tag.name == "message" and tag.child("composing") is not None)
    assert composing.get("from") == address
    answer = await client.expect(lambda tag: tag.name == "message" and bool(tag.body()), 20.0)
    assert answer.get("from") == address
    await client.close()


async def test_contacts_have_groups_names_and_portraits(demo: Demo) -> None:
    user, password = demo.visitors[1]
    client = await Client(demo.place, user, password).login("direct")
    roster = (await client.iq("get", "<query xmlns='jabber:iq:roster'/>")).need("query")
    items = roster.all("item")
    assert len(items) >= 20
    assert {item.get("subscription") for item in items} == {"both"}
    assert all(item.get("name") and item.child("group") is not None for item in items)
    card = await client.iq("get", "<vCard xmlns='vcard-temp'/>", items[0].get("jid"))
    assert card.need("FN").text == items[0].get("name")
    assert base64.b64decode(card.need("BINVAL").text).startswith(b"\x89PNG")
    await client.close()


async def test_two_visitors_see_each_other(demo: Demo) -> None:
    first = await log_in(demo, 0)
    second = await log_in(demo, 1)
    idle = "<idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00Z'/>"
    second.send(f"<presence><show>dnd</show><status>Testing</status>{idle}</presence>")
    shown = await first.expect(
        lambda tag: tag.get("from") == second.jid and tag.child("show") is not None, SECONDS
    )
    assert shown.need("status").text == "Testing"
    assert shown.need("idle", "urn:xmpp:idle:1").get("since") == "2026-01-01T00:00:00Z"
    first.send(f"<message to='{second.bare}' type='chat'><body>Lunch?</body></message>")
    assert (await second.expect_message("Lunch?")).get("from") == first.jid
    await first.close()
    await second.close()


async def test_idle_people_cost_next_to_nothing(demo: Demo) -> None:
    client = await log_in(demo, 2)
    await meet(client, 15)
    await client.close()
    assert demo.process is not None
    process = psutil.Process(demo.process.pid)
    await asyncio.sleep(3.0)
    before = process.cpu_times()
    await asyncio.sleep(4.0)
    after = process.cpu_times()
    assert (after.user + after.system) - (before.user + before.system) < 0.4


def test_a_second_start_has_the_same_people_and_passwords(demo: Demo) -> None:
    offered = demo.visitors
    demo.stop()
    demo.start()
    assert demo.visitors == offered
    with contextlib.suppress(ProcessLookupError):
        demo.stop()


def test_an_installation_in_use_is_left_alone(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "data")
    demo.start(demo_mode=False)
    demo.command("user", "add", "anna", "--password-stdin", given="secret\n")
    demo.stop()
    with pytest.raises(AssertionError, match="1 people of its own"):
        demo.start()
    assert demo.process is not None
    assert demo.process.returncode == 1
