"""Whatever bytes come: no crash, no hang, one answer however they are cut, and what is accepted is printable.

`UBIETY_FUZZ_SECONDS` is how long the mutating run takes (20 by default, the soak run sets 600).
"""

import os
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sip.sip_inputs import (
    ATTACKS,
    ORDINARY,
    TOKENS,
    TORTURE,
    ask_everything,
    mutations,
    receive_pieces,
    view,
)
from ubiety.sip.digest import Challenge, Credentials
from ubiety.sip.framing import Item, Malformed, StreamFraming, parse_datagram
from ubiety.sip.headers import CSeq, Via
from ubiety.sip.message import Request, Response
from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.uri import NameAddr, SipUri, parse_uri

FUZZ_SECONDS = float(os.environ.get("UBIETY_FUZZ_SECONDS", "20"))
HANG_SECONDS = 2.0


def check(data: bytes, places: list[int]) -> list[Item]:
    """Assert all that must hold for these bytes on a stream and in a datagram."""
    items = StreamFraming().receive(data)
    assert view(receive_pieces(data, places)) == view(items)
    assert not any(isinstance(item, Malformed) and item.is_fatal for item in items[:-1])
    datagram = parse_datagram(data)
    for item in [*items, datagram]:
        if isinstance(item, Request | Response):
            _check_printed(item)
        elif isinstance(item, Malformed):
            _check_answer(item)
    return items


def _check_printed(message: Request | Response) -> None:
    printed = message.to_bytes()
    again = parse_datagram(printed)
    assert isinstance(again, Request | Response)
    assert ask_everything(again) == ask_everything(message)
    assert again.to_bytes() == printed
    (in_stream,) = StreamFraming(max_head=1 << 20).receive(printed)
    assert in_stream == again


def _check_answer(item: Malformed) -> None:
    if item.answer is None:
        return
    answers = StreamFraming().receive(item.answer)
    # It repeats what was bad, so it may be malformed itself, but it is one message.
    assert len(answers) == 1
    assert item.answer.startswith(b"SIP/2.0 ")
    assert item.answer.count(b"\r\n\r\n") == 1
    assert item.answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("data", ORDINARY + ATTACKS + TORTURE, ids=lambda data: data[:30].decode("latin-1"))
def test_known_inputs_are_read_the_same_in_small_pieces(data):
    began = time.process_time()
    check(data, list(range(0, len(data), 1 if len(data) < 2000 else 97)))
    assert time.process_time() - began < HANG_SECONDS


@given(
    st.lists(st.sampled_from(ORDINARY + TORTURE + TOKENS + [b"\r\n"]), max_size=6),
    st.lists(st.integers(0, 8000), max_size=8),
)
def test_cutting_makes_no_difference(parts, places):
    check(b"".join(parts), places)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_random_bytes_are_survived(data, places):
    check(data, places)


@given(st.text(alphabet=st.sampled_from('sipSIP:;,=<>"\\@%?& /[]().0a1*\t\0é☕-'), max_size=40))
def test_values_are_refused_or_printed_as_they_came(text):
    for parse in (SipUri.parse, parse_uri, NameAddr.parse, Via.parse, CSeq.parse):
        try:
            value = parse(text)
        except SipSyntaxError:
            continue
        assert str(value) == text
        assert hash(value) == hash(parse(text))
    for parse in (NameAddr.parse_list, Via.parse_list, Challenge.parse, Credentials.parse):
        try:
            parse(text)
        except SipSyntaxError:
            continue


@pytest.mark.timeout(FUZZ_SECONDS + 120)
def test_mutated_messages_for_a_while():
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    until = time.monotonic() + FUZZ_SECONDS
    runs = passed = 0
    for data in mutations(seed):
        if time.monotonic() > until:
            break
        began = time.process_time()  # the machine may be busy with other things
        places = [rng.randrange(len(data) + 1) for _ in range(rng.randint(0, 6))]
        try:
            items = check(data, places)
        except Exception as error:
            raise AssertionError(f"seed {seed}, run {runs}, cut at {places}: {data!r}") from error
        assert time.process_time() - began < HANG_SECONDS, data
        runs += 1
        passed += any(isinstance(item, Request | Response) for item in items)
    print(f"{runs} inputs, {passed} with a message that was accepted")
    assert passed > runs * 0.1  # else the mutations only hit start lines
