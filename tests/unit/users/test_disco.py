"""Service discovery and the small questions: version, time, last activity, private storage."""

import hashlib
from base64 import b64encode

from tests.unit.users.place import NOW, Place, condition
from ubiety.element import parse_element
from ubiety.users import caps
from ubiety.users.caps import Identity
from ubiety.users.preferences import MULTI_DEVICE
from ubiety.users.private_xml import PRIVATE_BYTES
from ubiety.users.stamps import format_stamp, parse_stamp
from ubiety.xmpp import ns

INFO = f"<query xmlns='{ns.DISCO_INFO}'/>"
ITEMS = f"<query xmlns='{ns.DISCO_ITEMS}'/>"


def features(answer):  # type: ignore[no-untyped-def]
    """The announced features."""
    return set(caps.features_of(answer.find("query", ns.DISCO_INFO)))


async def test_server_says_what_it_is_and_can_do(place: Place) -> None:
    alice = await place.sign_in("alice")
    answer = await alice.ask("get", INFO, "example.org")
    query = answer.find("query", ns.DISCO_INFO)
    assert query is not None
    identity = query.find("identity")
    assert identity is not None and (identity.get("category"), identity.get("type")) == ("server", "im")
    assert {ns.DISCO_INFO, ns.PING, ns.VERSION, ns.TIME, ns.LAST, ns.CARBONS, ns.PRIVATE} <= features(answer)


async def test_what_is_turned_off_is_not_announced(place: Place) -> None:
    alice = await place.sign_in("alice")
    before = place.features.stream_feature("example.org")
    place.set(MULTI_DEVICE, False)
    assert ns.CARBONS not in features(await alice.ask("get", INFO, "example.org"))
    assert place.features.stream_feature("example.org") != before


async def test_stream_feature_is_the_hash_of_what_the_server_says(place: Place) -> None:
    alice = await place.sign_in("alice")
    element = parse_element(place.features.stream_feature("example.org"))
    node, ver = element.get("node"), element.get("ver")
    answer = await alice.ask("get", f"<query xmlns='{ns.DISCO_INFO}' node='{node}#{ver}'/>", "example.org")
    query = answer.find("query", ns.DISCO_INFO)
    assert query is not None and query.get("node") == f"{node}#{ver}"
    assert ver is not None and caps.verify(query, "sha-1", ver)


async def test_unknown_nodes_are_not_found(place: Place) -> None:
    alice = await place.sign_in("alice")
    for namespace in (ns.DISCO_INFO, ns.DISCO_ITEMS):
        answer = await alice.ask("get", f"<query xmlns='{namespace}' node='nowhere'/>", "example.org")
        assert condition(answer) == "item-not-found"


