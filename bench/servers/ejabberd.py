"""ejabberd from Debian: private node without distribution, accounts written as Mnesia records."""

from __future__ import annotations

import base64
import glob
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench import process
from bench.people import DOMAIN, ITERATIONS, SALT, Person, Population, history_times, pairs, scram_keys
from bench.process import BenchError
from bench.servers.base import Server
from bench.servers.packages import install_package, package_version

_LIBRARIES = "/usr/lib/x86_64-linux-gnu"

# Debian's default list but for what limits rates (mod_fail2ban, mod_pres_counter), what needs further
# listeners (BOSH, HTTP, MQTT, STUN) and s2s. The backlog is raised from 5: of connections that come together,
# most would wait for their SYN to be repeated a second later.
_MODULES = """
mod_adhoc mod_admin_extra mod_announce mod_avatar mod_blocking mod_caps mod_carboncopy mod_client_state
mod_configure mod_disco mod_last mod_muc mod_muc_admin mod_offline mod_ping mod_privacy mod_private mod_push
mod_push_keepalive mod_shared_roster mod_sic mod_vcard_xupdate mod_version
"""

_CONFIG = """
loglevel: info
hosts: ["{domain}"]
certfiles: ["{bundle}"]
auth_password_format: scram
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, backlog: 1000,
      starttls: true}}
  - {{port: {tls_port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, backlog: 1000,
      tls: true}}
shaper_rules:
  max_user_sessions: 10
  max_user_offline_messages: 100
modules:
{modules}
  mod_pubsub: {{plugins: [flat, pep]}}
  mod_roster: {{versioning: true}}
  mod_stream_mgmt: {{resend_on_timeout: if_offline}}
  mod_vcard: {{search: false}}
"""

# Records are written straight into Mnesia: the XML import (XEP-0227) takes half a minute for the same.
# Contact lists and archives are held in memory meanwhile: writing them one by one to disc_only_copies is just
# as slow. The node then ends cleanly, so that everything is on disk.
_FILL = """
{ok, _} = application:ensure_all_started(ejabberd),
{ok, Records} = file:consult("PEOPLE"),
[{atomic, ok} = mnesia:change_table_copy_type(T, node(), disc_copies) || T <- [roster, archive_msg]],
Store = fun(Owner, Peer, From, To, Time) ->
  Packet = {xmlel, <<"message">>,
    [{<<"xml:lang">>, <<"en">>}, {<<"to">>, jid:encode(To)}, {<<"from">>, jid:encode(From)},
     {<<"type">>, <<"chat">>}, {<<"id">>, <<"m1">>}, {<<"xmlns">>, <<"jabber:client">>}],
    [{xmlel, <<"body">>, [], [{xmlcdata, <<"See you at ten by the lifts, with the figures.">>}]}]},
  mnesia:dirty_write({archive_msg, Owner, integer_to_binary(Time), misc:usec_to_now(Time),
    Peer, Peer, Packet, <<>>, chat}) end,
Fill = fun
  ({history, {U1, S1}, {U2, S2}, Times}) ->
    lists:foreach(fun(Time) ->
      Store({U1, S1}, {U2, S2, <<>>}, {U1, S1, <<"bench">>}, {U2, S2, <<>>}, Time),
      Store({U2, S2}, {U1, S1, <<>>}, {U1, S1, <<"bench">>}, {U2, S2, <<>>}, Time + 1) end, Times);
  (Record) -> mnesia:dirty_write(Record) end,
lists:foreach(Fill, Records),
[{atomic, ok} = mnesia:change_table_copy_type(T, node(), disc_only_copies) || T <- [roster, archive_msg]],
io:format("FILLED~n"),
ejabberd:stop(), init:stop().
"""


