"""Connections that break while much is written to them harm nobody else."""

from __future__ import annotations

import asyncio
import socket
import struct

from tests.harness.client import Client, log_in
from tests.node import Node

CROWD = 12
ROUNDS = 8


async def test_who_breaks_off_in_a_crowd_silences_nobody(shared_node: Node) -> None:
    """Presence goes to a dozen devices at once while some of them reset their connections."""
    users = shared_node.take_users(1)
    for number in range(ROUNDS):
        crowd = [Client(shared_node.place, users[0], resource=f"d{number}-{at}") for at in range(CROWD)]
        await asyncio.gather(*(device.login(tls="direct") for device in crowd))
        for device in crowd:
            device.send("<presence/>")
        stayer, speaker = crowd[0], crowd[1]
        for device in crowd[2:]:
            reset(device)
            speaker.send(f"<presence><status>{number}</status></presence>")
        text = f"last of round {number}"
        speaker.send(f"<message to='{stayer.jid}' type='chat'><body>{text}</body></message>")
        await stayer.expect_message(text)
        stayer.abort()
        speaker.abort()
    (witness,) = await log_in(shared_node.place, *shared_node.take_users(1))
    assert await witness.is_served()
    witness.abort()


def reset(device: Client) -> None:
    """End a connection at once, with a reset instead of a farewell."""
    transport = device.wire.transport
    assert transport is not None
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
