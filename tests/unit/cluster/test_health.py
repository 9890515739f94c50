"""What a load balancer is told."""

import pytest

from ubiety.cluster.health import ACTIVE, Facts, judge

WELL = Facts(is_up=True, held_back="", is_draining=False, sets={1}, own_set=1, down=())


def test_a_node_that_serves_is_active() -> None:
    assert judge(WELL) == ACTIVE
    assert judge(WELL._replace(sets={1, 2})) == ACTIVE  # in backup mode it serves both


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        (WELL._replace(is_up=False), "starting", "starting"),
        (WELL._replace(is_up=False, held_back="database: no answer"), "starting", "database: no answer"),
        (WELL._replace(is_draining=True), "draining", "drained"),
        (WELL._replace(sets=()), "standby", "serves nobody now"),
        (WELL._replace(down=["Cisco XCP Router"]), "down", "Cisco XCP Router"),
        (WELL._replace(is_up=False, is_draining=True, sets=()), "starting", "starting"),
    ],
)
def test_why_clients_stay_away(facts: Facts, status: str, words: str) -> None:
    health = judge(facts)
    assert not health.is_active
    assert health.status == status
    assert words in health.reason


def test_a_node_that_passes_requests_on_need_not_serve_anybody() -> None:
    routing = WELL._replace(sets=(), passes_on=True)
    assert judge(routing) == ACTIVE
    assert judge(routing._replace(down=["Cisco SIP Proxy"])).status == "down"
    assert judge(routing._replace(is_draining=True)).status == "draining"
