"""The local certificate authority of an installation: it makes a node reachable over TLS at first start.

An administrator can have clients trust `ca.pem`, or put certificates of another authority in place (`[tls]`
in `ubiety.toml`). ECDSA on P-256 throughout: the cheapest handshake that every client knows.
"""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import idna
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
CERTIFICATE_DAYS = 397
BACKDATE = datetime.timedelta(days=1)
"""Clients whose clock is a little slow must not see a certificate of the future."""
# Between SIP servers each one is also the other's client, and shows the same certificate (RFC 5922 §7).
_PURPOSES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


class CertificateError(ValueError):
    """A certificate or key cannot be made or used. The text names the cause and the cure."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the local authority keeps what it made."""

    directory: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate, which clients may trust."""
        return self.directory / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The authority's private key."""
        return self.directory / "ca-key.pem"

    @property
    def certificate(self) -> Path:
        """The node's certificate followed by that of the authority."""
        return self.directory / "server.pem"

    @property
    def key(self) -> Path:
        """The node's private key."""
        return self.directory / "server-key.pem"


def make_authority(files: Files, name: str, now: float) -> None:
    """Makes the authority's key and certificate, "Ubiety local CA (`name`)". Raises CertificateError."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Ubiety local CA ({name})"[:64])])
    public = key.public_key()
    certificate = (
        _builder(subject, subject, public, now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(files.ca_key, _key_pem(key), 0o600)
    _write(files.ca, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def issue(files: Files, names: Sequence[str], now: float) -> None:
    """Makes the node's key and certificate for `names` (domains, host names, addresses).

    Raises CertificateError.
    """
    ca_key, ca = _authority(files)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ascii(names[0])[:64])])
    days = min(CERTIFICATE_DAYS, int((ca.not_valid_after_utc.timestamp() - now) / 86400))
    certificate = (
        _builder(subject, ca.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_PURPOSES), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternative_names(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    _write(files.key, _key_pem(key), 0o600)
    _write(files.certificate, certificate.public_bytes(pem) + ca.public_bytes(pem), 0o644)


def alternative_names(names: Sequence[str]) -> list[x509.GeneralName]:
    """Names and addresses as they stand in a certificate, without repeats. Raises CertificateError."""
    result: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name.strip("[]"))))
        except ValueError:
            result.append(x509.DNSName(_ascii(name)))
    return result


def _ascii(name: str) -> str:
    # RFC 6120 §13.7.1.2: internationalized domain names stand in a certificate as A-labels.
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise CertificateError(f"{name!r} cannot stand in a certificate: {error}.") from error


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: float, days: int
) -> x509.CertificateBuilder:
    start = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATE)
        .not_valid_after(start + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(files: Files) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key = serialization.load_pem_private_key(files.ca_key.read_bytes(), password=None)
        ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(
            f"The local authority in {files.directory} cannot be read ({error}). Put ca.pem and ca-key.pem "
            "back, or move that directory away to have a new one made (clients must then trust that)."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{files.ca_key} does not hold an elliptic curve key.")
    return key, ca


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    # By rename: whoever reads sees the old file or the new one, and a crash leaves no half key.
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError as error:
        raise CertificateError(f"{path} cannot be written: {error}. Check space and permissions.") from error
