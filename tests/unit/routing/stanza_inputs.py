"""What clients might send once they are signed in: stanzas of all kinds, sensible, odd and broken."""

import random
from xml.sax.saxutils import quoteattr

from tests.unit.users.place import DOMAIN
from ubiety.xmpp import ns

PEOPLE = ("ann", "bob", "cat", "dan")  # dan never signs in
RESOURCES = ("desk", "phone")
SM = "urn:xmpp:sm:3"

MESSAGE_TYPES = (None, "chat", "chat", "chat", "normal", "headline", "groupchat", "error", "odd")
PRESENCE_TYPES = (
    *(None, None, "unavailable", "probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed"),
    *("error", "odd"),
)
IQ_TYPES = ("get", "get", "get", "set", "set", "set", "result", "error", None, "odd")

FORM = (
    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{}</value></field>"
    "<field var='{}'><value>{}</value></field></x>"
)
RSM = "<set xmlns='http://jabber.org/protocol/rsm'>{}</set>"

# {j}: an address, {w}: a word, {n}: a number, {f}: a form
QUERIES = (
    f"<query xmlns='{ns.ROSTER}'/>",
    f"<query xmlns='{ns.ROSTER}' ver='{{w}}'/>",
    f"<query xmlns='{ns.ROSTER}'><item jid='{{j}}' name='{{w}}'><group>{{w}}</group></item></query>",
    f"<query xmlns='{ns.ROSTER}'><item jid='{{j}}' subscription='remove'/></query>",
    f"<query xmlns='{ns.ROSTER}'><item jid='{{j}}'/><item jid='{{j}}'/></query>",
    f"<query xmlns='{ns.ROSTER}'><item/></query>",
    f"<blocklist xmlns='{ns.BLOCKING}'/>",
    f"<block xmlns='{ns.BLOCKING}'><item jid='{{j}}'/></block>",
    f"<block xmlns='{ns.BLOCKING}'/>",
    f"<unblock xmlns='{ns.BLOCKING}'/>",
    f"<unblock xmlns='{ns.BLOCKING}'><item jid='{{j}}'/></unblock>",
    f"<enable xmlns='{ns.CARBONS}'/>",
    f"<disable xmlns='{ns.CARBONS}'/>",
    "<query xmlns='urn:xmpp:mam:2' queryid='{w}'/>",
    "<query xmlns='urn:xmpp:mam:2'>{f}<set xmlns='http://jabber.org/protocol/rsm'><max>{n}</max></set></query>",
    "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>{n}</max><before>{n}"
    "</before></set></query>",
    "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><after>{w}</after></set></query>",
    "<prefs xmlns='urn:xmpp:mam:2'/>",
    "<prefs xmlns='urn:xmpp:mam:2' default='{w}'><always><jid>{j}</jid></always><never><jid>{w}</jid></never>"
    "</prefs>",
    f"<query xmlns='{ns.PRIVATE}'><x xmlns='urn:{{w}}'/></query>",
    f"<query xmlns='{ns.PRIVATE}'><x xmlns='urn:{{w}}'><y a='{{w}}'>{{w}}</y></x></query>",
    f"<query xmlns='{ns.PRIVATE}'/>",
    "<vCard xmlns='vcard-temp'/>",
    "<vCard xmlns='vcard-temp'><FN>{w}</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>aGVsbG8=</BINVAL></PHOTO>"
    "</vCard>",
    "<vCard xmlns='vcard-temp'><PHOTO><BINVAL>{w}</BINVAL></PHOTO></vCard>",
    f"<query xmlns='{ns.DISCO_INFO}'/>",
    f"<query xmlns='{ns.DISCO_INFO}' node='{{w}}'/>",
    f"<query xmlns='{ns.DISCO_ITEMS}'/>",
    f"<query xmlns='{ns.DISCO_ITEMS}' node='{{w}}'/>",
    f"<pubsub xmlns='{ns.PUBSUB}'><publish node='{{w}}'><item id='{{w}}'><x xmlns='urn:{{w}}'>{{w}}</x>"
    "</item></publish></pubsub>",
    f"<pubsub xmlns='{ns.PUBSUB}'><publish node='{{w}}'><item/></publish><publish-options>{{f}}"
    "</publish-options></pubsub>",
    f"<pubsub xmlns='{ns.PUBSUB}'><items node='{{w}}' max_items='{{n}}'><item id='{{w}}'/></items></pubsub>",
    f"<pubsub xmlns='{ns.PUBSUB}'><retract node='{{w}}' notify='1'><item id='{{w}}'/></retract></pubsub>",
    f"<pubsub xmlns='{ns.PUBSUB}'><create node='{{w}}'/><configure>{{f}}</configure></pubsub>",
    f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{{w}}' jid='{{j}}'/></pubsub>",
    f"<pubsub xmlns='{ns.PUBSUB}#owner'><delete node='{{w}}'/></pubsub>",
    f"<pubsub xmlns='{ns.PUBSUB}#owner'><configure node='{{w}}'>{{f}}</configure></pubsub>",
    f"<pubsub xmlns='{ns.PUBSUB}'/>",
    f"<ping xmlns='{ns.PING}'/>",
    f"<query xmlns='{ns.VERSION}'/>",
    f"<time xmlns='{ns.TIME}'/>",
    f"<query xmlns='{ns.LAST}'/>",
    f"<session xmlns='{ns.SESSION}'/>",
    f"<bind xmlns='{ns.BIND}'><resource>{{w}}</resource></bind>",
    "<query xmlns='jabber:iq:register'/>",
    "<query xmlns='jabber:iq:register'><username>{w}</username></query>",
    "<query xmlns='urn:unknown'><x/></query>",
    "<a xmlns='urn:x'/><b xmlns='urn:x'/>",
    "",
)
EXTENSIONS = (
    "<body>{w}</body>",
    "<body>{w}</body>",
    "<body>{w}</body><origin-id xmlns='urn:xmpp:sid:0' id='{w}'/>",
    "<subject>{w}</subject>",
    "<active xmlns='http://jabber.org/protocol/chatstates'/>",
    "<request xmlns='urn:xmpp:receipts'/>",
    "<received xmlns='urn:xmpp:receipts' id='{w}'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' by='{j}' id='{n}'/>",
    "<origin-id xmlns='urn:xmpp:sid:0' id='{w}'/>",
    "<delay xmlns='urn:xmpp:delay' from='{j}' stamp='{w}'/>",
    "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
    "<message xmlns='jabber:client' from='{j}'><body>{w}</body></message></forwarded></received>",
    "<private xmlns='urn:xmpp:carbons:2'/>",
    "<no-store xmlns='urn:xmpp:hints'/>",
    "<store xmlns='urn:xmpp:hints'/>",
    "<addresses xmlns='http://jabber.org/protocol/address'><address type='to' jid='{j}'/>"
    "<address type='bcc' jid='{j}'/><address type='{w}' jid='{j}'/></addresses>",
    "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='{w}'/></event>",
    "<priority>{n}</priority>",
    "<priority>{w}</priority>",
    "<show>away</show><status>{w}</status>",
    "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{w}' ver='{w}'/>",
    "<x xmlns='vcard-temp:x:update'><photo>{w}</photo></x>",
    "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
    "<x xmlns='jabber:x:conference' jid='{j}'/>",
    "<x:y xmlns:x='urn:x' x:a='{w}'/>",
    "<x xmlns='urn:x'><priority>99</priority><body>{w}</body></x>",
    "text {w}",
)
OTHERS = (
    f"<r xmlns='{SM}'/>",
    f"<r xmlns='{SM}'/>",
    f"<a xmlns='{SM}' h='{{n}}'/>",
    f"<enable xmlns='{SM}' resume='true'/>",
    "<inactive xmlns='urn:xmpp:csi:0'/>",
    "<active xmlns='urn:xmpp:csi:0'/>",
    " \n",
)
WORDS = (
    *("a", "b", "a b", "&lt;", "&#x1F600;", "ü", "x" * 300, "", "0", "-1", "now", "roster", "never", "&amp;"),
    *("2026-01-01T00:00:00Z", "urn:xmpp:avatar:data", "urn:xmpp:bookmarks:1", "&apos;&quot;", "\t\n", "%s"),
    *("http://jabber.org/protocol/pubsub#publish-options", "urn:xmpp:mam:2", "with", "start", "open"),
)
NUMBERS = ("0", "1", "10", "-1", "-128", "127", "128", "4294967295", "99999999999999999999", "1.5", "")
TOKENS = (
    *(b"<", b">", b"/", b"=", b"'", b'"', b"&", b"<a>", b"</a>", b"<a/>", b" ", b"\xff", b"\0", b"]]>"),
    *(b" xmlns=''", b" xmlns='jabber:client'", b" to=''", b" id='x'", b"<!--", b"</message>", b"</iq>"),
    *(b" type='set'", b" from='ann@example.org'", b" xml:lang='x'", b"<body>", b"&#0;", b"\xc3"),
)


