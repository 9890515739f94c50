"""Several domains on one node: their people, certificates and DNS records."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.harness.client import SaslFailedError
from tests.harness.wire import ConnectionGoneError
from tests.interop.own_node import Clients, saw, write
from tests.node import Node, NodeError, NodeFactory

OTHER = "example.com"


def check(node: Node) -> dict[str, Any]:
    """The findings of `ubiety check`, which ends with 1 when something is wrong."""
    done = node.try_command("check", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == (1 if report["outcome"] == "failed" else 0), done.stderr
    return {one["check"]: one for one in report["findings"]}


def names_shown(node: Node, domain: str, trusted: Path) -> set[str]:
    """Open TLS as a client of a domain that trusts one authority; returns the certificate's names."""
    context = ssl.create_default_context(cafile=str(trusted))
    with (
        socket.create_connection(("127.0.0.1", node.ports["c2s_tls"]), 10) as plain,
        context.wrap_socket(plain, server_hostname=domain) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    names = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return set(names.value.get_values_for_type(x509.DNSName))


def write_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself, as an administrator brings one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "own.pem", folder / "own.key"
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    certificate.write_bytes(made.public_bytes(pem))
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
    return certificate, private


@pytest.fixture
def two_domains(own_node: Node) -> Node:
    """The module's node, which also serves a second domain."""
    if OTHER not in own_node.command("domain", "list"):
        own_node.command("domain", "add", OTHER)
    return own_node


async def test_people_of_two_domains_see_each_other_and_chat(two_domains: Node, clients: Clients) -> None:
    (anna,) = await clients.online(1)
    add = ("user", "add", anna.user, "--domain", OTHER, "--password-stdin")
    two_domains.command(*add, given="another\n")  # the same user id: somebody else
    with pytest.raises(SaslFailedError):
        await clients.client(anna.user, domain=OTHER)
    two_domains.command("user", "password", f"{anna.user}@{OTHER}", "--password-stdin", given="secret\n")
    ben = await clients.client(anna.user, domain=OTHER)
    assert ben.bare == f"{anna.user}@{OTHER}" != anna.bare
    for asking, asked in ((anna, ben), (ben, anna)):
        asking.send(f"<presence to='{asked.bare}' type='subscribe'/>")
        await saw(asking, asked, None)
    write(anna, ben.bare, "over-there")
    assert (await ben.expect_message("over-there")).get("from") == anna.jid
    write(ben, anna.bare, "and-back")
    assert (await anna.expect_message("and-back")).get("from") == ben.jid
    await ben.close()
    await saw(anna, ben, "unavailable")
    write(anna, ben.bare, "kept")
    again = await clients.client(anna.user, domain=OTHER)
    delayed = await again.expect_message("kept")
    assert delayed.need("delay", "urn:xmpp:delay").get("from") == OTHER
    assert [one["address"] for one in clients.ask("session", "list", "--domain", OTHER)] == [again.jid]


async def test_each_domain_is_a_server_to_its_people(two_domains: Node, clients: Clients) -> None:
    (name,) = two_domains.take_users(1)
    two_domains.command("user", "add", name, "--domain", OTHER, "--password-stdin", given="secret\n")
    ben = await clients.client(name, domain=OTHER)
    info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    for server in (OTHER, two_domains.domain):
        answer = await ben.iq("get", info, server)
        assert answer.need("identity").get("category") == "server"
    unknown = await ben.iq("get", info, "example.net")
    assert unknown.condition() == "remote-server-not-found"
    two_domains.command("announce", "To this domain", "--domain", OTHER)
    await ben.expect_message("To this domain")
    with pytest.raises(NodeError, match="cannot be deleted"):
        two_domains.command("domain", "delete", OTHER)


async def test_nobody_logs_in_to_a_domain_that_is_not_served(two_domains: Node, clients: Clients) -> None:
    (name,) = two_domains.take_users(1)
    with pytest.raises(ConnectionGoneError, match="host-unknown"):
        await clients.client(name, domain="example.net")


def test_the_local_authority_covers_a_domain_as_soon_as_it_is_added(two_domains: Node) -> None:
    trusted = two_domains.data / "certificates" / "ca.pem"
    assert {two_domains.domain, OTHER} <= names_shown(two_domains, OTHER, trusted)
    names = [one["in_certificate"] for one in json.loads(two_domains.command("domain", "list", "--json"))]
    assert names == [True, True]
    two_domains.command("domain", "add", "bücher.example")
    assert "xn--bcher-kva.example" in names_shown(two_domains, "xn--bcher-kva.example", trusted)
    assert two_domains.command("domain", "delete", "bücher.example") == "Deleted bücher.example.\n"


def test_check_prints_zone_lines_for_every_domain(start_node: NodeFactory) -> None:
    node = start_node(environment={"UBIETY_HOSTNAMES": "im.example.org"})
    node.command("domain", "add", OTHER)
    node.command("domain", "add", "bücher.example")
    found = check(node)
    ports = node.ports
    for domain in (node.domain, OTHER, "xn--bcher-kva.example"):
        shown = domain.replace("xn--bcher-kva", "bücher")
        assert found[f"DNS of {shown}"]["lines"] == [
            f"_xmpp-client._tcp.{domain}. 3600 IN SRV 0 5 {ports['c2s']} im.example.org.",
            f"_xmpps-client._tcp.{domain}. 3600 IN SRV 0 5 {ports['c2s_tls']} im.example.org.",
        ]
    assert found["certificate"]["outcome"] == found["ports"]["outcome"] == "passed"
    assert found["certificate"]["lines"] == [str(node.data / "certificates" / "ca.pem")]
    assert not any(name.startswith("certificate of") for name in found)


def test_an_own_certificate_that_lacks_a_domain_is_reported(start_node: NodeFactory, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "example.org")
    own = {"UBIETY_CERTIFICATE": str(certificate), "UBIETY_PRIVATE_KEY": str(key)}
    node = start_node(environment=own)
    assert names_shown(node, node.domain, certificate) == {"example.org"}
    assert "does not hold it" in node.command("domain", "add", OTHER)
    found = check(node)
    missing = found[f"certificate of {OTHER}"]
    assert (missing["outcome"], missing["text"]) == ("failed", f"The certificate does not hold {OTHER}.")
    assert names_shown(node, node.domain, certificate) == {"example.org"}  # the administrator's stays
    write_certificate(tmp_path, "example.org", OTHER)
    node.command("certificate", "reload")
    assert names_shown(node, OTHER, certificate) == {"example.org", OTHER}
    assert f"certificate of {OTHER}" not in check(node)
