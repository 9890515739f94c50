"""What simulated people do: answer after typing, agree to be contacts, and never talk for ever."""

from random import Random
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.demo.conduct import ANSWERS_PER_PEER, ANSWERS_WINDOW, MOOD_SECONDS, RESOURCE, Act, Conduct
from ubiety.demo.organisation import build_organisation
from ubiety.demo.phrases import ANSWERS, BUSY, MOODS, RULES, choose_answer, find_answers

FIRM = build_organisation("example.org", "s")
ANNA = FIRM.people[0]
VISITOR = FIRM.address(FIRM.visitors[0]) + "/profanity"
STATE = "{http://jabber.org/protocol/chatstates}"


@pytest.fixture
def conduct() -> Conduct:
    return Conduct(ANNA, FIRM, "0" * 40, Random(7))


def stanza(text: str) -> Element:
    return fromstring(f"<stream xmlns='jabber:client'>{text}</stream>")[0]


def message(body: str, sender: str = VISITOR, kind: str = "chat", extra: str = "") -> Element:
    return stanza(f"<message from='{sender}' type='{kind}' id='m1'><body>{body}</body>{extra}</message>")


def parsed(acts: list[Act]) -> list[Element]:
    return [stanza(act.data) for act in acts]


def body_of(acts: list[Act]) -> str:
    text = parsed(acts)[-1].findtext("{jabber:client}body")
    assert text
    return text


def test_answers_after_reading_and_typing(conduct: Conduct) -> None:
    typing, answer = conduct.receive(message("Hello Anna"), 100.0)
    assert 0 < typing.after < answer.after < 12
    assert stanza(typing.data).find(STATE + "composing") is not None
    sent = stanza(answer.data)
    assert sent.get("to") == VISITOR
    assert sent.get("type") == "chat"
    assert sent.get("id")
    assert sent.find(STATE + "active") is not None
    assert sent.findtext("{jabber:client}body") in [
        text.format(given="Anna") for text in find_answers("Hello")
    ]


def test_fills_in_who_it_is(conduct: Conduct) -> None:
    body = body_of(conduct.receive(message("Who are you, what do you do?"), 0.0))
    assert ANNA.title in body
    assert ANNA.department in body
    assert ANNA.phone in body_of(conduct.receive(message("What is your phone number?"), 60.0))


def test_messages_while_typing_get_one_answer(conduct: Conduct) -> None:
    assert len(conduct.receive(message("Hi"), 0.0)) == 2
    assert conduct.receive(message("Are you there?"), 0.5) == []
    assert len(conduct.receive(message("Hello?"), 60.0)) == 2


def test_receipts_are_sent_at_once(conduct: Conduct) -> None:
    request = "<request xmlns='urn:xmpp:receipts'/>"
    receipt = conduct.receive(message("Hi", extra=request), 0.0)[0]
    received = stanza(receipt.data).find("{urn:xmpp:receipts}received")
    assert receipt.after == 0.0
    assert received is not None
    assert received.get("id") == "m1"


@pytest.mark.parametrize(
    "unanswered",
    [
        message("Hi", kind="error"),
        message("Hi", kind="groupchat"),
        message("News", kind="headline"),
        message("Hi", sender=f"{FIRM.address(FIRM.simulated[1])}/{RESOURCE}"),
        message("Note to self", sender=FIRM.address(ANNA) + "/phone"),
        message("From the server itself", sender=""),
        stanza(f"<message from='{VISITOR}' type='chat'><composing xmlns='{STATE[1:-1]}'/></message>"),
        stanza(f"<presence from='{VISITOR}'/>"),
        stanza(f"<presence from='{VISITOR}' type='unsubscribe'/>"),
        stanza(f"<iq from='{VISITOR}' type='result' id='x'/>"),
        stanza("<unknown xmlns='urn:example'/>"),
    ],
)
def test_does_not_react(conduct: Conduct, unanswered: Element) -> None:
    assert conduct.receive(unanswered, 0.0) == []


def test_two_programs_do_not_talk_for_ever(conduct: Conduct) -> None:
    answers = sum(bool(conduct.receive(message("Out of office"), now * 15.0)) for now in range(39))
    assert answers == ANSWERS_PER_PEER
    assert conduct.receive(message("Hi"), 39 * 15.0 + ANSWERS_WINDOW)


