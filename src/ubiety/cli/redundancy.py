"""`ubiety utils ha` and `ubiety prg`: redundancy groups, fail-over, fall-back, recovery."""

from typing import Annotated, Any

import typer

from ubiety.cli.options import Data, Json, client
from ubiety.cli.output import print_json, print_line, print_note, print_table

ha_app = typer.Typer(name="ha", help="High availability: state, fail-over, fall-back.", no_args_is_help=True)
prg_app = typer.Typer(name="prg", help="Presence redundancy groups.", no_args_is_help=True)

GroupName = Annotated[str, typer.Argument(help="Name of a presence redundancy group.", metavar="PRG")]
AnyGroup = Annotated[
    str | None,
    typer.Argument(help="Name of a presence redundancy group; without it all.", metavar="[PRG]"),
]
NodeName = Annotated[str, typer.Argument(help="Name of a node.", metavar="NODE")]
Force = Annotated[
    bool, typer.Option("--force", help="Also where services do not run, or people are failed over.")
]


@ha_app.command("status")
def ha_status(group: AnyGroup = None, as_json: Json = False, data: Data = None) -> None:
    """Show state and reason of each node."""
    found = client(data).get("ha.status", group=group)
    if as_json:
        print_json(found)
        return
    for one in found["groups"]:
        _print_block(one)
    _warn(found)


@ha_app.command("failover")
def ha_failover(node: NodeName, data: Data = None) -> None:
    """Have the people of a node taken over by its peer; its critical services stop until fall-back."""
    print_line(f"Initiate Manual Failover for Node > {node}")
    _ordered(data, "ha.failover", node=node)


@ha_app.command("fallback")
def ha_fallback(node: NodeName, data: Data = None) -> None:
    """Take the people of a failed-over node back."""
    print_line(f"Initiate Manual Fallback for Node > {node}")
    _ordered(data, "ha.fallback", node=node)


@ha_app.command("recover")
def ha_recover(group: GroupName, data: Data = None) -> None:
    """Recover a group whose nodes have failed: restart its critical services and the recovery manager."""
    print_line(f"Initiate Recovery for Subcluster > {group}")
    done = client(data).post("ha.recover", group=group)
    print_line("Stopping services... Stopped")
    print_line("Starting services... Started")
    print_line("Request SUCCESSFUL.")
    _print_status(data, done["name"])


def _ordered(data: Data, operation: str, **arguments: str) -> None:
    done = client(data).post(operation, **arguments)
    print_line("Request SUCCESSFUL.")
    _print_status(data, done["name"])


def _print_status(data: Data, group: str) -> None:
    found = client(data).get("ha.status", group=group)
    for one in found["groups"]:
        _print_block(one)


def _print_block(group: dict[str, Any]) -> None:
    print_line(f"Subcluster Name: {group['name']}")
    for number, node in enumerate(group["nodes"], 1):
        reason = "" if node["state"] == "Normal" else f" Reason: {node['reason']}"
        print_line(f"Node {number} Name : {node['name']} State: {node['state']}{reason}")


@prg_app.command("list")
def list_groups(as_json: Json = False, data: Data = None) -> None:
    """List the presence redundancy groups."""
    found = client(data).get("prg.list")
    if as_json:
        print_json(found)
        return
    rows = (
        (
            one["name"],
            one["high_availability"],
            [node["name"] for node in one["nodes"]],
            sum(node["active_sessions"] for node in one["nodes"]),
            one["description"],
        )
        for one in found["groups"]
    )
    titles = ["Group", "High availability", "Nodes", "Active sessions", "Description"]
    print_table(titles, rows, "There are no groups.")
    _warn(found)


@prg_app.command("show")
def show_group(name: GroupName, as_json: Json = False, data: Data = None) -> None:
    """Show a group: the state and the active sessions of its nodes, also while high availability is off."""
    found = client(data).get("prg.list", group=name)
    if as_json:
        print_json(found)
        return
    for group in found["groups"]:
        _print_group(group)
    _warn(found)


@prg_app.command("add")
def add_group(
    name: GroupName,
    nodes: Annotated[list[str], typer.Argument(help="Its one or two nodes.", metavar="NODE...")],
    description: Annotated[str, typer.Option("--description")] = "",
    data: Data = None,
) -> None:
    """Make a group of one or two nodes; they leave the groups where they were."""
    made = client(data).post("prg.add", name=name, nodes=nodes, description=description)
    print_line(f"{made['name']}: {', '.join(node['name'] for node in made['nodes'])}.")


@prg_app.command("remove")
def remove_group(name: GroupName, data: Data = None) -> None:
    """Take a pair apart: each of its nodes gets a group of its own."""
    done = client(data).post("prg.remove", name=name)
    print_line(f"Each has a group of its own now: {', '.join(done['nodes'])}.")


@prg_app.command("enable-ha")
def enable(name: GroupName, force: Force = False, as_json: Json = False, data: Data = None) -> None:
    """Turn high availability of a pair on; done when every node has applied it."""
    _print_change(client(data).post("prg.enable-ha", name=name, force=force), as_json)


@prg_app.command("disable-ha")
def disable(name: GroupName, force: Force = False, as_json: Json = False, data: Data = None) -> None:
    """Turn high availability of a pair off and record the active sessions; done when it is applied."""
    _print_change(client(data).post("prg.disable-ha", name=name, force=force), as_json)


def _print_change(done: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    group = done["group"]
    word = "on" if group["high_availability"] else "off"
    print_line(f"High availability of {group['name']} is {word}; every node has applied it.")
    _print_group(group)
    for one in done["sessions"]:
        if one["before"] is not None and one["before"] != one["now"]:
            print_line(
                f"{one['node']} has {one['now']} active sessions; {one['before']} were recorded when high "
                "availability was turned off."
            )
    _warn(done)


def _print_group(group: dict[str, Any]) -> None:
    word = "on" if group["high_availability"] else "off"
    words = f" ({group['description']})" if group["description"] else ""
    print_line(f"{group['name']}{words}: high availability {word}")
    rows = (
        (
            node["name"],
            node["state"],
            "" if node["state"] == "Normal" else node["reason"],
            node["active_sessions"],
            node["client_sessions"],
            node["serves"],
            node["release"],
            node["critical_down"],
        )
        for node in group["nodes"]
    )
    titles = ["Node", "State", "Reason", "Active sessions", "Clients", "Serves", "Release", "Services down"]
    print_table(titles, rows, "It has no nodes.")
    print_line(f"Active sessions of the group: {sum(node['active_sessions'] for node in group['nodes'])}")


def _warn(found: dict[str, Any]) -> None:
    for warning in found["warnings"]:
        print_note(f"Warning: {warning}")
    if found.get("missing"):
        print_note(f"No answer from: {', '.join(found['missing'])}.")
