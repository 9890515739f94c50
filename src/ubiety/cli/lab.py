"""`ubiety lab`: servers of other makers, simulated, to rehearse federation with."""

import asyncio
import shlex
from pathlib import Path
from typing import Annotated

import typer

from ubiety.cli.client import CommandError
from ubiety.cli.output import console, print_line
from ubiety.lab.control import tell
from ubiety.lab.plan import Plan, PlanError, load_plan
from ubiety.lab.running import Wishes, run_pool
from ubiety.lab.samples import SAMPLE_FILE, make_sample

app = typer.Typer(name="lab", help="Simulated servers to rehearse with.", no_args_is_help=True)

DEFAULT_PORT = 5070

Users = Annotated[
    Path | None,
    typer.Option("--users", help="Users file, TOML or JSON; without it a sample firm.", show_default=False),
]
Control = Annotated[
    Path | None, typer.Option("--control", help="Unix socket for commands.", show_default=False)
]


@app.command("microsoft")
def microsoft(
    users: Users = None,
    control: Control = None,
    domain: Annotated[str, typer.Option("--domain", help="Domain of the sample firm.")] = "example.org",
    port: Annotated[int, typer.Option("--port", help="First TCP port of the sample firm; 0 is any.")] = (
        DEFAULT_PORT
    ),
    front_ends: Annotated[
        int, typer.Option("--front-ends", min=1, help="Number of servers of the sample firm.")
    ] = 1,
    back: Annotated[
        str, typer.Option("--back", help="Where Ubiety takes SIP: host:port, for the sample firm.")
    ] = "127.0.0.1:5060",
    trace: Annotated[bool, typer.Option("--trace", help="Print every SIP message.")] = False,
    no_terminal: Annotated[
        bool, typer.Option("--no-terminal", help="Take no commands on standard input.")
    ] = False,
) -> None:
    """Run a simulated Microsoft Lync pool that shares a domain with Ubiety."""
    plan = _plan(users, domain, port, front_ends, back)
    wishes = Wishes(control, not no_terminal, trace)
    screen = console()
    try:
        asyncio.run(run_pool(plan, wishes, screen.print))
    except OSError as error:
        raise CommandError(
            f"The pool cannot start: {error.strerror or error}.", "Give other ports, or stop what uses them."
        ) from error


@app.command("tell")
def tell_pool(
    words: Annotated[list[str], typer.Argument(help="A command of the pool; help lists them.")],
    control: Annotated[Path, typer.Option("--control", help="Unix socket of the running pool.")],
) -> None:
    """Give a running pool one command."""
    try:
        lines = asyncio.run(tell(control, shlex.join(words)))
    except OSError as error:
        raise CommandError(
            f"No pool answers at {control}.", "Start one: ubiety lab microsoft --control PATH"
        ) from error
    for line in lines[:-1]:
        print_line(line)
    if lines and lines[-1] != "ok":
        raise CommandError(lines[-1].removeprefix("error: "))


@app.command("sample")
def sample() -> None:
    """Print a users file to begin with."""
    print(SAMPLE_FILE, end="")


def _plan(users: Path | None, domain: str, port: int, front_ends: int, back: str) -> Plan:
    host, _, back_port = back.rpartition(":")
    if not host or not back_port.isdecimal():
        raise CommandError(f"{back!r} is no host:port.")
    try:
        if users is not None:
            return load_plan(users)
        return make_sample(
            domain.lower(), back=(host, int(back_port), "tcp"), port=port, front_ends=front_ends
        )
    except PlanError as error:
        raise CommandError(f"The users file cannot be used: {error}") from error
