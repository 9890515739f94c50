"""Who gets a request, and why: both directions, both modes, loops, misconfigured domains."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.gateway.routing import Action, Decision, Question, Rules, decide, explain_domain
from ubiety.gateway.settings import ADVANCED, BASIC, refuse_advanced
from ubiety.gateway.static import RouteTable, StaticRoute
from ubiety.sip.outputs import Hop

OURS = {"anna@synergy.com", "carl@synergy.co.uk"}
LYNC = StaticRoute(1, ".com.synergy", "domain", "", "lync1.synergy.com", 5061, "tls")
BACKUP = replace(LYNC, id=2, next_hop="lync2.synergy.com", priority=2)
PARTNER = StaticRoute(3, ".example.partner", "domain", "", "sip.partner.example", 5061, "tls")
KNOWN = {"bob@synergy.com"}
RULES = Rules(
    domains=("synergy.com", "synergy.co.uk"),
    is_shared=True,
    remote_domains=("partner.example",),
    table=RouteTable([LYNC, BACKUP, PARTNER]),
    has_microsoft_address=KNOWN.__contains__,
)


def ask(sender: str, recipient: str, rules: Rules = RULES, **fields: object) -> Decision:
    user, _, domain = recipient.rpartition("@")
    question = Question(
        sender,
        user,
        domain,
        is_ours=recipient in OURS,
        is_sender_ours=bool(fields.get("is_inbound")) and sender in OURS,
        **fields,  # type: ignore[arg-type]
    )
    return decide(question, rules, lambda: 0.0)


@dataclass(frozen=True)
class Case:
    """A request and what becomes of it."""

    sender: str
    recipient: str
    action: Action
    routes: tuple[int, ...] = ()
    refusal: tuple[int, str] = (0, "")
    mode: str = BASIC
    is_shared: bool = True
    is_inbound: bool = False
    is_returned: bool = False


NOBODY = (404, "item-not-found")
FORBIDDEN = (403, "forbidden")
NO_SERVER = (404, "remote-server-not-found")
A, B, C, X = "anna@synergy.com", "bob@synergy.com", "carl@synergy.co.uk", "nobody@synergy.com"
REFUSED, LOCAL, MICROSOFT, REMOTE = Action.REFUSED, Action.LOCAL, Action.MICROSOFT, Action.REMOTE
CASES = [
    # outbound, basic: within one of our domains and not licensed here -> Microsoft
    Case(A, C, LOCAL),
    Case(A, B, MICROSOFT, (1, 2)),
    Case(A, X, MICROSOFT, (1, 2)),
    Case(A, B, REFUSED, (), NOBODY, is_shared=False),
    Case(A, "synergy.com", REFUSED, (), NOBODY),
    Case(A, "dave@synergy.co.uk", REFUSED, (), NO_SERVER),
    # outbound, advanced: and known on the Microsoft side
    Case(A, B, MICROSOFT, (1, 2), mode=ADVANCED),
    Case(A, X, REFUSED, (), NOBODY, mode=ADVANCED),
    Case(A, C, LOCAL, mode=ADVANCED),
    # outbound to others
    Case(A, "pat@partner.example", REMOTE, (3,)),
    Case(A, "pat@partner.example", REMOTE, (3,), is_shared=False),
    Case(A, "eve@elsewhere.example", REFUSED, (), NO_SERVER),
    Case(A, "dora@synergy.online.com", REFUSED, (), NO_SERVER),
    # inbound from the Microsoft side
    Case(B, A, LOCAL, is_inbound=True),
    Case(B, X, REFUSED, (), NOBODY, is_inbound=True),
    Case(B, X, REFUSED, (), NOBODY, is_inbound=True, mode=ADVANCED),
    Case(B, "pat@partner.example", REFUSED, (), NOBODY, is_inbound=True),
    Case(B, "dora@synergy.online.com", REFUSED, (), NOBODY, is_inbound=True),
    Case(B, A, REFUSED, (), FORBIDDEN, is_inbound=True, is_shared=False),
    Case("dora@synergy.online.com", A, REFUSED, (), FORBIDDEN, is_inbound=True),
    Case("user1@abc.synergy.com", A, REFUSED, (), FORBIDDEN, is_inbound=True),
    Case(C, A, REFUSED, (), FORBIDDEN, is_inbound=True),
    # sent back by the Microsoft side
    Case(A, X, REFUSED, (), NOBODY, is_inbound=True, is_returned=True),
    Case(A, C, LOCAL, is_inbound=True, is_returned=True),
    # nobody else can send back what is ours: whoever says so would speak for our people
    Case(A, C, REFUSED, (), FORBIDDEN, is_inbound=True, is_returned=True, is_shared=False),
    # inbound from another organisation
    Case("pat@partner.example", A, LOCAL, is_inbound=True),
    Case("pat@partner.example", A, LOCAL, is_inbound=True, is_shared=False),
    Case("pat@partner.example", X, REFUSED, (), NOBODY, is_inbound=True),
    Case("pat@partner.example", "x@partner.example", REFUSED, (), NOBODY, is_inbound=True),
    Case("eve@elsewhere.example", A, REFUSED, (), FORBIDDEN, is_inbound=True),
    # another organisation that runs Ubiety too
    Case("pat@partner.example", A, LOCAL, is_inbound=True, is_returned=True),
    Case("pat@partner.example", X, REFUSED, (), NOBODY, is_inbound=True, is_returned=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_decisions(case: Case) -> None:
    rules = replace(RULES, mode=case.mode, is_shared=case.is_shared)
    decision = ask(
        case.sender, case.recipient, rules, is_inbound=case.is_inbound, is_returned=case.is_returned
    )
    assert decision.action is case.action
    assert tuple(route.id for route in decision.routes) == case.routes
    assert (decision.status, decision.condition) == case.refusal
    assert bool(decision.reason) == (case.action is Action.REFUSED)
    assert len(decision.steps) >= 2


def test_the_next_hop_that_is_dead_is_tried_last() -> None:
    question = Question(A, "bob", "synergy.com", False)
    decision = decide(question, RULES, lambda: 0.0, lambda hop: hop.host == "lync1.synergy.com")
    assert [route.hop for route in decision.routes] == [
        Hop("tls", "lync2.synergy.com", 5061, "lync2.synergy.com"),
        Hop("tls", "lync1.synergy.com", 5061, "lync1.synergy.com"),
    ]


def test_routes_that_lead_nowhere() -> None:
    blocked = replace(RULES, table=RouteTable([replace(LYNC, is_blocked=True), replace(BACKUP, priority=5)]))
    assert (ask(A, B, blocked).status, ask(A, B, blocked).condition) == FORBIDDEN
    off = replace(RULES, table=RouteTable([replace(LYNC, in_service=False)]))
    decision = ask(A, B, off)
    assert (decision.status, decision.condition) == (503, "service-unavailable")
    assert "out of service" in decision.reason


def test_requests_do_not_go_round_for_ever() -> None:
    decision = ask(A, B, max_forwards=0)
    assert (decision.action, decision.status) == (Action.REFUSED, 483)
    assert ask(A, C, max_forwards=0).action is Action.LOCAL, "it has arrived"


def test_the_steps_of_a_request_to_the_microsoft_side() -> None:
    assert ask(A, B).steps == (
        "anna@synergy.com, one of our people, asks for bob@synergy.com.",
        "synergy.com is one of our domains.",
        "bob@synergy.com is not one of our people.",
        "The routing mode is basic: who is not ours is looked for on the Microsoft side.",
        "Route 1 matches by the domain pattern .com.synergy: lync1.synergy.com port 5061 over TLS,"
        " priority 1, weight 10.",
        "Route 2 matches by the domain pattern .com.synergy: lync2.synergy.com port 5061 over TLS,"
        " priority 2, weight 10.",
        "It is sent to lync1.synergy.com port 5061 over TLS, then lync2.synergy.com port 5061 over TLS.",
    )


def test_the_steps_of_a_loop() -> None:
    assert ask(A, X, is_inbound=True, is_returned=True).steps[1:] == (
        "synergy.com is one of our domains.",
        "The request went out from here and was sent back: a loop.",
        "nobody@synergy.com is not one of our people.",
        "What came from outside is never sent out again: that would be a loop.",
        "Refused with SIP 404: Nobody has the address nobody@synergy.com on either side.",
    )


def test_the_mark_of_another_organisation_is_no_loop() -> None:
    decision = ask("pat@partner.example", X, is_inbound=True, is_returned=True)
    assert decision.reason == "nobody@synergy.com is not one of our people."
    assert not any("loop." in step for step in decision.steps[:3])


def test_refusals_name_the_cure() -> None:
    def said(decision: Decision) -> str:
        return " ".join(decision.steps)

    assert "ubiety federation enable" in said(ask(A, B, replace(RULES, is_shared=False)))
    assert "ubiety microsoft add nobody@synergy.com" in said(ask(A, X, replace(RULES, mode=ADVANCED)))
    assert "ubiety route add .uk.co.synergy HOST" in said(ask(A, "dave@synergy.co.uk"))
    assert "ubiety domain add synergy.online.com" in said(ask(A, "dora@synergy.online.com"))
    assert "ubiety federation add elsewhere.example" in said(ask(A, "eve@elsewhere.example"))
    sub_domain = said(ask("user1@abc.synergy.com", A, is_inbound=True))
    assert "abc.synergy.com is not among our domains; synergy.com is" in sub_domain
    assert "Or move its people to synergy.com." in sub_domain


def test_domains_that_are_missing() -> None:
    """The two misconfigurations of seed 000: a missing domain, and somebody in a sub-domain."""
    ours = ("synergy.com", "eng.synergy.com", "synergy.co.uk")
    assert "not among our domains" in explain_domain("synergy.online.com", ours)[0]
    assert explain_domain("synergy.online.com", ours)[1].endswith("ubiety domain add synergy.online.com")
    assert "move its people to synergy.com" in explain_domain("abc.synergy.com", ours)[1]
    assert "move its people to eng.synergy.com" in explain_domain("a.eng.synergy.com", ours)[1]
    assert "move" not in explain_domain("mysynergy.com", ours)[1]


def test_the_advanced_mode_is_for_a_single_cluster() -> None:
    assert refuse_advanced(lambda: 1)(ADVANCED) == ""
    assert refuse_advanced(lambda: 2)(BASIC) == ""
    assert "2 clusters" in refuse_advanced(lambda: 2)(ADVANCED)


@given(
    sender=st.sampled_from([A, B, C, X, "pat@partner.example", "user1@abc.synergy.com"]),
    recipient=st.sampled_from([A, B, C, X, "pat@partner.example", "a@abc.synergy.com", "synergy.com"]),
    mode=st.sampled_from([BASIC, ADVANCED]),
    is_shared=st.booleans(),
    is_returned=st.booleans(),
    max_forwards=st.integers(0, 70),
)
def test_nothing_that_came_in_goes_out_again(
    sender: str, recipient: str, mode: str, is_shared: bool, is_returned: bool, max_forwards: int
) -> None:
    rules = replace(RULES, mode=mode, is_shared=is_shared, table=RouteTable([replace(LYNC, pattern=".*")]))
    decision = ask(
        sender, recipient, rules, is_inbound=True, is_returned=is_returned, max_forwards=max_forwards
    )
    assert decision.routes == () and decision.action in (Action.LOCAL, Action.REFUSED)
    assert (decision.action is Action.LOCAL) <= (recipient in OURS)
    assert (decision.action is Action.REFUSED) == (decision.status in (403, 404))
