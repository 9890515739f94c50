"""`ubiety utils service`, `utils dbreplication`, `report` and `alarm`, in the shape that runbooks know."""

import time
from typing import Annotated, Any

import typer

from ubiety.cli.client import CommandError
from ubiety.cli.options import Data, Json, Limit, client
from ubiety.cli.output import duration, moment, print_json, print_line, print_properties, print_table

service_app = typer.Typer(name="service", help="Services of a node.", no_args_is_help=True)
auto_restart_app = typer.Typer(
    name="auto-restart", help="Whether a service is started again when it fails.", no_args_is_help=True
)
dbreplication_app = typer.Typer(
    name="dbreplication", help="The database as the nodes see it.", no_args_is_help=True
)
report_app = typer.Typer(name="report", help="Reports.", no_args_is_help=True)
alarm_app = typer.Typer(name="alarm", help="What is wrong, and what was.", no_args_is_help=True)
service_app.add_typer(auto_restart_app)

Words = Annotated[
    list[str],
    typer.Argument(help="Full name of the service, with or without quotation marks, or an alias."),
]
OnNode = Annotated[
    str | None, typer.Option("--node", help="Name of a node; without it the one that is asked.")
]

_ENDS = {"STARTED": "STARTED", "STOPPED": "NOTRUNNING"}


@service_app.command("list")
def list_services(node: OnNode = None, as_json: Json = False, data: Data = None) -> None:
    """List the services with their state, start time and up time."""
    found = client(data).get("service.list", node=node)
    if as_json:
        print_json(found)
        return
    print_line("Requesting service status, please wait...")
    print_line("Service Manager is running\nGetting list of all services\n>> Return code = 0")
    for one in found["services"]:
        print_line(_line(one))
    print_line(f"Primary Node ={'true' if found['primary'] else 'false'}")


@service_app.command("show")
def show(words: Words, node: OnNode = None, as_json: Json = False, data: Data = None) -> None:
    """Show one service."""
    one = client(data).get("service.show", service=" ".join(words), node=node)
    if as_json:
        print_json(one)
        return
    print_properties(
        {
            "Service": one["name"],
            "Short names": one["aliases"],
            "Does": one["sentence"],
            "Kind": f"{one['kind']} service, {one['group']}",
            "Status": one["status"],
            "Reason": one["reason"],
            "Activated": one["activated"],
            "Critical": one["critical"],
            "Needs": one["requires"],
            "Started again when it fails": one["auto_restart"],
            "Started": moment(one["started"]) if one["started"] else "",
            "Up for": duration(one["uptime"]) if one["uptime"] is not None else "",
            "Restart needed for": one["restart_needed"],
        }
    )


@service_app.command("start")
def start(words: Words, node: OnNode = None, as_json: Json = False, data: Data = None) -> None:
    """Start a service, and nothing else."""
    _order("start", words, node, as_json, data)


@service_app.command("stop")
def stop(words: Words, node: OnNode = None, as_json: Json = False, data: Data = None) -> None:
    """Stop a service and those that need it."""
    _order("stop", words, node, as_json, data)


@service_app.command("restart")
def restart(words: Words, node: OnNode = None, as_json: Json = False, data: Data = None) -> None:
    """Restart a service, and those that need it and run."""
    _order("restart", words, node, as_json, data)


@service_app.command("activate")
def activate(words: Words, node: OnNode = None, as_json: Json = False, data: Data = None) -> None:
    """Let a feature service run on the node, and start it."""
    _order("activate", words, node, as_json, data)


@service_app.command("deactivate")
def deactivate(words: Words, node: OnNode = None, as_json: Json = False, data: Data = None) -> None:
    """Stop a feature service and keep it from being started."""
    _order("deactivate", words, node, as_json, data)


@auto_restart_app.command("enable")
def enable(words: Words, node: OnNode = None, data: Data = None) -> None:
    """Start the service again when it fails."""
    _set_auto_restart(words, node, data, True)


@auto_restart_app.command("disable")
def disable(words: Words, node: OnNode = None, data: Data = None) -> None:
    """Leave the service stopped when it fails."""
    _set_auto_restart(words, node, data, False)


@auto_restart_app.command("show")
def show_auto_restart(words: Words, node: OnNode = None, data: Data = None) -> None:
    """Show whether the service is started again when it fails."""
    one = client(data).get("service.show", service=" ".join(words), node=node)
    print_line(f"{one['name']}: Auto Restart {'enabled' if one['auto_restart'] else 'disabled'}")


