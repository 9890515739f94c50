"""vCards: set by their owner, read by others, filled from the directory."""

import base64
import hashlib

from tests.unit.users.place import Place, condition
from ubiety.element import Element
from ubiety.store import vcards
from ubiety.users.vcard import VCARD_BYTES
from ubiety.xmpp import ns

GET = f"<vCard xmlns='{ns.VCARD}'/>"


def card(content: str) -> str:
    """A vCard."""
    return f"<vCard xmlns='{ns.VCARD}'>{content}</vCard>"


def shown(answer: Element) -> Element:
    """The vCard in an answer."""
    found = answer.find("vCard", ns.VCARD)
    assert found is not None, answer
    return found


def text(parent: Element | None, *path: str) -> str | None:
    """The text at a path below an element."""
    for name in path:
        parent = parent.find(name) if parent is not None else None
    return parent.text if parent is not None else None


async def test_directory_fills_what_nobody_has_written(place: Place) -> None:
    await place.people(
        "alice",
        display_name="Alice <A> Example",
        given_name="Alice",
        surname="Example",
        mail="alice@example.com",
        department="R & D",
        title="Engineer",
        phone="+1 555 0100",
    )
    bob = await place.sign_in("bob")
    found = shown(await bob.ask("get", GET, "alice@example.org"))
    assert text(found, "FN") == "Alice <A> Example"
    assert (text(found, "N", "FAMILY"), text(found, "N", "GIVEN")) == ("Example", "Alice")
    assert text(found, "EMAIL", "USERID") == "alice@example.com"
    assert text(found, "ORG", "ORGUNIT") == "R & D"
    assert text(found, "TITLE") == "Engineer"
    assert text(found, "TEL", "NUMBER") == "+1 555 0100"
    assert text(found, "JABBERID") == "alice@example.org"
    bare = shown(await bob.ask("get", GET))
    assert [e.name for e in bare.elements] == ["FN", "JABBERID"] and text(bare, "FN") == "bob"


async def test_own_words_win(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    assert (await alice.ask("set", card("<FN>Al</FN><X-OWN>1</X-OWN>"))).get("type") == "result"
    for client, to in ((alice, None), (alice, alice.bare), (bob, alice.bare)):
        assert (
            shown(await client.ask("get", GET, to)).to_bytes() == card("<FN>Al</FN><X-OWN>1</X-OWN>").encode()
        )


async def test_photo_hash_is_kept(place: Place) -> None:
    alice = await place.sign_in("alice")
    picture = bytes(range(256))
    encoded = base64.encodebytes(picture).decode()
    photo = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{encoded}</BINVAL></PHOTO>"
    await alice.ask("set", card(photo))
    user_id = alice.user.person.user_id
    kept = await place.database.read(vcards.photo_hash, user_id)
    assert kept == hashlib.sha1(picture).hexdigest()
    await alice.ask("set", card("<PHOTO><EXTVAL>https://example.org/a.png</EXTVAL></PHOTO>"))
    assert await place.database.read(vcards.photo_hash, user_id) == ""


async def test_bad_vcards_are_refused(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    place.set(VCARD_BYTES, 1000)
    assert condition(await alice.ask("set", card(f"<NOTE>{'x' * 1000}</NOTE>"))) == "not-acceptable"
    bad = "<PHOTO><BINVAL>no base64!</BINVAL></PHOTO>"
    assert condition(await alice.ask("set", card(bad))) == "bad-request"
    assert condition(await bob.ask("set", card("<FN>x</FN>"), alice.bare)) == "forbidden"
    assert text(shown(await alice.ask("get", GET)), "FN") == "alice"


async def test_nobody_is_nobody(place: Place) -> None:
    bob = await place.sign_in("bob")
    assert condition(await bob.ask("get", GET, "nobody@example.org")) == "service-unavailable"
