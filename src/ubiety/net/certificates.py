"""The node's certificate and the TLS contexts made of it, exchanged while the node runs.

Connections that exist keep the certificate they began with; each new one takes `Certificates.current`.
"""

import hashlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import idna
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ubiety.clock import Clock
from ubiety.net import authority
from ubiety.net.authority import CertificateError, Files
from ubiety.telemetry import event

RENEW_BEFORE = 30 * 86400.0
"""Seconds before its end at which a certificate of the local authority is replaced."""

# TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325 §4.2); TLS 1.3 has its own list.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class ServerTls:
    """A certificate with what connections need of it. Never changed; a reload makes another one."""

    context: ssl.SSLContext
    """For client streams (ALPN `xmpp-client`, XEP-0368)."""
    web_context: ssl.SSLContext
    """For HTTPS (ALPN `http/1.1`)."""
    endpoint_hash: bytes | None
    """The `tls-server-end-point` channel binding (RFC 5929 §4), None where it is not defined."""
    path: Path
    is_local: bool
    """Whether the local authority made it."""
    names: tuple[str, ...]
    subject: str
    issuer: str
    not_before: float
    not_after: float
    fingerprint: str
    """SHA-256, in hexadecimal."""

    def covers(self, domain: str) -> bool:
        """Whether a client that connects for `domain` will find it in the certificate (RFC 6125 §6.4)."""
        name = domain_in_ascii(domain)
        parent = name.partition(".")[2]
        return name in self.names or bool(parent and f"*.{parent}" in self.names)


