"""The pool driven by lines: the Python function, the socket, and the command `ubiety lab`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.lab.two_pools import DOMAIN, two_pools
from ubiety.lab.commands import COMMANDS, CommandRefusedError, run
from ubiety.lab.control import Control, tell
from ubiety.lab.journal import MessageSeen
from ubiety.lab.pool import Pool
from ubiety.lab.samples import make_sample

ANN = f"ann@{DOMAIN}"


async def test_a_rehearsal_line_by_line() -> None:
    async with two_pools() as (left, right):
        assert await run(left, "sign-in bob busy") == (f"bob@{DOMAIN} is busy",)
        await run(right, "sign-in ann")
        await run(left, f"add bob {ANN}")
        assert await run(right, "wait ann prompt bob") == (f"bob@{DOMAIN} wants to see your presence",)
        assert (await run(right, "who"))[0].endswith(f"1 watchers, asked by bob@{DOMAIN}")
        await run(right, f"accept ann bob@{DOMAIN}")
        await run(left, "wait bob presence available")
        await run(right, "availability ann away 'at lunch'")
        await run(left, "wait bob presence away")
        assert await run(left, "contacts bob") == [f'{ANN}: away "at lunch" (active)']
        assert await run(left, f"im bob {ANN} Hello there") == ("answered 200",)
        assert await run(right, "wait ann im Hello") == (f"bob@{DOMAIN}: Hello there",)
        assert await run(left, f"type bob {ANN}") == ("answered 200",)
        await run(right, "wait ann typing 'is typing'")
        await run(left, f"end bob {ANN}")
        await run(left, f"remove bob {ANN}")
        await run(right, "sign-out ann")
        with pytest.raises(CommandRefusedError, match="480"):
            await run(left, f"im bob {ANN} gone?")


async def test_faults_by_command() -> None:
    async with two_pools() as (left, right):
        await run(left, "sign-in bob")
        await run(right, "sign-in ann")
        await run(right, "fault right refuse 503 INVITE")
        with pytest.raises(CommandRefusedError, match="503"):
            await run(left, f"im bob {ANN} x")
        await run(right, "fault 1 none")
        await run(left, f"im bob {ANN} x")
        await run(right, "fault 1 garbage")
        await run(right, "restart")
        with pytest.raises(CommandRefusedError, match=r"481|503"):
            await run(left, f"im bob {ANN} y")
        await run(left, f"im bob {ANN} z")
        await run(right, "stop right")
        assert "stopped" in (await run(right, "front-ends"))[0]
        with pytest.raises(CommandRefusedError, match="503"):
            await run(left, "im bob nobody@example.org x")
        assert await run(left, "returned") == [f"nobody@{DOMAIN}"] or ANN in await run(left, "returned")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("dance", "no command"),
        ("im bob", "usage: im USER ADDRESS TEXT"),
        ("im bob ann@example.org hello", "not signed in"),
        ("sign-in carl", "no user"),
        ("sign-in bob cheerful", "no availability"),
        ("stop 7", "no front end"),
        ("fault 1 fire", "mute"),
        ("im 'bob", "quotation"),
    ],
)
async def test_mistakes(line: str, word: str) -> None:
    async with two_pools() as (left, _):
        with pytest.raises(CommandRefusedError, match=word):
            await run(left, line)


async def test_help_has_every_command() -> None:
    async with two_pools() as (left, _):
        listed = await run(left, "help")
        assert {line.split()[0] for line in listed} == set(COMMANDS)
        assert await run(left, "# nothing") == ()


async def test_control_socket(tmp_path: Path) -> None:
    async with two_pools() as (left, _):
        control = Control(left, tmp_path / "lab.sock")
        await control.start()
        assert await tell(tmp_path / "lab.sock", "sign-in bob brb") == [
            f"bob@{DOMAIN} is be-right-back",
            "ok",
        ]
        assert (await tell(tmp_path / "lab.sock", "dance"))[0].startswith("error: there is no command")
        await control.stop()
        with pytest.raises(FileNotFoundError):
            await tell(tmp_path / "lab.sock", "who")


async def test_sample_people_answer() -> None:
    async with two_pools() as (left, right):
        port = left.front_ends[0].ports["tcp"]
        await right.stop()
        sample = Pool(make_sample(DOMAIN, back=("127.0.0.1", port, "tcp")))
        async with sample:
            route = {DOMAIN: sample.front_ends[0].ports["tcp"]}
            left.site.plan.routes[DOMAIN] = type(left.site.plan.routes[DOMAIN])(  # type: ignore[index]
                "127.0.0.1", route[DOMAIN], "tcp"
            )
            bob = await left.sign_in("bob")
            assert await bob.send(f"marta.lync@{DOMAIN}", "Hello") == 200
            seen = await bob.journal.wait(MessageSeen, seconds=8)
            assert seen.text == "Marta Lindqvist here. You wrote: Hello"


async def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "lab.sock"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ubiety.cli.main", "lab", "microsoft", "--port", "0", "--front-ends", "2",
        "--control", str(path), "--no-terminal",
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            lines = [(await process.stdout.readline()).decode() for _ in range(4)]
        assert lines[0].startswith("Front end fe1.example.org listens on tcp 127.0.0.1:")
        assert lines[2].startswith("Unknown people of example.org are looked for at 127.0.0.1:5060")
        async with asyncio.timeout(10):
            while not path.exists():
                await asyncio.sleep(0.05)
        told = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ubiety.cli.main", "lab", "tell", "--control", str(path), "who",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await told.communicate()
        assert told.returncode == 0
        assert output.decode().splitlines()[1].startswith("oskar.lync@example.org: busy, signed in")
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
