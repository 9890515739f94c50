"""config.py"""

from pathlib import Path

import pytest

from ubiety.config import (
    BusServer,
    Config,
    ConfigError,
    Listen,
    bus_servers,
    data_directory,
    load_config,
    render_toml,
    write_default,
)


def load(path: Path, environment: dict[str, str] | None = None, **overrides: object) -> Config:
    return load_config(path, overrides, environment or {})


def test_defaults_of_a_new_installation(tmp_path: Path) -> None:
    config = load(tmp_path, domain="example.org")
    assert config.c2s == (Listen("0.0.0.0", 5222), Listen("::", 5222))
    assert config.c2s_tls[0].port == 5223
    assert config.api[1] == Listen("::", 8443)
    assert config.sip == config.sip_tls_peer == config.sip_tls_server == ()
    assert config.url == f"sqlite:///{tmp_path}/ubiety.db"
    assert config.control_socket == tmp_path / "control.sock"


def test_without_a_domain_the_error_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--domain"):
        load(tmp_path)


def test_the_domain_is_remembered(tmp_path: Path) -> None:
    path = write_default(load(tmp_path, domain="example.org"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(tmp_path).domain == "example.org"


def test_flags_of_the_first_start_are_remembered_and_the_environment_is_not(tmp_path: Path) -> None:
    flags = {"domain": "example.org", "c2s_port": 7, "api_port": None}
    write_default(load_config(tmp_path, flags, {"UBIETY_API_PORT": "9"}), flags)
    config = load(tmp_path)
    assert (config.c2s_port, config.api_port) == (7, 8443)


def test_another_domain_later_is_refused_with_the_cure(tmp_path: Path) -> None:
    write_default(load(tmp_path, domain="example.org"))
    with pytest.raises(ConfigError, match=r"ubiety domain add example\.com"):
        load(tmp_path, domain="example.com")


def test_flag_wins_over_environment_and_environment_over_file(tmp_path: Path) -> None:
    (tmp_path / "ubiety.toml").write_text('[node]\ndomain = "example.org"\n[listen]\nc2s_port = 1\n')
    assert load(tmp_path).c2s_port == 1
    assert load(tmp_path, {"UBIETY_C2S_PORT": "2"}).c2s_port == 2
    assert load(tmp_path, {"UBIETY_C2S_PORT": "2"}, c2s_port=3).c2s_port == 3
    assert load(tmp_path, {"UBIETY_LISTEN": "127.0.0.1, [::1]"}).hosts == ("127.0.0.1", "::1")


def test_what_was_rendered_reads_back_the_same(tmp_path: Path) -> None:
    config = Config(
        data_dir=tmp_path,
        domain="example.org",
        node="n2",
        hosts=("127.0.0.1",),
        c2s_port=0,
        c2s_tls_port=0,
        api_port=4,
        sip_port=0,
        sip_tls_peer_port=5,
        sip_ca=tmp_path / "peers.pem",
        database_url='postgresql+psycopg://u:a"b\\c@/d',
        bus_url="nats://u:p@bus.example.org",
        bus_ca=tmp_path / "ca.pem",
        bus_plain=True,
        certificate=tmp_path / "c.pem",
        private_key=tmp_path / "k.pem",
        hostnames=("im.example.org",),
    )
    (tmp_path / "ubiety.toml").write_text(render_toml(config))
    assert load(tmp_path) == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[listen\n", "cannot be read"),
        ("[listen]\nport = 1\n", r"\[listen\] port is not known"),
        ("c2s_port = 1\n", "outside of a section"),
        ("[listen]\nc2s_port = 70000\n", "from 0 to 65535"),
        ("[listen]\nc2s_port = true\n", "from 0 to 65535"),
        ('[listen]\nc2s_port = "many"\n', "from 0 to 65535"),
        ("[listen]\nhosts = 5\n", "list of texts"),
        ("[node]\nname = 5\n", "must be a text"),
        ('[database]\nurl = "mysql://u:secret@h/d"\n', "^'mysql' is no database"),
        ('[tls]\ncertificate = "/c.pem"\n', "private_key"),
        ("[listen]\nc2s_port = 5223\n", "same port: 5223, 5223, 8443"),
    ],
)
def test_a_faulty_file_is_refused_with_its_cause(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "ubiety.toml").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load(tmp_path, domain="example.org")


@pytest.mark.parametrize("domain", ["a b", "a@b", "http://x", '"', "a\n"])
def test_what_is_no_domain_is_refused(tmp_path: Path, domain: str) -> None:
    with pytest.raises(ConfigError, match="not a domain name"):
        load(tmp_path, domain=domain)


def test_data_directory_is_found_in_the_right_order(tmp_path: Path) -> None:
    assert data_directory(tmp_path, {"UBIETY_DATA": "/elsewhere"}) == tmp_path
    assert data_directory(None, {"UBIETY_DATA": "/elsewhere"}) == Path("/elsewhere")
    assert data_directory(None, {}) == Path.cwd() / "ubiety-data"


def test_directories_are_closed_to_others(tmp_path: Path) -> None:
    config = load(tmp_path / "new", domain="example.org")
    config.make_directories()
    for path in (config.data_dir, config.certificates_dir, config.log_file.parent):
        assert path.stat().st_mode & 0o777 == 0o700


def test_listen_addresses_are_written_as_in_urls() -> None:
    assert str(Listen("::1", 5222)) == "[::1]:5222"
    assert str(Listen("127.0.0.1", 80)) == "127.0.0.1:80"


DATABASE = "postgresql+psycopg://u@db.example.org/ubiety"


def test_a_bus_url_is_one_or_more_servers() -> None:
    assert bus_servers(
        "tls://ubiety:p%40ss@bus1.example.org:4223, tls://bus2.example.org,nats://t0ken@[::1]"
    ) == (
        BusServer("bus1.example.org", 4223, True, "ubiety", "p@ss"),
        BusServer("bus2.example.org", 4222, True, "ubiety", "p@ss"),
        BusServer("::1", 4222, False, token="t0ken"),
    )
    assert "p@ss" not in repr(bus_servers("tls://ubiety:p%40ss@bus1.example.org")[0])


@pytest.mark.parametrize(
    "url", ["bus.example.org", "http://bus", "tls://", "tls://x:p4ss@h:99999", "tls://h,", "tls://h/x"]
)
def test_a_wrong_bus_url_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="tls://USER:PASSWORD@HOST:4222") as caught:
        load(tmp_path, domain="example.org", bus_url=url, database_url=DATABASE)
    assert "p4ss" not in str(caught.value)


