"""cluster/flow.py: what is promised over a channel that keeps no promise."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.cluster.channel import Channel
from ubiety.cluster.flow import Flow
from ubiety.routing.links import Item, LinkEvent

UP, DOWN, RESTARTED, GAP = LinkEvent.UP, LinkEvent.DOWN, LinkEvent.RESTARTED, LinkEvent.GAP

SIDES = st.integers(0, 1)
ACTIONS = st.one_of(
    st.tuples(st.just("send"), SIDES, st.booleans(), st.integers(0, 400)),
    st.tuples(st.just("flush"), SIDES),
    st.tuples(st.just("deliver"), SIDES, st.integers(0, 5), st.booleans()),
    st.tuples(st.just("lose"), SIDES, st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.02, 0.25, 0.6, 3.0])),
)


def connected(**bounds: int) -> Channel:
    channel = Channel(**bounds)
    channel.wait(0.1, delivers=True)
    assert [end.flow.is_up for end in channel.ends] == [True, True]
    return channel


class Course:
    """Plays actions and remembers what was sent, and when."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.reliable: list[list[Item]] = [[], []]
        self.presence: list[list[tuple[float, Item]]] = [[], []]
        self.numbers = 0

    def play(self, action: tuple[object, ...]) -> None:
        name, *arguments = action
        if name == "send":
            self.send(*arguments)  # type: ignore[arg-type]
        else:
            getattr(self.channel, str(name))(*arguments)

    def send(self, side: int, is_presence: bool, size: int) -> None:
        self.numbers += 1
        item = (1, self.numbers, "x" * size)
        self.channel.ends[side].flow.send(item, is_presence)
        if is_presence:
            self.presence[side].append((self.channel.now, item))
        else:
            self.reliable[side].append(item)

    def check(self, side: int) -> None:
        """What one side sent against what the other got."""
        other = self.channel.ends[1 - side]
        presence = {item for _, item in self.presence[side]}
        assert [item for item in other.items if item not in presence] == self.reliable[side]
        got = [item for item in other.items if item in presence]
        assert got == sorted(got), "presence arrives in order, and once"
        assert len(set(got)) == len(got)
        gaps = [at for at, event in other.events if event is GAP]
        for at, item in self.presence[side]:
            assert item in got or any(gap >= at for gap in gaps), "lost presence is always told"


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTIONS, max_size=60))
def test_nothing_is_lost_twice_or_out_of_order(actions: list[tuple[object, ...]]) -> None:
    channel = Channel(frame_bytes=600)
    course = Course(channel)
    for action in actions:
        course.play(action)
    channel.wait(8, step=0.05, delivers=True)
    course.check(0)
    course.check(1)
    assert [end.lost for end in channel.ends] == [[], []]
    assert [end.flow.waiting_bytes for end in channel.ends] == [0, 0]
    assert channel.longest < 700


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(ACTIONS, st.tuples(st.just("restart"), SIDES)), max_size=60))
def test_a_new_process_gets_nothing_twice_and_what_the_old_one_missed_is_told(
    actions: list[tuple[object, ...]],
) -> None:
    channel = Channel()
    sent: list[tuple[object, Item]] = []  # by which process
    number = 0
    processes = [[channel.ends[0]], [channel.ends[1]]]
    for name, *arguments in actions:
        if name == "send":
            side = int(str(arguments[0]))
            number += 1
            item = (1, number)
            channel.ends[side].flow.send(item)
            sent.append((channel.ends[side], item))
        elif name == "restart":
            side = int(str(arguments[0]))
            channel.restart(side)
            processes[side].append(channel.ends[side])
        else:
            getattr(channel, str(name))(*arguments)
    channel.wait(8, step=0.05, delivers=True)
    for side in (0, 1):
        arrived = [item for process in processes[1 - side] for item in process.items]
        assert len(set(arrived)) == len(arrived)
        for process, item in sent:
            if process is channel.ends[side]:
                assert item in arrived or item in channel.ends[side].lost
        for process in processes[1 - side]:
            assert process.items == sorted(process.items)


