"""How a simulated person behaves, without any I/O: a stanza comes in, timed stanzas go out."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from ubiety.demo.organisation import Organisation, Person
from ubiety.demo.phrases import BUSY, BUSY_OPENINGS, MOODS, Mood, choose_answer

CLIENT = "{jabber:client}"
CHAT_STATES = "http://jabber.org/protocol/chatstates"
RECEIPTS = "urn:xmpp:receipts"
DISCO = "http://jabber.org/protocol/disco#info"
VERSION = "jabber:iq:version"
PING = "urn:xmpp:ping"
ROSTER = "jabber:iq:roster"

RESOURCE = "ubiety-sample"
"""The resource of simulated people, by which they know each other."""
MOOD_SECONDS = (180.0, 900.0)
"""A mood lasts between these: forty people together change some five times a minute."""
ANSWERS_PER_PEER = 30
ANSWERS_WINDOW = 600.0
"""At most so many answers to one address in so many seconds: two programs may not talk for ever."""

_FEATURES = (CHAT_STATES, RECEIPTS, DISCO, VERSION, PING)


@dataclass(frozen=True, slots=True)
class Act:
    """Something to send after a number of seconds."""

    after: float
    data: str


class Conduct:
    """The behaviour of one simulated person during one session."""

    def __init__(self, person: Person, firm: Organisation, photo_sha1: str, random: Random) -> None:
        """Take the person, the firm, the SHA-1 of the portrait and a source of chance."""
        self._person = person
        self._firm = firm
        self._photo = photo_sha1
        self._random = random
        self._address = firm.address(person)
        self._mood = MOODS[0]
        self._previous = ""
        self._busy_until: dict[str, float] = {}
        self._answered: dict[str, deque[float]] = {}
        self._handlers: dict[str, Callable[[Element, float], list[Act]]] = {
            CLIENT + "message": self._on_message,
            CLIENT + "presence": self._on_presence,
            CLIENT + "iq": self._on_iq,
        }

    @property
    def mood(self) -> Mood:
        """The mood that the last presence showed."""
        return self._mood

    def change_mood(self) -> Act:
        """Show another mood now and say, as `after`, how long it lasts."""
        others = [mood for mood in MOODS if mood is not self._mood]
        self._mood = self._random.choices(others, [mood.weight for mood in others])[0]
        return Act(self._random.uniform(*MOOD_SECONDS), self._presence())

    def receive(self, stanza: Element, now: float) -> list[Act]:
        """Return what to send upon a stanza; an empty list where a person would not react."""
        handler = self._handlers.get(stanza.tag)
        return handler(stanza, now) if handler else []

    def _presence(self) -> str:
        show = f"<show>{self._mood.show}</show>" if self._mood.show else ""
        status = f"<status>{escape(self._mood.status)}</status>" if self._mood.status else ""
        # XEP-0153 §3.1: the hash lets clients fetch the portrait once
        photo = f"<x xmlns='vcard-temp:x:update'><photo>{self._photo}</photo></x>"
        return f"<presence>{show}{status}{photo}</presence>"

    def _on_message(self, message: Element, now: float) -> list[Act]:
        sender = message.get("from", "")
        body = message.findtext(CLIENT + "body")
        kind = message.get("type", "normal")
        if not body or kind not in ("chat", "normal") or not self._is_answered(sender, now):
            return []
        acts = self._acknowledge(message, sender)
        if self._busy_until.get(sender, 0.0) > now:
            return acts  # already typing: the answer will serve for this one too
        return acts + self._answer(sender, body, now)

    def _is_answered(self, sender: str, now: float) -> bool:
        """Whether a message from there gets an answer at all."""
        bare, _, resource = sender.partition("/")
        if bare in ("", self._address) or resource == RESOURCE:
            return False  # the server, oneself, or another simulated person
        times = self._answered.setdefault(bare, deque())
        while times and times[0] < now - ANSWERS_WINDOW:
            times.popleft()
        return len(times) < ANSWERS_PER_PEER

    def _acknowledge(self, message: Element, sender: str) -> list[Act]:
        """XEP-0184 §5: a receipt where one is asked for."""
        wanted = message.find(f"{{{RECEIPTS}}}request")
        identity = message.get("id")
        if wanted is None or identity is None:
            return []
        receipt = f"<received xmlns='{RECEIPTS}' id={quoteattr(identity)}/>"
        return [Act(0.0, self._message(sender, receipt))]

    def _answer(self, sender: str, body: str, now: float) -> list[Act]:
        """Read, type, send: XEP-0085 states around an answer that takes as long as typing does."""
        text = self._compose(body)
        reading = self._random.uniform(0.6, 1.8)
        typing = min(1.0 + 0.05 * len(text), 5.0) * self._random.uniform(0.8, 1.2)
        self._busy_until[sender] = now + reading + typing
        self._answered[sender.partition("/")[0]].append(now)
        answer = f"<body>{escape(text)}</body>" + _state("active")
        return [
            Act(reading, self._message(sender, _state("composing"))),
            Act(reading + typing, self._message(sender, answer)),
        ]

    def _compose(self, body: str) -> str:
        template = choose_answer(body, self._random.choice, self._previous)
        self._previous = template
        person = self._person
        text = template.format(
            name=person.name,
            given=person.given_name,
            title=person.title,
            department=person.department,
            phone=person.phone,
            mail=person.mail,
            firm=self._firm.firm,
        )
        opening = self._random.choice(BUSY_OPENINGS) if self._mood.show in BUSY else ""
        return opening + text

    def _message(self, to: str, payload: str) -> str:
        identity = f"{self._random.getrandbits(64):016x}"
        return f"<message to={quoteattr(to)} type='chat' id='{identity}'>{payload}</message>"

    def _on_presence(self, presence: Element, _now: float) -> list[Act]:
        """Agree to be a contact, and ask for the same in return."""
        sender = presence.get("from")
        if presence.get("type") != "subscribe" or not sender:
            return []
        to = quoteattr(sender)
        wait = self._random.uniform(1.0, 4.0)
        answer = f"<presence to={to} type='subscribed'/><presence to={to} type='subscribe'/>"
        return [Act(wait, answer)]

    def _on_iq(self, iq: Element, _now: float) -> list[Act]:
        kind = iq.get("type")
        if kind not in ("get", "set"):
            return []
        to = f" to={quoteattr(iq.get('from', ''))}" if iq.get("from") else ""
        head = f"<iq{to} id={quoteattr(iq.get('id', ''))}"
        payload = _iq_result(kind, iq[0].tag if len(iq) else "")
        if payload is not None:
            return [Act(0.0, f"{head} type='result'>{payload}</iq>")]
        # RFC 6120 §8.4: a request that is not understood is answered all the same
        error = (
            "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        )
        return [Act(0.0, f"{head} type='error'>{error}</iq>")]


def _state(name: str) -> str:
    return f"<{name} xmlns='{CHAT_STATES}'/>"


def _iq_result(kind: str, request: str) -> str | None:
    """Return the payload of the result for a request, None where it is not supported."""
    if (kind, request) in (("get", f"{{{PING}}}ping"), ("set", f"{{{ROSTER}}}query")):
        return ""
    if (kind, request) == ("get", f"{{{VERSION}}}query"):
        return f"<query xmlns='{VERSION}'><name>Ubiety sample person</name><version>1</version></query>"
    if (kind, request) == ("get", f"{{{DISCO}}}query"):
        features = "".join(f"<feature var='{feature}'/>" for feature in _FEATURES)
        identity = "<identity category='client' type='pc' name='Ubiety sample person'/>"
        return f"<query xmlns='{DISCO}'>{identity}{features}</query>"
    return None