class Inputs:
    """An endless supply by a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._count = 0

    def address(self) -> str:
        """Return some address: ours, foreign, or none at all."""
        pick = self.chance.choice
        person = pick(PEOPLE)
        return pick(
            [
                f"{person}@{DOMAIN}",
                f"{person}@{DOMAIN}",
                f"{person}@{DOMAIN}/{pick(RESOURCES)}",
                f"{person}@{DOMAIN}/{pick(RESOURCES)}",
                DOMAIN,
                f"{DOMAIN}/x",
                f"nobody@{DOMAIN}",
                f"nobody@{DOMAIN}/desk",
                "ann@example.com/desk",
                "example.com",
                f"{person.upper()}@{DOMAIN.upper()}/Desk",
                f"{person}@{DOMAIN}/&lt;&apos;&#x1F600;",
                f"a\\\\40b@{DOMAIN}",
                pick(["", "@", "a@b@c", "x" * 1100 + "@y", "a b@c", "@example.org", "[::1]", "\u0338@a"]),
            ]
        )

    def fill(self, text: str) -> str:
        """Put addresses, words and numbers into a template."""
        for mark, make in (
            ("{f}", self._form),
            ("{j}", self.address),
            ("{w}", self._word),
            ("{n}", self._number),
        ):
            while mark in text:
                text = text.replace(mark, make(), 1)
        return text

    def _word(self) -> str:
        return self.chance.choice(WORDS)

    def _number(self) -> str:
        return self.chance.choice(NUMBERS)

    def _form(self) -> str:
        return FORM.format(self._word(), self._word(), self.address())

    def piece(self) -> bytes:
        """Return one stanza or other element, sometimes broken."""
        data = self._element().encode("utf-8", "surrogatepass")
        if self.chance.random() < 0.04:
            for _ in range(self.chance.randint(1, 3)):
                place = self.chance.randint(0, len(data))
                data = data[:place] + self.chance.choice(TOKENS) + data[place + self.chance.randint(0, 3) :]
        return data

    def _element(self) -> str:
        roll = self.chance.random()
        if roll < 0.06:
            return self.fill(self.chance.choice(OTHERS))
        if roll < 0.5:
            inner = self.chance.choice(QUERIES)
            if self.chance.random() < 0.03:
                inner += self.chance.choice(EXTENSIONS)
            return self._stanza("iq", self.chance.choice(IQ_TYPES), inner)
        inner = "".join(self.chance.choice(EXTENSIONS) for _ in range(self.chance.randint(0, 3)))
        if roll < 0.8:
            return self._stanza("message", self.chance.choice(MESSAGE_TYPES), inner)
        return self._stanza("presence", self.chance.choice(PRESENCE_TYPES), inner)

    def _stanza(self, kind: str, type_: str | None, inner: str) -> str:
        self._count += 1
        head = kind
        if self.chance.random() < 0.97:
            head += f" id='f{self._count}'"
        if type_ is not None:
            head += f" type='{type_}'"
        if self.chance.random() < (0.5 if kind == "iq" else 0.8):
            head += f" to='{self.address()}'"
        if self.chance.random() < 0.03:
            head += f" xml:lang={quoteattr(self.chance.choice(['en', 'de', '', 'x y']))}"
        return f"<{head}>{self.fill(inner)}</{kind}>"
