"""`ubiety node` and `ubiety assignment`: the nodes of the cluster, and whose home they are."""

import time
from typing import Annotated, Any

import typer

from ubiety.cli import draining
from ubiety.cli.client import CommandError
from ubiety.cli.options import Data, Domain, Json, client
from ubiety.cli.output import (
    duration,
    moment,
    print_json,
    print_line,
    print_note,
    print_properties,
    print_table,
)

node_app = typer.Typer(name="node", help="Nodes of the cluster.", no_args_is_help=True)
assignment_app = typer.Typer(name="assignment", help="User assignment to nodes.", no_args_is_help=True)

NodeName = Annotated[str, typer.Argument(help="Name of the node.")]
UserId = Annotated[str, typer.Argument(help="User id, or an address at a domain that is served here.")]

LOOK_SECONDS = 1.0


@node_app.command("list")
def list_nodes(as_json: Json = False, data: Data = None) -> None:
    """List the nodes of the cluster."""
    found = client(data).get("node.list")["nodes"]
    if as_json:
        print_json(found)
        return
    titles = ["Node", "Group", "Publisher", "Answers", "State", "Reason", "People", "Sessions", "Release"]
    names = ("name", "group", "is_publisher", "is_up", "state", "reason", "people", "sessions", "release")
    print_table(titles, ([one[name] for name in names] for one in found), "There are no nodes.")


@node_app.command("show")
def show_node(name: NodeName, as_json: Json = False, data: Data = None) -> None:
    """Show a node of the cluster."""
    found = client(data).get("node.show", name=name)
    if as_json:
        print_json(found)
        return
    print_properties(
        {
            "Node": found["name"],
            "Number": found["id"],
            "Group": found["group"],
            "Backup": found["backup"] or "none",
            "High availability": found["ha_enabled"],
            "Publisher": found["is_publisher"],
            "Answers": found["is_up"],
            "State": f"{found['state']} ({found['reason']})",
            "Since": moment(found["state_since"]),
            "Draining": found["draining"],
            "People": found["people"],
            "Sessions": found["sessions"],
            "Address": found["address"],
            "Ports": found["ports"],
            "Release": found["release"],
            "Started": f"{moment(found['started'])} ({duration(time.time() - found['started'])} ago)",
        }
    )


@node_app.command("make-publisher")
def make_publisher(name: NodeName, data: Data = None) -> None:
    """Make a node the publisher instead of the one that is it."""
    done = client(data).post("node.make-publisher", name=name)
    print_line(f"{done['name']} is the publisher now.")


@node_app.command("remove")
def remove_node(
    name: NodeName,
    move_people: Annotated[
        bool, typer.Option("--move-people", help="Assign its people to the other nodes first.")
    ] = False,
    data: Data = None,
) -> None:
    """Remove a node that has been stopped for good."""
    done = client(data).post("node.remove", name=name, move_people=move_people)
    print_line(f"Removed {done['name']}.")
    if done["people_moved"]:
        print_line(f"{done['people_moved']} people belong to other nodes now.")


@assignment_app.command("show")
def show(
    userid: Annotated[str | None, typer.Argument(help="User id or address of a person.")] = None,
    domain: Domain = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show how people are spread over the nodes, or where one of them belongs."""
    found = client(data).get("assignment.show", userid=userid, domain=domain)
    if as_json:
        print_json(found)
    elif found["person"] is not None:
        _print_person(found["person"])
    else:
        print_line(f"User Assignment Mode for Presence Server: {found['mode']}")
        rows = ([one["node"], one["group"], one["people"]] for one in found["nodes"])
        print_table(["Node", "Group", "People"], rows, "There are no nodes.")
        if found["unassigned"]:
            print_note(f"{found['unassigned']} people are assigned to no node and cannot sign in.")
        if found["moving"]["left"]:
            print_note(f"{found['moving']['left']} people are still to be moved.")


@assignment_app.command("set")
def set_node(
    userid: UserId,
    node: Annotated[str | None, typer.Argument(help="Name of the node.")] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Assign the person to no node.")] = False,
    domain: Domain = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Assign a person to a node; who is signed in signs in anew there."""
    if (node is None) != nobody:
        raise CommandError("Name a node, or give --nobody.", code=2)
    found = client(data).post("assignment.set", userid=userid, domain=domain, node=node)
    if as_json:
        print_json(found)
    else:
        _print_person(found)


@assignment_app.command("rebalance")
def rebalance(
    preview: Annotated[bool, typer.Option("--preview", help="Only tell how many would move.")] = False,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="A node that is to have nobody; may be repeated.")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Spread people over the nodes anew, with the fewest moves, and wait until it is done."""
    node = client(data)
    found = node.post("assignment.rebalance", preview=preview, without=without or [])
    if as_json:
        print_json(found)
        return
    rows = ([one["from_node"] or "none", one["to_node"], one["people"]] for one in found["moves"])
    print_table(["From", "To", "People"], rows, "Nobody has to move.")
    if not found["started"]:
        return
    moving = node.get("assignment.show")["moving"]
    while moving["left"]:
        print_note(f"{moving['moved']} of {moving['total']} moved.")
        time.sleep(LOOK_SECONDS)
        moving = node.get("assignment.show")["moving"]
    print_line(f"Moved {moving['moved']} people.")
    if moving["failed"]:
        raise CommandError(
            f"{moving['failed']} people were not moved.", "See the log, and: ubiety assignment rebalance"
        )


def _print_person(person: dict[str, Any]) -> None:
    print_properties(
        {
            "Person": person["address"],
            "Assigned to": person["node"] or "no node",
            "Served by": person["served_by"] or "none",
        }
    )


node_app.command("drain")(draining.drain)
