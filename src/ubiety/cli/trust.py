"""`ubiety acl` and `ubiety tls-peer`: whose SIP requests are taken without a password."""

from typing import Annotated

import typer

from ubiety.cli.options import Data, Json, client
from ubiety.cli.output import print_json, print_line, print_table

acl_app = typer.Typer(
    name="acl", help="Whose SIP requests are taken without a password.", no_args_is_help=True
)
peer_app = typer.Typer(
    name="tls-peer", help="Servers whose certificates are accepted for mutual TLS.", no_args_is_help=True
)

Kind = Annotated[
    str | None,
    typer.Option(
        "--kind", help="all, ip, fqdn or domain; without it what the entry looks like.", show_default=False
    ),
]
Domains = Annotated[
    str,
    typer.Option(
        "--for",
        metavar="DOMAIN[,DOMAIN]",
        help="For whose people the peer may speak; the Microsoft side's are those of the shared domain. "
        "Without it: for everybody's.",
        show_default=False,
    ),
]
Description = Annotated[str, typer.Option("--description", help="For whoever reads the list.")]
Subject = Annotated[str, typer.Argument(help="The name in the server's certificate.")]


@acl_app.command("list")
def list_entries(as_json: Json = False, data: Data = None) -> None:
    """List the access control list."""
    found = client(data).get("acl.list")["entries"]
    if as_json:
        print_json(found)
        return
    rows = (
        [one["id"], one["pattern"], one["kind"], ", ".join(one["domains"]) or "all", one["description"]]
        for one in found
    )
    header = ["No.", "Address pattern", "Kind", "Speaks for", "Description"]
    print_table(header, rows, "The list is empty: nobody is trusted.")


@acl_app.command("add")
def add_entry(
    entry: Annotated[
        str, typer.Argument(help="An IP address or network, the name of a host, *.example.com, or all.")
    ],
    kind: Kind = None,
    domains: Domains = "",
    description: Description = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Trust the SIP requests of a peer from now on."""
    given = [one for one in domains.replace(",", " ").split() if one]
    made = client(data).post("acl.add", entry=entry, kind=kind, description=description, domains=given)
    if as_json:
        print_json(made)
        return
    limit = f", for people of {', '.join(made['domains'])} only" if made["domains"] else ""
    print_line(f"Added entry {made['id']}: {made['pattern']}{limit}")


@acl_app.command("delete")
def delete_entry(
    entry: Annotated[str, typer.Argument(help="The entry, or its number.")],
    kind: Kind = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Trust the SIP requests of a peer no more."""
    gone = client(data).post("acl.delete", entry=entry, kind=kind)
    if as_json:
        print_json(gone)
    else:
        print_line(f"Deleted entry {gone['id']}: {gone['pattern']}")


@peer_app.command("list")
def list_peers(as_json: Json = False, data: Data = None) -> None:
    """List the TLS peers."""
    found = client(data).get("tls_peer.list")["peers"]
    if as_json:
        print_json(found)
        return
    rows = ([one["subject"], one["description"]] for one in found)
    print_table(["Subject", "Description"], rows, "There are none: nobody connects to us over mutual TLS.")


@peer_app.command("add")
def add_peer(
    subject: Subject, description: Description = "", as_json: Json = False, data: Data = None
) -> None:
    """Accept the certificate of a server for mutual TLS."""
    made = client(data).post("tls_peer.add", subject=subject, description=description)
    if as_json:
        print_json(made)
    else:
        print_line(f"Added {made['subject']}.")


@peer_app.command("delete")
def delete_peer(subject: Subject, data: Data = None) -> None:
    """Accept the certificate of a server for mutual TLS no more."""
    print_line(f"Deleted {client(data).post('tls_peer.delete', subject=subject)['name']}.")
