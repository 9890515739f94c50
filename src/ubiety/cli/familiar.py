"""`ubiety utils ...` and `ubiety show ...`: command words that known runbooks use."""

from typing import Annotated

import typer

from ubiety.cli import redundancy, services
from ubiety.cli.client import CommandError
from ubiety.cli.options import Data, Json, client
from ubiety.cli.output import print_json, print_line, print_note

utils_app = typer.Typer(name="utils", help="The familiar commands of operation.", no_args_is_help=True)
show_app = typer.Typer(name="show", help="The familiar commands that show something.", no_args_is_help=True)
perf_app = typer.Typer(name="perf", help="Counters.", no_args_is_help=True)
query_app = typer.Typer(name="query", help="Read counters.", no_args_is_help=True)

utils_app.add_typer(redundancy.ha_app)
utils_app.add_typer(services.service_app)
utils_app.add_typer(services.dbreplication_app)
show_app.add_typer(perf_app)
perf_app.add_typer(query_app)


@query_app.command("counter")
def query_counter(
    words: Annotated[
        list[str],
        typer.Argument(
            help="Class and counter, for instance: Cisco Presence Engine Active JsmSessions.",
            metavar="CLASS COUNTER",
        ),
    ],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show a counter of every node, by its familiar name, with or without quotation marks."""
    if not words:
        raise CommandError("Name a class and a counter.", code=2)
    found = client(data).get("counter.query", words=" ".join(words))
    if as_json:
        print_json(found)
        return
    for one in found["nodes"]:
        print_line(f"Node: {one['node']}")
        print_line(f"- Perf class ({found['perf_class']}) counter is:")
        print_line(f"    -> {found['counter']} = {one['value']}")
    if found["missing"]:
        print_note(f"No answer from: {', '.join(found['missing'])}.")
