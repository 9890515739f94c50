"""Prosody from Debian: private configuration, accounts written as its own data files."""

from __future__ import annotations

import time
from pathlib import Path

from bench import process
from bench.people import DOMAIN, ITERATIONS, SALT, Person, history_times, pairs, scram_keys
from bench.servers.base import Server
from bench.servers.packages import install_package, package_version

# Debian's default list but for "limits" (no rate limits in this comparison) and the s2s-only "dialback".
_MODULES = """
disco roster saslauth tls blocklist bookmarks carbons pep private smacks vcard4 vcard_legacy csi_simple
invites invites_adhoc invites_register ping register time uptime version admin_adhoc admin_shell posix
"""

_CONFIG = """
run_as_root = true
daemonize = false
pidfile = "{folder}/prosody.pid"
data_path = "{data}"
admins = {{ }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{ {tls_port} }}
s2s_ports = {{ }}
c2s_require_encryption = false
authentication = "internal_hashed"
modules_enabled = {{ {modules} }}
modules_disabled = {{ "s2s" }}
log = {{ info = "{folder}/prosody.log" }}
ssl = {{ certificate = "{chain}"; key = "{key}" }}
c2s_direct_tls_ssl = {{ certificate = "{chain}"; key = "{key}" }}
VirtualHost "{domain}"
"""


class Prosody(Server):
    """Prosody with Debian's default modules and `internal` storage."""

    name = "prosody"

    def install(self) -> None:
        """Install the package `prosody`."""
        install_package("prosody", "prosody")
        self.version = package_version("prosody")

    def provision(self) -> None:
        """Write one account and one roster file per person, and the archives."""
        host = self.template / _escape(DOMAIN)
        accounts, rosters, archives = host / "accounts", host / "roster", host / "archive"
        for folder in (accounts, rosters, archives):
            folder.mkdir(parents=True)
        account = _account()
        for person in self.fixture.population.everybody:
            (accounts / f"{person.name}.dat").write_text(account)
            (rosters / f"{person.name}.dat").write_text(_roster(person))
        now = time.time()
        for one, other in pairs(self.fixture.population):
            (archives / f"{one.name}.list").write_text(_archive(one, other, one, now))
            (archives / f"{other.name}.list").write_text(_archive(one, other, other, now))

    def configure(self, archive: bool) -> None:
        """Write prosody.cfg.lua."""
        modules = [*_MODULES.split(), *(["mam"] if archive else [])]
        certificate = self.fixture.certificate
        text = _CONFIG.format(
            folder=self.folder,
            data=self.data,
            port=self.port,
            tls_port=self.tls_port,
            modules="; ".join(f'"{module}"' for module in modules),
            chain=certificate.chain,
            key=certificate.key,
            domain=DOMAIN,
        )
        self._config.write_text(text)

    def launch(self) -> int:
        """Start in the foreground."""
        return process.spawn(["prosody", "-F", "--config", str(self._config)], self.log)

    @property
    def _config(self) -> Path:
        return self.folder / "prosody.cfg.lua"


def _escape(text: str) -> str:
    """Prosody's file names: everything but letters and digits as %xx."""
    return "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in text)


def _account() -> str:
    keys = scram_keys()
    return (
        f'return {{ ["iteration_count"] = {ITERATIONS}; ["salt"] = "{SALT.decode()}"; '
        f'["stored_key"] = "{keys.stored_key.hex()}"; ["server_key"] = "{keys.server_key.hex()}"; }};\n'
    )


def _roster(person: Person) -> str:
    items = "".join(
        f'["{contact}@{DOMAIN}"] = {{ ["subscription"] = "both"; ["groups"] = {{ }}; }}; '
        for contact in person.contacts
    )
    return f'return {{ [false] = {{ ["version"] = 1; }}; {items} }};\n'


_ITEM = """item({{
	{{
		"See you at ten by the lifts, with the figures.";
		["attr"] = {{}};
		["name"] = "body";
	}};
	["when"] = {when};
	["with"] = "{peer}";
	["attr"] = {{
		["to"] = "{recipient}";
		["xml:lang"] = "en";
		["from"] = "{sender}/bench";
		["stamp"] = "{stamp}";
		["type"] = "chat";
		["id"] = "m1";
	}};
	["key"] = "{key}";
	["name"] = "message";
}});
"""


def _archive(one: Person, other: Person, owner: Person, now: float) -> str:
    """What `owner`, one of the two, has stored of their conversation."""
    peer = other if owner is one else one
    items = []
    for number, when in enumerate(history_times(now)):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
        items.append(
            _ITEM.format(
                when=when,
                peer=peer.jid,
                recipient=other.jid,
                sender=one.jid,
                stamp=stamp,
                key=f"{owner.name}-{number:014d}",
            )
        )
    return "".join(items)
