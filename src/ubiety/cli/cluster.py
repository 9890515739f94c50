"""`ubiety cluster`: a cluster on this machine, for trying out."""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ubiety.cli.client import NOT_RUNNING, CommandError
from ubiety.cli.cluster_files import Files, print_parts
from ubiety.cli.options import Json
from ubiety.cli.output import print_json, print_line

app = typer.Typer(name="cluster", help="A cluster on this machine, for trying out.", no_args_is_help=True)

DEFAULT_DATA = Path("ubiety-cluster")
STOP_SECONDS = 90.0
Data = Annotated[Path, typer.Option("--data", help="Directory of the whole cluster.")]


@app.command("up")
def up(
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=20, help="How many nodes.")] = 2,
    domain: Annotated[
        str, typer.Option("--domain", help="Default domain, at the first start.")
    ] = "example.org",
    port_base: Annotated[
        int, typer.Option("--port-base", min=0, help="Node N has the ports from here + 10 N on; 0: any free.")
    ] = 5200,
    share_ports: Annotated[
        bool, typer.Option("--share-ports", help="One pair of ports for the clients of all nodes.")
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Start PostgreSQL, NATS and some nodes, and keep them running in the foreground."""
    options = {
        "nodes": nodes,
        "domain": domain,
        "port_base": port_base,
        "share_ports": share_ports,
        "data": str(data.expanduser().absolute()),
    }
    sys.stdout.flush()
    # The supervisor needs modules that no other command needs: it takes the place of this process.
    os.execv(sys.executable, [sys.executable, "-m", "ubiety.cli.local_cluster", json.dumps(options)])


@app.command("down")
def down(data: Data = DEFAULT_DATA) -> None:
    """Stop the cluster and all that belongs to it."""
    files = Files(data.expanduser().absolute())
    process = _supervisor(files)
    if process is None:
        raise _not_running(files)
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _supervisor(files) == process:
        if time.monotonic() > deadline:
            raise CommandError(f"Process {process} still runs.", f"See {files.logs}, or kill it.")
        time.sleep(0.1)
    print_line("Stopped.")


@app.command("status")
def status(as_json: Json = False, data: Data = DEFAULT_DATA) -> None:
    """Show what runs."""
    files = Files(data.expanduser().absolute())
    document = files.read_state()
    if document is None or _supervisor(files) is None:
        raise _not_running(files)
    if as_json:
        print_json(document)
    else:
        print_parts(document)


def _supervisor(files: Files) -> int | None:
    """Return the process that holds the lock."""
    try:
        with files.lock.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        text = files.lock.read_text().strip()
        return int(text) if text.isdigit() else None
    return None


def _not_running(files: Files) -> CommandError:
    return CommandError(
        f"No cluster runs from {files.data}.", f"Start it: ubiety cluster up --data {files.data}", NOT_RUNNING
    )