async def test_accounts_answer_their_watchers_only(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    carol = await place.sign_in("carol")
    for client, to in ((alice, None), (bob, alice.bare)):
        answer = await client.ask("get", INFO, to)
        query = answer.find("query", ns.DISCO_INFO)
        assert query is not None
        found = [(i.get("category"), i.get("type")) for i in query.findall("identity")]
        assert ("account", "registered") in found
        assert (await client.ask("get", ITEMS, to)).get("type") == "result"
    for payload in (INFO, ITEMS):
        assert condition(await carol.ask("get", payload, alice.bare)) == "service-unavailable"
        assert condition(await carol.ask("get", payload, "nobody@example.org")) == "service-unavailable"


async def test_version_and_time(place: Place) -> None:
    alice = await place.sign_in("alice")
    version = (await alice.ask("get", f"<query xmlns='{ns.VERSION}'/>", "example.org")).find(
        "query", ns.VERSION
    )
    assert version is not None and [e.name for e in version.elements] == ["name", "version"]
    answer = await alice.ask("get", f"<time xmlns='{ns.TIME}'/>", "example.org")
    time = answer.find("time", ns.TIME)
    assert time is not None
    utc, tzo = time.find("utc"), time.find("tzo")
    assert utc is not None and parse_stamp(utc.text) == NOW
    assert tzo is not None and tzo.text == "+00:00"


def seconds(answer):  # type: ignore[no-untyped-def]
    """The seconds of a last activity."""
    return int(answer.find("query", ns.LAST).get("seconds"))


async def test_last_activity(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    carol = await place.sign_in("carol")
    last = f"<query xmlns='{ns.LAST}'/>"
    place.clock.advance(40)
    assert seconds(await alice.ask("get", last, "example.org")) == 40
    assert seconds(await alice.ask("get", last, bob.bare)) == 0
    bob.send("<presence type='unavailable'><status>Heading home &lt;3</status></presence>")
    bob.leave()
    await place.users.note_seen()
    place.clock.advance(25)
    answer = await alice.ask("get", last, bob.bare)
    assert (seconds(answer), answer.find("query", ns.LAST).text) == (25, "Heading home <3")
    assert seconds(await alice.ask("get", last)) == 0
    assert condition(await carol.ask("get", last, bob.bare)) == "forbidden"


NOTE = "<note xmlns='urn:example:notes'>{}</note>"


def private(content: str) -> str:
    """A private storage query."""
    return f"<query xmlns='{ns.PRIVATE}'>{content}</query>"


async def test_private_storage_keeps_and_replaces(place: Place) -> None:
    alice = await place.sign_in("alice")
    assert (await alice.ask("set", private(NOTE.format("one &amp; <b xml:lang='de'/>")))).get(
        "type"
    ) == "result"
    assert (await alice.ask("set", private(NOTE.format("two")))).get("type") == "result"
    answer = await alice.ask("get", private(NOTE.format("")))
    query = answer.find("query", ns.PRIVATE)
    assert (
        query is not None and query.elements == parse_element(private(NOTE.format("two")).encode()).elements
    )


async def test_private_storage_answers_the_unknown_with_nothing_inside(place: Place) -> None:
    alice = await place.sign_in("alice")
    query = (await alice.ask("get", private("<x xmlns='urn:a'/>"))).find("query", ns.PRIVATE)
    assert query is not None and query.to_bytes() == private("<x xmlns='urn:a'/>").encode()


async def test_private_storage_is_private_and_bounded(place: Place) -> None:
    alice = await place.sign_in("alice")
    bob = await place.sign_in("bob")
    assert condition(await bob.ask("get", private(NOTE.format("")), alice.bare)) == "forbidden"
    assert condition(await bob.ask("set", private(NOTE.format("x")), alice.bare)) == "forbidden"
    place.set(PRIVATE_BYTES, 100)
    assert condition(await alice.ask("set", private(NOTE.format("x" * 100)))) == "resource-constraint"
    assert condition(await alice.ask("set", private("<x xmlns='jabber:client'/>"))) == "not-acceptable"
    assert condition(await alice.ask("get", private(""))) == "bad-request"
    query = (await alice.ask("get", private(NOTE.format("")))).find("query", ns.PRIVATE)
    assert query is not None and query.elements[0].text == ""


def test_hash_of_the_example() -> None:
    # XEP-0115 §5.2 and §5.3
    identity = Identity("client", "pc", "Exodus 0.9.1")
    plain = [ns.DISCO_INFO, ns.DISCO_ITEMS, "http://jabber.org/protocol/muc", ns.CAPS]
    assert caps.verification([identity], plain) == "QgayPKawpkPSDYmwT/WM94uAlu0="
    psi = [Identity("client", "pc", "Psi 0.11", "en"), Identity("client", "pc", "Ψ 0.11", "el")]
    form = {
        "FORM_TYPE": ["urn:xmpp:dataforms:softwareinfo"],
        "ip_version": ["ipv4", "ipv6"],
        "os": ["Mac"],
        "os_version": ["10.5.1"],
        "software": ["Psi"],
        "software_version": ["0.11"],
    }
    assert caps.verification(psi, plain, [form]) == "q07IKJEyjvHSyhy//CH0CxmKi8w="


def test_ambiguous_answers_have_no_hash() -> None:
    ver = b64encode(hashlib.sha1(b"a/b//<x<x<").digest()).decode()
    body = "<identity category='a' type='b'/><feature var='x'/><feature var='x'/>"
    info = parse_element(f"<query xmlns='{ns.DISCO_INFO}'>{body}</query>".encode())
    assert not caps.verify(info, "sha-1", ver)
    assert not caps.verify(info, "md5", ver)


def test_stamps() -> None:
    assert format_stamp(NOW + 0.5) == "2023-11-14T22:13:20.500Z"
    assert parse_stamp("2023-11-14T23:13:20+01:00") == NOW
    for bad in ("", "2023-11-14", "2023-11-14T22:13:20", "yesterday"):
        try:
            parse_stamp(bad)
        except ValueError:
            continue
        raise AssertionError(bad)