@settings(max_examples=100, deadline=None)
@given(st.lists(ACTIONS, max_size=80))
def test_a_full_queue_breaks_openly(actions: list[tuple[object, ...]]) -> None:
    channel = connected(bound=1500, frame_bytes=600)
    course = Course(channel)
    for action in actions:
        course.play(action)
    channel.wait(8, step=0.05, delivers=True)
    for side in (0, 1):
        end, other = channel.ends[side], channel.ends[1 - side]
        missing = [item for item in course.reliable[side] if item not in other.items]
        assert set(missing) <= set(end.lost)
        assert len(set(other.items)) == len(other.items)
        if missing:
            assert GAP in end.names() and GAP in other.names()
        gaps = [at for at, event in other.events if event is GAP]
        for at, item in course.presence[side]:
            assert item in other.items or any(gap >= at for gap in gaps)


def test_one_turn_is_one_message() -> None:
    channel = connected()
    flow = channel.ends[0].flow
    for number in range(64):
        flow.send((1, number), number % 2 == 0)
    assert len(flow.flush(channel.now)) == 1
    assert flow.flush(channel.now) == []


def test_an_acknowledgement_of_its_own_comes_after_20_ms_of_silence() -> None:
    channel = connected()
    near, far = channel.ends
    channel.wait(0.6, delivers=True)
    near.flow.send((1, "a"))
    channel.flush(0)
    channel.deliver(1)
    far.flow.flush(channel.now)
    assert far.flow.deadline() <= channel.now + 0.02
    channel.now += 0.02
    channel.flush(1)
    channel.deliver(0)
    assert near.flow.waiting_bytes == 0


def test_a_gap_is_filled_at_once_and_costs_the_presence_in_it() -> None:
    channel = connected()
    near, far = channel.ends
    for text in ("a", "b", "c"):
        near.flow.send((1, text))
        near.flow.send((10, text), True)
        channel.flush(0)
    channel.now += 0.03
    channel.lose(1, 1)
    channel.deliver(1)
    channel.deliver(1)
    assert far.flow.is_urgent
    channel.flush(1)
    channel.deliver(0)
    assert near.flow.is_urgent
    channel.flush(0)
    while channel.flying[1]:
        channel.deliver(1)
    assert far.items == [(1, "a"), (10, "a"), (1, "b"), (1, "c")]
    assert near.flow.resent == 2
    channel.wait(1, delivers=True)
    assert far.names() == [UP, GAP], "several losses are one"


def test_only_one_frame_is_resent_until_it_is_acknowledged() -> None:
    channel = connected()
    near = channel.ends[0]
    for number in range(5):
        near.flow.send((1, number))
        channel.flush(0)
    channel.flying[1].clear()
    channel.wait(0.21)
    assert near.flow.resent == 1
    channel.wait(0.41)
    assert near.flow.resent == 2
    channel.wait(0.05, delivers=True)
    assert channel.ends[1].items == [(1, number) for number in range(5)], "then all the rest at once"


def broken() -> Channel:
    """Side 0 gave up its queue while the channel lost everything; side 1 had the first items."""
    channel = connected(bound=2500)
    flow = channel.ends[0].flow
    for number in range(8):
        flow.send((1, "first", number))
        channel.wait(0.01, delivers=True)
    channel.wait(0.03, delivers=True)
    for number in range(12):
        flow.send((1, number, "x" * 100))
        channel.flush(0)
        channel.now += 0.001
    assert flow.waiting_bytes <= 2500
    return channel


def test_a_full_queue_is_given_up_as_a_whole_and_told_to_both_sides() -> None:
    channel = broken()
    near, far = channel.ends
    channel.flying[1].clear()
    given_up = list(near.lost)
    assert [item[1] for item in given_up] == list(range(len(given_up)))
    assert given_up
    near.flow.send((1, "after"))
    channel.wait(0.1, delivers=True)
    kept = [(1, number, "x" * 100) for number in range(len(given_up), 12)]
    assert far.items[8:] == [*kept, (1, "after")]
    channel.wait(1, delivers=True)
    assert near.names() == far.names() == [UP, GAP]
    assert near.flow.waiting_bytes == 0


def test_stragglers_from_before_a_break_change_nothing() -> None:
    channel = broken()
    near, far = channel.ends
    stragglers = list(channel.flying[1])
    acknowledgement = far.flow.goodbye()  # has the head of the time before the break
    channel.flying[1].clear()
    near.flow.send((1, "after"))
    channel.wait(0.05, delivers=True)
    items = list(far.items)
    for data in stragglers:
        assert far.flow.receive(data, channel.now) == ()
    for number in range(8):
        near.flow.send((1, "later", number))
        channel.flush(0)
    lost, channel.flying[1] = channel.flying[1], []
    assert len(lost) == 8
    acknowledgement = acknowledgement[:1] + b"\0" + acknowledgement[2:]
    near.flow.receive(acknowledgement, channel.now)
    channel.wait(1, delivers=True)
    assert far.items == [*items, *((1, "later", number) for number in range(8))]


