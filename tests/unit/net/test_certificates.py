"""net/certificates.py and net/authority.py: TLS with real handshakes, in memory."""

import hashlib
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ubiety.clock import ManualClock
from ubiety.net.authority import CertificateError, Files, issue, make_authority
from ubiety.net.certificates import Certificates, ServerTls, days_left, host_names


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now=time.time())


def handshake(server: ssl.SSLContext, ca: Path | None, name: str = "example.org") -> ssl.SSLObject:
    """Lets a client that trusts only `ca` shake hands; returns its side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    context.set_alpn_protocols(["xmpp-client"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    peer = server.wrap_bio(to_server, to_client, server_side=True)
    pending = [client, peer]
    for _ in range(6):
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not pending, "the handshake did not end"
    return client


def opened(path: Path, clock: ManualClock, *domains: str) -> tuple[Certificates, ServerTls]:
    certificates = Certificates(path, clock)
    return certificates, certificates.open(domains or ("example.org",))


def test_a_client_that_trusts_the_authority_verifies_every_domain(tmp_path: Path, clock: ManualClock) -> None:
    certificates, tls = opened(tmp_path, clock, "example.org", "example.com", "bücher.example")
    assert certificates.ca_path is not None
    for name in ("example.org", "example.com", "xn--bcher-kva.example", "localhost", "127.0.0.1"):
        client = handshake(tls.context, certificates.ca_path, name)
        assert client.version() == "TLSv1.3"
        assert client.selected_alpn_protocol() == "xmpp-client"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls.context, certificates.ca_path, "example.net")


def test_what_it_says_about_itself(tmp_path: Path, clock: ManualClock) -> None:
    _, tls = opened(tmp_path, clock)
    assert tls.is_local and tls.subject == "example.org" and "Ubiety local CA" in tls.issuer
    assert days_left(tls, clock.now()) in (396, 397)
    assert tls.covers("example.org") and tls.covers("EXAMPLE.org") and not tls.covers("example.com")
    assert set(host_names()) <= set(tls.names)
    der = ssl.PEM_cert_to_DER_cert(tls.path.read_text().split("-----END")[0] + "-----END CERTIFICATE-----")
    assert tls.endpoint_hash == hashlib.sha256(der).digest()  # RFC 5929 §4.1
    assert tls.fingerprint == hashlib.sha256(der).hexdigest()


def test_keys_are_closed_to_others(tmp_path: Path, clock: ManualClock) -> None:
    opened(tmp_path, clock)
    assert (tmp_path / "server-key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca-key.pem").stat().st_mode & 0o777 == 0o600


def test_a_second_start_changes_nothing(tmp_path: Path, clock: ManualClock) -> None:
    _, first = opened(tmp_path, clock)
    certificates, second = opened(tmp_path, clock)
    assert second.fingerprint == first.fingerprint
    assert not certificates.refresh()


def test_a_new_domain_gets_into_the_certificate_of_the_same_authority(
    tmp_path: Path, clock: ManualClock
) -> None:
    certificates, before = opened(tmp_path, clock)
    ca = (tmp_path / "ca.pem").read_bytes()
    seen: list[ServerTls] = []
    certificates.watch(seen.append)
    after = certificates.cover(["example.org", "example.com"])
    assert after.covers("example.com") and not before.covers("example.com")
    assert seen == [after] and certificates.current is after
    assert (tmp_path / "ca.pem").read_bytes() == ca
    assert certificates.cover(["example.org"]) is after


def test_it_is_renewed_before_it_ends(tmp_path: Path, clock: ManualClock) -> None:
    certificates, before = opened(tmp_path, clock)
    clock.advance(360 * 86400.0)
    assert not certificates.refresh()
    clock.advance(10 * 86400.0)
    assert certificates.refresh()
    assert certificates.current.not_after > before.not_after


def test_an_authority_at_its_end_is_replaced(tmp_path: Path, clock: ManualClock) -> None:
    certificates, before = opened(tmp_path, clock)
    ca = (tmp_path / "ca.pem").read_bytes()
    clock.advance(3640 * 86400.0)
    assert certificates.refresh()
    assert (tmp_path / "ca.pem").read_bytes() != ca
    assert certificates.current.not_after > before.not_after + 8 * 365 * 86400


def own_files(path: Path, clock: ManualClock, *names: str) -> tuple[Path, Path]:
    files = Files(path)
    path.mkdir(exist_ok=True)
    make_authority(files, "elsewhere", clock.now())
    issue(files, names, clock.now())
    return files.certificate, files.key


def test_changed_files_are_taken_over_while_running(tmp_path: Path, clock: ManualClock) -> None:
    own = own_files(tmp_path / "own", clock, "example.org")
    certificates = Certificates(tmp_path / "local", clock, own)
    before = certificates.open(["example.org"])
    switching = certificates.switching_context()
    assert not before.is_local and certificates.ca_path is None
    assert not (tmp_path / "local").exists()
    old_ca = (tmp_path / "own" / "ca.pem").rename(tmp_path / "old-ca.pem")
    own_files(tmp_path / "own", clock, "example.org", "*.example.com")
    assert certificates.refresh()
    new_ca = tmp_path / "own" / "ca.pem"
    handshake(before.context, old_ca)
    handshake(certificates.current.context, new_ca)
    handshake(switching, new_ca)
    assert certificates.current.covers("im.example.com") and not certificates.current.covers("example.com")
    assert not certificates.refresh()


def test_faulty_files_leave_the_old_certificate_in_use(tmp_path: Path, clock: ManualClock) -> None:
    own = own_files(tmp_path / "own", clock, "example.org")
    certificates = Certificates(tmp_path / "local", clock, own)
    before = certificates.open(["example.org"])
    own[0].write_text("-----BEGIN CERTIFICATE-----\nhalf")
    assert not certificates.refresh()
    with pytest.raises(CertificateError, match="cannot be read"):
        certificates.reload()
    assert certificates.current is before


def test_a_key_of_another_certificate_is_refused_with_the_cure(tmp_path: Path, clock: ManualClock) -> None:
    certificate, _ = own_files(tmp_path / "one", clock, "example.org")
    _, key = own_files(tmp_path / "two", clock, "example.org")
    with pytest.raises(CertificateError, match="Give the chain"):
        Certificates(tmp_path, clock, (certificate, key)).open(["example.org"])


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(tmp_path: Path, clock: ManualClock) -> None:
    certificate, key = own_files(tmp_path / "own", clock, "example.org")
    secret = serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    key.write_bytes(secret)
    with pytest.raises(CertificateError, match="without a password"):
        Certificates(tmp_path, clock, (certificate, key)).open(["example.org"])


def test_a_lost_authority_key_is_reported_when_it_is_needed(tmp_path: Path, clock: ManualClock) -> None:
    certificates, before = opened(tmp_path, clock)
    (tmp_path / "ca-key.pem").unlink()
    assert certificates.reload().fingerprint == before.fingerprint
    with pytest.raises(CertificateError, match="local authority"):
        certificates.cover(["example.org", "example.com"])
    assert certificates.current.covers("example.org")


def test_an_rsa_certificate_takes_the_place_of_an_elliptic_one(tmp_path: Path, clock: ManualClock) -> None:
    certificate, key = own_files(tmp_path / "own", clock, "example.org")
    certificates = Certificates(tmp_path, clock, (certificate, key))
    certificates.open(["example.org"])
    rsa_key = rsa.generate_private_key(65537, 2048)
    present = x509.load_pem_x509_certificate(certificate.read_bytes())
    replacement = (
        x509.CertificateBuilder()
        .subject_name(present.subject)
        .issuer_name(present.subject)
        .public_key(rsa_key.public_key())
        .serial_number(5)
        .not_valid_before(present.not_valid_before_utc)
        .not_valid_after(present.not_valid_after_utc)
        .sign(rsa_key, hashes.SHA384())
    )
    certificate.write_bytes(replacement.public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(rsa_key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    tls = certificates.reload()
    client = handshake(tls.context, None)
    der = client.getpeercert(binary_form=True)
    assert der is not None and tls.endpoint_hash == hashlib.sha384(der).digest()
    assert tls.names == () and not tls.covers("example.org")


def test_old_protocol_versions_are_refused(tmp_path: Path, clock: ManualClock) -> None:
    _, tls = opened(tmp_path, clock)
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls.context.num_tickets == 0
    assert all("ECDHE" in c["name"] or c["name"].startswith("TLS_") for c in tls.context.get_ciphers())
