"""Trees: canonical form, reading by the rules of namespaces, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ubiety.element import Element, ElementError, escape_attribute, escape_text, parse_content, parse_element


def test_canonical_form_declares_default_namespaces_only():
    element = parse_element(
        b"<p:x xmlns:p='urn:p' a='1'><p:y/><z/><q:w xmlns:q='urn:q' p:k='2'>t</q:w></p:x>"
    )
    assert element.to_bytes("jabber:client") == (
        b"<x xmlns='urn:p' a='1'><y/><z xmlns='jabber:client'/>"
        b"<w xmlns='urn:q' xmlns:ns0='urn:p' ns0:k='2'>t</w></x>"
    )


def test_two_attribute_namespaces_get_two_prefixes():
    element = parse_element(
        b"<x xmlns:p='urn:p' xmlns:q='urn:q' p:a='1' q:a='2' p:b='3' a='4' xml:lang='de'/>"
    )
    assert element.attrs == {"{urn:p}a": "1", "{urn:q}a": "2", "{urn:p}b": "3", "a": "4", "xml:lang": "de"}
    assert parse_element(element.to_bytes()) == element


def test_prefixes_and_default_namespace_around_the_bytes_count():
    element = parse_element(b"<p:x><y/></p:x>", "urn:default", {"p": "urn:p"})
    assert (element.ns, element.elements[0].ns) == ("urn:p", "urn:default")


def test_building_and_finding():
    query = (
        Element("query", "urn:q")
        .add(Element("item", "urn:q", {"id": "1"}))
        .add("text")
        .add(Element("item", "urn:r"))
    )
    assert query.text == "text"
    assert query.get("id") is None
    assert [item.ns for item in query.elements] == ["urn:q", "urn:r"]
    found = query.find("item")
    assert found is not None
    assert found.get("id") == "1"
    assert query.findall("item") == [found]
    assert query.find("item", "urn:r") == Element("item", "urn:r")
    assert query.find("none") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"<a/><b/>",
        b"<a>",
        b"<a></b>",
        b"</_><_>",
        b"</_>",
        b"<a/></_><_><b/>",
        b"<p:a/>",
        b"<a p:b='1'/>",
        b"<a:b:c xmlns:a='urn:a'/>",
        b"<a b='1' b='2'/>",
        b"<a xmlns:p='urn:p' xmlns:q='urn:p' p:b='1' q:b='2'/>",
        b"<a xmlns:p=''/>",
        b"<a>&b;</a>",
        b"<a>\xff</a>",
        b"<a>\0</a>",
        b"<a>" * 300 + b"</a>" * 300,
        b"<a>" * 100_000,
    ],
)
def test_what_is_not_one_well_formed_element_is_refused(data):
    with pytest.raises(ElementError) as refused:
        parse_element(data)
    assert refused.value.reason
    assert not refused.value.restricted


@pytest.mark.parametrize("data", [b"<a><!-- --></a>", b"<a><?b?></a>", b"<!-- --><a/>"])
def test_what_xmpp_forbids_is_refused(data):
    with pytest.raises(ElementError) as refused:
        parse_element(data)
    assert refused.value.restricted


def test_content_may_be_several_elements_and_text():
    assert [getattr(child, "name", child) for child in parse_content(b"a<b/>c<d/>").children] == [
        "a",
        "b",
        "c",
        "d",
    ]


def test_escaping_keeps_what_xml_can_carry_and_replaces_the_rest():
    assert (
        escape_text("a<b>&'\"\t\n\r\0\ud800\ufffe\U0001f600")
        == "a&lt;b&gt;&amp;'\"\t\n&#13;\ufffd\ufffd\ufffd\U0001f600"
    )
    assert escape_attribute("a<b>&'\"\t\n\r\x01") == "a&lt;b&gt;&amp;&apos;&quot;&#9;&#10;&#13;\ufffd"


names = st.from_regex(r"[a-zA-Z_é][a-zA-Z0-9_.é-]{0,6}", fullmatch=True)
uris = st.sampled_from(["", "urn:a", "urn:b", "jabber:client", "http://example.org/?a=b&c='d'"])
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"), min_size=1, max_size=8
).map(lambda text: "".join(c for c in text if c >= " " or c in "\t\n\r"))


def attribute_names() -> st.SearchStrategy[str]:
    qualified = st.tuples(st.sampled_from(["urn:a", "urn:b"]), names).map(
        lambda pair: f"{{{pair[0]}}}{pair[1]}"
    )
    return names.filter(lambda name: not name.lower().startswith("xml")) | qualified | st.just("xml:lang")


def merge_text(element: Element) -> Element:
    """Put neighbouring pieces of text together, as a parser does."""
    merged: list[Element | str] = []
    for child in element.children:
        if isinstance(child, Element):
            merged.append(merge_text(child))
        elif child and merged and isinstance(merged[-1], str):
            merged[-1] += child
        elif child:
            merged.append(child)
    return Element(element.name, element.ns, element.attrs, merged)


elements = st.recursive(
    st.builds(Element, names, uris, st.dictionaries(attribute_names(), texts, max_size=4)),
    lambda inner: st.builds(
        Element,
        names,
        uris,
        st.dictionaries(attribute_names(), texts, max_size=3),
        st.lists(inner | texts, max_size=4),
    ),
    max_leaves=12,
)


@given(elements, uris)
def test_what_is_written_is_read_as_the_same_tree(element, ns):
    element = merge_text(element)
    assert parse_element(element.to_bytes(ns), ns) == element
    etree.fromstring(element.to_bytes())  # and another parser agrees that it is well-formed
