"""What a node with the sample organisation says when it has started."""

from collections.abc import Mapping
from pathlib import Path

from ubiety.demo.organisation import Organisation
from ubiety.demo.seeding import PEOPLE_FILE


def render_banner(firm: Organisation, host: str, ports: Mapping[str, int], data_dir: Path, ca: Path) -> str:
    """Return the start-up message as plain text.

    `ports` has the listeners' real ports by name: `c2s`, `c2s_tls`, `api`; `ca` is the file of the authority
    that a client can trust.
    """
    first = firm.visitors[0]
    width = max(len(firm.address(person)) for person in firm.visitors)
    people = [
        f"  {firm.address(person):<{width}}  {person.password:<20}  {person.name}, {person.department}"
        for person in firm.visitors
    ]
    port = "" if ports["c2s"] == 5222 else f" port {ports['c2s']}"
    lines = [
        f"{firm.firm}: a sample organisation of {len(firm.people)} people.",
        f"{len(firm.simulated)} of them are simulated: they come online now, and answer when you write.",
        "",
        "Log in as",
        *people,
        f"All {len(firm.people)} addresses and passwords: {data_dir / PEOPLE_FILE}",
        "",
        "with any XMPP client at",
        f"  host {host}   port {ports['c2s']} (STARTTLS) or {ports['c2s_tls']} (TLS)   domain {firm.domain}",
        f"  certificate authority to trust: {ca}",
        "",
        "for example",
        f"  profanity, then  /connect {firm.address(first)} server {host}{port} tls trust",
        "",
        f"Administration, from another terminal: ubiety status --data {data_dir}",
        *([f"or https://{host}:{ports['api']}/api"] if "api" in ports else []),
        "Stop with Ctrl-C; the next start takes up the same data.",
    ]
    return "\n".join(lines) + "\n"
