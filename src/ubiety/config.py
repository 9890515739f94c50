"""Bootstrap configuration: what a node must know before it can read its database (design §7).

It comes from `ubiety.toml` in the data directory, the environment and the command line, later ones winning.
Everything else is a setting in the database: see `settings.py`.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

FILE_NAME = "ubiety.toml"
DEFAULT_DATA = "ubiety-data"
DEFAULT_HOSTS = ("0.0.0.0", "::")

_DATABASES = ("sqlite:////", "postgresql+psycopg://")
_DOMAIN = re.compile(r"[^\s@/\"'<>&\x00-\x1f]{1,1023}")


class ConfigError(Exception):
    """The bootstrap configuration cannot be used. The text names the cause and the cure."""


@dataclass(frozen=True, slots=True)
class Listen:
    """One address to listen on. Port 0 means that the system picks a free one."""

    host: str
    port: int
    is_shared: bool = False
    """Other nodes of this machine listen on it too."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Config:
    """The bootstrap configuration of one node; all paths are absolute."""

    data_dir: Path
    domain: str
    """The default domain: people's bare user ids belong to it."""
    node: str = "node1"
    group: str = ""
    """The presence redundancy group that this node joins when it is new; empty: one of its own."""
    address: str = ""
    """The public host name or address of this node, to which other nodes may send its clients."""
    hosts: tuple[str, ...] = DEFAULT_HOSTS
    c2s_port: int = 5222
    c2s_tls_port: int = 5223
    api_port: int = 8443
    sip_port: int | None = None
    """SIP over UDP and TCP, 5060 by custom; None: not listened on."""
    sip_tls_peer_port: int | None = None
    """SIP over TLS for peers that show a certificate, 5061 by custom."""
    sip_tls_server_port: int | None = None
    """SIP over TLS for clients without a certificate, 5062 by custom."""
    sip_name: str = ""
    """What SIP peers know the redundancy group by, `imp.example.org` or `imp.example.org:5061`: the same at
    both nodes, and in both certificates. Empty: this node's address."""
    sip_ca: Path | None = None
    """Who may sign the certificates of SIP peers (PEM); without it this node's local authority and those that
    this machine trusts."""
    reuse_port: bool = False
    """Nodes of this machine share the ports for clients; only where a supervisor ends one that hangs."""
    database_url: str = ""
    """An SQLAlchemy URL; empty stands for `ubiety.db` in the data directory."""
    replica_url: str = ""
    """An SQLAlchemy URL of a replica of the database, whose lag is watched; empty: none."""
    bus_url: str = ""
    """Where the nodes of a cluster meet, `tls://USER:PASSWORD@HOST:PORT`, several with commas; empty: a
    single node. Read with `bus_servers`."""
    bus_ca: Path | None = None
    """Who signed the bus's certificate (PEM); without it the authorities that this machine trusts."""
    bus_plain: bool = False
    """The way to a bus on another machine may go unencrypted."""
    certificate: Path | None = None
    """The administrator's own certificate chain (PEM); without it the local CA makes one."""
    private_key: Path | None = None
    hostnames: tuple[str, ...] = field(default=())
    """Further names and addresses of this host for the certificate that the local CA makes."""

    @property
    def c2s(self) -> tuple[Listen, ...]:
        """Addresses for clients that begin with STARTTLS."""
        return tuple(Listen(host, self.c2s_port, self.reuse_port) for host in self.hosts)

    @property
    def c2s_tls(self) -> tuple[Listen, ...]:
        """Addresses for clients that begin with TLS (XEP-0368)."""
        return tuple(Listen(host, self.c2s_tls_port, self.reuse_port) for host in self.hosts)

    @property
    def api(self) -> tuple[Listen, ...]:
        """Addresses of the administration interface (HTTPS)."""
        return tuple(Listen(host, self.api_port) for host in self.hosts)

    @property
    def sip(self) -> tuple[Listen, ...]:
        """Addresses for SIP over UDP and TCP; none where SIP is not listened for. So are the next two."""
        return self._sip_listen(self.sip_port)

    @property
    def sip_tls_peer(self) -> tuple[Listen, ...]:
        """Addresses for SIP peers that show a certificate."""
        return self._sip_listen(self.sip_tls_peer_port)

    @property
    def sip_tls_server(self) -> tuple[Listen, ...]:
        """Addresses for SIP clients over TLS that show none."""
        return self._sip_listen(self.sip_tls_server_port)

    def _sip_listen(self, port: int | None) -> tuple[Listen, ...]:
        return () if port is None else tuple(Listen(host, port) for host in self.hosts)

    @property
    def url(self) -> str:
        """The database URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'ubiety.db'}"

    @property
    def control_socket(self) -> Path:
        """The local socket through which the commands talk to the node."""
        return self.data_dir / "control.sock"

    @property
    def lock_file(self) -> Path:
        """Held exclusively by the node that serves this directory."""
        return self.data_dir / "run" / "lock"

    @property
    def ports_file(self) -> Path:
        """Names the ports that the node really got, as JSON."""
        return self.data_dir / "run" / "ports.json"

    @property
    def log_file(self) -> Path:
        """Structured log, one JSON object a line."""
        return self.data_dir / "logs" / "ubiety.log"

    @property
    def certificates_dir(self) -> Path:
        """The local CA and the certificate that it issued."""
        return self.data_dir / "certificates"

    def make_directories(self) -> None:
        """Creates the directories of an installation, closed to other users of the machine."""
        for path in (self.data_dir, self.lock_file.parent, self.log_file.parent, self.certificates_dir):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class _Key:
    """Where one field of Config is read from."""

    name: str
    section: str
    key: str
    variable: str
    sentence: str


KEYS = (
    _Key("domain", "node", "domain", "UBIETY_DOMAIN", "The default domain. Set at the first start."),
    _Key("node", "node", "name", "UBIETY_NODE", "Name of this node, unique in its cluster."),
    _Key("group", "node", "group", "UBIETY_GROUP", "Redundancy group that it joins when it is new."),
    _Key("address", "node", "address", "UBIETY_ADDRESS", "Public host name of this node, for its clients."),
    _Key("hosts", "listen", "hosts", "UBIETY_LISTEN", "Addresses to listen on; :: is every IPv6 address."),
    _Key(
        "c2s_port", "listen", "c2s_port", "UBIETY_C2S_PORT", "Clients that begin with STARTTLS; 0: any free."
    ),
    _Key("c2s_tls_port", "listen", "c2s_tls_port", "UBIETY_C2S_TLS_PORT", "Clients that begin with TLS."),
    _Key("api_port", "listen", "api_port", "UBIETY_API_PORT", "Administration interface (HTTPS)."),
    _Key("sip_port", "listen", "sip_port", "UBIETY_SIP_PORT", "SIP over UDP and TCP, 5060; empty: off."),
    _Key(
        "sip_tls_peer_port",
        "listen",
        "sip_tls_peer_port",
        "UBIETY_SIP_TLS_PEER_PORT",
        "SIP servers that show a certificate over TLS, 5061; empty: off.",
    ),
    _Key(
        "sip_tls_server_port",
        "listen",
        "sip_tls_server_port",
        "UBIETY_SIP_TLS_SERVER_PORT",
        "SIP clients over TLS, 5062; empty: off.",
    ),
    _Key("sip_name", "listen", "sip_name", "UBIETY_SIP_NAME", "Name of the redundancy group for SIP peers."),
    _Key(
        "reuse_port",
        "listen",
        "reuse_port",
        "UBIETY_REUSE_PORT",
        "Share client ports with nodes on this host.",
    ),
    _Key("database_url", "database", "url", "UBIETY_DATABASE_URL", "Empty: ubiety.db in this directory."),
    _Key("replica_url", "database", "replica_url", "UBIETY_REPLICA_URL", "A replica whose lag is watched."),
    _Key("bus_url", "bus", "url", "UBIETY_BUS_URL", "NATS of a cluster: tls://USER:PASSWORD@HOST:PORT, ..."),
    _Key("bus_ca", "bus", "ca", "UBIETY_BUS_CA", "Authority that signed the bus's certificate (PEM)."),
    _Key("bus_plain", "bus", "plain", "UBIETY_BUS_PLAIN", "Allow nats:// to another machine, unencrypted."),
    _Key("certificate", "tls", "certificate", "UBIETY_CERTIFICATE", "Own certificate chain (PEM)."),
    _Key("private_key", "tls", "private_key", "UBIETY_PRIVATE_KEY", "Its private key (PEM, no password)."),
    _Key("sip_ca", "tls", "sip_ca", "UBIETY_SIP_CA", "Authorities that sign SIP peers' certificates (PEM)."),
    _Key("hostnames", "tls", "hostnames", "UBIETY_HOSTNAMES", "Further names for the local certificate."),
)
_LISTS = {"hosts", "hostnames"}
_SIP_PORTS = ("sip_port", "sip_tls_peer_port", "sip_tls_server_port")
_PORTS = {"c2s_port", "c2s_tls_port", "api_port", *_SIP_PORTS}
_PATHS = {"bus_ca", "sip_ca", "certificate", "private_key"}
_SWITCHES = {"bus_plain", "reuse_port"}
_BUS_PORT = 4222


@dataclass(frozen=True, slots=True)
class BusServer:
    """One server of the bus."""

    host: str
    port: int
    is_encrypted: bool
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        return str(Listen(self.host, self.port))


def bus_servers(url: str) -> tuple[BusServer, ...]:
    """The servers in a bus URL; one that names nobody to log in as takes over from the one before.

    Raises ConfigError, without what may be a password.
    """
    servers: list[BusServer] = []
    for number, text in enumerate(url.split(","), 1):
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname, parts.port or _BUS_PORT
        except ValueError:
            host = None
        if not host or parts.scheme not in ("tls", "nats") or parts.path.strip("/"):
            raise ConfigError(
                f"Server {number} of the bus URL is not like tls://USER:PASSWORD@HOST:{_BUS_PORT} or "
                f"tls://TOKEN@HOST:{_BUS_PORT}. In a password, @ and / are written as %40 and %2F."
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        login = (user, password, "") if password else ("", "", user)
        if not user and servers:
            login = (servers[-1].user, servers[-1].password, servers[-1].token)
        servers.append(BusServer(host, port, parts.scheme == "tls", *login))
    return tuple(servers)


def data_directory(given: str | Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """The data directory: the one given, else UBIETY_DATA, else `ubiety-data` here."""
    variables = os.environ if environment is None else environment
    return Path(given or variables.get("UBIETY_DATA") or DEFAULT_DATA).expanduser().absolute()


def load_config(
    data_dir: Path, overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Config:
    """Reads the configuration of `data_dir`; `overrides` are fields of Config, None meaning not given.

    Raises ConfigError.
    """
    data_dir = data_dir.expanduser().absolute()
    variables = os.environ if environment is None else environment
    written = _read_file(data_dir / FILE_NAME)
    values = dict(written)
    for key in KEYS:
        if variables.get(key.variable):
            values[key.name] = _convert(key.name, variables[key.variable], key.variable)
    for name, value in (overrides or {}).items():
        if value is not None:
            values[name] = _convert(name, value, f"--{name.replace('_', '-')}")
    _check(values, written, data_dir)
    return Config(data_dir=data_dir, **values)


def write_default(config: Config, overrides: Mapping[str, Any] | None = None) -> Path:
    """Writes `ubiety.toml` for a new installation and returns its path; an existing file is left alone.

    The domain is written, and what was given on the command line: with another database than at the first
    start, a node would seem empty. What came from the environment belongs to the environment.
    """
    path = config.data_dir / FILE_NAME
    if not path.exists():
        config.make_directories()
        given = [name for name, value in (overrides or {}).items() if value is not None]
        values = {name: getattr(config, name) for name in ("domain", *given)}
        kept = Config(data_dir=config.data_dir, **values)
        path.touch(mode=0o600)
        path.write_text(render_toml(kept), encoding="utf-8")
    return path


def render_toml(config: Config) -> str:
    """The text of `ubiety.toml`: what differs from the defaults is set, the rest is shown as a comment."""
    defaults = {item.name: item.default for item in fields(Config)}
    lines = ["# What a node must know before it can read its database. All else: `ubiety setting list`."]
    section = ""
    for key in KEYS:
        if key.section != section:
            section = key.section
            lines += ["", f"[{section}]"]
        value = getattr(config, key.name)
        mark = "# " if value == defaults[key.name] else ""
        lines += [f"# {key.sentence} ({key.variable})", f"{mark}{key.key} = {_toml(value)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, int):
        return str(value).lower()
    text = "" if value is None else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _read_file(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Mend the file, or move it away.") from error
    known = {(key.section, key.key): key.name for key in KEYS}
    values: dict[str, Any] = {}
    for section, content in document.items():
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: {section!r} stands outside of a section. Sections: {_sections()}.")
        for key, value in content.items():
            name = known.get((section, key))
            if name is None:
                raise ConfigError(f"{path}: [{section}] {key} is not known. See docs/reference/settings.md.")
            if value not in ("", []):
                values[name] = _convert(name, value, f"{path}: [{section}] {key}")
    return values


def _sections() -> str:
    return ", ".join(dict.fromkeys(f"[{key.section}]" for key in KEYS))


def _convert(name: str, value: Any, source: str) -> Any:
    if name in _PORTS:
        return _port(value, source)
    if name in _LISTS:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise ConfigError(f"{source} must be a list of texts.")
        return tuple(item.strip().strip("[]") for item in items if item.strip())
    if name in _SWITCHES:
        return _switch(value, source)
    if not isinstance(value, str | Path):
        raise ConfigError(f"{source} must be a text, not {value!r}.")
    return Path(value).expanduser().absolute() if name in _PATHS else str(value)


def _switch(value: Any, source: str) -> bool:
    words = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
    if str(value).lower() not in words:
        raise ConfigError(f"{source} must be true or false, not {value!r}.")
    return words[str(value).lower()]


def _port(value: Any, source: str) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = -1
    if isinstance(value, bool) or not 0 <= port <= 65535:
        raise ConfigError(f"{source} must be a port from 0 to 65535 (0: any free port), not {value!r}.")
    return port


def _check(values: dict[str, Any], written: Mapping[str, Any], data_dir: Path) -> None:
    domain = values.get("domain")
    if not domain:
        raise ConfigError(
            f"{data_dir} has no domain yet. Give it once, at the first start: --domain example.org"
        )
    if not _DOMAIN.fullmatch(domain):
        raise ConfigError(f"{domain!r} is not a domain name. Give one like example.org.")
    # A node that suddenly served another domain would lock out everybody: that takes `ubiety domain add`.
    if written.get("domain", domain) != domain:
        raise ConfigError(
            f"{data_dir} was set up for {written['domain']}, not for {domain}. Leave --domain out and add "
            f"the second one with `ubiety domain add {domain}`, or use another --data directory."
        )
    if (values.get("certificate") is None) != (values.get("private_key") is None):
        raise ConfigError("A certificate needs its private key: set both [tls] certificate and private_key.")
    defaults = {item.name: item.default for item in fields(Config)}
    _check_database(values.get("database_url", ""))
    if values.get("bus_url"):
        _check_bus(values["bus_url"], values.get("bus_plain", False), values.get("database_url", ""))
    ports = [port for name in _PORTS if (port := values.get(name, defaults[name]))]
    if len(ports) != len(set(ports)):
        raise ConfigError(f"Two listeners have the same port: {', '.join(map(str, sorted(ports)))}.")


def _check_database(url: str) -> None:
    if url and not url.startswith(_DATABASES):
        # Without what stands behind the scheme: it may hold a password.
        scheme = url.partition("://")[0] if "://" in url else url
        raise ConfigError(
            f"{scheme!r} is no database that a node can use. Give sqlite:////PATH or "
            "postgresql+psycopg://USER:PASSWORD@HOST/NAME."
        )


def _check_bus(url: str, may_be_plain: bool, database_url: str) -> None:
    for server in bus_servers(url):
        if not server.is_encrypted and not may_be_plain and not _is_loopback(server.host):
            raise ConfigError(
                f"The way to the bus at {server} would not be encrypted. Write tls:// for nats:// in [bus] "
                "url, or set [bus] plain = true if nobody else is on that network."
            )
    if not database_url.startswith("postgresql"):
        raise ConfigError(
            "A bus joins nodes that share one database, and a SQLite file cannot be shared. Give [database] "
            "url = postgresql+psycopg://USER:PASSWORD@HOST/NAME, or leave [bus] url empty for a single node."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