def test_silence_is_down_and_the_first_sign_is_up() -> None:
    channel = connected()
    channel.wait(2.4)
    assert DOWN not in channel.ends[0].names()
    channel.wait(0.2)
    assert channel.ends[0].names()[-1] is DOWN
    channel.flying = [[], []]
    channel.wait(0.6, delivers=True)
    assert channel.ends[0].names()[-1] is UP


def test_keep_alives_keep_a_silent_flow_up() -> None:
    channel = connected()
    before = channel.ends[0].flow.messages_out
    channel.wait(10, delivers=True)
    assert channel.ends[0].names() == [UP]
    assert 19 <= channel.ends[0].flow.messages_out - before <= 21


def test_a_process_that_did_not_run_takes_nobody_for_silent() -> None:
    channel = connected()
    flow = channel.ends[0].flow
    channel.now += 10
    flow.excuse(10)
    flow.tick(channel.now)
    assert flow.is_up


def test_presence_for_a_silent_node_is_not_kept() -> None:
    channel = connected()
    channel.wait(3)
    flow = channel.ends[0].flow
    for number in range(1000):
        flow.send((10, number), True)
        channel.flush(0)
    assert flow.waiting_bytes < 200
    channel.flying = [[], []]
    channel.wait(1, delivers=True)
    assert GAP in channel.ends[1].names()
    assert channel.ends[1].items == []


def test_a_new_process_is_told_before_it_is_up() -> None:
    channel = connected()
    channel.ends[0].flow.send((1, "for the old one"))
    channel.restart(1)
    channel.wait(1, delivers=True)
    near, far = channel.ends
    assert near.names() == [UP, RESTARTED]
    assert near.lost == [(1, "for the old one")]
    assert far.names() == [UP]
    near.flow.send((1, "for the new one"))
    channel.wait(0.1, delivers=True)
    assert far.items == [(1, "for the new one")]


def test_a_straggler_of_the_old_process_changes_nothing() -> None:
    channel = connected()
    dead = channel.restart(1)
    straggler = dead.flow.goodbye()
    channel.wait(1, delivers=True)
    channel.ends[0].flow.receive(straggler, channel.now)
    assert channel.ends[0].flow.is_up
    assert channel.ends[0].flow.take_events() == []


def test_goodbye_is_down_at_once() -> None:
    channel = connected()
    channel.ends[0].flow.receive(channel.ends[1].flow.goodbye(), channel.now)
    assert channel.ends[0].flow.take_events() == [DOWN]


def test_an_item_longer_than_a_message_is_cut() -> None:
    channel = connected()
    item = (54, b"x" * 2_000_000, ("nested", (1, None, True)))
    channel.ends[0].flow.send((1, "before"))
    channel.ends[0].flow.send(item)
    channel.ends[0].flow.send((1, "behind"))
    channel.flush(0)
    channel.lose(1, 2)
    channel.wait(1, delivers=True)
    assert channel.ends[1].items == [(1, "before"), item, (1, "behind")]
    assert channel.longest < 524_288


def test_what_is_on_its_way_is_bounded() -> None:
    channel = connected(window=10_000)
    for _ in range(100):
        channel.ends[0].flow.send((1, b"x" * 1000))
        channel.flush(0)
    assert sum(map(len, channel.flying[1])) < 12_000
    channel.wait(1, delivers=True)
    assert len(channel.ends[1].items) == 100


def test_what_cannot_travel_is_lost_alone() -> None:
    channel = connected()
    bad = (1, object())
    for item in ((1, "a"), bad, (1, "b")):
        channel.ends[0].flow.send(item)
    channel.wait(0.1, delivers=True)
    assert channel.ends[1].items == [(1, "a"), (1, "b")]
    assert channel.ends[0].lost == [bad]


@given(st.binary(max_size=200), st.booleans())
def test_rubbish_is_survived(data: bytes, has_head: bool) -> None:
    flow = Flow(7, 0.0)
    head = Flow(8, 0.0).flush(0.0)[0] if has_head else b""
    flow.receive(head + data, 0.1)
    flow.receive(data, 0.2)
    flow.flush(0.3)
    assert flow.deadline() > 0.3
