"""Every pair of states that administrators know, reached by the cause that is documented for it."""

from math import inf

import pytest

from tests.unit.cluster.pair import ONE, TWO, Pair, running
from ubiety.cluster.cues import HOLDS, Cue
from ubiety.cluster.states import Holder, LeasesSeen, Limits, Reason, Request, State
from ubiety.cluster.transitions import AIMS, ROWS

S, R = State, Reason
NORMAL = (S.NORMAL, R.NORMAL)


def failed_over_by_hand() -> Pair:
    """A pair whose first node an administrator has failed over."""
    pair = running()
    do(pair, ONE, Request.FAILOVER)
    pair.until((S.IDLE, R.ADMIN), (S.BACKUP, R.ADMIN))
    pair.run(1)
    assert pair.served() == {ONE: [TWO], TWO: [TWO]}
    return pair


def failed_over_by_service() -> Pair:
    """A pair whose first node lost a critical service."""
    pair = running()
    pair.fail(ONE)
    pair.until((S.FAILED_OVER_UNWELL, R.SERVICE_DOWN), (S.BACKUP, R.SERVICE_DOWN))
    return pair


def do(pair: Pair, one: int, request: Request) -> None:
    """Ask for something that must be granted."""
    pair.run(1)
    assert pair.ask(one, request) == ""


def saw(pair: Pair, one: tuple[State, Reason], two: tuple[State, Reason]) -> bool:
    """Whether both were in these states at the same time."""
    return (*one, *two) in pair.seen


def test_both_are_normal() -> None:
    running()


def test_failover_by_hand() -> None:
    pair = failed_over_by_hand()
    assert saw(pair, (S.FAILING_OVER, R.ADMIN), (S.TAKING_OVER, R.ADMIN))


def test_fallback_by_hand() -> None:
    pair = failed_over_by_hand()
    do(pair, ONE, Request.FALLBACK)
    pair.until(NORMAL, NORMAL)
    assert saw(pair, (S.TAKING_BACK, R.ADMIN), (S.FALLING_BACK, R.ADMIN))
    assert pair.run(2).served() == {ONE: [ONE], TWO: [TWO]}


def test_manager_restarted_on_the_idle_node() -> None:
    pair = failed_over_by_hand()
    pair.restart(ONE)
    pair.until((S.IDLE, R.INITIALIZATION), (S.BACKUP, R.ADMIN))


def test_the_idle_node_rebooted() -> None:
    pair = failed_over_by_hand()
    pair.kill(ONE)
    pair.run(20)
    pair.mend(ONE)
    pair.boot(ONE)
    pair.until((S.IDLE, R.INITIALIZATION), (S.BACKUP, R.ADMIN))
    assert pair.run(2).machines[ONE].down  # an idle node's services stay stopped


def test_both_managers_restarted_while_failed_over_by_hand() -> None:
    pair = failed_over_by_hand()
    pair.restart(ONE)
    pair.restart(TWO)
    pair.until((S.IDLE, R.INITIALIZATION), (S.BACKUP, R.INITIALIZATION))


def test_both_nodes_rebooted_while_failed_over_by_hand() -> None:
    pair = failed_over_by_hand()
    pair.kill(ONE)
    pair.kill(TWO)
    pair.run(10)
    pair.boot(ONE, TWO)
    pair.until((S.IDLE, R.INITIALIZATION), (S.BACKUP, R.INITIALIZATION))
    assert pair.run(2).served() == {ONE: [TWO], TWO: [TWO]}
    do(pair, ONE, Request.FALLBACK)
    pair.until(NORMAL, NORMAL)


def test_manager_restarted_on_the_backup() -> None:
    pair = failed_over_by_hand()
    pair.restart(TWO)
    pair.until((S.IDLE, R.ADMIN), (S.BACKUP, R.INITIALIZATION))


def test_manager_restarted_during_take_over() -> None:
    pair = running()
    pair.machines[TWO].lag = 4
    do(pair, ONE, Request.FAILOVER)
    pair.until((S.FAILING_OVER, R.ADMIN), (S.TAKING_OVER, R.ADMIN))
    pair.restart(TWO)
    pair.until((S.FAILING_OVER, R.ADMIN), (S.TAKING_OVER, R.INITIALIZATION), seconds=1)
    pair.until((S.IDLE, R.ADMIN), (S.BACKUP, R.INITIALIZATION))


