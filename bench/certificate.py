"""The P-256 certificate that every server under test presents."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """Files of one self-signed certificate: the certificate, its key, and both in one file."""

    chain: Path
    key: Path
    bundle: Path


def make_certificate(folder: Path, domain: str) -> Certificate:
    """Write a fresh P-256 certificate for `domain`, valid for a week."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain_text = certificate.public_bytes(serialization.Encoding.PEM)
    key_text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files = Certificate(folder / "server.crt", folder / "server.key", folder / "server.pem")
    files.chain.write_bytes(chain_text)
    files.key.write_bytes(key_text)
    files.bundle.write_bytes(chain_text + key_text)
    return files
