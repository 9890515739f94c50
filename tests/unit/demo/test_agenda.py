"""The agenda of a simulated person."""

from hypothesis import given
from hypothesis import strategies as st

from ubiety.demo.conduct import Act
from ubiety.demo.people import Agenda


def test_is_empty_at_first() -> None:
    agenda = Agenda()
    assert agenda.next_time == float("inf")
    assert agenda.take(1e9) == []


@given(st.lists(st.floats(0, 100)))
def test_takes_what_is_due_in_order_and_the_rest_later(delays: list[float]) -> None:
    agenda = Agenda()
    agenda.add([Act(delay, str(number)) for number, delay in enumerate(delays)], 10.0)
    early = agenda.take(60.0)
    assert agenda.next_time > 60.0
    late = agenda.take(110.0)
    by_time = sorted(range(len(delays)), key=lambda number: (10.0 + delays[number], number))
    assert early + late == [str(number) for number in by_time]
    assert len(early) == sum(10.0 + delay <= 60.0 for delay in delays)