def test_manager_restarted_during_take_back() -> None:
    pair = failed_over_by_hand()
    pair.machines[ONE].lag = 4
    do(pair, ONE, Request.FALLBACK)
    pair.until((S.TAKING_BACK, R.ADMIN), (S.FALLING_BACK, R.ADMIN))
    pair.restart(ONE)
    pair.until((S.TAKING_BACK, R.INITIALIZATION), (S.FALLING_BACK, R.ADMIN), seconds=1)
    pair.until(NORMAL, NORMAL)


def test_automatic_fallback() -> None:
    pair = running(Limits(fallback_after=1800))
    pair.kill(ONE)
    pair.run(10)
    pair.boot(ONE)
    pair.until((S.FAILED_OVER, R.INITIALIZATION), (S.BACKUP, R.PEER_DOWN))
    pair.run(1750)
    assert pair.states()[0] is S.FAILED_OVER
    pair.until(NORMAL, NORMAL)
    assert saw(pair, (S.TAKING_BACK, R.AUTOMATIC_FALLBACK), (S.FALLING_BACK, R.AUTOMATIC_FALLBACK))


def test_no_automatic_fallback_after_a_failure_of_the_database() -> None:
    pair = running(Limits(fallback_after=60))
    pair.machines[ONE].has_database = False
    pair.until((S.FAILED_OVER_UNWELL, R.DATABASE), (S.BACKUP, R.DATABASE))
    pair.machines[ONE].has_database = True
    pair.run(200)
    assert pair.states() == (S.FAILED_OVER, R.DATABASE, S.BACKUP, R.DATABASE)


def test_a_missed_heartbeat_begins_the_time_before_automatic_fallback_anew() -> None:
    pair = running(Limits(fallback_after=60))
    pair.kill(ONE)
    pair.run(10)
    pair.boot(ONE)
    pair.until((S.FAILED_OVER, R.INITIALIZATION), (S.BACKUP, R.PEER_DOWN))
    pair.run(50)
    pair.is_linked = False
    pair.run(5)
    pair.is_linked = True
    pair.run(50)
    assert pair.states()[0] is S.FAILED_OVER
    pair.until(NORMAL, NORMAL, seconds=15)


def test_services_return_after_an_automatic_failover() -> None:
    pair = failed_over_by_service()
    assert saw(pair, (S.FAILING_OVER, R.SERVICE_DOWN), (S.TAKING_OVER, R.SERVICE_DOWN))
    assert "Idle or Failed Over" in pair.ask(ONE, Request.FALLBACK)
    pair.mend(ONE)
    pair.until((S.FAILED_OVER, R.SERVICE_DOWN), (S.BACKUP, R.SERVICE_DOWN))
    do(pair, ONE, Request.FALLBACK)
    pair.until(NORMAL, NORMAL)


def test_the_node_without_a_critical_service_is_rebooted() -> None:
    pair = failed_over_by_service()
    pair.kill(ONE)
    pair.run(10)
    pair.boot(ONE)
    pair.until((S.FAILED_OVER_UNWELL, R.INITIALIZATION), (S.BACKUP, R.SERVICE_DOWN))
    pair.mend(ONE)
    pair.until((S.FAILED_OVER, R.INITIALIZATION), (S.BACKUP, R.SERVICE_DOWN))


def test_a_short_outage_of_a_service_is_no_failover() -> None:
    pair = running()
    pair.fail(ONE)
    pair.run(8)
    pair.mend(ONE)
    pair.run(20)
    assert pair.states() == (*NORMAL, *NORMAL)


def test_database_unreachable_from_one_node() -> None:
    pair = running()
    pair.machines[ONE].has_database = False
    pair.until((S.FAILED_OVER_UNWELL, R.DATABASE), (S.BACKUP, R.DATABASE), seconds=5)
    pair.machines[ONE].has_database = True
    pair.until((S.FAILED_OVER, R.DATABASE), (S.BACKUP, R.DATABASE))
    do(pair, ONE, Request.FALLBACK)
    pair.until(NORMAL, NORMAL)


