"""One picture, set and seen through vCards and through personal events (XEP-0398)."""

import base64
import hashlib

from tests.unit.users.place import Client, Place
from tests.unit.users.test_pep import done, events, items, publish, pubsub, want
from ubiety.element import Element
from ubiety.xmpp import ns

PICTURE = b"\x89PNG" + bytes(range(200))
HASH = hashlib.sha1(PICTURE).hexdigest()
GET = f"<vCard xmlns='{ns.VCARD}'/>"


def card(picture: bytes | None, kind: str = "image/jpeg", name: str = "Al") -> str:
    """A vCard."""
    encoded = base64.encodebytes(picture).decode() if picture is not None else ""
    photo = f"<PHOTO><TYPE>{kind}</TYPE><BINVAL>{encoded}</BINVAL></PHOTO>" if encoded else ""
    return f"<vCard xmlns='{ns.VCARD}'><FN>{name}</FN>{photo}</vCard>"


def shown(answer: Element) -> tuple[str, bytes] | None:
    """The photo in a vCard: type and picture."""
    photo = answer.elements[0].find("PHOTO")
    kind, binary = (photo.find("TYPE"), photo.find("BINVAL")) if photo is not None else (None, None)
    if kind is None or binary is None:
        return None
    return kind.text, base64.b64decode(binary.text)


async def publish_avatar(client: Client, picture: bytes, model: str = "open") -> None:
    """Publish a picture as XEP-0084 wants it."""
    number = hashlib.sha1(picture).hexdigest()
    form = (
        f"<publish-options><x xmlns='{ns.DATA_FORMS}' type='submit'>"
        f"<field var='pubsub#access_model'><value>{model}</value></field></x></publish-options>"
    )
    data = f"<data xmlns='{ns.AVATAR_DATA}'>{base64.b64encode(picture).decode()}</data>"
    info = f"<info id='{number}' type='image/gif' bytes='{len(picture)}'/>"
    metadata = f"<metadata xmlns='{ns.AVATAR_METADATA}'>{info}</metadata>"
    for node, payload in ((ns.AVATAR_DATA, data), (ns.AVATAR_METADATA, metadata)):
        item = f"<item id='{number}'>{payload}</item>"
        await done(client, pubsub(f"<publish node='{node}'>{item}</publish>{form}"))


async def test_photo_of_a_vcard_is_published(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    stranger = await place.sign_in("stranger")
    await want(bob, ns.AVATAR_METADATA)
    await bob.take()
    await done(alice, card(PICTURE))
    assert await events(bob) == [(alice.bare, ns.AVATAR_METADATA, [("item", HASH)])]
    for client in (bob, stranger):
        answer = await client.ask("get", items(ns.AVATAR_DATA, HASH), alice.bare)
        data = answer.elements[0].elements[0].elements[0].elements[0]
        assert data.ns == ns.AVATAR_DATA and base64.b64decode(data.text) == PICTURE
    answer = await bob.ask("get", items(ns.AVATAR_METADATA), alice.bare)
    info = answer.elements[0].elements[0].elements[0].elements[0].elements[0]
    attributes = (info.get("id"), info.get("bytes"), info.get("type"))
    assert attributes == (HASH, str(len(PICTURE)), "image/jpeg")
    await done(alice, card(PICTURE, name="another"))
    assert await events(bob) == []  # the picture is the same
    await done(alice, card(None))
    assert await events(bob) == [(alice.bare, ns.AVATAR_METADATA, [("item", "none")])]
    assert shown(await bob.ask("get", GET, alice.bare)) is None


async def test_published_picture_shows_in_the_vcard(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await publish_avatar(alice, PICTURE)
    assert shown(await bob.ask("get", GET, alice.bare)) == ("image/gif", PICTURE)
    name = (await bob.ask("get", GET, alice.bare)).elements[0].find("FN")
    assert name is not None and name.text == "alice"  # the rest is still the directory's
    await done(alice, card(b"old"))
    assert shown(await bob.ask("get", GET, alice.bare)) == ("image/jpeg", b"old")
    await publish_avatar(alice, PICTURE + b"newer")
    assert shown(await bob.ask("get", GET, alice.bare)) == ("image/gif", PICTURE + b"newer")
    empty = f"<item id='x'><metadata xmlns='{ns.AVATAR_METADATA}'/></item>"
    await done(alice, pubsub(f"<publish node='{ns.AVATAR_METADATA}'>{empty}</publish>"))
    assert shown(await bob.ask("get", GET, alice.bare)) is None


async def test_picture_for_friends_is_not_shown_to_strangers(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    stranger = await place.sign_in("stranger")
    await publish_avatar(alice, PICTURE, "presence")
    assert shown(await bob.ask("get", GET, alice.bare)) is not None
    assert shown(await alice.ask("get", GET)) is not None
    assert shown(await stranger.ask("get", GET, alice.bare)) is None


async def test_nonsense_in_the_nodes_does_no_harm(place: Place) -> None:
    alice = await place.sign_in("alice")
    await done(alice, card(PICTURE))
    await done(alice, publish(ns.AVATAR_METADATA, "nonsense"))
    assert shown(await alice.ask("get", GET)) is None  # it announces no picture
    info = f"<metadata xmlns='{ns.AVATAR_METADATA}'><info id='gone'/></metadata>"
    await done(alice, pubsub(f"<publish node='{ns.AVATAR_METADATA}'><item id='gone'>{info}</item></publish>"))
    assert shown(await alice.ask("get", GET)) == ("image/jpeg", PICTURE)
