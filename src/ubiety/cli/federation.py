"""`ubiety federation` and `ubiety microsoft`: who else is reached over SIP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ubiety.cli.client import Client, CommandError
from ubiety.cli.options import Data, Json, client
from ubiety.cli.output import (
    duration,
    moment,
    print_json,
    print_line,
    print_note,
    print_properties,
    print_table,
)

app = typer.Typer(
    name="federation", help="Microsoft servers and other organisations over SIP.", no_args_is_help=True
)
microsoft_app = typer.Typer(
    name="microsoft",
    help="Who is known to be on the Microsoft side (advanced routing mode).",
    no_args_is_help=True,
)

BATCH = 1_000
"""Addresses that are sent to the node at a time."""

DomainName = Annotated[str, typer.Argument(help="A domain of another organisation.", metavar="DOMAIN")]
Address = Annotated[str, typer.Argument(help="Address of a person, for instance bob@example.org.")]


@app.command("status")
def status(as_json: Json = False, data: Data = None) -> None:
    """Show how the federation is set up, and what it is doing."""
    _print(client(data).get("federation.status"), as_json)


@app.command("enable")
def enable(
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode", help="Routing mode, basic or advanced; without it as it is.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Share our domains with Microsoft Lync or OCS."""
    found = client(data).post("federation.enable", mode=mode)
    _print(found, as_json)
    if not as_json:
        _say_next(found)


def _say_next(found: dict[str, Any]) -> None:
    """Say what is still missing."""
    for domain in found["domains"]:
        if not domain["routes"]:
            print_note(f"No route leads to {domain['name']} yet. See: {_route_to(domain['name'])}")
    if not found["trusted"]:
        print_note("Nobody is trusted yet: requests from outside are refused. See: ubiety acl add HOST")
    print_note("What else may be missing says: ubiety check")


@app.command("disable")
def disable(as_json: Json = False, data: Data = None) -> None:
    """Share our domains with Lync or OCS no more."""
    _print(client(data).post("federation.disable"), as_json)


@app.command("add")
def add(
    domain: DomainName,
    description: Annotated[str, typer.Option("--description", help="For whoever reads the list.")] = "",
    data: Data = None,
) -> None:
    """Federate with another organisation over SIP."""
    made = client(data).post("federation.add", domain=domain, description=description)
    print_line(f"Added {made['name']}.")
    if not made["routes"]:
        print_note(f"No route leads there yet. See: {_route_to(made['name'])}")


@app.command("remove")
def remove(domain: DomainName, data: Data = None) -> None:
    """End the federation with another organisation."""
    print_line(f"Removed {client(data).post('federation.remove', domain=domain)['name']}.")


@microsoft_app.command("list")
def list_addresses(as_json: Json = False, data: Data = None) -> None:
    """List who is known to be on the Microsoft side."""
    found = list(_addresses(client(data)))
    if as_json:
        print_json(found)
    else:
        print_table(["Address"], ([one] for one in found), "Nobody is known to be there.")


@microsoft_app.command("add")
def add_address(
    addresses: Annotated[list[str], typer.Argument(help="Addresses, for instance bob@example.org.")],
    data: Data = None,
) -> None:
    """Add people of the Microsoft side."""
    _add(client(data), addresses)


@microsoft_app.command("import")
def import_addresses(
    file: Annotated[Path, typer.Argument(help="A file with an address (or SIP URI) on each line.")],
    data: Data = None,
) -> None:
    """Add the people of a file, one address a line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}.") from error
    wanted = [line.partition(",")[0].strip().strip('"') for line in lines]
    _add(client(data), [address for address in wanted if "@" in address])


@microsoft_app.command("delete")
def delete_address(address: Address, data: Data = None) -> None:
    """Forget somebody of the Microsoft side."""
    print_line(f"Deleted {client(data).post('microsoft.delete', address=address)['name']}.")


def _add(node: Client, addresses: list[str]) -> None:
    added, refused = 0, []
    for start in range(0, len(addresses), BATCH):
        done = node.post("microsoft.add", addresses=addresses[start : start + BATCH])
        added += done["added"]
        refused += done["refused"]
    print_line(f"Added {added} of {len(addresses)} addresses.")
    for reason in refused:
        print_note(f"Refused: {reason}.")
    if known := len(addresses) - added - len(refused):
        print_note(f"{known} were known already.")
    if refused and not added:
        raise CommandError("Nothing was added.")


def _addresses(node: Client) -> Iterator[str]:
    after = ""
    while True:
        page = node.get("microsoft.list", after=after)
        yield from page["addresses"]
        after = page["next"]
        if not after:
            return


def _route_to(domain: str) -> str:
    return f"ubiety route add .{'.'.join(reversed(domain.split('.')))} HOST --tls"


def _print(status: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(status)
        return
    print_properties(
        {
            "Shared with Microsoft servers": status["is_shared"],
            "Routing mode": status["mode"],
            "Our domains": [_routes(one) for one in status["domains"]],
            "Other organisations": [
                f"{_routes(one)} over {one['protocol'].upper()}" for one in status["remote_domains"]
            ],
            "Entries of the access control list": status["trusted"],
            "TLS peers": status["tls_peers"],
            "Known Microsoft addresses": status["microsoft_addresses"],
            "Outsiders who watch our people": status["watched"],
            "Outsiders whom our people watch": status["watching"],
            "Conversations": status["conversations"],
            "Messages on their way": status["outgoing"],
        }
    )
    for hop in status["trouble"]:
        print_note(f"{hop['hop']} has not answered for {duration(hop['since'])}: {hop['reason']}")
    for one in status["strangers"]:
        many = "once, by" if one["requests"] == 1 else f"{one['requests']} times, last by"
        print_note(
            f"{one['domain']} is unknown here and was named {many} {one['example']} at {moment(one['last'])}."
        )


def _routes(domain: dict[str, Any]) -> str:
    number = domain["routes"]
    return f"{domain['name']} ({number or 'no'} route{'' if number == 1 else 's'})"
