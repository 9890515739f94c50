"""SASL: the published test vectors, another implementation as the client, and messages that are wrong."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramClient

from ubiety.xmpp import sasl
from ubiety.xmpp.sasl import SaslError, ScramKeys, ScramServer

SECRET = b"a secret of the server"

# RFC 5802 §5 and RFC 7677 §3
VECTORS = [
    (
        "SCRAM-SHA-1",
        "QSXCR+Q6sek8bf92",
        "3rfcNHYJY1ZVvWVs7j",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (
        "SCRAM-SHA-256",
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]


@pytest.mark.parametrize(("mechanism", "salt", "nonce", "first", "challenge", "final", "last"), VECTORS)
def test_published_vectors(mechanism, salt, nonce, first, challenge, final, last):
    keys = sasl.derive_keys("pencil", b64decode(salt), 4096, sasl.SCRAM_MECHANISMS[mechanism])
    server = ScramServer(mechanism, nonce)
    assert server.start(first) == "user"
    assert server.challenge(keys) == challenge
    assert server.finish(final) == last


def exchange(client: ScramClient, keys: ScramKeys, mechanism: str, endpoint_hash: bytes | None = None) -> str:
    """Let a foreign client talk to our server; return the user name that arrived."""
    server = ScramServer(mechanism, "server-nonce", endpoint_hash)
    name = server.start(client.get_client_first().encode())
    client.set_server_first(server.challenge(keys).decode())
    client.set_server_final(server.finish(client.get_client_final().encode()).decode())
    return name


@pytest.mark.parametrize("mechanism", list(sasl.SCRAM_MECHANISMS))
@pytest.mark.parametrize("password", ["pencil", "I\u00adX", "\u2168", "naïve pass", "пароль", "中文"])
def test_a_foreign_client_is_accepted(mechanism, password):
    keys = sasl.derive_keys(password, b"0123456789abcdef", 4096, sasl.SCRAM_MECHANISMS[mechanism])
    assert exchange(ScramClient([mechanism], "alice,=b", password), keys, mechanism) == "alice,=b"


@pytest.mark.parametrize("mechanism", list(sasl.SCRAM_MECHANISMS))
def test_a_wrong_password_is_a_wrong_password(mechanism):
    keys = sasl.derive_keys("right", b"0123456789abcdef", 4096, sasl.SCRAM_MECHANISMS[mechanism])
    with pytest.raises(SaslError) as caught:
        exchange(ScramClient([mechanism], "alice", "wrong"), keys, mechanism)
    assert caught.value.condition == "not-authorized"
    assert caught.value.is_wrong_password


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
def test_channel_binding_with_a_foreign_client(mechanism):
    keys = sasl.derive_keys("pw", b"0123456789abcdef", 4096, sasl.SCRAM_MECHANISMS[mechanism[:-5]])
    binding = ("tls-server-end-point", b"hash of the certificate")
    client = ScramClient([mechanism], "alice", "pw", channel_binding=binding)
    assert exchange(client, keys, mechanism, binding[1]) == "alice"
    client = ScramClient([mechanism], "alice", "pw", channel_binding=binding)
    with pytest.raises(SaslError) as caught:
        exchange(client, keys, mechanism, b"hash of another certificate")
    assert caught.value.condition == "not-authorized"
    assert not caught.value.is_wrong_password


def test_y_is_refused_only_while_plus_is_advertised():
    first = b"y,,n=alice,r=abc"
    assert ScramServer("SCRAM-SHA-256", "n").start(first) == "alice"
    with pytest.raises(SaslError) as caught:
        ScramServer("SCRAM-SHA-256", "n", b"hash").start(first)
    assert not caught.value.is_wrong_password


def test_n_is_fine_while_plus_is_advertised():
    assert ScramServer("SCRAM-SHA-256", "n", b"hash").start(b"n,,n=alice,r=abc") == "alice"


@pytest.mark.parametrize(
    ("mechanism", "first"),
    [
        ("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-exporter,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", b"n,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", b"y,,n=alice,r=abc"),
        ("SCRAM-SHA-256", b"p=tls-server-end-point,,n=alice,r=abc"),
    ],
)
def test_a_binding_that_does_not_fit_is_no_wrong_password(mechanism, first):
    with pytest.raises(SaslError) as caught:
        ScramServer(mechanism, "n", b"hash").start(first)
    assert caught.value.condition == "malformed-request"
    assert not caught.value.is_wrong_password


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS", "", "-PLUS"])
def test_mechanisms_that_are_not_offered(mechanism):
    with pytest.raises(SaslError) as caught:
        ScramServer(mechanism, "n")
    assert caught.value.condition == "invalid-mechanism"


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,n=,r=abc",
        b"n,,n=alice,r=",
        b"n,,r=abc,n=alice",
        b"n,,m=ext,n=alice,r=abc",  # RFC 5802 §5.1: a mandatory extension that we do not know
        b"x,,n=alice,r=abc",
        b"n,b=x,n=alice,r=abc",
        b"n,,n=al=ice,r=abc",
        b"n,,n=al=2cice,r=abc",
        b"n,,n=al\0ice,r=abc",
        b"n,,n=\xff,r=abc",
        "n,,n=alice,r=ä".encode(),
        b"n,,n=alice,r=a c",
    ],
)
def test_malformed_first_messages(first):
    with pytest.raises(SaslError) as caught:
        ScramServer("SCRAM-SHA-256", "n").start(first)
    assert caught.value.condition == "malformed-request"


def started() -> ScramServer:
    server = ScramServer("SCRAM-SHA-256", "xyz")
    server.start(b"n,a=alice@example.org,n=alice,r=abc,f=ignored")
    server.challenge(sasl.derive_keys("pw", b"0123456789abcdef", 4096))
    return server


def test_authzid_and_extensions_are_read():
    assert started().authzid == "alice@example.org"


@pytest.mark.parametrize(
    ("final", "condition"),
    [
        (b"", "malformed-request"),
        (b"c=biws,r=abcxyz", "malformed-request"),
        (b"c=biws,r=other,p=AAAA", "malformed-request"),
        (b"c=biws,r=abcxyz,p=!!!!", "not-authorized"),  # the gs2 header differs: seen first
        (b"c=b!ws,r=abcxyz,p=AAAA", "incorrect-encoding"),
        (b"c=" + b64encode(b"n,a=alice@example.org,") + b",r=abcxyz,p=AA", "incorrect-encoding"),
        (b"c=" + b64encode(b"n,a=alice@example.org,") + b",r=abcxyz,p=AAAA", "not-authorized"),
        (b"\xff", "malformed-request"),
    ],
)
def test_wrong_last_messages(final, condition):
    with pytest.raises(SaslError) as caught:
        started().finish(final)
    assert caught.value.condition == condition


@settings(max_examples=200)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_message_breaks_the_exchange(first, final):
    server = ScramServer("SCRAM-SHA-256", "n")
    try:
        server.start(b"n,,n=" + first)
        server.challenge(sasl.make_fake_keys(SECRET, "a", "b", "sha256", 4096))
        server.finish(final)
    except SaslError:
        return
    pytest.fail("accepted")


def test_fake_keys_are_stable_different_and_useless():
    keys = sasl.make_fake_keys(SECRET, "nobody", "example.org", "sha256", 4096)
    assert keys == sasl.make_fake_keys(SECRET, "nobody", "example.org", "sha256", 4096)
    assert len(keys.salt) == 16
    others = [
        sasl.make_fake_keys(SECRET, "nobodies", "example.org", "sha256", 4096),
        sasl.make_fake_keys(SECRET, "nobody", "example.com", "sha256", 4096),
        sasl.make_fake_keys(SECRET, "nobody", "example.org", "sha1", 4096),
        sasl.make_fake_keys(b"another", "nobody", "example.org", "sha256", 4096),
    ]
    assert len({keys.salt, *(other.salt for other in others)}) == 5
    with pytest.raises(SaslError):
        exchange(ScramClient(["SCRAM-SHA-256"], "nobody", "pw"), keys, "SCRAM-SHA-256")


def test_check_password():
    keys = sasl.derive_keys("I\u00adX", b"0123456789abcdef", 4096, "sha1")
    assert sasl.check_password(keys, "IX")
    assert not sasl.check_password(keys, "ix")
    assert not sasl.check_password(keys, "IX\x07")


# RFC 4013 §3
@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
    ],
)
def test_passwords_are_prepared(text, prepared):
    assert sasl.prepare_password(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u06271", "a\u0627", "\ue000", "x\u200e"])
def test_forbidden_passwords(text):
    with pytest.raises(SaslError):
        sasl.prepare_password(text)


@pytest.mark.parametrize(
    ("username", "local"),
    [
        ("alice", "alice"),
        ("Alice", "alice"),
        ("alice@example.org", "alice"),
        ("alice@EXAMPLE.org", "alice"),
        (r"alice\40corp", r"alice\40corp"),
        ("alice@corp", r"alice\40corp"),
        ("alice@example.com", r"alice\40example.com"),
        ("alice@corp@example.org", r"alice\40corp"),
        ("d'artagnan", r"d\27artagnan"),
        ("space cadet", r"space\20cadet"),
    ],
)
def test_user_names(username, local):
    assert sasl.find_local(username, "example.org") == local


@pytest.mark.parametrize("username", ["", "@example.org", "a\u0007b", "x" * 2000, " "])
def test_impossible_user_names(username):
    with pytest.raises(SaslError) as caught:
        sasl.find_local(username, "example.org")
    assert caught.value.condition == "not-authorized"


def test_authzid_is_empty_or_the_own_address():
    assert sasl.is_own_authzid("", "alice", "example.org")
    assert sasl.is_own_authzid("Alice@example.org", "alice", "example.org")
    for other in ("bob@example.org", "alice@example.org/desk", "alice", "@", "alice@example.com"):
        assert not sasl.is_own_authzid(other, "alice", "example.org")


def test_plain():
    assert sasl.parse_plain(b"\0alice\0secret") == ("", "alice", "secret")
    assert sasl.parse_plain("a@b\0älice\0ß".encode()) == ("a@b", "älice", "ß")
    for wrong in (b"", b"alice\0secret", b"\0alice\0", b"\0\0secret", b"\0a\0b\0c", b"\0\xff\0b"):
        with pytest.raises(SaslError) as caught:
            sasl.parse_plain(wrong)
        assert caught.value.condition == "malformed-request"


def test_base64_is_read_strictly():
    assert sasl.decode("=") == b""
    assert sasl.decode("YWJj") == b"abc"
    assert sasl.decode("\n YWJj\n") == b"abc"
    for wrong in ("YWJ", "Y*Jj", "YWJj=", "ä"):
        with pytest.raises(SaslError) as caught:
            sasl.decode(wrong)
        assert caught.value.condition == "incorrect-encoding"
