"""TLS between SIP servers: who is whose client changes, so each side shows and checks a certificate.

The node's own certificate is the one that XMPP clients see (`net/certificates.py`). Files that change are
taken over with the next connection; connections that exist keep what they began with.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ubiety.config import Config
from ubiety.net.authority import CertificateError
from ubiety.net.certificates import CIPHERS, Certificates, domain_in_ascii, load_chain, server_context
from ubiety.net.sip_settings import TLS_CIPHERS
from ubiety.settings import Settings
from ubiety.telemetry import event

# COMPAT: Lync Server 2010 and 2013 on Windows Server 2008 R2 to 2012 R2, whose TLS 1.2 has, for RSA
# certificates, no authenticated encryption with ECDHE.
COMPATIBLE_CIPHERS = f"{CIPHERS}:DHE+AESGCM:ECDHE+AES:AESGCM+kRSA:AES+kRSA:!aNULL:!aDSS:!AESCCM"

Paths = tuple[Path, Path]
_Stamp = tuple[object, ...]


class Contexts:
    """What connections of each kind begin with. Never changed; a reload makes others.

    The authorities that the system trusts are read when a kind is first used, 40 ms for each: most nodes
    speak no SIP over TLS.
    """

    def __init__(
        self,
        server: ssl.SSLContext,
        peer: ssl.SSLContext,
        client: ssl.SSLContext,
        address: ssl.SSLContext,
        *,
        trusts_system: bool,
    ) -> None:
        """Each is complete but for the system's authorities."""
        self.server = server
        """Their connections to us, without a certificate."""
        self._peer, self._client, self._address = peer, client, address
        self._trusts_system = trusts_system

    @cached_property
    def peer(self) -> ssl.SSLContext:
        """Their connections to us; they must show a certificate that we trust."""
        return self._complete(self._peer, ssl.Purpose.CLIENT_AUTH)

    @cached_property
    def client(self) -> ssl.SSLContext:
        """Our connections to a name that the server's certificate must cover."""
        return self._complete(self._client, ssl.Purpose.SERVER_AUTH)

    @cached_property
    def address(self) -> ssl.SSLContext:
        """Our connections to an address; whether the certificate's names will do is judged afterwards."""
        return self._complete(self._address, ssl.Purpose.SERVER_AUTH)

    def _complete(self, context: ssl.SSLContext, purpose: ssl.Purpose) -> ssl.SSLContext:
        if self._trusts_system:
            context.load_default_certs(purpose)
        return context


class SipTls:
    """The contexts of one node. Raises CertificateError where a file cannot be used at the first time."""

    def __init__(
        self,
        files: Callable[[], Paths],
        trusted: Sequence[Path] = (),
        *,
        trusts_system: bool = False,
        ciphers: Callable[[], str] = lambda: str(TLS_CIPHERS.default),
    ) -> None:
        """`files`: the certificate chain and key in use; `trusted`: PEM files of authorities, or of peers."""
        self._files = files
        self._trusted = tuple(trusted)
        self._trusts_system = trusts_system
        self._ciphers = ciphers
        self._stamp: _Stamp = ()
        self._current: Contexts | None = None

    @property
    def current(self) -> Contexts:
        """What a new connection uses. With a faulty file the contexts from before stay in use."""
        files = self._files()
        stamp = (self._ciphers(), *map(_stamp, (*files, *self._trusted)))
        if stamp == self._stamp and self._current is not None:
            return self._current
        try:
            self._current = self._load(*files)
        except CertificateError as error:
            if self._current is None:
                raise
            event("sip_certificate_refused", "error", reason=str(error))
        self._stamp = stamp  # not again before the files change once more
        return self._current

    def _load(self, certificate: Path, key: Path) -> Contexts:
        peer, server = (self._server(certificate, key) for _ in range(2))
        peer.verify_mode = ssl.CERT_REQUIRED
        self._trust(peer)
        return Contexts(
            peer=peer,
            server=server,
            client=self._client(certificate, key, checks_name=True),
            address=self._client(certificate, key, checks_name=False),
            trusts_system=self._trusts_system,
        )

    def _server(self, certificate: Path, key: Path) -> ssl.SSLContext:
        context = server_context(certificate, key)
        context.set_ciphers(self._cipher_list)
        return context

    def _client(self, certificate: Path, key: Path, *, checks_name: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(self._cipher_list)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.check_hostname = checks_name
        load_chain(context, certificate, key)
        self._trust(context)
        return context

    @property
    def _cipher_list(self) -> str:
        return CIPHERS if self._ciphers() == "strict" else COMPATIBLE_CIPHERS

    def _trust(self, context: ssl.SSLContext) -> None:
        # A peer's own certificate among the trusted ones is enough, as in a list of exceptions.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        for path in self._trusted:
            try:
                context.load_verify_locations(path)
            except (OSError, ValueError) as error:
                raise CertificateError(
                    f"{path} cannot be read as certificates of authorities: {error}. Give them as PEM."
                ) from error


def of_node(certificates: Certificates, config: Config, settings: Settings) -> SipTls:
    """Makes the contexts of a node: its certificate, and whom its configuration trusts.

    `certificates` must be open by the time of the first connection.
    """
    trusted = config.sip_ca or certificates.ca_path
    return SipTls(
        lambda: certificates.paths,
        (trusted,) if trusted else (),
        trusts_system=config.sip_ca is None,
        ciphers=lambda: settings.get(TLS_CIPHERS),
    )


def subject_names(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in a verified certificate, as ``ssl`` shows it, in small letters and without repeats.

    They are the common name, which is what a TLS peer subject is compared with, and then the alternative
    names: host names, addresses, and the domains of `sip:` URIs (RFC 5922 §7.1).
    """
    found = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "IP Address"):
            found.append(value)
        elif kind == "URI" and value.lower().startswith(("sip:", "sips:")) and "@" not in value:
            found.append(value.partition(":")[2])
    return tuple(dict.fromkeys(map(domain_in_ascii, found)))


def covers(names: Sequence[str], name: str) -> bool:
    """Whether `name`, a host or an address, is among the names of a certificate (RFC 6125 §6.4)."""
    wanted = domain_in_ascii(name)
    # RFC 5922 §7.2: no wildcards in SIP, yet Microsoft's edge servers show them. COMPAT: Lync, Expressway.
    parent = wanted.partition(".")[2]
    return wanted in names or bool(parent and f"*.{parent}" in names)


def shown_fault(error: ssl.SSLError) -> str:
    """Why TLS did not come about, in words for the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the peer's certificate is not accepted: {error.verify_message.rstrip('.')}"
    reason = error.reason or str(error)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "TLS: the peer shows no certificate"
    words = reason.lower().replace("_", " ")
    if " alert " in f" {words} ":
        return f"TLS: refused by the peer: {words.partition('alert ')[2]}"
    return f"TLS: {words}"


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino
