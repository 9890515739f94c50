"""Options that many commands have, and how they find the node."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from ubiety.cli.client import Client, CommandError
from ubiety.config import data_directory

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="UBIETY_DATA", help="Data directory of the node.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Domain = Annotated[
    str | None, typer.Option("--domain", help="Domain; without it the default one.", show_default=False)
]
OtherNode = Annotated[
    str | None,
    typer.Option("--node", help="A node of the cluster; without it this one.", show_default=False),
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most entries to print.")]


def client(data: Path | None) -> Client:
    """The client for the node of this data directory."""
    return Client(data_directory(data))


def read_password() -> str:
    """Reads a password: hidden from a terminal, else the first line of standard input.

    Raises CommandError when there is none.
    """
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise CommandError("The two passwords differ.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError(
            "There is no password on standard input.", "For instance: ... --password-stdin < FILE"
        )
    return password
