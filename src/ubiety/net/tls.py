"""TLS inside the connection: one path for STARTTLS, direct TLS and SIP (design.md §4).

``SSLObject`` over memory buffers, so that the switch to TLS cannot race with data already received
and works the same with and without uvloop.
"""

import contextlib
import ssl
from collections.abc import Mapping
from typing import Any

READ_BYTES = 65_536


class TlsLayer:
    """One TLS session as bytes in, bytes out. Raises ``ssl.SSLError`` when the peer breaks it."""

    __slots__ = ("_incoming", "_object", "_outgoing", "established")

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool = True, server_name: str | None = None
    ) -> None:
        """`server_name`: on the client's side, what the server's certificate must cover."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        self.established = False

    def begin(self) -> bytes:
        """Return what a client says first."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._object.do_handshake()
        return self._outgoing.read()

    def receive(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Take bytes from the wire; return (plain text, bytes for the wire, peer has closed)."""
        self._incoming.write(data)
        if not self.established:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return b"", self._outgoing.read(), False
            self.established = True
        plain, closed = self._read()
        return plain, self._outgoing.read() if self._outgoing.pending else b"", closed

    def _read(self) -> tuple[bytes, bool]:
        try:
            plain = self._object.read(READ_BYTES)
        except ssl.SSLWantReadError:
            return b"", False
        except ssl.SSLZeroReturnError:
            return b"", True
        if not self._incoming.pending and len(plain) < 16_384 and not self._object.pending():
            return plain, not plain
        parts = [plain]
        try:
            while plain:
                plain = self._object.read(READ_BYTES)
                parts.append(plain)
        except ssl.SSLWantReadError:
            return b"".join(parts), False
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(parts), True

    def send(self, data: bytes) -> bytes:
        """Encrypt; return the bytes for the wire."""
        self._object.write(data)
        return self._outgoing.read()

    def close(self) -> bytes:
        """Return our close notice; the peer's is not waited for."""
        # Wants the peer's notice, or was never established: either way we are done.
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read()

    def last_words(self) -> bytes:
        """Return what is left for the wire after an error: the alert that tells the peer why."""
        return self._outgoing.read()

    @property
    def peer_certificate(self) -> Mapping[str, Any]:
        """The peer's certificate as ``ssl`` shows it; empty without one that was verified."""
        return self._object.getpeercert() or {}

    @property
    def version(self) -> str:
        """The protocol version, such as "TLSv1.3"; empty during the handshake."""
        return self._object.version() or ""
