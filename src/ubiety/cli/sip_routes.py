"""`ubiety route`: where SIP requests are sent, and why."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from ubiety.cli.client import CommandError
from ubiety.cli.options import Data, Json, client
from ubiety.cli.output import print_json, print_line, print_note, print_table

app = typer.Typer(name="route", help="Static routes: where SIP requests are sent.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="Number of the route.", metavar="NUMBER")]


def _route(
    port: Annotated[
        int | None,
        typer.Option("--port", help="Port of the next hop; 0: by its SRV records.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="tcp, tls or udp.", show_default=False)
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="The same as --protocol tls.")] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type", help="domain or user; without it what the pattern looks like.", show_default=False
        ),
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", help="1 to 65535, lower ones first.", show_default=False)
    ] = None,
    weight: Annotated[
        int | None,
        typer.Option(
            "--weight", help="Share among routes of equal priority, 1 to 65535.", show_default=False
        ),
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", help="For whoever reads the list.", show_default=False)
    ] = None,
    allow_less_specific: Annotated[
        bool | None,
        typer.Option(
            "--allow-less-specific/--exact",
            help="Whether it is for what is below the domain too, and less specific routes back it up.",
            show_default=False,
        ),
    ] = None,
    in_service: Annotated[
        bool | None,
        typer.Option("--in-service/--out-of-service", help="Whether it is used.", show_default=False),
    ] = None,
    is_blocked: Annotated[
        bool | None,
        typer.Option("--block/--unblock", help="Whether what it matches is refused.", show_default=False),
    ] = None,
) -> dict[str, Any]:
    """What can be said of a route besides its pattern and its next hop, as the interface calls it."""
    if tls and protocol not in (None, "tls"):
        raise CommandError(f"--tls and --protocol {protocol} contradict each other.", code=2)
    return {
        "port": port,
        "transport": "tls" if tls else protocol,
        "kind": kind,
        "priority": priority,
        "weight": weight,
        "description": description,
        "allow_less_specific": allow_less_specific,
        "in_service": in_service,
        "is_blocked": is_blocked,
    }


def with_route_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_route` in the place of its parameter `route`, what they make."""
    options = signature(_route).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        route = _route(**{name: given.pop(name) for name in options})
        command(**given, route=route)

    shape = signature(command)
    parameters: list[Parameter] = []
    for name, one in shape.parameters.items():
        parameters += options.values() if name == "route" else [one]
    named = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]
    vars(run)["__signature__"] = shape.replace(parameters=named)
    return run


@app.command("list")
def list_routes(as_json: Json = False, data: Data = None) -> None:
    """List the static routes."""
    found = client(data).get("route.list")["routes"]
    if as_json:
        print_json(found)
    else:
        _print(found, "There are no routes.")


@app.command("add")
@with_route_options
def add(
    pattern: Annotated[str, typer.Argument(help="A domain backwards (.com.example), or users (91*).")],
    next_hop: Annotated[str, typer.Argument(help="IP address or name of the server.")],
    *,
    route: dict[str, Any],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Add a static route; it is used at once."""
    made = client(data).post("route.add", pattern=pattern, next_hop=next_hop, **route)
    _say(made, "Added", as_json)


@app.command("set")
@with_route_options
def change(
    number: Number,
    pattern: Annotated[str | None, typer.Option("--pattern", show_default=False)] = None,
    next_hop: Annotated[str | None, typer.Option("--next-hop", show_default=False)] = None,
    *,
    route: dict[str, Any],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Change a static route; what is not given stays."""
    made = client(data).post("route.set", id=number, pattern=pattern, next_hop=next_hop, **route)
    _say(made, "Changed", as_json)


@app.command("delete")
def delete(number: Number, as_json: Json = False, data: Data = None) -> None:
    """Delete a static route."""
    _say(client(data).post("route.delete", id=number), "Deleted", as_json)


@app.command("explain")
def explain(
    sender: Annotated[str, typer.Argument(help="Address of the sender.", metavar="FROM")],
    recipient: Annotated[str, typer.Argument(help="Address of the recipient.", metavar="TO")],
    returned: Annotated[
        bool, typer.Option("--returned", help="The other side has sent it back: it went out from here.")
    ] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Say who gets a request, and why, step by step; nothing is sent."""
    found = client(data).get("route.explain", sender=sender, recipient=recipient, is_returned=returned)
    if as_json:
        print_json(found)
        return
    for number, step in enumerate(found["steps"], 1):
        print_line(f"{number:2}. {step}")
    if found["home"]:
        print_note(f"The home of the recipient is {found['home']}.")


def _say(route: dict[str, Any], word: str, as_json: bool) -> None:
    if as_json:
        print_json(route)
        return
    print_line(f"{word} route {route['id']}.")
    _print([route], "")


def _print(routes: list[dict[str, Any]], empty: str) -> None:
    titles = [
        "No.",
        "Pattern",
        "Type",
        "Next hop",
        "Port",
        "Protocol",
        "Prio.",
        "Weight",
        "State",
        "Description",
    ]
    rows = [
        [
            one["id"],
            one["pattern"],
            one["kind"],
            one["next_hop"],
            one["port"] or "SRV",
            one["transport"].upper(),
            one["priority"],
            one["weight"],
            _state(one),
            one["description"],
        ]
        for one in routes
    ]
    print_table(titles, rows, empty)


def _state(route: dict[str, Any]) -> str:
    words = []
    if route["is_blocked"]:
        words.append("blocked")
    if not route["in_service"]:
        words.append("out of service")
    if not route["allow_less_specific"]:
        words.append("exact")
    if route["trouble"]:
        words.append(f"does not answer: {route['trouble']}")
    return ", ".join(words) or "in service"
