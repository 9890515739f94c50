"""What an order to a service means: the table, without any I/O."""

import pytest

from ubiety.cluster import services
from ubiety.cluster.services import (
    ADMIN,
    AUTHENTICATION,
    CONNECTION_MANAGER,
    DATABASE,
    PRESENCE_ENGINE,
    ROUTER,
    SERVICES,
    SIP_FEDERATION,
    SIP_PROXY,
    Kind,
    ServiceError,
    Situation,
    Step,
    check_order,
    find,
    restart,
    start,
    stop,
)
from ubiety.declared import SETTINGS

DECLARED = {one.name: one for one in SERVICES}
XCP = {ROUTER, AUTHENTICATION, CONNECTION_MANAGER}


def situation(*running: str, deactivated: tuple[str, ...] = ()) -> Situation:
    return Situation(DECLARED, set(running), set(deactivated))


def test_whatever_is_required_is_declared_before() -> None:
    seen: set[str] = set()
    for service in SERVICES:
        assert set(service.requires) <= seen, service.name
        seen.add(service.name)


def test_names_and_aliases_are_unique() -> None:
    words = [word for one in SERVICES for word in (one.name.lower(), *one.aliases)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("word", ["Cisco XCP Router", "cisco xcp  router", "router", "ROUTER", "xcp-router"])
def test_a_service_is_found_in_any_known_spelling(word: str) -> None:
    assert find(DECLARED, word).name == ROUTER


def test_an_unknown_name_says_what_is_near() -> None:
    with pytest.raises(ServiceError, match="Did you mean Cisco Presence Engine") as caught:
        find(DECLARED, "presence-engi")
    assert caught.value.is_unknown
    assert "service list" in caught.value.cure


def test_stopping_the_router_stops_all_xcp_services_first() -> None:
    steps = stop(situation(*XCP, PRESENCE_ENGINE), ROUTER)
    assert steps[-1] == Step(False, ROUTER)
    assert {step.name for step in steps} == XCP
    assert not any(step.is_start for step in steps)


def test_starting_the_router_brings_nothing_else_back() -> None:
    assert start(situation(PRESENCE_ENGINE), ROUTER) == [Step(True, ROUTER)]


def test_restarting_the_router_brings_back_what_ran() -> None:
    assert restart(situation(ROUTER, CONNECTION_MANAGER), ROUTER) == [
        Step(False, CONNECTION_MANAGER),
        Step(False, ROUTER),
        Step(True, ROUTER),
        Step(True, CONNECTION_MANAGER),
    ]


def test_a_service_does_not_start_without_what_it_needs() -> None:
    with pytest.raises(ServiceError, match="needs Cisco XCP Router, which is stopped") as caught:
        start(situation(PRESENCE_ENGINE), CONNECTION_MANAGER)
    assert 'start "Cisco XCP Router"' in caught.value.cure


def test_a_deactivated_service_refuses_to_start() -> None:
    with pytest.raises(ServiceError, match="is not activated") as caught:
        start(situation(ROUTER, deactivated=(AUTHENTICATION,)), AUTHENTICATION)
    assert "activate" in caught.value.cure


@pytest.mark.parametrize(
    ("name", "order", "is_refused"),
    [
        (DATABASE, "stop", True),
        (DATABASE, "start", True),
        (DATABASE, "restart", True),
        (ROUTER, "deactivate", True),
        (ADMIN, "activate", True),
        (PRESENCE_ENGINE, "activate", False),
        (PRESENCE_ENGINE, "deactivate", False),
        (ROUTER, "stop", False),
    ],
)
def test_who_can_be_told_what(name: str, order: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(ServiceError) as caught:
            check_order(DECLARED[name], order)
        assert caught.value.cure
    else:
        check_order(DECLARED[name], order)


def test_what_decides_fail_over_and_what_is_activated() -> None:
    assert {one.name for one in SERVICES if one.is_critical} == {ROUTER, PRESENCE_ENGINE}
    assert {one.name for one in SERVICES if one.kind is Kind.FEATURE} == {
        PRESENCE_ENGINE,
        AUTHENTICATION,
        CONNECTION_MANAGER,
        SIP_PROXY,
        SIP_FEDERATION,
    }


def test_settings_that_need_a_restart_name_a_service() -> None:
    wanted = {one.effect.removeprefix("restart ") for one in SETTINGS if one.effect.startswith("restart ")}
    assert wanted <= set(services.names())
