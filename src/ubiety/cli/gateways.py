"""`ubiety gateway`: phone systems that say who is on the phone."""

from typing import Annotated

import typer

from ubiety.cli.options import Data, Json, client
from ubiety.cli.output import print_json, print_line, print_table

app = typer.Typer(name="gateway", help="Phone systems that say who is on the phone.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(help="IP address or name of its publisher, or an SRV name.")]


@app.command("list")
def list_gateways(as_json: Json = False, data: Data = None) -> None:
    """List the presence gateways."""
    found = client(data).get("gateway.list")["gateways"]
    if as_json:
        print_json(found)
        return
    rows = (
        [
            one["address"],
            one["kind"],
            one["port"] or "by SRV",
            one["transport"].upper(),
            "we ask it" if one["is_asked"] else "it publishes",
            one["description"],
        ]
        for one in found
    )
    print_table(["Address", "Type", "Port", "Protocol", "How", "Description"], rows, "There are none.")


@app.command("add")
def add(
    address: Address,
    kind: Annotated[str, typer.Option("--type", help="cucm is Unified CM.")] = "cucm",
    port: Annotated[
        int | None,
        typer.Option(
            "--port", help="Without it 5060, for TLS 5061; 0 asks for SRV records.", show_default=False
        ),
    ] = None,
    transport: Annotated[str, typer.Option("--protocol", help="tcp, tls or udp.")] = "tcp",
    is_asked: Annotated[
        bool,
        typer.Option(
            "--ask", help="Ask it for the state of people's phones; without it it publishes them itself."
        ),
    ] = False,
    description: Annotated[str, typer.Option("--description", help="For whoever reads the list.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Add a presence gateway: no other peer may publish.

    It must be trusted besides: see `ubiety acl` and `ubiety tls-peer`.
    """
    made = client(data).post(
        "gateway.add",
        address=address,
        kind=kind,
        port=port,
        transport=transport,
        is_asked=is_asked,
        description=description,
    )
    if as_json:
        print_json(made)
    else:
        print_line(f"Added {made['address']}.")


@app.command("delete")
def delete(address: Address, data: Data = None) -> None:
    """Delete a presence gateway."""
    print_line(f"Deleted {client(data).post('gateway.delete', address=address)['name']}.")
