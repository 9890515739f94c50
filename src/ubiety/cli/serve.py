"""The process of a node, once all its parts are there: see ``started``."""

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ubiety import app, process, telemetry
from ubiety.admin.problems import Problem
from ubiety.cli.output import console
from ubiety.config import FILE_NAME, Config, ConfigError, load_config, write_default
from ubiety.gateway.static import DEFAULT_PORT
from ubiety.store.errors import StoreError

DEMO_DOMAIN = "example.org"
Greet = Callable[[app.Node], Coroutine[Any, Any, None]]


def main(options: dict[str, Any]) -> int:
    """Serves until a signal comes; returns the exit code."""
    os.umask(0o077)  # whatever a node writes is nobody else's business
    demo, data = bool(options["demo"]), Path(options["data"])
    overrides: dict[str, Any] = dict(options["overrides"])
    if demo and not (data / FILE_NAME).exists() and not os.environ.get("UBIETY_DOMAIN"):
        overrides["domain"] = overrides["domain"] or DEMO_DOMAIN
    try:
        config = load_config(data, overrides)
        if options["lab"] and config.sip_port is None:
            overrides["sip_port"] = DEFAULT_PORT
            config = load_config(data, overrides)
        config.make_directories()
        write_default(config, overrides)
        telemetry.configure_log(config.log_file)
        greet = _greet_with_demo if demo else _greet
        return process.run(config, _with_lab(greet) if options["lab"] else greet)
    except StoreError as error:
        return _fail(f"The database cannot be used: {error}. See [database] in {data / FILE_NAME}.")
    except (ConfigError, Problem, *app.START_ERRORS) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or data}: {error.strerror or error}.")


async def _greet(node: app.Node) -> None:
    config = node.config
    print(_title(config, node.ports))
    print(render_steps(config, node.ports, node.certificates.ca_path), flush=True)


async def _greet_with_demo(node: app.Node) -> None:
    from ubiety.demo.service import SampleOrganisation  # noqa: PLC0415  nobody else waits until it is there

    organisation = SampleOrganisation(node)
    banner = await organisation.start()
    node.on_stop(organisation.stop)
    print(banner, flush=True)


def _with_lab(greet: Greet) -> Greet:
    async def greet_both(node: app.Node) -> None:
        from ubiety.lab.beside import MicrosoftLab  # noqa: PLC0415  nobody else waits until it is there

        lab = MicrosoftLab(node)
        banner = await lab.start()
        node.on_stop(lab.stop)
        await greet(node)
        print(banner, flush=True)

    return greet_both


def _title(config: Config, ports: Any) -> str:
    listed = ", ".join(f"{name} {port}" for name, port in ports.items())
    return f"Ubiety serves {config.domain} from {config.data_dir} ({listed}). Stop it with Ctrl-C.\n"


def render_steps(config: Config, ports: Any, authority: Path | None) -> str:
    """The three steps that a new installation needs next."""
    here = f" --data {config.data_dir}"
    trust = f"; let it trust {authority}" if authority else ""
    return (
        "Next steps, in another terminal:\n"
        f'1. Add people:     ubiety user add USERID --name "..." --password-stdin{here}\n'
        f"                   or all at once: ubiety user import FILE.csv{here}\n"
        f"2. Log in:         any XMPP client, as USERID@{config.domain}, port {ports['c2s']} (STARTTLS) or"
        f" {ports['c2s_tls']} (TLS){trust}\n"
        f"3. Make it public: ubiety check{here} names what is missing (DNS, certificate)\n"
    )


def _fail(text: str) -> int:
    screen = console(stderr=True)
    screen.print("Error: ", style="bold red", end="")
    screen.print(text)
    return 1
