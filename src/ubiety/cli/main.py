"""The `ubiety` command: all sub-commands, and how failures are told."""

import sys

import typer

from ubiety import __version__
from ubiety.cli import (
    cluster,
    draining,
    familiar,
    federation,
    gateways,
    installation,
    lab,
    node,
    nodes,
    people,
    policy,
    redundancy,
    services,
    sip,
    sip_routes,
    trust,
)
from ubiety.cli.client import CommandError
from ubiety.cli.output import console, print_line
from ubiety.config import ConfigError

app = typer.Typer(
    name="ubiety",
    help="Ubiety: instant messaging and presence for your organisation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (node.serve, node.status, node.check, node.announce):
    app.command(command.__name__)(command)
nodes.node_app.command("drain")(draining.drain)
for group in (
    people.app,
    policy.app,
    cluster.app,
    nodes.node_app,
    nodes.assignment_app,
    redundancy.prg_app,
    federation.app,
    federation.microsoft_app,
    sip_routes.app,
    trust.acl_app,
    trust.peer_app,
    gateways.app,
    sip.app,
    familiar.utils_app,
    familiar.show_app,
    services.report_app,
    services.alarm_app,
    installation.domain_app,
    installation.setting_app,
    installation.session_app,
    installation.token_app,
    installation.certificate_app,
    installation.audit_app,
    lab.app,
):
    app.add_typer(group)


@app.command("version")
def version() -> None:
    """Print the version."""
    print_line(__version__)


def main() -> None:
    """Runs the command line and ends the process: 0 done, 1 refused, 2 wrong usage, 3 no node."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code."""
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