def test_agrees_to_be_a_contact_and_asks_back(conduct: Conduct) -> None:
    (act,) = conduct.receive(stanza("<presence from='new@example.org' type='subscribe'/>"), 0.0)
    answers = fromstring(f"<stream xmlns='jabber:client'>{act.data}</stream>")
    assert [(answer.get("to"), answer.get("type")) for answer in answers] == [
        ("new@example.org", "subscribed"),
        ("new@example.org", "subscribe"),
    ]


@pytest.mark.parametrize(
    ("kind", "payload", "result"),
    [
        ("get", "<ping xmlns='urn:xmpp:ping'/>", None),
        ("set", "<query xmlns='jabber:iq:roster'><item jid='a@b'/></query>", None),
        ("get", "<query xmlns='jabber:iq:version'/>", "{jabber:iq:version}query"),
        (
            "get",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
            "{http://jabber.org/protocol/disco#info}query",
        ),
    ],
)
def test_answers_requests(conduct: Conduct, kind: str, payload: str, result: str | None) -> None:
    (act,) = conduct.receive(stanza(f"<iq type='{kind}' id='q' from='example.org'>{payload}</iq>"), 0.0)
    answer = stanza(act.data)
    assert (answer.get("type"), answer.get("id"), answer.get("to")) == ("result", "q", "example.org")
    assert [child.tag for child in answer] == ([result] if result else [])


@pytest.mark.parametrize(
    ("kind", "payload"),
    [("get", "<query xmlns='urn:x'/>"), ("set", "<ping xmlns='urn:xmpp:ping'/>"), ("get", "")],
)
def test_refuses_other_requests(conduct: Conduct, kind: str, payload: str) -> None:
    (act,) = conduct.receive(stanza(f"<iq type='{kind}' id='q'>{payload}</iq>"), 0.0)
    answer = stanza(act.data)
    assert (answer.get("type"), answer.get("to")) == ("error", None)
    assert answer[0][0].tag == "{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable"


def test_moods_change_and_carry_the_portrait(conduct: Conduct) -> None:
    seen = set()
    for _ in range(200):
        before = conduct.mood
        act = conduct.change_mood()
        presence = stanza(act.data)
        assert conduct.mood is not before
        assert MOOD_SECONDS[0] <= act.after <= MOOD_SECONDS[1]
        assert presence.findtext("{jabber:client}show", "") == conduct.mood.show
        assert presence.findtext("{jabber:client}status", "") == conduct.mood.status
        assert presence.findtext(".//{vcard-temp:x:update}photo") == "0" * 40
        seen.add(conduct.mood)
    assert seen == set(MOODS)
    assert {mood.show for mood in MOODS} == {"", "chat", "away", "dnd", "xa"}
    assert set(BUSY) < {mood.show for mood in MOODS}


def test_every_template_can_be_filled() -> None:
    fields = dict.fromkeys(("name", "given", "title", "department", "phone", "mail", "firm"), "x")
    for answers in (ANSWERS, *(rule.answers for rule in RULES)):
        assert all(answer.format(**fields) for answer in answers)


def test_does_not_repeat_itself_where_there_is_a_choice() -> None:
    assert choose_answer("ok", lambda fitting: fitting[0], ANSWERS[0]) == ANSWERS[1]
    assert choose_answer("ok", lambda fitting: fitting[0], "") == ANSWERS[0]


@given(st.text())
def test_there_is_an_answer_to_everything(text: str) -> None:
    assert find_answers(text)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1))
def test_addresses_are_written_escaped(resource: str) -> None:
    element = Element(
        "{jabber:client}iq", {"type": "get", "id": resource, "from": f"a@example.org/{resource}"}
    )
    (act,) = Conduct(ANNA, FIRM, "", Random(1)).receive(element, 0.0)
    try:
        answer = stanza(act.data)
    except SyntaxError:
        assert any(ord(character) in (0xFFFE, 0xFFFF) for character in resource)
    else:
        assert answer.get("to", "").startswith("a@example.org/")