@dbreplication_app.command("runtimestate")
def runtimestate(
    node: Annotated[str | None, typer.Argument(help="Only this node.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show how every node stands to the database; (2) is good."""
    found = client(data).get("database.state")
    rows = _of_node(found, node)
    if as_json:
        print_json(rows)
        return
    print_line(f"Server Time: {time.strftime('%a %b %d %H:%M:%S %Z %Y', time.localtime(found['at']))}\n")
    print_line(f"Cluster Replication State: {'good on all servers' if found['good'] else 'see below'}")
    print_line(f"     Sync Status: {'NO ERRORS' if found['good'] else 'ERRORS'}")
    print_line("     Use CLI to see detail: 'ubiety report database-status'\n")
    print_line(f"DB Version: {found['version'] or 'unknown'}, schema {found['revision'] or 'unknown'}\n")
    print_line(f"Cluster Detailed View ({len(found['nodes'])} Servers):\n")
    print_table(
        ["SERVER-NAME", "ADDRESS", "PING (msec)", "DB/RPC/DbMon?", "Group ID", "REPLICATION SETUP & Details"],
        [_state_row(one) for one in rows],
        "There are no nodes.",
    )


@dbreplication_app.command("status")
def replication_status(data: Data = None) -> None:
    """Check replication; ends with 1 when something is wrong."""
    found = client(data).get("database.state")
    for one in found["nodes"]:
        print_line(f"{one['node']}: {one['state']}")
        for problem in one["problems"]:
            print_line(f"    {problem}")
    for replica in found["replicas"]:
        print_line(f"replica {replica}")
    if not found["good"]:
        raise CommandError("Errors or Mismatches found.", "See: ubiety utils dbreplication runtimestate")
    print_line("No Errors or Mismatches found.\nReplication status is good on all available servers.")


@report_app.command("database-status")
def database_status(as_json: Json = False, data: Data = None) -> None:
    """IM and Presence Database Status: the cluster's database in detail."""
    found = client(data).get("database.state")
    current = client(data).get("alarm.list")["alarms"]
    if as_json:
        print_json({**found, "alarms": current})
        return
    print_line("IM and Presence Database Status")
    print_properties(
        {
            "At": moment(found["at"]),
            "Database": found["version"] or "does not answer",
            "Schema": found["revision"],
            "Size": f"{found['bytes'] / 1e6:.1f} MB",
            "Replicas": found["replicas"] or "none",
            "Rows": found["rows"],
        }
    )
    print_line("")
    titles = ["Node", "Publisher", "Database", "Monitor", "State", "Missing"]
    names = ("node", "publisher", "database", "monitor", "state", "problems")
    print_table(titles, ([one[name] for name in names] for one in found["nodes"]), "There are no nodes.")
    print_line("")
    _print_alarms(current)


@alarm_app.command("list")
def list_alarms(
    everything: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False,
    limit: Limit = 100,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List the alarms of all nodes, the newest first."""
    found = client(data).get("alarm.list", all=everything, limit=min(limit, 1000))["alarms"]
    if as_json:
        print_json(found)
    else:
        _print_alarms(found)


def _print_alarms(found: list[dict[str, Any]]) -> None:
    titles = ["Since", "Until", "Node", "Alarm", "Severity", "What", "Cure"]
    rows = (
        [
            moment(one["raised"]),
            moment(one["cleared"]) if one["cleared"] else "",
            *(one[name] for name in ("node", "name", "severity", "text", "cure")),
        ]
        for one in found
    )
    print_table(titles, rows, "There are no alarms.")


def _order(verb: str, words: list[str], node: str | None, as_json: bool, data: Any) -> None:
    one = client(data).post(f"service.{verb}", service=" ".join(words), node=node)
    if as_json:
        print_json(one)
        return
    print_line("Service Manager is running")
    if one["reason"]:
        print_line(one["reason"])
    print_line(f"{one['name']}[{_ENDS.get(one['status'], one['status'])}]")


def _set_auto_restart(words: list[str], node: str | None, data: Any, enabled: bool) -> None:
    one = client(data).post("service.auto_restart", service=" ".join(words), node=node, enabled=enabled)
    print_line(f"{one['name']}: Auto Restart {'enabled' if one['auto_restart'] else 'disabled'}")


def _line(one: dict[str, Any]) -> str:
    line = f"{one['name']}[{one['status']}]"
    if one["started"]:
        line += f"  since {moment(one['started'])}, up {duration(one['uptime'])}"
    if one["reason"]:
        line += f"  {one['reason']}"
    if one["restart_needed"]:
        line += f"  Restart needed: {', '.join(one['restart_needed'])}"
    return line


def _of_node(found: dict[str, Any], node: str | None) -> list[dict[str, Any]]:
    rows = [one for one in found["nodes"] if node in (None, one["node"])]
    if not rows:
        raise CommandError(f"There is no node {node}.", "See: ubiety utils dbreplication runtimestate")
    return rows


def _state_row(one: dict[str, Any]) -> list[str]:
    flags = "/".join("Y" if one[name] else "N" for name in ("database", "answers", "monitor"))
    ping = f"{one['ping']:.3f}" if one["ping"] is not None else "--"
    details = "; ".join([one["state"], *one["problems"]])
    return [one["node"], one["address"] or "--", ping, flags, f"(g_{one['id']})", details]
