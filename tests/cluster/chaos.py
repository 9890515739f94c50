"""What can be done to a cluster with a crowd on it, and how long it takes everybody to be back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

from tests.cluster import crowd as crowds
from tests.cluster.crowd import Member
from tests.cluster.rig import ClusterNode, Rig
from tests.cluster.serving import overlaps

PAUSE_SECONDS = 12.0
"""Between two messages of one member, on average."""
CALM_SECONDS = 2.0
"""Before the next fault."""
WATCH_SECONDS = 4.0
"""In which people would be thrown out after something."""
BACK_SECONDS = 60.0
SETTLE_SECONDS = 90.0


class Chaos:
    """The cluster, its crowd, and what was measured."""

    def __init__(self, rig: Rig, members: Sequence[Member]) -> None:
        self.rig = rig
        self.members = members
        self.detected: list[float] = []
        self.back: list[float] = []

    async def kill(self, victim: ClusterNode) -> None:
        """SIGKILL, take-over, restart, fall-back."""
        await self._lose(victim, victim.kill)
        await asyncio.to_thread(victim.restart)
        await self.fall_back(victim)

    async def freeze(self, victim: ClusterNode) -> None:
        """SIGSTOP, take-over, SIGCONT, fall-back."""
        await self._lose(victim, victim.freeze)
        victim.thaw()
        await self.fall_back(victim)

    async def cut(self, victim: ClusterNode) -> None:
        """The cable out, take-over, the cable in, fall-back."""
        await self._lose(victim, victim.machine.pull)
        victim.machine.plug()
        await self.fall_back(victim)

    async def restart_database(self, _victim: ClusterNode) -> None:
        """A crash of the database: whoever is on stays on."""
        before = crowds.online(self.members)
        await asyncio.to_thread(self.rig.postgres.restart, "immediate")
        await asyncio.sleep(WATCH_SECONDS)
        assert crowds.online(self.members) >= before * 0.98, "people were thrown out"

    async def restart_bus(self, _victim: ClusterNode) -> None:
        """The bus away for some seconds: whoever is on stays on."""
        before = crowds.online(self.members)
        self.rig.nats.kill()
        await asyncio.sleep(3)
        await asyncio.to_thread(self.rig.nats.start)
        await asyncio.sleep(WATCH_SECONDS)
        assert crowds.online(self.members) >= before * 0.9, "people were thrown out"

    async def _lose(self, victim: ClusterNode, harm: Callable[[], None]) -> None:
        other = next(node for node in self.rig.nodes if node is not victim)
        begun, clock = time.time(), time.monotonic()
        harm()
        served = await until(lambda: taken_over(other, begun), BACK_SECONDS, f"{other.data.name} takes over")
        self.detected.append(served - begun)
        await self.all_back()
        self.back.append(time.monotonic() - clock)

    async def fall_back(self, victim: ClusterNode) -> None:
        """Have the people of a node go home, once it is ready for them."""

        def is_home() -> bool:
            return victim.command("utils", "ha", "status").count("State: Normal") == 2

        async def go_home() -> bool:
            if await asyncio.to_thread(is_home):
                return True
            await asyncio.to_thread(try_command, victim, "utils", "ha", "fallback", victim.data.name)
            return False

        await until_true(go_home, BACK_SECONDS, f"{victim.data.name} is normal again")
        await self.all_back()

    async def all_back(self) -> None:
        """Wait until 95 % are on."""
        wanted = 0.95 * len(self.members)
        await until(
            lambda: crowds.online(self.members) >= wanted,
            BACK_SECONDS,
            f"{crowds.online(self.members)} are on",
        )

    async def settle(self) -> None:
        """Let everybody finish."""
        for member in self.members:
            member.stop_chatting()
        total = sum(sum(member.sent.values()) for member in self.members)

        def is_settled() -> bool:
            shown = sum(len(seen) for member in self.members for seen in member.shown.values())
            return shown >= total and not any(member.unacknowledged for member in self.members)

        try:
            await until(is_settled, SETTLE_SECONDS, "everything is settled")
        except AssertionError:
            print("not settled:", sum(bool(member.unacknowledged) for member in self.members), "members wait")

    def check(self) -> None:
        """Assert that nothing was lost, refused, or shown out of order, and that nobody was served twice."""
        assert [fault for member in self.members for fault in member.faults] == []
        assert [refusal for member in self.members for refusal in member.refused] == []
        assert crowds.differences(self.members) == []
        assert overlaps(self.rig.nodes) == []

    def report(self) -> str:
        """Say what was measured."""
        sent = sum(sum(member.sent.values()) for member in self.members)
        return (
            f"chaos: {sent} messages among {len(self.members)} members; "
            f"{sum(m.logins for m in self.members)} logins, {sum(m.resumes for m in self.members)} resumed, "
            f"{sum(m.repeats for m in self.members)} repeats dropped; "
            f"detected in {median(self.detected):.1f} s (max {max(self.detected):.1f}), "
            f"95 % back on in {median(self.back):.1f} s (max {max(self.back):.1f})"
        )


def gather(
    rig: Rig, names: Sequence[str], chance: random.Random, pause: float = PAUSE_SECONDS
) -> list[Member]:
    """Make the crowd: half of it signs in at another node than its home."""
    members = []
    for index, name in enumerate(names):
        partners = [names[(index + chance.randrange(1, len(names))) % len(names)] for _ in range(4)]
        members.append(
            Member(
                name,
                rig.places,
                rig.lab.address,
                partners,
                pause,
                random.Random(index),
                prefers=(index // len(rig.places)) % len(rig.places),
            )
        )
    return members


def taken_over(node: ClusterNode, since: float) -> float | None:
    """Return when a node began to serve another's people, if it did since then."""
    for entry in node.events("set_served"):
        at = float(str(entry["at"]))
        if at > since and entry["set_id"] != node_id(node):
            return at
    return None


def node_id(node: ClusterNode) -> int:
    """Return the id of a node, which is that of its set: they were made in order."""
    return int(node.data.name.removeprefix("node"))


def try_command(node: ClusterNode, *words: str) -> None:
    """Run a command that may be refused for now."""
    try:
        node.command(*words)
    except Exception as error:  # noqa: BLE001  it is tried again
        print(str(error)[:200])


async def until(condition: Callable[[], float | None], seconds: float, what: str) -> float:
    """Wait until a condition gives something and return it; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)
    return found


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Wait until an asynchronous condition holds; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.5)
