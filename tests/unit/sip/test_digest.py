"""Digest authentication, both sides; the figures are those of RFC 7616 §3.9.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.sip.digest import (
    MD5,
    SHA_256,
    Challenge,
    Credentials,
    Freshness,
    Nonces,
    challenge,
    choose,
    find_credentials,
    make_ha1,
    respond,
    verify,
)
from ubiety.sip.headers import Headers
from ubiety.sip.syntax import SipSyntaxError

URI = "sip:example.com"
HA1 = make_ha1("alice", "cluster-1", "secret")
ASKED = Challenge("cluster-1", "n1", SHA_256, "o1")


def credentials(**changes: object) -> Credentials:
    """Return right credentials for a REGISTER."""
    arguments = {
        "asked": ASKED, "username": "alice", "ha1": HA1, "method": "REGISTER", "uri": URI, "cnonce": "c1"
    }  # fmt: skip
    return Credentials.parse(respond(**(arguments | changes)))


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        (SHA_256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        (MD5, "8ca523f5e9506fed4657c9700eebdbec"),
    ],
)
def test_example_of_the_rfc(algorithm, response):
    ha1 = make_ha1("Mufasa", "http-auth@example.org", "Circle of Life", algorithm)
    asked = Challenge.parse(
        'Digest realm="http-auth@example.org", qop="auth, auth-int", '
        f'algorithm={algorithm}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    text = respond(
        asked, "Mufasa", ha1, "GET", "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    )
    found = Credentials.parse(text)
    assert found.response == response
    assert verify(found, ha1, "GET", "/dir/index.html", (algorithm,))


def test_example_without_qop():
    """The example of RFC 2617 §3.5, answered as RFC 2069 has it."""
    asked = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", MD5, qops=())
    ha1 = make_ha1("Mufasa", "testrealm@host.com", "Circle Of Life", MD5)
    text = respond(asked, "Mufasa", ha1, "GET", "/dir/index.html", "")
    assert Credentials.parse(text).response == "670fd8c2df070c60b045671b8b24ff02"
    assert "qop" not in text
    assert not verify(Credentials.parse(text), ha1, "GET", None, (MD5,))


def test_session_algorithm():
    asked = Challenge("r", "n", "MD5-sess")
    found = Credentials.parse(respond(asked, "a", make_ha1("a", "r", "p", MD5), "REGISTER", URI, "c"))
    assert verify(found, make_ha1("a", "r", "p", MD5), "REGISTER", URI, ("MD5-SESS",))
    assert not verify(found, make_ha1("a", "r", "q", MD5), "REGISTER", URI, ("MD5-SESS",))


def test_right_and_wrong():
    assert verify(credentials(), HA1, "REGISTER", URI)
    assert not verify(credentials(), HA1, "SUBSCRIBE", URI)
    assert not verify(credentials(), make_ha1("alice", "cluster-1", "other"), "REGISTER", URI)
    assert not verify(credentials(), HA1, "REGISTER", "sip:other.example.com")
    assert verify(credentials(uri="sip:EXAMPLE.com;x=1"), HA1, "REGISTER", URI)
    assert not verify(credentials(uri="no address"), HA1, "REGISTER", URI)
    assert not verify(credentials(cnonce=""), HA1, "REGISTER", URI)
    assert not verify(credentials(count=0), HA1, "REGISTER", URI)


def test_md5_only_where_it_is_allowed():
    ha1 = make_ha1("alice", "cluster-1", "secret", MD5)
    found = credentials(asked=Challenge("cluster-1", "n1", MD5), ha1=ha1)
    assert not verify(found, ha1, "REGISTER", URI)
    assert verify(found, ha1, "REGISTER", URI, (SHA_256, MD5))


def test_client_takes_the_first_it_can_answer():
    values = [
        "Negotiate abc",
        'Digest realm="r", nonce="n", algorithm=SHA-512-256',
        'Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth-int"',
        challenge("r", "n2", SHA_256),
        challenge("r", "n3", MD5),
    ]
    assert choose(values).nonce == "n2"
    assert choose(values, (MD5,)).nonce == "n3"
    assert choose(values[:3]) is None
    with pytest.raises(ValueError, match="SHA-512-256"):
        respond(Challenge.parse(values[1]), "a", "", "GET", "x", "c")


def test_credentials_are_found_by_realm():
    headers = Headers(
        [
            ("Authorization", "NoOneKnowsThisScheme opaque-data=here"),
            ("Authorization", str(credentials(asked=Challenge("other", "n")))),
            ("Authorization", str(credentials())),
            ("Proxy-Authorization", "Digest broken"),
        ]
    )
    assert find_credentials(headers, "cluster-1") == credentials()
    assert find_credentials(headers, "third") is None
    with pytest.raises(SipSyntaxError):
        find_credentials(headers, "cluster-1", "Proxy-Authorization")


@pytest.mark.parametrize(
    "text",
    ["Digest", "Digest ", "Basic YQ==", 'Digest realm="a"', 'Digest realm="a, nonce="b"',
     "Digest realm=a, realm=b, nonce=c", 'Digest realm="', "Digest =x", "digestrealm=a"],
)  # fmt: skip
def test_what_is_no_challenge_is_refused(text):
    with pytest.raises(SipSyntaxError):
        Challenge.parse(text)


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.booleans())
def test_challenge_is_printed_without_loss(realm, nonce, is_stale):
    asked = Challenge(realm, nonce, SHA_256, "o", is_stale)
    assert Challenge.parse(str(asked)) == asked


@given(st.text(max_size=20), st.integers(1, 2**32 - 1))
def test_credentials_are_printed_without_loss(username, count):
    found = credentials(username=username, count=count)
    assert Credentials.parse(str(found)) == found
    assert found.count == count
    assert found.username == username


def test_nonce_is_fresh_once_for_each_count():
    nonces = Nonces(b"secret", lifetime=300)
    nonce = nonces.make(1000.0, "aa")
    assert nonces.judge(nonce, 1, 1001.0) is Freshness.FRESH
    assert nonces.judge(nonce, 1, 1002.0) is Freshness.STALE
    assert nonces.judge(nonce, 3, 1003.0) is Freshness.FRESH
    assert nonces.judge(nonce, 2, 1004.0) is Freshness.STALE
    assert nonces.judge(nonce, 4, 1301.0) is Freshness.STALE


@pytest.mark.parametrize("nonce", ["", ".", "..", "x", "zz.aa.00", "☕.☕.☕", "3e8.aa." + "0" * 32])
def test_nonce_of_another_is_unknown(nonce):
    assert Nonces(b"secret").judge(nonce, 1, 1.0) is Freshness.UNKNOWN
    other = Nonces(b"other").make(1.0, "aa")
    assert Nonces(b"secret").judge(other, 1, 1.0) is Freshness.UNKNOWN


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_stale():
    nonces = Nonces(b"secret", capacity=2)
    made = [nonces.make(1000.0 + number, f"a{number}") for number in range(4)]
    assert [nonces.judge(nonce, 1, 1010.0) for nonce in made[:3]] == [Freshness.FRESH] * 3
    assert nonces.judge(made[0], 2, 1011.0) is Freshness.STALE  # pushed out: it might be a repeat
    assert nonces.judge(made[1], 2, 1011.0) is Freshness.FRESH
    assert nonces.judge(made[3], 1, 1011.0) is Freshness.FRESH
