"""Conversations at random; wires delay and lose, sides are killed: nothing is lost unsaid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.unit.gateway.im_rig import ANN, BOB, Gate, ImRig, Message
from tests.unit.users.place import Client
from ubiety.element import parse_element
from ubiety.sip.outputs import Hop
from ubiety.xmpp import ns

NAMES = {"ours": "ann", "theirs": "bob"}
PEERS = {"ours": BOB, "theirs": ANN}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[ImRig]:
    made = ImRig(tmp_path)
    yield made
    await made.close()


class Writer:
    """One person with one client that sends again what was not acknowledged when the server was killed."""

    def __init__(self, gate: Gate, client: Client) -> None:
        self.gate = gate
        self.client = client
        self.written: list[str] = []
        self.unacknowledged: list[tuple[int, str]] = []
        self.errors: set[str] = set()
        self.shown: list[str] = []
        self._sent = 1  # the client's presence

    def write(self, name: str, is_new: bool = True) -> None:
        """Send a message."""
        if is_new:
            self.written.append(name)
        self._sent += 1
        self.unacknowledged.append((self._sent, name))
        self.client.send(
            f"<message type='chat' to='{PEERS[self.gate.name]}' id='{name}'><body>{name}</body>"
            f"<origin-id xmlns='{ns.STANZA_ID}' id='{name}'/></message>"
        )

    def type(self, state: str) -> None:
        """Tell that they write."""
        self._sent += 1
        self.client.send(
            f"<message type='chat' to='{PEERS[self.gate.name]}'><{state} xmlns='{ns.CHAT_STATES}'/></message>"
        )

    def ask(self) -> None:
        """Learn what is acknowledged."""
        smacks = self.client.session.smacks
        assert smacks is not None
        self.unacknowledged = [(seq, name) for seq, name in self.unacknowledged if seq > smacks.h]

    def read(self) -> None:
        """Look at what came, acknowledge it."""
        for data in self.client.edge.written:
            element = parse_element(data)
            if element.name == "message" and element.get("type") == "error":
                self.errors.add(element.get("id") or "")
            body = element.find("body", ns.CLIENT)
            if element.name == "message" and element.get("type") == "chat" and body is not None:
                self.shown.append(body.text)
        self.client.edge.written.clear()
        smacks = self.client.session.smacks
        assert smacks is not None
        self.client.session.acknowledge(smacks._acked + len(smacks.unacked))

    async def come_back(self) -> None:
        """Sign in after a crash and send again what the old server did not acknowledge."""
        self.client = await self.gate.place.sign_in(NAMES[self.gate.name], managed=True, presence=None)
        self.client.send("<presence/>")
        self._sent = 1
        again, self.unacknowledged = self.unacknowledged, []
        for _, name in again:
            self.write(name, is_new=False)


class Walk:
    """One walk."""

    def __init__(self, rig: ImRig, seed: int, is_udp: bool) -> None:
        self.rig = rig
        self.random = Random(seed)
        self.kills = 0
        self.slowest = self.random.choice([0.0, 0.2, 1.0])
        self.loss = self.random.choice([0.0, 0.0, 0.1, 0.3])
        rig.delay_of = lambda _gate, _message: self.random.uniform(0, self.slowest)
        rig.loses = self._loses
        if is_udp:
            for gate in rig.gates:
                gate.roads.routes = [Hop("udp", hop.host, hop.port) for hop in gate.roads.routes]

    def _loses(self, _gate: Gate, _message: Message) -> bool:
        return self.random.random() < self.loss

    async def take(self, steps: int) -> None:
        """Walk."""
        ann, bob = await self.rig.people()
        self.writers = [Writer(self.rig.ours, ann), Writer(self.rig.theirs, bob)]
        for _ in range(steps):
            await self._step()
        self.loss = 0.0
        for _ in range(8):
            await self.rig.advance(400)
            for writer in self.writers:
                writer.read()

    async def _step(self) -> None:
        writer = self.random.choice(self.writers)
        for one in self.writers:
            one.read()
        match self.random.choices(
            ["write", "type", "ask", "wait", "long", "deaf", "kill"], [10, 2, 4, 8, 1, 1, 1]
        )[0]:
            case "write":
                for _ in range(self.random.randint(1, 4)):
                    writer.write(f"{writer.gate.name}-{len(writer.written)}")
            case "type":
                writer.type(self.random.choice(["composing", "paused"]))
            case "ask":
                writer.ask()
            case "wait":
                await self.rig.advance(self.random.uniform(0, 3))
            case "long":
                await self.rig.advance(self.random.choice([40, 700]))
            case "deaf":
                writer.gate.is_deaf = True
                await self.rig.advance(self.random.uniform(0, 5))
                writer.gate.is_deaf = False
            case "kill":
                await self._kill(writer)

    async def _kill(self, writer: Writer) -> None:
        self.kills += 1
        writer.read()
        if self.random.random() < 0.5:
            self.rig.rush()
        gate = writer.gate
        await self.rig.kill(gate)
        await self.rig.advance(self.random.choice([0, 0, 5]))
        gate.start(gate.place)
        gate.is_down = False
        await writer.come_back()
        await gate.conversations.load(1)


def first_showings(names: list[str]) -> list[int]:
    """Return the numbers of what was shown, each once."""
    return [int(name.rpartition("-")[2]) for name in dict.fromkeys(names)]


@pytest.mark.parametrize("is_udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("seed", range(8))
async def test_nothing_is_lost_unsaid(rig: ImRig, seed: int, is_udp: bool) -> None:
    walk = Walk(rig, seed * 2 + is_udp, is_udp)
    await walk.take(70)
    for writer, reader in (walk.writers, walk.writers[::-1]):
        assert set(reader.shown) | writer.errors >= set(writer.written), "lost without a word"
        assert set(reader.shown) <= set(writer.written)
        # What was refused may come all the same, when its sender sends it again after a crash.
        numbers = first_showings([name for name in reader.shown if name not in writer.errors])
        assert numbers == sorted(numbers), "out of order"
        for name in set(reader.shown):
            assert reader.shown.count(name) <= 1 + walk.kills
    for gate in rig.gates:
        assert not gate.leftovers(), (gate.name, gate.leftovers())
        assert await gate.outgoing() == []
