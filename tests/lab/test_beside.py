"""`ubiety serve --with-microsoft-lab`: people on both sides of one domain, from one command."""

import asyncio
from pathlib import Path

from tests.interop.slix import SlixClient
from tests.node import DOMAIN, Node

MARTA = f"marta.lync@{DOMAIN}"


async def test_people_on_both_sides_meet(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", environment={"UBIETY_SIP_PORT": "0"})
    node.options = ["--with-microsoft-lab"]
    socket = str(node.data / "lab.sock")
    for _ in range(2):  # the second start finds the route and the trust of the first
        await asyncio.to_thread(node.start)
        try:
            await meet(node, socket)
        finally:
            await asyncio.to_thread(node.stop)


async def meet(node: Node, socket: str) -> None:
    """Have somebody of each side see and write to the other."""

    async def tell(*words: str) -> str:
        return await asyncio.to_thread(node.command, "lab", "tell", "--control", socket, *words)

    user = (await asyncio.to_thread(node.take_users, 1))[0]
    address = f"{user}@{DOMAIN}"
    client = await SlixClient(node.place, user, "xep_0085").start()
    client.send_presence_subscription(pto=MARTA, ptype="subscribe")
    await client.saw_presence("available", MARTA)
    await tell("availability", MARTA, "away")
    await client.saw("presence_available", lambda one: one["from"].bare == MARTA and one["show"] == "away")
    client.send_message(MARTA, "Good morning", mtype="chat")
    await client.saw_message("Marta Lindqvist here. You wrote: Good morning")
    await tell("im", MARTA, address, "And to you")
    await client.saw_message("And to you")
    await tell("type", MARTA, address)
    await client.saw("chatstate_composing")
    await tell("add", MARTA, address)
    client.send_presence(pshow="dnd")
    await tell("wait", MARTA, "presence", "busy", "10")
    assert f"{address}: busy" in await tell("contacts", MARTA)
    await tell("availability", MARTA, "available")
    await client.disconnect()
