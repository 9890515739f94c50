"""The `ubiety` command: all sub-commands, and how failures are told."""

import gc
import importlib
import sys
from collections.abc import Sequence
from typing import Any

import typer

from ubiety import __version__
from ubiety.cli.client import CommandError
from ubiety.cli.output import console, print_line
from ubiety.config import ConfigError

COMMANDS = {name: ("node", name) for name in ("serve", "status", "check", "announce")}
"""Commands, with the module of `ubiety.cli` and the function there."""
GROUPS = {
    "user": ("people", "app"),
    "policy": ("policy", "app"),
    "cluster": ("cluster", "app"),
    "node": ("nodes", "node_app"),
    "assignment": ("nodes", "assignment_app"),
    "prg": ("redundancy", "prg_app"),
    "federation": ("federation", "app"),
    "microsoft": ("federation", "microsoft_app"),
    "route": ("sip_routes", "app"),
    "acl": ("trust", "acl_app"),
    "tls-peer": ("trust", "peer_app"),
    "gateway": ("gateways", "app"),
    "sip": ("sip", "app"),
    "utils": ("familiar", "utils_app"),
    "show": ("familiar", "show_app"),
    "report": ("services", "report_app"),
    "alarm": ("services", "alarm_app"),
    "domain": ("installation", "domain_app"),
    "setting": ("installation", "setting_app"),
    "session": ("installation", "session_app"),
    "token": ("installation", "token_app"),
    "certificate": ("installation", "certificate_app"),
    "audit": ("installation", "audit_app"),
    "lab": ("lab", "app"),
}
"""Groups of commands, with the module of `ubiety.cli` and the name of the group there."""


SELDOM = (20_000, 20, 200)
"""How often to look for garbage: a command makes next to none."""


def make_app(names: Sequence[str] = (*COMMANDS, *GROUPS)) -> typer.Typer:
    """The command line, with these commands and groups.

    One that is not named is not imported: to import all of them takes several times as long as most
    commands do.
    """
    app = typer.Typer(
        name="ubiety",
        help="Ubiety: instant messaging and presence for your organisation.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for name in names:
        if name in COMMANDS:
            app.command(name)(_find(*COMMANDS[name]))
    app.command("version")(version)
    for name in names:
        if name in GROUPS:
            app.add_typer(_find(*GROUPS[name]))
    return app


def version() -> None:
    """Print the version."""
    print_line(__version__)


def _find(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"ubiety.cli.{module}"), name)


def main() -> None:
    """Runs the command line and ends the process: 0 done, 1 refused, 2 wrong usage, 3 no node."""
    gc.set_threshold(*SELDOM)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code."""
    is_known = bool(arguments) and arguments[0] in {**COMMANDS, **GROUPS}
    app = make_app(arguments[:1]) if is_known else make_app()
    try:
        app(arguments, prog_name="ubiety")
    except SystemExit as end:  # how Typer ends, also after wrong usage
        return end.code if isinstance(end.code, int) else 1
    except CommandError as error:
        return _fail(error.detail, error.cure, error.code)
    except ConfigError as error:
        return _fail(str(error), "", 1)
    return 0


def _fail(detail: str, cure: str, code: int) -> int:
    screen = console(stderr=True)
    screen.print("Error: ", style="bold red", end="")
    screen.print(detail)
    if cure:
        screen.print(cure)
    return code


if __name__ == "__main__":
    main()
