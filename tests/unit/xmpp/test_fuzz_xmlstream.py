"""Whatever bytes come: one answer, however they are cut, whichever path is taken, and safe to pass on.

`UBIETY_FUZZ_SECONDS` is how long the mutating run takes (20 by default, the soak run sets 600).
"""

import os
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xmpp.stream_inputs import (
    ATTACKS,
    HEADER,
    HEADERS,
    ORDINARY,
    TOKENS,
    check_accepted,
    cut,
    feed_pieces,
    feed_whole,
    mutations,
    view,
)
from ubiety.stanza import Stanza, strip_asserted
from ubiety.xmpp import xmlstream
from ubiety.xmpp.xmlstream import StreamClosed, StreamFault, StreamItem

FUZZ_SECONDS = float(os.environ.get("UBIETY_FUZZ_SECONDS", "20"))
HANG_SECONDS = 2.0

streams = st.builds(
    lambda header, parts: header + b"".join(parts),
    st.sampled_from(HEADERS),
    st.lists(
        st.sampled_from(ORDINARY + [attack for attack in ATTACKS if len(attack) < 2000] + TOKENS), max_size=5
    ),
)


def check(data: bytes, places: list[int], release: bool) -> list[StreamItem]:
    """Assert all that must hold for a stream of these bytes."""
    items = feed_whole(data)
    assert feed_pieces(cut(data, places), release) == items
    assert view(feed_whole(data, force_slow=True)) == view(items)
    assert not any(isinstance(item, StreamFault | StreamClosed) for item in items[:-1])
    check_accepted(items)
    for item in items:
        if isinstance(item, Stanza):
            _check_stripped(strip_asserted(item, frozenset({"example.org"})))
    return items


def _check_stripped(stanza: Stanza) -> None:
    element = stanza.element
    assert tuple((child.ns, child.name) for child in element.elements) == stanza.children
    assert not element.findall("received", "urn:xmpp:carbons:2")
    assert not [
        delay for delay in element.findall("delay", "urn:xmpp:delay") if delay.get("from") == "example.org"
    ]


@pytest.mark.parametrize("data", ORDINARY + ATTACKS, ids=lambda data: data[:40].decode("latin-1"))
def test_known_inputs_are_read_the_same_in_single_bytes(data):
    stream = HEADER + data[:12_000]
    check(stream, list(range(len(stream))), release=True)


@pytest.mark.parametrize("place", range(170, 192))
def test_fault_in_a_cut_stanza_is_told_as_in_a_whole_one(place):
    check(HEADER + b"<presence/>\r\n<message><x:y/></message>>", [place], release=False)


@given(streams, st.lists(st.integers(0, 5000), max_size=8), st.booleans())
def test_cutting_and_path_make_no_difference(data, places, release):
    check(data, places, release)


@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(0, 400), max_size=5))
def test_random_bytes_are_survived(data, in_stream, places):
    check((HEADER if in_stream else b"") + data, places, release=False)


@given(st.text(max_size=60), st.lists(st.integers(0, 400), max_size=5))
def test_random_text_in_a_message(text, places):
    check(
        HEADER + b"<message><body>" + text.encode("utf-8", "surrogatepass") + b"</body></message>",
        places,
        release=False,
    )


@pytest.mark.timeout(FUZZ_SECONDS + 120)
def test_mutated_streams_for_a_while(monkeypatch):
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    until = time.monotonic() + FUZZ_SECONDS
    runs = passed = 0
    for data in mutations(seed):
        monkeypatch.setattr(xmlstream, "RENEW_AFTER", rng.choice([50, 300, 1 << 20]))
        if time.monotonic() > until:
            break
        began = time.process_time()  # the machine may be busy with other things
        places = [rng.randrange(len(data) + 1) for _ in range(rng.randint(0, 6))]
        try:
            items = check(data, places, rng.random() < 0.5)
        except Exception as error:
            raise AssertionError(f"seed {seed}, run {runs}, cut at {places}: {data!r}") from error
        assert time.process_time() - began < HANG_SECONDS, data
        runs += 1
        passed += any(isinstance(item, Stanza) for item in items)
    print(f"{runs} streams, {passed} with a stanza that was passed on")
    assert passed > runs * 0.1  # else the mutations only hit the header
