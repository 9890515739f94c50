"""`ubiety sip`: what the SIP stack of a node does, and what goes over the wire."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ubiety.cli.options import Data, Json, Limit, OtherNode, client
from ubiety.cli.output import duration, print_json, print_line, print_note, print_properties, print_table

app = typer.Typer(name="sip", help="The SIP stack of a node.", no_args_is_help=True)

LOOK_SECONDS = 0.5
AUDITED_LOOK_SECONDS = 5.0
"""Each look with text is audited."""


@app.command("status")
def status(node: OtherNode = None, as_json: Json = False, data: Data = None) -> None:
    """Show ports, connections and transactions."""
    found = client(data).get("sip.status", node=node)
    if as_json:
        print_json(found)
        return
    print_properties(
        {
            "Listens": found["is_listening"],
            "Ports": found["ports"] or "none: sip_port under [listen] in ubiety.toml opens one",
            "Under way": {name: count for name, count in found["transactions"].items() if count},
            "Of no use": {name: count for name, count in found["dropped"].items() if count},
        }
    )
    titles = [
        "Protocol",
        "Peer",
        "Certificate",
        "Came in by",
        "Secured by",
        "Since",
        "Idle",
        "Received",
        "Sent",
    ]
    rows = [
        [
            one["transport"].upper(),
            one["peer"],
            one["names"],
            one["listener"] or "from here",
            one["secured_by"],
            duration(one["seconds"]),
            duration(one["idle_seconds"]),
            one["received"],
            one["sent"],
        ]
        for one in found["connections"]
    ]
    print_table(titles, rows, "No peer is connected.")


@app.command("subscriptions")
def subscriptions(
    address: Annotated[str, typer.Argument(help="Only those of this person, or with this one outside.")] = "",
    after: Annotated[int, typer.Option("--after", help="Go on behind this number.")] = 0,
    limit: Limit = 100,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show who outside watches whom of our people, and the reverse."""
    found = client(data).get("sip.subscriptions", address=address, after=after, limit=limit)
    if as_json:
        print_json(found)
        return
    now = time.time()
    lines = [
        [
            one["id"],
            one["peer"] if one["direction"] == "in" else one["person"],
            one["person"] if one["direction"] == "in" else one["peer"],
            one["state"],
            duration(max(0.0, one["expires"] - now)),
        ]
        for one in found["subscriptions"]
    ]
    print_table(["Number", "Watcher", "Watched", "State", "Ends in"], lines, "There are no subscriptions.")
    if found["next"] is not None:
        print_note(f"There are more: --after {found['next']}")
    print_note(", ".join(f"{number} {name}" for name, number in found["counts"].items()))


@app.command("trace")
def trace(
    text: Annotated[
        str, typer.Argument(help="Only messages with this in them, or in the peer's address or name.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl+C.")] = False,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Show what people wrote; every look is audited.")
    ] = False,
    limit: Limit = 100,
    node: OtherNode = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show the newest SIP messages, in the order in which they came and went."""
    after = 0
    try:
        while True:
            after = _show(data, as_json, with_text, after=after, text=text, limit=limit, node=node)
            if not follow:
                return
            time.sleep(AUDITED_LOOK_SECONDS if with_text else LOOK_SECONDS)
    except KeyboardInterrupt:
        print_note("")


def _show(data: Path | None, as_json: bool, with_text: bool, **arguments: Any) -> int:
    node = client(data)
    found = node.post("sip.trace_text", **arguments) if with_text else node.get("sip.trace", **arguments)
    for one in found["messages"]:
        if as_json:
            print_json(one)
        else:
            _print(one)
    last: int = found["last"]
    return last


def _print(message: dict[str, Any]) -> None:
    at = message["at"]
    moment = time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.3f}"[1:]
    arrow = "<--" if message["direction"] == "received" else "-->"
    names = f" ({', '.join(message['names'])})" if message["names"] else ""
    print_note(f"{moment} {arrow} {message['transport'].upper()} {message['peer']}{names}")
    print_line(message["text"].rstrip("\n") + "\n")