class Certificates:
    """Makes, loads, renews and exchanges the node's certificate. Slow (files, keys), safe in any thread."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        own: tuple[Path, Path] | None = None,
        hostnames: Sequence[str] = (),
    ) -> None:
        """`own`: the administrator's certificate chain and key; without it the local authority issues one."""
        self._files = Files(directory)
        self._clock = clock
        self._own = own
        self._hostnames = tuple(hostnames)
        self._domains: tuple[str, ...] = ()
        self._current: ServerTls | None = None
        self._stamp: Stamp = ()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[ServerTls], None]] = []

    @property
    def current(self) -> ServerTls:
        """What a new connection uses. Raises CertificateError before `open`."""
        if self._current is None:
            raise CertificateError("No certificate is loaded yet.")
        return self._current

    @property
    def ca_path(self) -> Path | None:
        """The certificate of the local authority, for clients to trust; None with the administrator's own."""
        return None if self._own else self._files.ca

    def watch(self, callback: Callable[[ServerTls], None]) -> None:
        """Calls `callback` with each certificate that replaces another, in the thread that replaced it."""
        self._callbacks.append(callback)

    def open(self, domains: Sequence[str]) -> ServerTls:
        """Loads the certificate at start; the local authority makes what is missing for `domains`.

        Raises CertificateError.
        """
        self._domains = tuple(domains)
        return self.reload()

    def cover(self, domains: Sequence[str]) -> ServerTls:
        """Has the local authority issue a certificate when one of `domains` is not in the present one.

        The administrator's own certificate is left alone: `check` warns. Raises CertificateError.
        """
        self._domains = tuple(domains)
        with self._lock:
            if not self._own and self._prepare():
                return self._load()
            return self.current

    def reload(self) -> ServerTls:
        """Reads the files again, changed or not. On CertificateError the old one stays in use."""
        with self._lock:
            if not self._own:
                self._prepare()
            return self._load()

    def refresh(self) -> bool:
        """Takes over files that changed and renews what soon ends; call it every minute. True if replaced.

        Never raises: a faulty file is an event, and the certificate in use stays.
        """
        with self._lock:
            try:
                renewed = not self._own and self._prepare()
                if renewed or _stamp(*self.paths) != self._stamp:
                    self._load()
                    return True
            except CertificateError as error:
                event("certificate_refused", "error", reason=str(error))
                # Not again before the files change once more.
                self._stamp = _stamp(*self.paths)
            return False

    def switching_context(self) -> ssl.SSLContext:
        """A context for a server that keeps it (uvicorn): each handshake uses the current certificate."""
        context = server_context(*self.paths, "http/1.1")

        def switch(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self.current.web_context

        context.sni_callback = switch
        return context

    @property
    def paths(self) -> tuple[Path, Path]:
        """The files in use: certificate chain and key, for contexts of another kind (SIP)."""
        return self._own or (self._files.certificate, self._files.key)

    def _prepare(self) -> bool:
        files, now = self._files, self._clock.now()
        files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = [*self._domains, *self._hostnames, *host_names()]
        if self._has_no_authority(now):
            authority.make_authority(files, self._domains[0], now)
            event("certificate_authority_made", path=str(files.ca))
        elif not self._is_due(now, names):
            return False
        authority.issue(files, names, now)
        event("certificate_issued", names=names, path=str(files.certificate))
        return True

    def _has_no_authority(self, now: float) -> bool:
        files = self._files
        if not files.ca.exists():
            return not files.ca_key.exists()
        return _read_certificate(files.ca).not_valid_after_utc.timestamp() - now < RENEW_BEFORE

    def _is_due(self, now: float, names: Sequence[str]) -> bool:
        if not self._files.certificate.exists() or not self._files.key.exists():
            return True
        present = _read_certificate(self._files.certificate)
        if not _is_for_clients(present):
            return True  # of an earlier version: a SIP peer would not accept it from us as its client
        wanted = {_name_text(name) for name in authority.alternative_names(names)}
        # Names that are no longer wanted stay until the next renewal: nothing breaks by them.
        if wanted - set(_names(present)):
            return True
        return present.not_valid_after_utc.timestamp() - now < RENEW_BEFORE

    def _load(self) -> ServerTls:
        stamp = _stamp(*self.paths)
        loaded = load(*self.paths, is_local=not self._own)
        replaced = self._current is not None and self._current.fingerprint != loaded.fingerprint
        self._current, self._stamp = loaded, stamp
        if replaced:
            event("certificate_replaced", fingerprint=loaded.fingerprint, names=loaded.names)
            for callback in self._callbacks:
                callback(loaded)
        return loaded


def load(certificate: Path, key: Path, *, is_local: bool) -> ServerTls:
    """Reads a certificate chain and its key. Raises CertificateError."""
    leaf = _read_certificate(certificate)
    der = leaf.public_bytes(serialization.Encoding.DER)
    return ServerTls(
        context=server_context(certificate, key, "xmpp-client"),
        web_context=server_context(certificate, key, "http/1.1"),
        endpoint_hash=_endpoint_hash(leaf, der),
        path=certificate,
        is_local=is_local,
        names=_names(leaf),
        subject=_common_name(leaf.subject),
        issuer=_common_name(leaf.issuer),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        fingerprint=hashlib.sha256(der).hexdigest(),
    )


def host_names() -> list[str]:
    """Names by which clients on this machine and its network reach the node, without asking the DNS."""
    return list(dict.fromkeys(["localhost", "127.0.0.1", "::1", socket.gethostname().lower()]))


def domain_in_ascii(domain: str) -> str:
    """A domain as it stands in a certificate; an address without brackets."""
    name = domain.strip("[]").lower()
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return name if name.isascii() else idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        return name


def server_context(certificate: Path, key: Path, protocol: str = "") -> ssl.SSLContext:
    """Makes a server's context, with one ALPN protocol or none. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    # Sessions live for hours, so tickets only cost: 0.15 ms for each login.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if protocol:
        context.set_alpn_protocols([protocol])
    load_chain(context, certificate, key)
    return context


def load_chain(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Has a context show this certificate. Raises CertificateError."""
    try:
        # The password function refuses: OpenSSL would otherwise ask on the terminal and wait.
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except (OSError, ValueError) as error:
        raise CertificateError(
            f"{certificate} and {key} cannot be used together: {error}. "
            "Give the chain, the node's own certificate first, and its key without a password, both as PEM."
        ) from error


def _refuse_password() -> str:
    raise ValueError("the key is protected by a password")


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path} cannot be read as a PEM certificate: {error}.") from error


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(text for name in extension.value if (text := _name_text(name)))


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in extension.value


def _name_text(name: x509.GeneralName) -> str:
    return str(name.value).lower() if isinstance(name, x509.DNSName | x509.IPAddress) else ""


def _common_name(name: x509.Name) -> str:
    attributes = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[0].value) if attributes else name.rfc4514_string()


def _endpoint_hash(certificate: x509.Certificate, der: bytes) -> bytes | None:
    # RFC 5929 §4.1: the hash of the certificate's signature, but never a weaker one than SHA-256.
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, der).digest()


def _stamp(*paths: Path) -> Stamp:
    try:
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in (path.stat() for path in paths))
    except OSError:
        return ()


def days_left(tls: ServerTls, now: float) -> int:
    """Whole days until the certificate ends; negative when it has ended."""
    return int((tls.not_after - now) // 86400)