def test_a_database_that_one_finds_again_later_than_the_other() -> None:
    pair = running()
    for machine in pair.machines.values():
        machine.has_database = False
    pair.run(20)
    pair.machines[TWO].has_database = True
    pair.run(1.5)
    pair.machines[ONE].has_database = True
    pair.run(10)
    assert pair.seen[-1] == (*NORMAL, *NORMAL)
    assert not [states for states in pair.seen if S.TAKING_OVER in states]


def test_a_database_that_is_away_for_both_changes_no_reason() -> None:
    pair = failed_over_by_service()
    pair.mend(ONE)
    pair.run(2)
    before = pair.states()
    for machine in pair.machines.values():
        machine.has_database = False
    pair.run(20)
    for machine in pair.machines.values():
        machine.has_database = True
    pair.run(5)
    assert pair.states() == before == (S.FAILED_OVER, R.SERVICE_DOWN, S.BACKUP, R.SERVICE_DOWN)
    assert pair.served() == {ONE: [TWO], TWO: [TWO]}


def test_database_unreachable_from_both_is_held_out() -> None:
    pair = running()
    for machine in pair.machines.values():
        machine.has_database = False
    pair.run(60)
    assert pair.states() == (*NORMAL, *NORMAL)
    assert pair.served() == {ONE: [ONE], TWO: [TWO]}
    for machine in pair.machines.values():
        machine.has_database = True
    pair.run(10)
    assert pair.states() == (*NORMAL, *NORMAL)


def test_take_back_cannot_start_the_services() -> None:
    pair = failed_over_by_hand()
    pair.machines[ONE].unstartable = {"Cisco Presence Engine"}
    do(pair, ONE, Request.FALLBACK)
    pair.until((S.FAILED, R.START_FAILED), (S.FAILED, R.START_FAILED))
    assert pair.run(5).served() == {ONE: [TWO], TWO: [TWO]}  # nobody loses service by it
    pair.machines[ONE].unstartable = set()
    do(pair, TWO, Request.RECOVER)
    pair.until(NORMAL, NORMAL)
    assert pair.run(5).served() == {ONE: [ONE], TWO: [TWO]}


def test_the_backup_loses_a_critical_service_too() -> None:
    pair = failed_over_by_service()
    pair.fail(TWO)
    pair.until((S.FAILED, R.SERVICE_DOWN), (S.FAILED, R.SERVICE_DOWN))
    pair.mend(ONE)
    pair.mend(TWO)
    do(pair, ONE, Request.RECOVER)
    pair.until(NORMAL, NORMAL)


def test_services_down_on_both_when_it_is_enabled() -> None:
    pair = running()
    pair.enable(False, ONE, TWO)
    pair.fail(ONE)
    pair.fail(TWO)
    pair.run(60)
    assert pair.states() == (S.UNKNOWN, R.NOT_ENABLED, S.UNKNOWN, R.NOT_ENABLED)
    pair.enable(True, ONE, TWO)
    pair.until((S.FAILED, R.SERVICE_DOWN), (S.FAILED, R.SERVICE_DOWN), seconds=2)


def test_services_down_on_one_when_it_is_enabled() -> None:
    pair = running()
    pair.enable(False, ONE, TWO)
    pair.fail(ONE)
    pair.run(60)
    pair.enable(True, ONE, TWO)
    pair.until((S.FAILED_OVER_UNWELL, R.SERVICE_DOWN), (S.BACKUP, R.SERVICE_DOWN), seconds=5)


@pytest.mark.parametrize("which", [ONE, TWO])
def test_a_killed_node_is_taken_over_within_three_seconds(which: int) -> None:
    pair = running()
    pair.kill(which)
    other = TWO if which == ONE else ONE
    pair.run(3)
    assert pair.served() == {ONE: [other], TWO: [other]}
    assert pair.machines[other].written == (S.BACKUP, R.PEER_DOWN)


