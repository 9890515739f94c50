"""TLS contexts of SIP, and what a certificate says about its owner."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.sip.certificates import Authority
from ubiety.clock import SystemClock
from ubiety.config import load_config
from ubiety.net.authority import CertificateError
from ubiety.net.certificates import Certificates
from ubiety.net.sip_settings import SETTINGS, TLS_CIPHERS
from ubiety.net.sip_tls import SipTls, covers, of_node, shown_fault, subject_names
from ubiety.settings import Settings


@pytest.fixture
def firm(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "firm")


def test_names_are_the_common_name_and_the_alternative_ones() -> None:
    certificate = {
        "subject": ((("countryName", "DE"),), (("commonName", "Pool.Example.com"),)),
        "subjectAltName": (
            ("DNS", "fe1.example.com"),
            ("DNS", "pool.example.com"),
            ("IP Address", "192.0.2.1"),
            ("URI", "sip:example.com"),
            ("URI", "sip:alice@example.com"),
            ("URI", "https://example.com"),
            ("email", "root@example.com"),
        ),
    }
    assert subject_names(certificate) == ("pool.example.com", "fe1.example.com", "192.0.2.1", "example.com")
    assert subject_names({}) == ()


@pytest.mark.parametrize(
    ("name", "is_covered"),
    [
        ("FE1.example.com", True),
        ("fe2.example.com", False),
        ("a.pool.example.com", True),
        ("a.b.pool.example.com", False),
        ("pool.example.com", False),
        ("192.0.2.1", True),
    ],
)
def test_a_name_is_covered_by_itself_and_by_a_wildcard_one_level_up(name: str, is_covered: bool) -> None:
    assert covers(("fe1.example.com", "*.pool.example.com", "192.0.2.1"), name) == is_covered


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("SSLV3_ALERT_BAD_CERTIFICATE", "TLS: refused by the peer: bad certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "TLS: refused by the peer: unknown ca"),
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "TLS: the peer shows no certificate"),
        ("WRONG_VERSION_NUMBER", "TLS: wrong version number"),
    ],
)
def test_faults_of_tls_are_put_into_words(reason: str, words: str) -> None:
    error = ssl.SSLError(1, "detail")
    error.reason = reason
    assert shown_fault(error) == words


def test_the_same_files_are_read_once_and_changed_ones_again(firm: Authority) -> None:
    identity = firm.issue("im.example.org")
    tls = identity.tls(firm.ca)
    first = tls.current
    assert tls.current is first
    other = firm.issue("new.example.org")
    identity.key.write_bytes(other.key.read_bytes())
    assert tls.current is first, "a key that does not fit the certificate is not taken over"
    identity.certificate.write_bytes(other.certificate.read_bytes())
    assert tls.current is not first


def test_a_fault_at_the_start_names_the_file(firm: Authority, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(CertificateError, match=r"bad\.pem"):
        _ = firm.issue("im.example.org").tls(tmp_path / "bad.pem").current


def test_ciphers_are_a_setting(firm: Authority) -> None:
    made = Settings(SETTINGS)
    identity = firm.issue("im.example.org")
    tls = SipTls(
        lambda: (identity.certificate, identity.key), (firm.ca,), ciphers=lambda: made.get(TLS_CIPHERS)
    )
    names = {cipher["name"] for cipher in tls.current.peer.get_ciphers()}
    assert {"ECDHE-RSA-AES128-SHA256", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"} <= names
    assert not any("NULL" in name or "RC4" in name or "DES" in name for name in names)
    made.load({TLS_CIPHERS.name: '"strict"'})
    strict = {cipher["name"] for cipher in tls.current.peer.get_ciphers()}
    assert strict < names and all("GCM" in name or "POLY1305" in name for name in strict)


def test_a_node_trusts_its_own_authority_and_shows_a_certificate_for_both_roles(tmp_path: Path) -> None:
    config = load_config(tmp_path, {"domain": "example.org"}, {})
    certificates = Certificates(config.certificates_dir, SystemClock())
    certificates.open(["example.org"])
    tls = of_node(certificates, config, Settings(SETTINGS))
    assert "Ubiety local CA (example.org)" in str(tls.current.client.get_ca_certs())
    shown = x509.load_pem_x509_certificate(certificates.current.path.read_bytes())
    usage = shown.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_a_node_that_is_told_whom_to_trust_trusts_nobody_else(tmp_path: Path, firm: Authority) -> None:
    config = load_config(tmp_path, {"domain": "example.org", "sip_ca": firm.ca}, {})
    certificates = Certificates(config.certificates_dir, SystemClock())
    certificates.open(["example.org"])
    assert len(of_node(certificates, config, Settings(SETTINGS)).current.peer.get_ca_certs()) == 1
