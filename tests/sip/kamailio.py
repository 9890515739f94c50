"""A Kamailio process (Debian `kamailio`, `-presence-modules`, `-tls-modules`): the SIP server of others.

It serves one domain for each transport: what our side gets from the people of that domain comes over it.
Its tables are copies of the empty ones that come with it, in the directory of the process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.sip.certificates import Identity
from tests.sip.sipp import HOST, free_port

TABLES = Path("/usr/share/kamailio/dbtext/kamailio")
USED = ("version", "presentity", "active_watchers", "watchers", "xcap")
MODULES = (
    "tm", "sl", "rr", "pv", "maxfwd", "siputils", "textops", "usrloc", "registrar", "db_text", "presence",
    "presence_xml", "tls",
)  # fmt: skip
START_SECONDS = 20.0
STOP_SECONDS = 10.0

CONFIGURATION = """#!KAMAILIO
debug=2
log_stderror=yes
children=1
tcp_children=1
auto_aliases=no
server_signature=no
disable_core_dump=yes
enable_tls=yes
{listen}
{aliases}
{modules}
modparam("tls", "config", "{tls}")
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "use_domain", 1)
modparam("registrar", "max_expires", 3600)
modparam("presence", "db_url", "text://{tables}")
modparam("presence_xml", "db_url", "text://{tables}")
modparam("presence_xml", "integrated_xcap_server", 1)
modparam("presence", "publ_cache", 2)
# Not 0: Kamailio 5.6.3 breaks down when somebody watches who watches them, and watchers are in memory alone.
modparam("presence", "subs_db_mode", 1)
modparam("presence", "notifier_processes", 0)

request_route {{
  if (!mf_process_maxfwd_header("20")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (has_totag()) {{
    if (loose_route()) {{ route(RELAY); }}
    if (uri == myself && is_method("SUBSCRIBE")) {{ handle_subscribe(); exit; }}
    sl_send_reply("481", "Call/Transaction Does Not Exist");
    exit;
  }}
  if (is_method("REGISTER")) {{ save("location"); exit; }}
  if (uri == myself) {{ route(OURS); }}
  if (from_uri != myself) {{ sl_send_reply("403", "Relaying Forbidden"); exit; }}
  if (is_method("SUBSCRIBE|INVITE")) {{ record_route(); }}
{partners}
  sl_send_reply("404", "No Such Domain");
  exit;
}}

route[OURS] {{
  if (is_method("PUBLISH")) {{ handle_publish(); exit; }}
  if (is_method("SUBSCRIBE")) {{ handle_subscribe(); exit; }}
  if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
  route(RELAY);
}}

route[RELAY] {{
  if (!t_relay()) {{ sl_reply_error(); }}
  exit;
}}
"""

TLS = """[{side}:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {certificate}
ca_list = {ca}
"""

RULES = """<?xml version="1.0" encoding="UTF-8"?>
<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy" xmlns="urn:ietf:params:xml:ns:pres-rules">
<cp:rule id="all"><cp:conditions><cp:identity><cp:many/></cp:identity></cp:conditions>
<cp:actions><sub-handling>{handling}</sub-handling></cp:actions><cp:transformations/></cp:rule>
</cp:ruleset>"""
"""Who may watch somebody (RFC 5025); without a document every watcher waits."""
PRES_RULES = 2
"""Kamailio's number for such documents."""

PARTNER = """  if ($rd == "{ours}" && $fd == "{theirs}") {{
    $du = "sip:{host}:{port};transport={transport}";
    route(RELAY);
  }}
"""


@dataclass(frozen=True)
class Ours:
    """Our side: a domain, and its SIP ports by transport."""

    domain: str
    ports: Mapping[str, int]


class Kamailio:
    """One process with a directory of its own."""

    def __init__(
        self,
        directory: Path,
        domains: Mapping[str, str],
        rules: Mapping[str, str],
        ours: Ours,
        identity: Identity,
        ca: Path,
    ) -> None:
        """`domains`: what it serves, with the transport towards us; `rules`: of its people, for watchers."""
        self.port = free_port()
        """UDP and TCP."""
        self.tls_port = free_port()
        """TLS: its peers must show a certificate of the authority."""
        self._directory = directory
        self._domains = domains
        self._rules = rules
        self._ours = ours
        self._identity = identity
        self._ca = ca
        self._log = directory / "kamailio.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        program = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin")
        assert program is not None, "There is no `kamailio`. Install the Debian package kamailio."
        tables = self._directory / "tables"
        tables.mkdir(parents=True, exist_ok=True)
        for name in USED:
            shutil.copy(TABLES / name, tables / name)
        with (tables / "xcap").open("a") as rules:
            rules.writelines(self._rows())
        (self._directory / "tls.cfg").write_text(self._tls())
        configuration = self._directory / "kamailio.cfg"
        configuration.write_text(self._configuration(tables))
        command = [program, "-DD", "-E", "-m", "32", "-M", "4", "-f", str(configuration)]
        command += ["-Y", str(self._directory), "-w", str(self._directory)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_listening():
            assert self._process.poll() is None, f"Kamailio ended:\n{self.tail()}"
            assert time.monotonic() < deadline, f"Kamailio does not listen:\n{self.tail()}"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it and its children, which forget all."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
        self._process = None

    def tail(self, lines: int = 40) -> str:
        """The last that it has written."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _configuration(self, tables: Path) -> str:
        ours = self._ours
        partners = (
            PARTNER.format(
                ours=ours.domain, theirs=theirs, host=HOST, port=ours.ports[transport], transport=transport
            )
            for theirs, transport in self._domains.items()
        )
        listen = [("udp", self.port), ("tcp", self.port), ("tls", self.tls_port)]
        return CONFIGURATION.format(
            listen="\n".join(f"listen={one}:{HOST}:{port}" for one, port in listen),
            aliases="\n".join(f'alias="{one}"' for one in self._domains),
            modules="\n".join(f'loadmodule "{one}.so"' for one in MODULES),
            tls=self._directory / "tls.cfg",
            tables=tables,
            partners="".join(partners),
        )

    def _tls(self) -> str:
        identity = self._identity
        return "".join(
            TLS.format(side=side, key=identity.key, certificate=identity.certificate, ca=self._ca)
            for side in ("server", "client")
        )

    def _rows(self) -> Iterator[str]:
        numbers = count(1)
        for domain in self._domains:
            for user, handling in self._rules.items():
                text = RULES.format(handling=handling).replace(":", "\\:").replace("\n", "\\n")
                yield f"{next(numbers)}:{user}:{domain}:{text}:{PRES_RULES}:e:0:index:0\n"

    def _is_listening(self) -> bool:
        return all(
            any(f":{port:04X} " in line[:40] for line in Path("/proc/net", one).read_text().splitlines())
            for one, port in (("udp", self.port), ("tcp", self.port), ("tcp", self.tls_port))
        )