def test_a_hung_node_wakes_up_failed_over() -> None:
    pair = running()
    pair.machines[ONE].is_hung = True
    pair.run(5)
    assert pair.machines[TWO].written == (S.BACKUP, R.PEER_DOWN)
    pair.machines[ONE].is_hung = False
    pair.until((S.FAILED_OVER, R.PEER_DOWN), (S.BACKUP, R.PEER_DOWN))


def test_a_cut_between_the_nodes_alone_changes_nothing() -> None:
    pair = running()
    pair.is_linked = False
    pair.run(60)
    assert pair.states() == (*NORMAL, *NORMAL)
    assert pair.served() == {ONE: [ONE], TWO: [TWO]}


def test_a_node_cut_off_from_everything() -> None:
    pair = running()
    pair.is_linked = pair.machines[ONE].has_database = False
    pair.run(4)
    assert pair.machines[TWO].written == (S.BACKUP, R.PEER_DOWN)
    pair.is_linked = pair.machines[ONE].has_database = True
    pair.until((S.FAILED_OVER, R.DATABASE), (S.BACKUP, R.PEER_DOWN))
    do(pair, ONE, Request.FALLBACK)
    pair.until(NORMAL, NORMAL)


def test_services_of_an_idle_node_that_start_are_stopped_again() -> None:
    pair = failed_over_by_hand()
    pair.mend(ONE)
    assert pair.run(2).machines[ONE].down
    assert pair.states() == (S.IDLE, R.ADMIN, S.BACKUP, R.ADMIN)


def test_services_that_have_not_started_yet_are_no_failure() -> None:
    pair = running()
    pair.machines[ONE].down["Cisco Presence Engine"] = inf
    pair.run(60)
    assert pair.states() == (*NORMAL, *NORMAL)
    assert "peer's services" in pair.ask(TWO, Request.FAILOVER)


def test_a_node_that_is_shut_down() -> None:
    pair = running()
    pair.shut_down(ONE)
    pair.run(1)
    assert pair.machines[TWO].written == (S.BACKUP, R.PEER_REBOOT)
    pair.boot(ONE)
    pair.until((S.FAILED_OVER, R.INITIALIZATION), (S.BACKUP, R.PEER_REBOOT))
    do(pair, ONE, Request.FALLBACK)
    pair.until(NORMAL, NORMAL)


@pytest.mark.parametrize("is_well", [True, False])
def test_a_node_starts_without_seeing_its_peer(is_well: bool) -> None:
    pair = running()
    pair.kill(ONE)
    pair.kill(TWO)
    pair.run(30)
    pair.boot(TWO)
    pair.run(15)
    assert pair.machines[TWO].written == (S.BACKUP, R.PEER_ABSENT)
    if not is_well:
        pair.fail(ONE)
    pair.boot(ONE)
    state = S.FAILED_OVER if is_well else S.FAILED_OVER_UNWELL
    pair.until((state, R.INITIALIZATION), (S.BACKUP, R.PEER_ABSENT))


def test_take_over_fails() -> None:
    pair = running(Limits(transition=30))
    pair.machines[TWO].moves_fail = True
    do(pair, ONE, Request.FAILOVER)
    pair.until((S.FAILED, R.TAKE_OVER_FAILED), (S.FAILED, R.TAKE_OVER_FAILED))
    pair.machines[TWO].moves_fail = False
    do(pair, ONE, Request.RECOVER)
    pair.until(NORMAL, NORMAL)
    assert pair.run(5).served() == {ONE: [ONE], TWO: [TWO]}


def test_take_back_fails() -> None:
    pair = failed_over_by_hand()
    for machine in pair.machines.values():
        machine.moves_fail = True
    do(pair, ONE, Request.FALLBACK)
    pair.until((S.FAILED, R.TAKE_BACK_FAILED), (S.FAILED, R.TAKE_BACK_FAILED), seconds=130)
    for machine in pair.machines.values():
        machine.moves_fail = False
    do(pair, ONE, Request.RECOVER)
    pair.until(NORMAL, NORMAL)


def test_manager_restarted_while_its_peer_failed() -> None:
    pair = failed_over_by_service()
    pair.fail(TWO)
    pair.until((S.FAILED, R.SERVICE_DOWN), (S.FAILED, R.SERVICE_DOWN))
    pair.restart(ONE)
    pair.until((S.FAILED, R.UNKNOWN), (S.FAILED, R.UNKNOWN))


