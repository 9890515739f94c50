"""`ubiety serve`, `status`, `check` and `announce`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ubiety.admin.finding import Finding, worst
from ubiety.admin.inspect_host import inspect_host
from ubiety.cli.client import CommandError
from ubiety.cli.options import Data, Json, OtherNode, client
from ubiety.cli.output import console, duration, moment, print_json, print_line, print_properties
from ubiety.config import ConfigError, data_directory, load_config

_MARKS = {"passed": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


def serve(
    domain: Annotated[
        str | None, typer.Option("--domain", help="Default domain, at the first start.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="With a sample organisation of 200 people.")] = False,
    with_microsoft_lab: Annotated[
        bool, typer.Option("--with-microsoft-lab", help="With a simulated Lync pool in the same domain.")
    ] = False,
    node: Annotated[str | None, typer.Option("--node", help="Name of this node.")] = None,
    listen: Annotated[str | None, typer.Option("--listen", help="Addresses, with commas between.")] = None,
    c2s_port: Annotated[int | None, typer.Option("--c2s-port", help="STARTTLS; 5222.")] = None,
    c2s_tls_port: Annotated[int | None, typer.Option("--c2s-tls-port", help="Direct TLS; 5223.")] = None,
    api_port: Annotated[int | None, typer.Option("--api-port", help="Administration; 8443.")] = None,
    sip_port: Annotated[int | None, typer.Option("--sip-port", help="SIP over UDP and TCP; off.")] = None,
    sip_tls_peer_port: Annotated[
        int | None, typer.Option("--sip-tls-peer-port", help="SIP servers over TLS, 5061; off.")
    ] = None,
    sip_tls_server_port: Annotated[
        int | None, typer.Option("--sip-tls-server-port", help="SIP clients over TLS, 5062; off.")
    ] = None,
    database_url: Annotated[str | None, typer.Option("--database-url", help="Default: SQLite.")] = None,
    data: Data = None,
) -> None:
    """Serve people: start a node in the foreground."""
    options = {
        "data": str(data_directory(data)),
        "demo": demo,
        "lab": with_microsoft_lab,
        "overrides": {
            "domain": domain,
            "node": node,
            "hosts": listen,
            "c2s_port": c2s_port,
            "c2s_tls_port": c2s_tls_port,
            "api_port": api_port,
            "sip_port": sip_port,
            "sip_tls_peer_port": sip_tls_peer_port,
            "sip_tls_server_port": sip_tls_server_port,
            "database_url": database_url,
        },
    }
    sys.stdout.flush()
    # A node needs ten times the modules that a command needs: it takes the place of this process.
    os.execv(sys.executable, [sys.executable, "-m", "ubiety.cli.started", json.dumps(options)])


def status(node: OtherNode = None, as_json: Json = False, data: Data = None) -> None:
    """Show how a node is."""
    found = client(data).get("node.status", node=node)
    if as_json:
        print_json(found)
        return
    counters = found["counters"]
    print_properties(
        {
            "Node": f"{found['node']}, Ubiety {found['version']}, process {found['process']}",
            "Running for": duration(found["uptime"]) + f", since {moment(found['started'])}",
            "Domains": found["domains"],
            "Ports": found["ports"],
            "Database": found["database"],
            "People": f"{found['people']}, of whom {found['people_enabled']} may log in",
            "Online": f"{counters['online_users']} people in {found['sessions']} sessions",
            "Messages": _messages(counters),
            "Restart needed": found["restart_needed"],
        }
    )


def _messages(counters: dict[str, int]) -> str:
    return f"{counters['messages']} since the start, {counters['messages_in_slice']} in the last minute"


def check(node: OtherNode = None, as_json: Json = False, data: Data = None) -> None:
    """Look for what is wrong with this installation and how to mend it."""
    api = client(data)
    report = api.get("node.check", node=node) if api.is_running() else _check_without_node(data)
    if as_json:
        print_json(report)
    else:
        for finding in report["findings"]:
            _print_finding(finding)
    if report["outcome"] == "failed":
        raise typer.Exit(1)


def _check_without_node(data: Path | None) -> dict[str, Any]:
    directory = data_directory(data)
    start = f"Start it: ubiety serve --data {directory}"
    findings = [Finding("node", "failed", f"No node serves {directory}.", start)]
    try:
        findings += inspect_host(load_config(directory), time.time())
    except ConfigError as error:
        findings.append(Finding("configuration", "failed", str(error)))
    return {
        "outcome": worst(findings),
        "findings": [
            {"check": f.check, "outcome": f.outcome, "text": f.text, "cure": f.cure, "lines": list(f.lines)}
            for f in findings
        ],
    }


def _print_finding(finding: dict[str, Any]) -> None:
    mark, style = _MARKS[finding["outcome"]]
    screen = console()
    screen.print(f"{mark} {finding['outcome']}", style=style, end="")
    screen.print(f"  {finding['check']}: {finding['text']}")
    if finding["cure"]:
        screen.print(f"    {finding['cure']}")
    for line in finding["lines"]:
        screen.print(f"      {line}")


def announce(
    text: Annotated[str, typer.Argument(help="What to say; - reads standard input.")],
    subject: Annotated[str, typer.Option("--subject")] = "",
    domain: Annotated[str | None, typer.Option("--domain", help="To the people of this domain.")] = None,
    department: Annotated[str | None, typer.Option("--department", help="To this department.")] = None,
    to_all: Annotated[
        bool, typer.Option("--to-all", help="To everybody; so it is without any of these.")
    ] = False,
    online: Annotated[bool, typer.Option("--online", help="Only to who is online now.")] = False,
    data: Data = None,
) -> None:
    """Send a message of the server to everybody, a domain, a department, or whoever is online."""
    chosen = [
        (name, value) for name, value in (("domain", domain), ("department", department)) if value is not None
    ]
    chosen += [("online", "")] if online else []
    chosen += [("all", "")] if to_all else []
    if len(chosen) > 1:
        raise CommandError("Give one of --to-all, --domain, --department and --online.", code=2)
    audience, name = chosen[0] if chosen else ("all", "")
    words = sys.stdin.read() if text == "-" else text
    done = client(data).post("announcement.send", text=words, subject=subject, audience=audience, name=name)
    count = done["recipients"]
    print_line(f"Sent to {count} {'person' if count == 1 else 'people'}.")
