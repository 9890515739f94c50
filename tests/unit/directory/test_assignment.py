"""Who is assigned to which node: pure, so that any cluster can be tried."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.directory.assignment import (
    ACTIVE_STANDBY,
    BALANCED,
    NONE,
    assign,
    rebalance,
    receivers,
    targets,
)

PAIR_AND_ONE = [[1, 3], [2]]


@pytest.mark.parametrize(
    ("counts", "mode", "node"),
    [
        ({}, BALANCED, 1),
        ({1: 1}, BALANCED, 2),
        ({1: 1, 2: 1}, BALANCED, 3),
        ({1: 5, 2: 4, 3: 4}, BALANCED, 2),
        ({1: 5, 2: 6, 3: 0}, ACTIVE_STANDBY, 1),
        ({1: 7, 2: 6, 3: 0}, ACTIVE_STANDBY, 2),
        ({1: 5}, NONE, 0),
    ],
)
def test_where_one_more_person_goes(counts: dict[int, int], mode: str, node: int) -> None:
    assert assign(counts, PAIR_AND_ONE, mode) == node


def test_without_nodes_nobody_is_assigned() -> None:
    assert assign({}, [], BALANCED) == 0
    assert rebalance({0: [1, 2]}, [], BALANCED) == []


def test_one_after_the_other_they_are_spread_equally() -> None:
    counts: Counter[int] = Counter()
    for _ in range(100):
        counts[assign(counts, PAIR_AND_ONE, BALANCED)] += 1
    assert counts == {1: 34, 2: 33, 3: 33}


def test_a_new_node_gets_its_share_with_the_fewest_moves() -> None:
    people = {1: list(range(10)), 2: list(range(10, 20))}
    moves = rebalance(people, [[1], [2], [3]], BALANCED)
    assert len(moves) == 6
    assert all(move.to_set == 3 for move in moves)
    assert {move.user_id for move in moves} == {7, 8, 9, 17, 18, 19}  # those who came last


def test_what_is_balanced_stays_as_it_is() -> None:
    assert rebalance({1: [1, 2], 2: [3], 3: [4, 5]}, PAIR_AND_ONE, BALANCED) == []
    assert rebalance({1: [1], 2: [2, 3]}, PAIR_AND_ONE, ACTIVE_STANDBY) == []


def test_who_moves_stays_in_the_group_if_there_is_room() -> None:
    people = {1: list(range(12)), 2: [], 3: []}
    moves = rebalance(people, PAIR_AND_ONE, BALANCED)
    assert [move.to_set for move in moves] == [3, 3, 3, 3, 2, 2, 2, 2]


def test_active_standby_empties_the_second_nodes() -> None:
    moves = rebalance({1: [1], 2: [2], 3: [3, 4]}, PAIR_AND_ONE, ACTIVE_STANDBY)
    assert [(move.user_id, move.from_set) for move in moves] == [(3, 3), (4, 3)]
    assert {move.to_set for move in moves} == {1, 2}


def test_people_of_nobody_and_of_nodes_that_are_gone_are_assigned() -> None:
    moves = rebalance({0: [1, 2], 9: [3]}, [[1], [2]], BALANCED)
    assert Counter(move.to_set for move in moves) == {1: 2, 2: 1}


def test_by_hand_means_that_nobody_is_moved() -> None:
    assert rebalance({0: [1], 1: [2, 3]}, [[1], [2]], NONE) == []


@given(
    st.dictionaries(st.integers(0, 6), st.integers(0, 40), max_size=7),
    st.lists(st.integers(1, 2), min_size=1, max_size=4),
    st.sampled_from([BALANCED, ACTIVE_STANDBY]),
)
def test_any_cluster_ends_balanced_by_as_few_moves_as_can_be(
    sizes: dict[int, int], shape: list[int], mode: str
) -> None:
    nodes = iter(range(1, 9))
    groups = [[next(nodes) for _ in range(size)] for size in shape]
    numbers = iter(range(1000))
    people = {set_id: [next(numbers) for _ in range(size)] for set_id, size in sizes.items()}
    moves = rebalance(people, groups, mode)
    counts = Counter({set_id: len(ids) for set_id, ids in people.items()})
    wanted = targets(counts, groups, mode)
    for move in moves:
        assert move.user_id in people[move.from_set]
        counts[move.from_set] -= 1
        counts[move.to_set] += 1
    assert len({move.user_id for move in moves}) == len(moves)
    allowed = receivers(groups, mode)
    assert all(count == 0 for set_id, count in counts.items() if set_id not in allowed)
    found = [counts[node] for node in allowed]
    assert max(found) - min(found) <= 1
    # Everybody above the target has to move, and nobody else does.
    assert len(moves) == sum(max(0, size - wanted.get(set_id, 0)) for set_id, size in sizes.items())