def test_a_bus_needs_a_database_that_nodes_can_share(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"SQLite file cannot be shared\. Give \[database\] url = postgresql"
    ):
        load(tmp_path, domain="example.org", bus_url="tls://bus.example.org")
    config = load(tmp_path, domain="example.org", bus_url="tls://bus.example.org", database_url=DATABASE)
    assert config.bus_url == "tls://bus.example.org"


def test_the_way_to_another_machine_is_encrypted_unless_allowed(tmp_path: Path) -> None:
    given: dict[str, object] = {"domain": "example.org", "database_url": DATABASE}
    for local in ("nats://127.0.0.1", "nats://[::1]:4222", "nats://localhost"):
        assert load(tmp_path, **given, bus_url=local).bus_url == local
    with pytest.raises(ConfigError, match=r"bus\.example\.org:4222 would not be encrypted\. Write tls://"):
        load(tmp_path, **given, bus_url="tls://bus1.example.org,nats://u:p@bus.example.org")
    assert load(tmp_path, {"UBIETY_BUS_PLAIN": "on"}, **given, bus_url="nats://bus.example.org").bus_plain
    with pytest.raises(ConfigError, match="UBIETY_BUS_PLAIN must be true or false"):
        load(tmp_path, {"UBIETY_BUS_PLAIN": "perhaps"}, **given)


def test_sip_is_listened_for_where_a_port_is_given(tmp_path: Path) -> None:
    (tmp_path / "ubiety.toml").write_text(
        '[node]\ndomain = "example.org"\n[listen]\nhosts = ["::1"]\nsip_port = 0\nsip_tls_peer_port = ""\n'
    )
    config = load(tmp_path, {"UBIETY_SIP_TLS_SERVER_PORT": "5062"})
    assert config.sip == (Listen("::1", 0),)
    assert config.sip_tls_peer == ()
    assert config.sip_tls_server == (Listen("::1", 5062),)
    with pytest.raises(ConfigError, match="same port: 5062, 5062"):
        load(tmp_path, {"UBIETY_SIP_TLS_SERVER_PORT": "5062", "UBIETY_SIP_TLS_PEER_PORT": "5062"})
