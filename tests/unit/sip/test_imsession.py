"""Conversations over SIP: two sessions talk to each other in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sip.im_pair import Pair, Side, Way
from ubiety.sip.imleg import TRANSITIONS, Answer, Cancel, Deliver, Event, Leg, SendText, Times, Unsent
from ubiety.sip.imsession import CALLS, MAX_LINES, MAX_PENDING, ImSession
from ubiety.sip.imtext import Text, Unsupported

TIMES = Times(idle=60.0)


@pytest.fixture
def pair() -> Pair:
    return Pair(TIMES)


def assert_quiet(pair: Pair) -> None:
    """Whatever happened, in the end nothing is left and every message has its verdict."""
    pair.run(2000)
    for side in (pair.a, pair.b):
        assert side.session.is_over, side.session.lines
        assert side.session.deadline() is None
        assert not side.answers, "a request was never answered"


# -- one calls ---------------------------------------------------------------------------------------------


def test_the_first_message_travels_in_the_invite(pair: Pair) -> None:
    ref = pair.send(pair.a, "Hello \U0001f600")
    pair.run()
    assert pair.b.delivered == ["Hello \U0001f600"]
    assert pair.a.sent == [ref]
    assert pair.a.requests == ["INVITE"]
    assert pair.b.statuses == [200]


def test_who_does_not_take_it_from_the_invite_gets_it_as_a_message(pair: Pair) -> None:
    pair.b.is_old = True
    ref = pair.send(pair.a, "Hello")
    pair.run()
    assert pair.b.delivered == ["Hello"]
    assert pair.a.requests == ["INVITE", "MESSAGE"]
    assert pair.a.sent == [ref]


def test_without_a_first_message_by_setting() -> None:
    pair = Pair(TIMES, first_in_invite=False)
    pair.send(pair.a, "Hello")
    pair.run()
    assert pair.a.requests == ["INVITE", "MESSAGE"]
    assert pair.b.delivered == ["Hello"]


def test_a_long_first_message_does_not_fit_into_the_invite(pair: Pair) -> None:
    pair.send(pair.a, "x" * 5000)
    pair.run()
    assert pair.a.requests == ["INVITE", "MESSAGE"]
    assert pair.b.delivered == ["x" * 5000]


def test_messages_go_both_ways_in_one_dialog(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.send(pair.b, "two")
    pair.send(pair.a, "three")
    pair.run()
    assert (pair.a.delivered, pair.b.delivered) == (["two"], ["one", "three"])
    assert pair.b.requests == ["MESSAGE"] and pair.a.requests == ["INVITE", "MESSAGE"]


def test_one_message_is_on_its_way_at_a_time(pair: Pair) -> None:
    pair.way = lambda _: Way(1.0)
    refs = [pair.send(pair.a, f"{number}") for number in range(3)]
    pair.run(2.0)
    assert pair.a.requests == ["INVITE", "MESSAGE"]
    pair.run(60.0)
    assert pair.b.delivered == ["0", "1", "2"] and pair.a.sent == refs


def test_a_conversation_ends_when_nobody_writes_for_a_while(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run(59.0)
    assert len(pair.a.session.lines) == 1
    pair.run(2.0)
    assert pair.a.session.is_over and pair.b.session.is_over
    assert pair.a.requests.count("BYE") + pair.b.requests.count("BYE") >= 1
    pair.send(pair.b, "again")
    pair.run()
    assert pair.a.delivered == ["again"] and "INVITE" in pair.b.requests


def test_a_message_keeps_the_conversation_alive(pair: Pair) -> None:
    pair.send(pair.a, "one")
    for _ in range(5):
        pair.run(50.0)
        pair.send(pair.b, "more")
        pair.run()
    assert pair.b.requests == ["MESSAGE"] * 5


def test_the_other_side_hangs_up(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.close(pair.b)
    pair.run()
    assert pair.a.session.is_over and pair.b.session.is_over
    assert_quiet(pair)


def test_both_hang_up_at_once(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.way = lambda _: Way(1.0)
    pair.close(pair.a)
    pair.close(pair.b)
    pair.run(5)
    assert pair.a.session.is_over and pair.b.session.is_over


def test_a_message_that_crosses_the_bye_is_taken(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.way = lambda _: Way(1.0)
    pair.close(pair.a)
    ref = pair.send(pair.b, "wait")
    pair.run(10)
    assert pair.a.delivered == ["wait"] and pair.b.sent == [ref]


# -- verdicts ----------------------------------------------------------------------------------------------


def test_nothing_is_acknowledged_before_it_is_settled(pair: Pair) -> None:
    pair.b.verdict = lambda _text: (3.0, 200)
    ref = pair.send(pair.a, "one")
    pair.run(2.9)
    assert pair.b.delivered == ["one"] and not pair.b.statuses and not pair.a.sent
    pair.run(0.2)
    assert pair.b.statuses == [200] and pair.a.sent == [ref]


def test_a_message_in_a_dialog_waits_for_its_verdict_too(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.b.verdict = lambda _text: (3.0, 200)
    ref = pair.send(pair.a, "two")
    pair.run(2.9)
    assert ref not in pair.a.sent
    pair.run(0.2)
    assert ref in pair.a.sent


@pytest.mark.parametrize("text", ["one", "x" * 5000], ids=["in the INVITE", "in a MESSAGE"])
def test_a_verdict_that_does_not_come_is_503(pair: Pair, text: str) -> None:
    pair.b.verdict = lambda _text: (1e6, 200)
    ref = pair.send(pair.a, text)
    pair.run(5.0)
    assert 503 in pair.b.statuses
    pair.run(100.0)
    assert pair.a.unsent == [(ref, 503)]
    assert len(pair.b.delivered) == (1 if text == "one" else 2)  # 503 lets a MESSAGE be tried once more


@pytest.mark.parametrize("text", ["one", "x" * 5000], ids=["in the INVITE", "in a MESSAGE"])
def test_a_refusal_reaches_the_sender(pair: Pair, text: str) -> None:
    pair.b.verdict = lambda _text: (0.0, 403)
    ref = pair.send(pair.a, text)
    pair.run()
    assert pair.a.unsent == [(ref, 403)] and not pair.a.sent
    pair.b.verdict = lambda _text: (0.0, 200)
    ref = pair.send(pair.a, "two")
    pair.run()
    assert pair.a.sent == [ref]
    assert_quiet(pair)


def test_one_refusal_does_not_stop_the_next_message(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.b.verdict = lambda text: (0.0, 406 if text == "bad" else 200)
    bad, good = pair.send(pair.a, "bad"), pair.send(pair.a, "good")
    pair.run()
    assert pair.a.unsent == [(bad, 406)] and good in pair.a.sent


def test_what_cannot_be_shown_is_415(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    line = pair.b.session.lines[0].id
    outputs = pair.b.session.received(line, 99, Unsupported("text/x-msmsgsinvite"), pair.now)
    assert outputs == [Answer(99, 415, line)]


def test_an_empty_message_is_taken_and_not_shown(pair: Pair) -> None:
    pair.send(pair.a, "x" * 3000)
    pair.run()
    pair.send(pair.a, "")
    pair.run()
    assert pair.b.delivered == ["x" * 3000] and len(pair.a.sent) == 2


# -- calls that come to nothing ----------------------------------------------------------------------------


def test_a_refused_call_fails_all_that_waits_for_it(pair: Pair) -> None:
    pair.way = lambda _: Way(1.0)
    pair.b.verdict = lambda _text: (0.0, 480)
    refs = [pair.send(pair.a, "one"), pair.send(pair.a, "two")]
    pair.run(10)
    assert pair.a.unsent == [(refs[0], 480), (refs[1], 480)]
    assert_quiet(pair)


def test_nobody_answers_the_invite(pair: Pair) -> None:
    pair.way = lambda what: Way(is_lost=what == "INVITE")
    ref = pair.send(pair.a, "one")
    pair.run(33)
    assert pair.a.unsent == [(ref, 408)]
    assert_quiet(pair)


def test_a_call_that_rings_for_too_long_is_cancelled() -> None:
    session = ImSession(lambda: "c", times=TIMES)
    session.send(7, "one", 0.0)
    assert session.deadline() == TIMES.answer
    assert Cancel(1) in session.tick(TIMES.answer)
    later = session.send(8, "two", TIMES.answer + 1)
    assert later == []
    outputs = session.refused(1, 487, TIMES.answer + 2)
    assert [output for output in outputs if isinstance(output, Unsent)] == [Unsent(7, 408), Unsent(8, 408)]
    assert session.is_over


def test_a_call_that_is_answered_while_it_is_cancelled_is_hung_up(pair: Pair) -> None:
    session = ImSession(lambda: "c", times=TIMES)
    session.send(7, "one", 0.0)
    session.tick(TIMES.answer)
    names = [type(output).__name__ for output in session.accepted(1, True, TIMES.answer + 1)]
    assert names == ["Sent", "Ack", "Bye"]
    session.closed(1, TIMES.answer + 2)
    assert session.is_over


def test_they_cancel_while_the_verdict_is_awaited(pair: Pair) -> None:
    line, outputs = pair.b.session.invited(5, "c", "one", 0.0)
    assert outputs == [Deliver(5, "one")]
    assert Answer(5, 487, line) in pair.b.session.cancelled(line, 1.0)
    assert pair.b.session.verdict(5, 200, 2.0) == []
    assert pair.b.session.is_over


def test_a_200_that_is_never_acknowledged_is_hung_up(pair: Pair) -> None:
    pair.way = lambda what: Way(is_lost=what == "ACK")
    pair.send(pair.a, "one")
    pair.run(45)
    assert "BYE" in pair.b.requests
    assert_quiet(pair)


def test_a_message_is_as_good_as_an_ack(pair: Pair) -> None:
    pair.way = lambda what: Way(is_lost=what == "ACK")
    pair.send(pair.a, "one")
    pair.send(pair.a, "two")
    pair.run(1)
    pair.send(pair.b, "three")
    pair.run(1)
    assert pair.b.delivered == ["one", "two"] and pair.a.delivered == ["three"]
    assert pair.b.requests == ["MESSAGE"]


# -- dialogs that are gone ---------------------------------------------------------------------------------


def test_after_481_the_message_goes_once_more_in_a_new_dialog(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.forget(pair.b)
    refs = [pair.send(pair.a, "two"), pair.send(pair.a, "three")]
    pair.run()
    assert pair.b.delivered == ["one", "two", "three"]
    assert pair.a.sent[1:] == refs and not pair.a.unsent
    assert pair.a.requests.count("INVITE") == 2


def test_a_second_481_is_final() -> None:
    session = ImSession(lambda: "c", times=TIMES, first_in_invite=False)
    session.send(7, "one", 0.0)
    session.accepted(1, False, 0.0)
    session.answered(1, 481, 0.0)
    session.accepted(2, False, 0.0)
    outputs = session.answered(2, 481, 0.0)
    assert [output.status for output in outputs if isinstance(output, Unsent)] == [481]
    assert session.is_over


def test_a_message_without_an_answer_is_not_repeated(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.way = lambda what: Way(is_lost=what == "200")
    ref = pair.send(pair.a, "two")
    pair.run(33)
    assert pair.a.unsent == [(ref, 408)] and pair.b.delivered == ["one", "two"]
    pair.way = lambda _: Way()
    ref = pair.send(pair.a, "three")
    pair.run(100)
    assert pair.b.delivered == ["one", "two", "three"] and ref in pair.a.sent


def test_a_forgotten_dialog_gives_way_to_a_new_call(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run(30)
    pair.forget(pair.a)
    pair.send(pair.a, "two")
    pair.run(1)
    pair.send(pair.b, "three")
    pair.run(1)
    assert pair.a.delivered == ["three"] and pair.b.delivered == ["one", "two"]
    pair.run(20)
    assert [line.call_id for line in pair.b.session.lines] == [line.call_id for line in pair.a.session.lines]


def test_a_restored_dialog_goes_on(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run(30)
    call_id = pair.a.session.lines[0].call_id
    pair.forget(pair.a)
    line = pair.a.session.restored(call_id, True, pair.now)
    pair.a.lines[call_id], pair.a.call_ids[line] = line, call_id
    pair.send(pair.b, "two")
    pair.send(pair.a, "three")
    pair.run(1)
    assert pair.a.requests == ["INVITE", "MESSAGE"] and pair.b.requests == ["MESSAGE"]
    assert pair.a.delivered == ["two"] and pair.b.delivered == ["one", "three"]


def test_calls_beyond_the_bound_are_busy() -> None:
    session = ImSession(lambda: "c", times=TIMES)
    for number in range(MAX_LINES):
        assert session.invited(number, f"c{number}", None, 0.0)[0]
    assert session.invited(99, "c99", None, 0.0) == (0, [Answer(99, 486, 0)])


# -- within a dialog ---------------------------------------------------------------------------------------


def test_a_reinvite_is_answered(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    line = pair.b.session.lines[0].id
    assert pair.b.session.reinvited(line, 50, pair.now) == [Answer(50, 200, line)]
    assert pair.b.session.acknowledged(line, pair.now) == []
    pair.close(pair.b)
    assert pair.b.session.reinvited(line, 51, pair.now) == [Answer(51, 481, line)]


def test_a_reinvite_before_the_ack_is_too_early() -> None:
    session = ImSession(lambda: "c", times=TIMES)
    line, _ = session.invited(5, "c", None, 0.0)
    assert session.reinvited(line, 6, 0.0) == [Answer(6, 500, line)]


# -- both call at once -------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_in_invite", [True, False])
@pytest.mark.parametrize("delays", [(1.0, 1.0), (1.0, 3.0), (3.0, 1.0)])
def test_glare_delivers_both_and_leaves_one_dialog(
    first_in_invite: bool, delays: tuple[float, float]
) -> None:
    pair = Pair(TIMES, first_in_invite)
    pair.way = lambda _: Way(delays[0])
    refs_a = [pair.send(pair.a, "from a"), pair.send(pair.a, "more from a")]
    pair.way = lambda _: Way(delays[1])
    refs_b = [pair.send(pair.b, "from b"), pair.send(pair.b, "more from b")]
    pair.way = lambda _: Way(1.0)
    pair.run(30)
    assert pair.a.delivered == ["from b", "more from b"] and pair.b.delivered == ["from a", "more from a"]
    assert pair.a.sent == refs_a and pair.b.sent == refs_b
    kept = [line.call_id for line in pair.a.session.lines]
    assert len(kept) == 1 and kept == [line.call_id for line in pair.b.session.lines]
    assert pair.a.requests.count("INVITE") == pair.b.requests.count("INVITE") == 1
    assert_quiet(pair)


def test_glare_with_a_peer_that_refuses_one_call(pair: Pair) -> None:
    """A peer that answers ours with 486 because it is calling itself: its own call serves."""
    session = pair.a.session
    session.send(1, "mine", 0.0)
    line, outputs = session.invited(5, "zzz", "theirs", 0.0)
    assert outputs == [Deliver(5, "theirs")]
    session.verdict(5, 200, 0.0)
    assert session.refused(1, 486, 0.0)[0].__class__.__name__ == "Ended"
    outputs = session.acknowledged(line, 0.1)
    assert [output.text for output in outputs if isinstance(output, SendText)] == ["mine"]


def test_491_calls_again_after_a_while() -> None:
    session = ImSession(lambda: "c", times=TIMES)
    session.send(1, "mine", 0.0)
    now = 0.0
    for _ in range(CALLS - 1):
        session.refused(session.lines[0].id, 491, now)
        assert not session.lines and not session.is_over
        now = session.deadline() or 0.0
        session.tick(now)
        assert session.lines[0].state is Leg.CALLING
    outputs = session.refused(session.lines[0].id, 491, now)
    assert [output.status for output in outputs if isinstance(output, Unsent)] == [491]
    assert session.is_over


# -- pager mode ------------------------------------------------------------------------------------------


@pytest.fixture
def pagers(pair: Pair) -> Pair:
    pair.a.session.is_pager = pair.b.session.is_pager = True
    return pair


def test_in_pager_mode_nobody_calls(pagers: Pair) -> None:
    pagers.way = lambda _: Way(1.0)
    refs = [pagers.send(pagers.a, text) for text in ("one", "two", "three")]
    pagers.run(1)
    assert pagers.a.requests == ["MESSAGE"], "one at a time"
    pagers.run(10)
    assert pagers.b.delivered == ["one", "two", "three"] and pagers.a.sent == refs
    assert pagers.a.requests == ["MESSAGE"] * 3
    assert_quiet(pagers)


@pytest.mark.parametrize("status", [404, 481, 503])
def test_in_pager_mode_every_refusal_is_final(pagers: Pair, status: int) -> None:
    pagers.b.verdict = lambda text: (0.0, status if text == "bad" else 200)
    bad, good = pagers.send(pagers.a, "bad"), pagers.send(pagers.a, "good")
    pagers.run()
    assert pagers.a.unsent == [(bad, status)] and pagers.a.sent == [good]


def test_a_pager_without_a_verdict_is_503(pagers: Pair) -> None:
    pagers.b.verdict = lambda _text: (1e6, 200)
    ref = pagers.send(pagers.a, "one")
    pagers.run(6)
    assert pagers.a.unsent == [(ref, 503)]
    assert_quiet(pagers)


def test_who_prefers_pager_mode_answers_in_a_session_that_is_open(pair: Pair) -> None:
    pair.b.session.is_pager = True
    pair.send(pair.a, "one")
    pair.run()
    pair.send(pair.b, "two")
    pair.run(1)
    assert pair.a.delivered == ["two"] and len(pair.b.session.lines) == 1
    assert_quiet(pair)
    pair.send(pair.b, "three")
    pair.run()
    assert pair.a.delivered == ["two", "three"] and "INVITE" not in pair.b.requests


def test_more_than_can_wait_for_a_verdict_is_503() -> None:
    session = ImSession(lambda: "c", times=TIMES)
    for key in range(MAX_PENDING):
        assert session.paged(key, Text("x"), 0.0) == [Deliver(key, "x")]
    assert session.paged(999, Text("x"), 0.0) == [Answer(999, 503, 0)]
    _, outputs = session.invited(1000, "c", "x", 0.0)
    assert outputs[0] == Answer(1000, 503, 1)


# -- typing ------------------------------------------------------------------------------------------------


def test_typing_is_told_while_there_is_a_dialog(pair: Pair) -> None:
    pair.type(pair.a, True)
    pair.run()
    assert not pair.a.requests, "nobody is called for that"
    pair.type(pair.a, False)
    pair.send(pair.a, "one")
    pair.run()
    pair.type(pair.b, True)
    pair.run()
    pair.type(pair.b, True)
    pair.run()
    assert pair.a.composing == [True] and pair.b.requests == ["INFO"]
    pair.type(pair.b, False)
    pair.run()
    assert pair.a.composing == [True, False]


def test_typing_is_repeated_for_a_while_and_then_stops(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.type(pair.a, True)
    pair.run(50)
    assert pair.b.composing == [True]
    assert 5 <= pair.a.requests.count("INFO") <= 7
    pair.run(30)
    assert pair.b.composing == [True, False]


def test_typing_that_is_not_repeated_is_taken_back(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    line = pair.b.session.lines[0].id
    from_them = pair.b.session
    from_them._show_typing(True, pair.now)
    pair.perform(pair.b, from_them.tick(pair.now))
    pair.run(16)
    assert pair.b.composing == [True, False]
    assert line == pair.b.session.lines[0].id


def test_a_message_ends_typing_without_a_word(pair: Pair) -> None:
    pair.send(pair.a, "one")
    pair.run()
    pair.type(pair.a, True)
    pair.run()
    pair.send(pair.a, "two")
    pair.run(20)
    assert pair.b.composing == [True] and pair.a.requests == ["INVITE", "INFO", "MESSAGE"]


def test_who_knows_no_info_gets_no_more(pair: Pair) -> None:
    session = pair.a.session
    pair.send(pair.a, "one")
    pair.run()
    session.type(True, pair.now)
    session.told(1, 501, pair.now)
    assert session.type(False, pair.now) == []


# -- whatever happens --------------------------------------------------------------------------------------


def test_the_table_is_complete_in_itself() -> None:
    assert {state for state, _ in TRANSITIONS} == set(Leg) - {Leg.OVER}
    assert {state for state, _ in TRANSITIONS.values()} == set(Leg) - {Leg.CALLING, Leg.ANSWERING}
    for state in set(Leg) - {Leg.OVER}:
        assert (state, Event.LATE) in TRANSITIONS, "every state ends by itself"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["send a", "send b", "send a", "send b", "type a", "type b", "wait", "long", "hang up"]
        ),
        st.floats(0, 4),
    ),
    max_size=25,
)
DELAYS = st.lists(st.floats(0, 2), min_size=1, max_size=40)


def play(pair: Pair, steps: list[tuple[str, float]]) -> dict[str, list[int]]:
    refs: dict[str, list[int]] = {"a": [], "b": []}
    for step, pause in steps:
        side = pair.b if step.endswith("b") else pair.a
        if step.startswith("send"):
            refs[side.name].append(pair.send(side, f"{side.name}{len(refs[side.name])}"))
        elif step.startswith("type"):
            pair.type(side, pause > 2)
        elif step == "hang up":
            for line in [line for line in side.session.lines if line.state is Leg.OPEN]:
                side.session._step(line, Event.END, pair.now)
            pair.perform(side, side.session.tick(pair.now))
        elif step == "long":
            pair.run(50)
        pair.run(pause)
    return refs


def texts_of(pair: Pair, refs: list[int]) -> list[str]:
    return [pair.texts[ref] for ref in refs]


@settings(max_examples=300, deadline=None)
@given(STEPS, DELAYS, st.booleans(), st.booleans())
def test_on_a_slow_wire_everything_arrives_once_and_in_order(
    steps: list[tuple[str, float]], delays: list[float], first_in_invite: bool, is_old: bool
) -> None:
    pair = Pair(TIMES, first_in_invite)
    pair.b.is_old = is_old
    turn = iter(range(10**9))
    pair.way = lambda _: Way(delays[next(turn) % len(delays)])
    refs = play(pair, steps)
    assert_quiet(pair)
    for side in (pair.a, pair.b):
        assert side.sent == refs[side.name] and not side.unsent
        assert pair.other(side).delivered == texts_of(pair, refs[side.name])


@settings(max_examples=300, deadline=None)
@given(STEPS, DELAYS, st.lists(st.booleans(), min_size=1, max_size=40), st.booleans())
def test_on_a_bad_wire_nothing_is_lost_unsaid(
    steps: list[tuple[str, float]], delays: list[float], losses: list[bool], first_in_invite: bool
) -> None:
    pair = Pair(TIMES, first_in_invite)
    turn = iter(range(10**9))

    def travel(_what: str) -> Way:
        number = next(turn)
        return Way(delays[number % len(delays)], losses[number % len(losses)] and number % 3 == 0)

    pair.way = travel
    refs = play(pair, steps)
    pair.way = lambda _: Way()
    assert_quiet(pair)
    for side in (pair.a, pair.b):
        got = pair.other(side).delivered
        assert sorted(side.sent + [ref for ref, _ in side.unsent]) == refs[side.name], "each has one verdict"
        assert len(set(got)) == len(got), "nothing comes twice"
        assert set(texts_of(pair, side.sent)) <= set(got), "what was taken has arrived"
        assert got == sorted(got, key=lambda text: int(text[1:])), "order is kept"


@settings(max_examples=200, deadline=None)
@given(STEPS, DELAYS, st.lists(st.floats(0, 9), min_size=1, max_size=20), st.integers(0, 20))
def test_slow_and_forgetful_sides_lose_nothing(
    steps: list[tuple[str, float]], delays: list[float], verdicts: list[float], forget_at: int
) -> None:
    """A side that is restarted may get a message twice, and one whose verdict came too late as well."""
    pair = Pair(TIMES)
    turn = iter(range(10**9))
    pair.way = lambda _: Way(delays[next(turn) % len(delays)])
    pair.b.verdict = lambda text: (verdicts[len(text) * 7 % len(verdicts)], 200)
    steps = [(step.replace(" b", " a"), pause) for step, pause in steps]
    refs = play(pair, steps[:forget_at])
    pair.forget(pair.b)
    more = play(Renamed(pair, len(refs["a"])), steps[forget_at:])
    assert_quiet(pair)
    sent = refs["a"] + more["a"]
    got = pair.b.delivered
    assert sorted(pair.a.sent + [ref for ref, _ in pair.a.unsent]) == sent
    assert set(texts_of(pair, pair.a.sent)) <= set(got)
    assert all(got.count(text) <= 2 for text in got)


class Renamed(Pair):
    """The same pair, whose further messages are numbered on."""

    def __init__(self, pair: Pair, offset: int) -> None:
        self.__dict__ = pair.__dict__
        self._offset = offset

    def send(self, side: Side, text: str) -> int:
        return super().send(side, f"{side.name}{int(text[1:]) + self._offset}")
