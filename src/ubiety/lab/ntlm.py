"""NTLM as a server, version 2 and without connection, as SIP carries it (MS-NLMP, MS-SIPAE).

There is no NEGOTIATE message in this mode: the server sends the challenge at once.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from enum import IntFlag

from ubiety.lab.md4 import md4, rc4

SIGNATURE = b"NTLMSSP\x00"
SEQUENCE = 100
"""MS-SIPAE: the number of every SIP message is fixed."""
_EPOCH = 11_644_473_600
"""Seconds between 1601, where Windows begins to count, and 1970."""


class Flags(IntFlag):
    """The negotiated features that matter here (MS-NLMP 2.2.2.5)."""

    UNICODE = 0x00000001
    OEM = 0x00000002
    REQUEST_TARGET = 0x00000004
    SIGN = 0x00000010
    SEAL = 0x00000020
    DATAGRAM = 0x00000040
    NTLM = 0x00000200
    ALWAYS_SIGN = 0x00008000
    TARGET_TYPE_SERVER = 0x00020000
    EXTENDED_SESSION_SECURITY = 0x00080000
    IDENTIFY = 0x00100000
    TARGET_INFO = 0x00800000
    VERSION = 0x02000000
    KEY_128 = 0x20000000
    KEY_EXCHANGE = 0x40000000
    KEY_56 = 0x80000000


OFFERED = (
    Flags.UNICODE
    | Flags.SIGN
    | Flags.SEAL
    | Flags.DATAGRAM
    | Flags.NTLM
    | Flags.ALWAYS_SIGN
    | Flags.EXTENDED_SESSION_SECURITY
    | Flags.IDENTIFY
    | Flags.TARGET_INFO
    | Flags.VERSION
    | Flags.KEY_128
    | Flags.KEY_EXCHANGE
    | Flags.KEY_56
)
_VERSION = bytes((6, 1)) + struct.pack("<H", 7601) + bytes(3) + b"\x0f"


class NtlmError(ValueError):
    """A message that is not NTLM, or a wrong password."""


def write_challenge(nonce: bytes, domain: str, server: str, now: float) -> bytes:
    """The CHALLENGE message (MS-NLMP 2.2.1.2). `nonce` is 8 random bytes, `now` seconds since 1970."""
    pairs = (
        (2, domain.upper()[:15].encode("utf-16-le")),
        (1, server.partition(".")[0].upper()[:15].encode("utf-16-le")),
        (4, domain.encode("utf-16-le")),
        (3, server.encode("utf-16-le")),
        (7, struct.pack("<Q", int((now + _EPOCH) * 10_000_000))),
    )
    info = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in pairs) + bytes(4)
    head = SIGNATURE + struct.pack("<I", 2)
    target = struct.pack("<HHI", 0, 0, 56)
    info_field = struct.pack("<HHI", len(info), len(info), 56)
    return head + target + struct.pack("<I", OFFERED) + nonce + bytes(8) + info_field + _VERSION + info


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The client's AUTHENTICATE message (MS-NLMP 2.2.1.3)."""

    user: str
    domain: str
    nt_response: bytes
    session_key: bytes
    flags: int

    @property
    def proof(self) -> bytes:
        """The first part of the response: what the password is proved by."""
        return self.nt_response[:16]

    @property
    def blob(self) -> bytes:
        """The rest of it: time, the client's nonce and the target information."""
        return self.nt_response[16:]


def read_authenticate(data: bytes) -> Authenticate:
    """Reads an AUTHENTICATE message. Raises NtlmError."""
    if data[:8] != SIGNATURE or len(data) < 64 or struct.unpack_from("<I", data, 8)[0] != 3:
        raise NtlmError("not an AUTHENTICATE message")

    def field(place: int) -> bytes:
        length, _, offset = struct.unpack_from("<HHI", data, place)
        if offset + length > len(data):
            raise NtlmError("a field outside of the message")
        return data[offset : offset + length]

    flags = struct.unpack_from("<I", data, 60)[0]
    encoding = "utf-16-le" if flags & Flags.UNICODE else "latin-1"
    try:
        user, domain = field(36).decode(encoding), field(28).decode(encoding)
    except UnicodeDecodeError as error:
        raise NtlmError("a name that is no text") from error
    response = field(20)
    if len(response) < 44:
        raise NtlmError("not a response of version 2")
    return Authenticate(user, domain, response, field(52), flags)


def response_key(password: str, user: str, domain: str) -> bytes:
    """NTOWFv2 of MS-NLMP 3.3.2."""
    key = md4(password.encode("utf-16-le"))
    return _hmac(key, (user.upper() + domain).encode("utf-16-le"))


@dataclass(frozen=True, slots=True)
class Keys:
    """What both sides sign with once the password is proved."""

    client_sign: bytes
    client_seal: bytes
    server_sign: bytes
    server_seal: bytes

    def sign(self, text: bytes) -> str:
        """The server's signature of a buffer, in hexadecimal."""
        return make_signature(self.server_sign, self.server_seal, text).hex().upper()

    def verify(self, text: bytes, signature: str) -> bool:
        """Whether the client signed a buffer so."""
        expected = make_signature(self.client_sign, self.client_seal, text).hex()
        return hmac.compare_digest(expected, signature.lower())


def accept(message: Authenticate, password: str, nonce: bytes) -> Keys:
    """Checks the client's proof and returns the keys. Raises NtlmError."""
    key = response_key(password, message.user, message.domain)
    if not hmac.compare_digest(_hmac(key, nonce + message.blob), message.proof):
        raise NtlmError("the password is wrong")
    base = _hmac(key, message.proof)
    exported = rc4(base, message.session_key) if message.flags & Flags.KEY_EXCHANGE else base
    return make_keys(exported)


def make_keys(exported: bytes) -> Keys:
    """SIGNKEY and SEALKEY of MS-NLMP 3.4.5, at 128 bits."""
    return Keys(
        _derived(exported, "client-to-server signing"),
        _derived(exported, "client-to-server sealing"),
        _derived(exported, "server-to-client signing"),
        _derived(exported, "server-to-client sealing"),
    )


def make_signature(sign_key: bytes, seal_key: bytes, text: bytes, sequence: int = SEQUENCE) -> bytes:
    """MAC of MS-NLMP 3.4.4.2, with the sealing key made anew for every message as datagrams need it."""
    number = struct.pack("<I", sequence)
    once = hashlib.md5(seal_key + number, usedforsecurity=False).digest()
    return b"\x01\x00\x00\x00" + rc4(once, _hmac(sign_key, number + text)[:8]) + number


def _derived(exported: bytes, use: str) -> bytes:
    constant = f"session key to {use} key magic constant\x00".encode()
    return hashlib.md5(exported + constant, usedforsecurity=False).digest()


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.md5).digest()
