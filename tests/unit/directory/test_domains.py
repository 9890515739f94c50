"""directory/domains.py and passwords.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.directory.domains import make_name, prepare_domain, read_name
from ubiety.directory.passwords import HASHES, dump_keys, hash_password, load_keys
from ubiety.jid import JidError
from ubiety.xmpp.sasl import check_password

SERVED = ["example.org", "example.com"]


@pytest.mark.parametrize(
    ("text", "domain", "userid", "address"),
    [
        ("user1", None, "user1", "user1@example.org"),
        (" User1 ", None, "User1", "user1@example.org"),
        ("user1@example.com", None, "user1", "user1@example.com"),
        ("user1@EXAMPLE.com", None, "user1", "user1@example.com"),
        (
            "user1@elsewhere.example",
            None,
            "user1@elsewhere.example",
            r"user1\40elsewhere.example@example.org",
        ),
        ("user1@example.com", "example.org", "user1@example.com", r"user1\40example.com@example.org"),
        (r"user1\40x.example@example.com", None, "user1@x.example", r"user1\40x.example@example.com"),
        ("@example.com", None, "@example.com", r"\40example.com@example.org"),
        ("first last", None, "first last", r"first\20last@example.org"),
    ],
)
def test_a_user_id_or_an_address(text: str, domain: str | None, userid: str, address: str) -> None:
    name = read_name(text, domain, SERVED, "example.org")
    assert (name.userid, name.address) == (userid, address)


@pytest.mark.parametrize("text", ["", "  ", "x" * 256, "a\x00b", "\u265a"])
def test_what_cannot_be_a_user_id(text: str) -> None:
    with pytest.raises(JidError):
        read_name(text, None, SERVED, "example.org")


def test_domains_are_compared_in_one_form() -> None:
    assert prepare_domain(" Xn--Bcher-Kva.Example. ") == prepare_domain("bücher.example")


@given(st.text(min_size=1, max_size=40))
def test_an_address_leads_back_to_its_user_id(userid: str) -> None:
    try:
        name = make_name(userid, "example.org")
    except JidError:
        return
    assert read_name(name.address, None, SERVED, "example.com").address == name.address


def test_keys_are_kept_as_they_are() -> None:
    keys = hash_password("secret", 4096, [b"a" * 16, b"b" * 16])
    again = load_keys(dump_keys(keys))
    assert list(again) == list(HASHES) and list(again.values()) == keys
    assert check_password(again["sha256"], "secret") and not check_password(again["sha1"], "other")


def test_keys_that_cannot_be_read() -> None:
    for text in ("", "[]", '{"sha256": []}', '{"sha256": [1, "a", "", ""]}', '{"sha256": 5}', "null"):
        with pytest.raises(ValueError):
            load_keys(text)
