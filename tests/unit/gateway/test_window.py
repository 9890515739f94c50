"""So many at a time to one place, the rest in order behind them."""

from hypothesis import given
from hypothesis import strategies as st

from ubiety.gateway.window import Window


def test_what_does_not_begin_leaves_no_trace() -> None:
    window = Window(1)
    window.enter("a", lambda: False)
    assert (len(window), window.under_way) == (0, 0)
    window.enter("a", lambda: True)
    for _ in range(5000):  # as many as would be too deep for the stack
        window.enter("a", lambda: False)
    assert (len(window), window.under_way) == (5000, 1)
    window.leave("a")
    assert (len(window), window.under_way) == (0, 0)


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=60),
)
def test_in_order_and_never_too_many(size: int, steps: list[tuple[str, bool, bool]]) -> None:
    window = Window(size)
    begun: dict[str, list[int]] = {place: [] for place in "abc"}
    asked: dict[str, list[int]] = {place: [] for place in "abc"}
    under_way = dict.fromkeys("abc", 0)
    for number, (place, leaves, begins) in enumerate(steps):
        if leaves and under_way[place]:
            under_way[place] -= 1
            window.leave(place)
        elif not leaves:

            def go(place: str = place, number: int = number, begins: bool = begins) -> bool:
                begun[place].append(number)
                under_way[place] += begins
                return begins

            asked[place].append(number)
            window.enter(place, go)
        assert all(under_way[one] <= size for one in "abc")
        assert window.under_way == sum(under_way.values())
    for place in "abc":
        while under_way[place]:
            under_way[place] -= 1
            window.leave(place)
    assert begun == asked
    assert (len(window), window.under_way) == (0, 0)
