"""MD4, RC4 and NTLM against published vectors: RFC 1320 A.5, RFC 6229, MS-NLMP 4.2.4."""

import struct
from string import ascii_lowercase, ascii_uppercase, digits

import pytest

from ubiety.lab import ntlm
from ubiety.lab.md4 import md4, rc4

NONCE = bytes.fromhex("0123456789abcdef")
EXPORTED = b"\x55" * 16
# MS-NLMP 4.2.4.3: the AUTHENTICATE message of the example
AUTHENTICATE = bytes.fromhex(
    "4e544c4d5353500003000000180018006c00000054005400840000000c000c00480000000800080054000000100010005c000000"
    "10001000d8000000358288e20501280a0000000f44006f006d00610069006e00550073006500720043004f004d00500055005400"
    "4500520086c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa68cd0ab851e51c96aabc927bebef6a1c0101000000000000"
    "0000000000000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d00610069006e0001000c00530065007200760065007200"
    "0000000000000000c5dad2544fc9799094ce1ce90bc9d03e"
)


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
        ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
        ("message digest", "d9130a8164549fe818874806e1c7014b"),
        ("abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (
            ascii_uppercase + ascii_lowercase + digits,
            "043f8582f241db351ce627e153e7f0e4",
        ),
        ("1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4(text: str, digest: str) -> None:
    assert md4(text.encode()).hex() == digest


def test_rc4() -> None:
    assert rc4(bytes.fromhex("0102030405"), bytes(16)).hex() == "b2396305f03dc027ccc3524a0a1118a8"


def test_response_key() -> None:
    key = ntlm.response_key("Password", "User", "Domain")
    assert key.hex() == "0c868a403bfd7a93a3001ef22ef02e3f"


def test_example_is_accepted() -> None:
    message = ntlm.read_authenticate(AUTHENTICATE)
    assert (message.user, message.domain) == ("User", "Domain")
    keys = ntlm.accept(message, "Password", NONCE)
    assert keys == ntlm.make_keys(EXPORTED)
    assert keys.client_sign.hex() == "4788dc861b4782f35d43fd98fe1a2d39"
    assert keys.client_seal.hex() == "59f600973cc4960a25480a7c196e4c58"


@pytest.mark.parametrize(("password", "nonce"), [("password", NONCE), ("Password", bytes(8))])
def test_wrong_password_or_nonce(password: str, nonce: bytes) -> None:
    with pytest.raises(ntlm.NtlmError, match="password"):
        ntlm.accept(ntlm.read_authenticate(AUTHENTICATE), password, nonce)


@pytest.mark.parametrize("cut", [0, 7, 30, 63, 70, 120, len(AUTHENTICATE) - 1])
def test_broken_messages(cut: int) -> None:
    with pytest.raises(ntlm.NtlmError):
        ntlm.read_authenticate(AUTHENTICATE[:cut])


def test_signatures_of_one_side_do_not_pass_for_the_other() -> None:
    keys = ntlm.make_keys(EXPORTED)
    text = b"<NTLM><crand><1><realm>"
    client = ntlm.make_signature(keys.client_sign, keys.client_seal, text).hex()
    assert keys.verify(text, client)
    assert keys.verify(text, client.upper())
    assert not keys.verify(text + b".", client)
    assert not keys.verify(text, keys.sign(text))
    assert keys.sign(text).startswith("01000000")
    assert keys.sign(text).endswith("64000000")


def test_challenge() -> None:
    data = ntlm.write_challenge(NONCE, "example.org", "fe1.example.org", 1_700_000_000.0)
    assert data[:12] == b"NTLMSSP\x00\x02\x00\x00\x00"
    assert data[24:32] == NONCE
    flags = struct.unpack_from("<I", data, 20)[0]
    assert flags & ntlm.Flags.DATAGRAM
    length, _, offset = struct.unpack_from("<HHI", data, 40)
    assert offset + length == len(data)
    assert "fe1.example.org".encode("utf-16-le") in data
