"""A stanza comes out at another node as it went in."""

from hypothesis import given
from hypothesis import strategies as st

from ubiety.jid import JidError, parse
from ubiety.routing.packing import pack_stanza, unpack_stanza
from ubiety.stanza import Stanza

TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=12)
ADDRESSES = st.sampled_from(
    [None, "example.org", "ann@example.org", "ann@example.org/desk", "ä@bücher.example/<'&\">", "x@[::1]/☃"]
)


def wired(value: object) -> object:
    """What a message pack makes of a value: tuples arrive as lists."""
    return [wired(one) for one in value] if isinstance(value, tuple) else value


def stanza_of(kind, to, from_, id_, type_, lang, children, payload):
    made = [None if text is None else parse(text) for text in (to, from_)]
    return Stanza(kind, made[0], made[1], id_, type_, lang, tuple(children), payload)


STANZAS = st.builds(
    stanza_of,
    st.sampled_from(["message", "presence", "iq"]),
    ADDRESSES,
    ADDRESSES,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=4),
    st.binary(max_size=40),
)


@given(STANZAS)
def test_what_is_packed_comes_out_the_same(stanza: Stanza):
    there = unpack_stanza(wired(pack_stanza(stanza)))
    assert there == stanza
    assert there.to_bytes() == stanza.to_bytes()
    assert type(there.children) is tuple
    assert all(type(child) is tuple for child in there.children)


@given(TEXT, TEXT, TEXT)
def test_an_address_that_was_prepared_is_prepared_no_further(local: str, domain: str, resource: str):
    try:
        jid = parse(f"{local}@{domain}.example/{resource}")
    except JidError:
        return
    there = unpack_stanza(wired(pack_stanza(Stanza("message", jid))))
    assert there.to == jid