def test_an_internal_error() -> None:
    pair = running()
    pair.break_inside(ONE)
    pair.until((S.FAILED, R.UNKNOWN), (S.FAILED, R.UNKNOWN))
    assert pair.run(5).served() == {ONE: [ONE], TWO: [TWO]}
    do(pair, TWO, Request.RECOVER)
    pair.until(NORMAL, NORMAL)


def test_the_backup_loses_its_database_while_the_other_is_well_again() -> None:
    pair = failed_over_by_service()
    pair.mend(ONE)
    pair.until((S.FAILED_OVER, R.SERVICE_DOWN), (S.BACKUP, R.SERVICE_DOWN))
    pair.machines[TWO].has_database = False
    pair.until((S.BACKUP_ACTIVATED, R.RECOVERED_DATABASE), (S.AFFECTED, R.RECOVERED_DATABASE))
    assert pair.run(4).served() == {ONE: [ONE], TWO: [ONE]}
    pair.machines[TWO].has_database = True
    pair.until((S.BACKUP_ACTIVATED, R.RECOVERED_DATABASE), (S.FAILED_OVER, R.RECOVERED_DATABASE))
    do(pair, TWO, Request.FALLBACK)
    pair.until(NORMAL, NORMAL)


def test_the_backup_loses_a_service_while_the_other_is_well_again() -> None:
    pair = failed_over_by_service()
    pair.mend(ONE)
    pair.until((S.FAILED_OVER, R.SERVICE_DOWN), (S.BACKUP, R.SERVICE_DOWN))
    pair.fail(TWO)
    pair.until((S.BACKUP_ACTIVATED, R.RECOVERED_SERVICE), (S.AFFECTED, R.RECOVERED_SERVICE))
    assert pair.run(4).served() == {ONE: [ONE], TWO: [ONE]}


def test_the_backup_dies_while_the_other_is_well_again() -> None:
    pair = failed_over_by_service()
    pair.mend(ONE)
    pair.run(2)
    pair.kill(TWO)
    pair.run(4)
    assert pair.machines[ONE].written == (S.BACKUP, R.PEER_DOWN)
    assert pair.served() == {ONE: [ONE], TWO: [ONE]}


def test_enabled_on_one_node_only() -> None:
    pair = running()
    pair.enable(False, ONE, TWO)
    pair.run(1)
    assert pair.states() == (S.UNKNOWN, R.NOT_ENABLED, S.UNKNOWN, R.NOT_ENABLED)
    pair.enable(True, ONE)
    pair.until((S.UNKNOWN, R.UNKNOWN), (S.UNKNOWN, R.NOT_ENABLED))
    assert pair.run(5).served() == {ONE: [ONE], TWO: [TWO]}
    pair.enable(True, TWO)
    pair.until(NORMAL, NORMAL)


def test_requests_that_do_not_fit_are_refused() -> None:
    pair = running()
    assert pair.ask(ONE, Request.FALLBACK)
    assert pair.ask(ONE, Request.RECOVER)
    pair.fail(TWO)
    pair.run(1)
    assert "peer's services" in pair.ask(ONE, Request.FAILOVER)


def test_the_tables_are_complete() -> None:
    assert set(AIMS) == set(State)
    assert set(HOLDS) == set(Cue)
    assert {cue for row in ROWS for cue in row.when} == set(Cue)


def test_who_has_slept_does_not_take_the_own_pause_for_the_peers_silence() -> None:
    pair = running()
    core = pair.machines[ONE].core
    now = pair.now + 5 * core.facts.limits.heartbeat_timeout
    core.receive(LeasesSeen(Holder.OURS, Holder.FREE), now)
    assert core.state is S.NORMAL
    core.tick(now + core.facts.limits.heartbeat_timeout / 3)
    core.tick(now + core.facts.limits.heartbeat_timeout * 2 / 3)
    assert core.state is S.NORMAL
    core.tick(now + core.facts.limits.heartbeat_timeout)
    assert (core.state, core.reason) == (S.TAKING_OVER, R.PEER_DOWN)
