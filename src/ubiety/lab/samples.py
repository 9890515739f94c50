"""A small firm on the Microsoft side, for rehearsals and for the demonstration."""

from typing import Any

from ubiety.lab.plan import Plan, make_plan

PASSWORD = "Lab-only-1"
PEOPLE = (
    ("marta.lync", "Marta Lindqvist", "available", "accept"),
    ("oskar.lync", "Oskar Ferreira", "busy", "accept"),
    ("yusuf.lync", "Yusuf Okonjo", "away", "accept"),
    ("prue.lync", "Prudence Ask", "available", "ask"),
)
"""User, name, availability, and what happens when a stranger wants to see it."""


def make_sample(
    domain: str,
    *,
    back: tuple[str, int, str] = ("127.0.0.1", 5060, "tcp"),
    listen: str = "127.0.0.1",
    port: int = 0,
    front_ends: int = 1,
) -> Plan:
    """A plan of plain TCP front ends on consecutive ports (0: any free ones).

    `back` is where Ubiety takes SIP: host, port, transport.
    """
    host, back_port, transport = back
    table: dict[str, Any] = {
        "domains": [domain],
        "trusted": [host],
        "address": listen,
        "front_ends": [
            {"name": f"fe{number}.{domain}", "host": listen, "tcp_port": port and port + number - 1}
            for number in range(1, front_ends + 1)
        ],
        "routes": {domain: {"host": host, "port": back_port, "transport": transport}},
        "users": [
            {
                "uri": f"{user}@{domain}",
                "name": name,
                "password": PASSWORD,
                "signed_in": availability,
                "prompts": prompts,
                "answers": True,
            }
            for user, name, availability, prompts in PEOPLE
        ],
    }
    return make_plan(table)


SAMPLE_FILE = """\
# The users file of `ubiety lab microsoft`: one simulated Lync pool.
domains = ["example.org"]
trusted = ["127.0.0.1"]        # hosts that need not authenticate: the Ubiety nodes
# refresh = 6300               # seconds between refreshes of a subscription
# grant = 28800                # the longest subscription that is granted, in seconds
# first_message_in_invite = false

[[front_ends]]
name = "fe1.example.org"       # what others are told, unless host says something else
host = "127.0.0.1"
tcp_port = 5070
# tls_port = 5071              # needs [tls]

# [tls]
# certificate = "fe1.pem"
# key = "fe1-key.pem"
# trusted = "ca.pem"           # the authority of the Ubiety nodes

[routes."example.org"]         # the static route back: one for each domain
host = "127.0.0.1"
port = 5060
transport = "tcp"

[[users]]
uri = "bob@example.org"
name = "Bob Builder"
password = "Lab-only-1"        # for real clients, which sign in with NTLM
contacts = ["ann@example.org"]
signed_in = "available"        # as a simulated client; leave it out for real clients
prompts = "ask"                # when a stranger wants to see Bob: ask, accept or deny
answers = true                 # Bob answers IMs by himself
"""
