"""Bytes that clients might send: ordinary ones, attacks, mutations of both, and what must hold for all."""

import random
from collections.abc import Iterator
from itertools import pairwise
from xml.etree import ElementTree

from lxml import etree

from ubiety.element import Element, parse_content
from ubiety.stanza import Stanza
from ubiety.xmpp.xmlstream import StreamItem, XmlStream

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams' xml:lang='en'>"
)
HEADERS = [
    HEADER,
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' xmlns:x='urn:x'>",
    b"<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client' xmlns:p='urn:p'>",
]
FOOTER = b"</stream:stream>"

ORDINARY = [
    b"<message type='chat' to='bob@example.org' id='x1'><body>hello there</body></message>",
    b'<message to="bob@example.org/desk" xml:lang="de"><body>gr\xc3\xbc\xc3\x9fe &amp; &lt;br&gt; &#x1F600;'
    b"</body><active xmlns='http://jabber.org/protocol/chatstates'/>"
    b"<origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>",
    b"<presence/>",
    b"<presence><show>away</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' "
    b"node='http://a.b/#c' ver='q+='/></presence>",
    b"<iq type='get' id='r1'><query xmlns='jabber:iq:roster' ver=''/></iq>",
    b"<iq type='result' id='p1' to='example.org'/>",
    b"<r xmlns='urn:xmpp:sm:3'/>",
    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>",
    b"<message to='a@example.org'><body>a > b</body><html xmlns='http://jabber.org/protocol/xhtml-im'>"
    b"<body xmlns='http://www.w3.org/1999/xhtml'><p style='x'>y<br/>z</p></body></html></message>",
    b"<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='x@y'>"
    b"<body>in</body></message></forwarded></message>",
    b"<message><![CDATA[a]]><body><![CDATA[<x/>]]></body>\r\ntext\r</message>",
]

ATTACKS = [
    b"<message><x:y/></message>",
    b"<message x:y='1'><body/></message>",
    b"<message><body x:y='1'/></message>",
    b"<message><a:b:c/></message>",
    b"<message><a:b:c xmlns:a='urn:a'/></message>",
    b"<message><:a/></message>",
    b"<message><a:/></message>",
    b"<message></stream:stream></message>",
    b"<message><body>&lt;/stream:stream></body></message>",
    b"<message><stream:stream/></message>",
    b"<message xmlns=''><body/></message>",
    b"<message><body xmlns=''/></message>",
    b"<message><x xmlns='urn:x'><y xmlns=''/></x></message>",
    b"<message><body a='1' a='2'/></message>",
    b"<message><x xmlns:p='urn:x' xmlns:q='urn:x' p:a='1' q:a='2'/></message>",
    b"<message><x xmlns:p='urn:x' p:a='1' a='2'/><p:x xmlns:p='urn:y'/></message>",
    b"<message><x xmlns:p=''/></message>",
    b"<message><x xmlns:xml='urn:x'/></message>",
    b"<message><xmlns:x/></message>",
    b"<message><x xmlns='http://www.w3.org/XML/1998/namespace'/></message>",
    b"<message><x><y xmlns='http://www.w3.org/2000/xmlns/'/></x></message>",
    b"<message><x xmlns='not a uri'/></message>",
    b"<message><x xmlns='&#10;'/></message>",
    b"<message><x xmlns='a[b'/></message>",
    b"<message><x xml:id='1 2'/><x xml:id='a'/><x xml:id='a'/></message>",
    b"<message><x xml:space='odd' xml:base='%%' xml:foo=''/></message>",
    b"<message><body xmlns='jabber:client'>x</body></message>",
    b"<message><body xmlns='jabber:server'>x</body></message>",
    b"<message xmlns='jabber:server'><body>x</body></message>",
    b"<c:message xmlns:c='jabber:client' to='x@y' c:z='1'><c:body>x</c:body></c:message>",
    b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;'>]><message>&b;</message>",
    b"<message>&b;</message>",
    b"<!-- comment --><message/>",
    b"<message><!-- comment --></message>",
    b"<message><?php echo ?></message>",
    b"<?xml version='1.0'?><message/>",
    b"<message>]]></message>",
    b"<message>\0</message>",
    b"<message>&#0;&#1;</message>",
    b"<message>&#xD800;\xed\xa0\x80</message>",
    b"<message>\xff\xfe</message>",
    b"<message>\xc0\xaf</message>",
    b"<message>\xef\xbf\xbe\xef\xbf\xbf</message>",
    b"<message>&#xFFFE;</message>",
    b"<message>\xf0\x9f\xbf\xbe\x7f\xc2\x85\xe2\x80\xa8</message>",
    b"text<message/>",
    b"<message/>text",
    b"<![CDATA[ ]]><message/>",
    b"&#32;<message/>",
    b"<message id='a>b' to='c@d'>t<body/></message><message id='/>'/>",
    b"<message id=\"it's\" to='c@d/>'/>",
    b"<message/></message>",
    b"<message></presence>",
    b"</stream:stream><message/>",
    b"<message to='@'/><message to=''/><message from='a@b@c'/><message to='a/'/>",
    b"<iq/><iq type='get'/><iq type='get' id=''/>",
    b"<iq type='odd' id='1'/><iq type='set' id='1'><a/><b/></iq>",
    b"<presence type='odd'/>",
    b"<message><delay xmlns='urn:xmpp:delay' from='example.org'/></message>",
    b"<message><received xmlns='urn:xmpp:carbons:2'/></message>",
    b"<message xml:lang=''><body xml:lang='no such language!'>x</body></message>",
    b"<MESSAGE/><Message/>",
    b"<message\n\tto='a@b'\r\n></message\n>",
    b"<message  / >",
    b"<message id='&#9;&#10;&#13;&amp;&lt;&gt;&apos;&quot;\n\t'><x a='&#9;&#10;&#13;\r\n'/>&#13;</message>",
    b"<message>" * 70,
    b"<a>" * 10_000,
    b"<message " + b" ".join(b"a%d=''" % i for i in range(100)) + b"/>",
    b"<message " + b" ".join(b"a%d=''" % i for i in range(5000)) + b"/>",
    b"<message><" + b"n" * 5000 + b"/></message>",
    b"<message><x " + b"n" * 5000 + b"='1'/></message>",
    b"<message><x xmlns='urn:" + b"n" * 5000 + b"'/></message>",
    b"<message>" + b"<a/>" * 3000 + b"</message>",
    b"<message id='" + b"x" * 20_000 + b"'/>",
]

