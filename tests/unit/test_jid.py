"""Addresses: preparation, comparison, escaping, and what is not one."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety import jid
from ubiety.jid import Jid, JidError, escape_local, make, parse, unescape_local


@pytest.mark.parametrize(
    ("text", "local", "domain", "resource"),
    [
        ("example.org", "", "example.org", ""),
        ("bob@example.org", "bob", "example.org", ""),
        ("Bob@Example.ORG/Desk", "bob", "example.org", "Desk"),
        ("bob@example.org/a/b@c", "bob", "example.org", "a/b@c"),
        ("example.org/a@b", "", "example.org", "a@b"),
        ("bob@example.org./x", "bob", "example.org", "x"),
        ("bob@localhost", "bob", "localhost", ""),
        ("bob@192.0.2.7", "bob", "192.0.2.7", ""),
        ("bob@[2001:DB8::0:1]/x", "bob", "[2001:db8::1]", "x"),
        ("juliet\\40home@example.org", "juliet\\40home", "example.org", ""),
        ("bücher@Bücher.example", "bücher", "bücher.example", ""),
        ("x@xn--bcher-kva.example", "x", "bücher.example", ""),
        ("ｆｕｌｌ@ｅｘample。org", "full", "example.org", ""),
        ("STRASSE@example.org/é", "strasse", "example.org", "é"),
        ("e\u0301@example.org/e\u0301", "é", "example.org", "é"),
        ("x@example.org/a\u00a0b", "x", "example.org", "a b"),
    ],
)
def test_parts_are_split_and_prepared(text, local, domain, resource):
    parsed = parse(text)
    assert (parsed.local, parsed.domain, parsed.resource) == (local, domain, resource)
    assert parsed.is_bare == (not resource)
    assert make(local, domain, resource) == parsed
    assert parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@example.org",
        "bob@",
        "bob@/x",
        "/x",
        "bob@example.org/",
        "a@b@example.org",
        "a b@example.org",
        "a:b@example.org",
        "a'b@example.org",
        'a"b@example.org',
        "a&b@example.org",
        "<a>@example.org",
        "bob@exam ple.org",
        "bob@example..org",
        "bob@-example.org",
        "bob@.example.org",
        "bob@[::1",
        "bob@[::g]",
        "bob@[fe80::1%eth0]",
        "bob@xn--a",
        "bob@☃.example",
        "bob@" + "a" * 64 + ".org",
        "bob@" + "a." * 512,
        "a" * 1024 + "@example.org",
        "é" * 512 + "@example.org",
        "bob@example.org/" + "a" * 1024,
        "bob@example.org/a\0b",
        "bob@example.org/a\nb",
        "bob@example.org/\x7f",
        "bob@example.org/\ud800",
        "bo\u200bb@example.org",  # zero width space
        "bo\u200db@example.org",  # zero width joiner
        "\u202ebob@example.org",  # right-to-left override
        "bo\u00adb@example.org",  # soft hyphen
        "ﬁsh@example.org",  # a ligature is not two letters
        "א1a@example.org",  # mixed directions (RFC 5893)
        "bob@\u202eexample.org",
        "\ud800@example.org",
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(text):
    with pytest.raises(JidError) as refused:
        parse(text)
    assert refused.value.reason


def test_look_alikes_are_folded_where_the_profile_says_so_and_differ_otherwise():
    # RFC 7622 §3.3: width and case are mapped away; another script stays another address.
    assert parse("ＢＯＢ@example.org") == parse("bob@example.org")
    assert parse("bоb@example.org") != parse("bob@example.org")  # Cyrillic o
    assert parse("bob@example.org/Desk") != parse("bob@example.org/desk")


def test_longest_parts_are_accepted():
    assert len(parse("a" * 1023 + "@example.org/" + "b" * 1023).text) == 1023 + 13 + 1023


def test_bare_and_full_forms():
    full = parse("bob@example.org/desk")
    assert full.bare == "bob@example.org"
    assert full.bare_jid() == parse("bob@example.org")
    assert full.bare_jid().bare_jid() is full.bare_jid()
    assert full.bare_jid().with_resource("desk") == full
    with pytest.raises(JidError):
        full.with_resource("")


def test_text_is_escaped_for_xml():
    assert parse("bob@example.org/<'&\">").xml == "bob@example.org/&lt;&#x27;&amp;&quot;&gt;"
    plain = parse("bob@example.org/desk")
    assert plain.xml is plain.text


def test_addresses_are_values():
    one, other = Jid("bob", "example.org", "x"), parse("bob@example.org/x")
    assert one == other
    assert hash(one) == hash(other)
    assert one != "bob@example.org/x"
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.local = "eve"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del one.local


def test_long_addresses_are_not_cached():
    before = jid._parse_cached.cache_info().currsize
    parse("a" * 400 + "@example.org")
    assert jid._parse_cached.cache_info().currsize == before


@given(st.text(max_size=40) | st.text("ab@/.\\[]: é漢ß", max_size=40))
def test_parsing_gives_an_address_that_parses_to_itself_or_a_reason(text):
    try:
        parsed = parse(text)
    except JidError as error:
        assert error.reason
        return
    assert parse(parsed.text).text == parsed.text
    assert make(parsed.local, parsed.domain, parsed.resource) == parsed


@pytest.mark.parametrize(
    ("user", "local"),
    [
        ("space cadet", "space\\20cadet"),
        ('call me "ishmael"', "call\\20me\\20\\22ishmael\\22"),
        ("at&t guy", "at\\26t\\20guy"),
        ("d'artagnan", "d\\27artagnan"),
        ("/.fanboy", "\\2f.fanboy"),
        ("::foo::", "\\3a\\3afoo\\3a\\3a"),
        ("<foo>", "\\3cfoo\\3e"),
        ("user@host", "user\\40host"),
        ("c:\\net", "c\\3a\\net"),
        ("c:\\\\net", "c\\3a\\\\net"),
        ("c:\\cool stuff", "c\\3a\\cool\\20stuff"),
        ("c:\\5commas", "c\\3a\\5c5commas"),
    ],
)
def test_escaping_follows_the_examples_of_xep_0106(user, local):
    assert escape_local(user) == local
    assert unescape_local(local) == user


@given(st.text("ab \\'25c0@", min_size=1, max_size=12).filter(lambda user: user == user.strip(" ")))
def test_unescaping_undoes_escaping(user):
    assert unescape_local(escape_local(user)) == user


def test_user_names_cannot_be_empty_or_begin_with_a_space():
    for user in ("", " a", "a "):
        with pytest.raises(JidError):
            escape_local(user)
    assert unescape_local("\\20a") == "\\20a"
