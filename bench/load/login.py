"""One client's way from TCP connection to initial presence (RFC 6120 §9, RFC 5802)."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import os
import re
from typing import cast

from bench.people import DOMAIN, PASSWORD

HEADER = (
    f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
).encode()
_BIND = (
    b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
    b"<resource>bench</resource></bind></iq>"
)
_ROSTER = b"<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>"
_PRESENCE = b"<presence/>"
_CHALLENGE = re.compile(rb"<challenge[^>]*>([^<]*)<")


class LoginError(Exception):
    """The server said no, or said something else than expected; the text holds its words."""


@functools.cache
def _client_keys(salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Client key and stored key (RFC 5802 §3); cached, since PBKDF2 is the one dear step."""
    salted = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha1")
    return client_key, hashlib.sha1(client_key).digest()


def prepare_keys(salt: bytes, iterations: int) -> None:
    """Derive the keys for a salt before the clock runs."""
    _client_keys(salt, iterations)


class Login(asyncio.Protocol):
    """Drives SASL SCRAM-SHA-1, bind, roster and presence, then resolves `done` with its transport."""

    def __init__(self, name: str, done: asyncio.Future[asyncio.Transport]) -> None:
        self.name = name
        self.done = done
        self._buffer = b""
        self._step = self._features
        self._first = f"n={name},r={base64.b64encode(os.urandom(12)).decode()}"
        self._authenticated = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the stream."""
        # uvloop's transports have the interface but not the base class.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(HEADER)

    def data_received(self, data: bytes) -> None:
        """Collect until the present step can go on."""
        self._buffer += data
        if b"<failure" in self._buffer or b"<stream:error" in self._buffer:
            self._fail(self._buffer[-300:].decode(errors="replace"))
            return
        self._step()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that ended on the way."""
        self._fail(f"connection closed ({exc})")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(LoginError(f"{self.name}: {why}"))
            self.transport.abort()

    def _features(self) -> None:
        if b"</stream:features>" not in self._buffer:
            return
        self._buffer = b""
        if self._authenticated:
            self.transport.write(_BIND)
            self._step = self._bound
            return
        initial = base64.b64encode(b"n,," + self._first.encode())
        self.transport.write(
            b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>" + initial + b"</auth>"
        )
        self._step = self._challenged

    def _challenged(self) -> None:
        found = _CHALLENGE.search(self._buffer)
        if found is None or b"</challenge" not in self._buffer:
            return
        self._buffer = b""
        server_first = base64.b64decode(found[1]).decode()
        fields = dict(part.split("=", 1) for part in server_first.split(","))
        client_key, stored_key = _client_keys(base64.b64decode(fields["s"]), int(fields["i"]))
        final = f"c=biws,r={fields['r']}"
        signature = hmac.digest(stored_key, f"{self._first},{server_first},{final}".encode(), "sha1")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        answer = base64.b64encode(f"{final},p={base64.b64encode(proof).decode()}".encode())
        self.transport.write(b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + answer + b"</response>")
        self._step = self._succeeded

    def _succeeded(self) -> None:
        if b"<success" not in self._buffer or not self._buffer.endswith((b"</success>", b"/>")):
            return
        self._buffer = b""
        self._authenticated = True
        self.transport.write(HEADER)
        self._step = self._features

    def _bound(self) -> None:
        if b"</iq>" not in self._buffer:
            return
        if b"</jid>" not in self._buffer:
            self._fail(self._buffer[-300:].decode(errors="replace"))
            return
        self._buffer = b""
        self.transport.write(_ROSTER)
        self._step = self._rostered

    def _rostered(self) -> None:
        # A contact list may come in many reads.
        if b"</iq>" not in self._buffer:
            return
        self.transport.write(_PRESENCE)
        self._buffer = b""
        self.done.set_result(self.transport)