TOKENS = [
    *b"< > / = : ' \" & ; ! ? [ ] \0 \xff".split(b" "),
    *b"<a> </a> <a/> <message> </message> <body> </body> <presence/> <iq </stream:stream> <stream:x/>".split(
        b" "
    ),
    *b"<![CDATA[ ]]> <!-- --> <?a ?> <!DOCTYPE &amp; &#13; &x; /> '> \r\n \xc3\xa9 \xe2\x82".split(b" "),
    *b" xmlns='' xmlns='urn:a' xmlns='jabber:client' xmlns='jabber:server'".split(b" "),
    *b" xmlns:p='urn:a' p: xml:lang='e' xmlns='&#32;'".split(b" "),
    *b" a='1' id='1' to='x@y' to='' from='a@b/c' type='get' p:a='1' xml:id='a' xmlns:stream='urn:x'".split(
        b" "
    ),
    b" ",
    b" ]]",
]


def feed_whole(data: bytes, force_slow: bool = False) -> list[StreamItem]:
    """Return the items of a new stream that gets these bytes at once."""
    return XmlStream(force_slow=force_slow).feed(data)


def feed_pieces(pieces: list[bytes], release: bool = False) -> list[StreamItem]:
    """Return the items of a new stream that gets these pieces one by one, releasing the parser in between."""
    stream = XmlStream()
    items: list[StreamItem] = []
    for piece in pieces:
        items += stream.feed(piece)
        if release:
            stream.release()
    return items


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return the data cut at these places."""
    places = sorted({0, len(data), *[place % (len(data) + 1) for place in places]})
    return [data[a:b] for a, b in pairwise(places)]


def view(items: list[StreamItem]) -> list[object]:
    """Return the items with payloads as trees: what does not depend on how a stanza was written."""
    return [
        (item.replace(payload=b""), parse_content(item.payload)) if isinstance(item, Stanza) else item
        for item in items
    ]


def check_accepted(items: list[StreamItem]) -> None:
    """Assert that parsers of other make read the stanzas in a client's stream as we do."""
    for stanza in items:
        if isinstance(stanza, Stanza):
            ours = stanza.element
            data = HEADER + stanza.to_bytes() + FOOTER
            assert _tree(etree.fromstring(data)[0]) == ours, data
            assert _tree(_pull(data)) == ours, data
            assert _tree(etree.fromstring(stanza.to_bytes(declare_ns=True))) == ours, data


def _pull(data: bytes) -> ElementTree.Element:
    """Read as slixmpp does: a pull parser that hands out the root's children."""
    parser = ElementTree.XMLPullParser(("start", "end"))
    parser.feed(data)
    (_, root), *_events = parser.read_events()
    return root[0]


def _tree(theirs: ElementTree.Element) -> Element:
    """Return the tree of another parser as one of ours."""
    ns, _, name = theirs.tag.rpartition("}")
    element = Element(name, ns[1:])
    for key, value in theirs.attrib.items():
        element.attrs[key.replace("{http://www.w3.org/XML/1998/namespace}", "xml:")] = value
    if theirs.text:
        element.add(theirs.text)
    for child in theirs:
        element.add(_tree(child))
        if child.tail:
            element.add(child.tail)
    return element


def mutations(seed: int) -> Iterator[bytes]:
    """Yield streams without end: seeds of this file spliced, cut, doubled and sprinkled with tokens."""
    rng = random.Random(seed)
    while True:
        parts = [rng.choice(ORDINARY if rng.random() < 0.6 else ATTACKS) for _ in range(rng.randint(1, 3))]
        data = bytearray(b"".join(parts)[:30_000])
        for _ in range(rng.randint(0, 4)):
            _mutate(data, rng)
        header = rng.choice(HEADERS) if rng.random() < 0.3 else HEADER
        if rng.random() < 0.05:
            header = bytearray(header)
            _mutate(header, rng)
        yield bytes(header) + bytes(data)


def _mutate(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    size = rng.randint(1, 12)
    match rng.randrange(5):
        case 0:
            data[at:at] = rng.choice(TOKENS)
        case 1:
            data[at : at + size] = rng.choice(TOKENS)
        case 2:
            del data[at : at + size]
        case 3:
            data[at:at] = data[at : at + size]
        case 4:
            data[at : at + 1] = bytes([rng.randrange(256)])
