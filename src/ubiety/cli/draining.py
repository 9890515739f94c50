"""`ubiety node drain`."""

import time
from typing import Annotated

import typer

from ubiety.cli.client import CommandError
from ubiety.cli.options import Data, Json, client
from ubiety.cli.output import print_json, print_line

POLL_SECONDS = 0.5


def drain(
    node: Annotated[
        str | None, typer.Argument(help="Name of the node; without it the one that is asked.")
    ] = None,
    rate: Annotated[int | None, typer.Option("--rate", help="Clients closed a second; 200.")] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Let clients in again.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is done.")] = True,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Empty a node before it is stopped: its people move to the other node of its group, clients leave."""
    api = client(data)
    if cancel:
        now = api.post("node.drain_cancel", node=node)
        print_line(f"{now['node']} takes clients again.")
        return
    now = api.post("node.drain", node=node, rate=rate)
    shown = ""
    while wait and not now["over"]:
        line = f"{now['node']}: {now['step']}, {now['clients']} clients left."
        if line != shown and not as_json:
            print_line(line)
            shown = line
        time.sleep(POLL_SECONDS)
        now = api.get("node.drain_show", node=node)
    if as_json:
        print_json(now)
    else:
        print_line(f"{now['node']}: {now['step']}, {now['clients']} clients left.")
        if now["handed_over"]:
            print_line(f"When it runs again, give it its people back: ubiety utils ha fallback {now['node']}")
    if now["step"] == "failed":
        raise CommandError(now["problem"])