class Ejabberd(Server):
    """ejabberd with Debian's default modules on Mnesia."""

    name = "ejabberd"

    def install(self) -> None:
        """Install the package `ejabberd`."""
        install_package("ejabberd", "ejabberdctl")
        self.version = package_version("ejabberd")

    def provision(self) -> None:
        """Let ejabberd make its tables in a fresh Mnesia directory, then write everybody into them."""
        self.template.mkdir()
        people = self.folder / "people.terms"
        people.write_text(_people(self.fixture.population) + _histories(self.fixture.population))
        # With the archive on, so that its table is made too.
        self.configure(archive=True)
        script = _FILL.replace("PEOPLE", str(people)).replace("\n", " ")
        command = self.command(self.template, ["-eval", script])
        env = self.environment()
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)
        if "FILLED" not in done.stdout:
            raise BenchError(f"ejabberd did not take the people: {done.stdout[-2000:]}{done.stderr[-1000:]}")

    def configure(self, archive: bool) -> None:
        """Write ejabberd.yml, with or without the archive."""
        modules = "".join(f"  {module}: {{}}\n" for module in _MODULES.split())
        if archive:
            modules += "  mod_mam: {default: always, assume_mam_usage: true}\n"
        text = _CONFIG.format(
            domain=DOMAIN,
            bundle=self.fixture.certificate.bundle,
            port=self.port,
            tls_port=self.tls_port,
            modules=modules.rstrip(),
        )
        self._config.write_text(text)

    def launch(self) -> int:
        """Start the node in the foreground, with the flags of Debian's `ejabberdctl foreground`."""
        return process.spawn(self.command(self.data, ["-s", "ejabberd"]), self.log, self.environment())

    def command(self, spool: Path, extra: Sequence[str]) -> list[str]:
        """The Erlang machine with a Mnesia directory and further flags."""
        # No node name: Mnesia is content with nonode@nohost, and no epmd is left behind.
        erl = shutil.which("erl") or "erl"
        flags = ["+K", "true", "+P", "250000", "-noinput", "-mnesia", "dir", f'"{spool}"']
        return [erl, *flags, *extra]

    def environment(self) -> dict[str, str]:
        """Where it finds its libraries, its configuration and its log."""
        return {
            **os.environ,
            "ERL_LIBS": _libraries(),
            "ERL_MAX_PORTS": "32000",
            "ERL_CRASH_DUMP_BYTES": "0",
            "EJABBERD_CONFIG_PATH": str(self._config),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "HOME": str(self.folder),
        }

    @property
    def _config(self) -> Path:
        return self.folder / "ejabberd.yml"


def _libraries() -> str:
    found = glob.glob("/usr/lib/*/ejabberd-*")
    return os.path.dirname(found[0]) if found else _LIBRARIES


def secret_term() -> str:
    """The Erlang term that `passwd` holds for everybody."""
    keys = scram_keys()
    salt = base64.b64encode(SALT).decode()
    return f'{{scram,<<"{keys.stored_base64}">>,<<"{keys.server_base64}">>,<<"{salt}">>,sha,{ITERATIONS}}}'


def _people(population: Population) -> str:
    """Erlang terms: one `passwd` record per person, one `roster` record per contact."""
    secret = secret_term()
    lines = []
    for person in population.everybody:
        us = _us(person)
        lines.append(f"{{passwd,{us},{secret}}}.\n")
        for contact in person.contacts:
            other = f'{{<<"{contact}">>,<<"{DOMAIN}">>,<<>>}}'
            key = f'{{<<"{person.name}">>,<<"{DOMAIN}">>,{other}}}'
            lines.append(f"{{roster,{key},{us},{other},<<>>,both,none,[],<<>>,[]}}.\n")
    return "".join(lines)


def _histories(population: Population) -> str:
    """Erlang terms: one `history` per pair of partners, with its times in microseconds."""
    times = ",".join(str(when * 1_000_000) for when in history_times(time.time()))
    return "".join(f"{{history,{_us(one)},{_us(other)},[{times}]}}.\n" for one, other in pairs(population))


def _us(person: Person) -> str:
    return f'{{<<"{person.name}">>,<<"{DOMAIN}">>}}'
