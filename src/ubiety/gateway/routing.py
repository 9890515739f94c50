"""Who gets a request between SIP and XMPP, and why (pure; facts §5.2).

`decide` says it in steps, which `ubiety route explain` prints. The rule against loops: what came in from a
peer for somebody who is not ours is refused and never sent on, whatever the routes say. So a request that the
Microsoft side sent back because nobody has the address ends here.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum

from ubiety.gateway.settings import ADVANCED, BASIC
from ubiety.gateway.static import Draw, RouteTable, StaticRoute
from ubiety.sip.outputs import Hop


class Action(Enum):
    """What is done with a request."""

    LOCAL = "local"
    """To one of our own people."""
    MICROSOFT = "microsoft"
    """Over SIP to the Microsoft side of one of our own domains."""
    REMOTE = "remote"
    """Over SIP to another organisation."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Question:
    """A request from somebody to somebody. User parts and domains are prepared, as in a `Jid`."""

    sender: str
    """Bare address."""
    user: str
    domain: str
    is_ours: bool
    """The recipient is one of our people, enabled for instant messaging, on whatever node."""
    is_inbound: bool = False
    """It came in over SIP from a peer; else from one of our own people."""
    is_sender_ours: bool = False
    """Of one that came in: it names one of our people as its sender."""
    max_forwards: int = 70
    is_returned: bool = False
    """It went out from here: it carries our mark, or a Via of ours."""

    @property
    def recipient(self) -> str:
        """Bare address."""
        return f"{self.user}@{self.domain}" if self.user else self.domain


@dataclass(frozen=True, slots=True)
class Rules:
    """What decisions are made by; another value when settings, domains or routes change."""

    domains: Collection[str]
    """Those that are ours."""
    is_shared: bool = False
    """Whether they are shared with Microsoft servers (setting `federation.microsoft`)."""
    mode: str = BASIC
    remote_domains: Collection[str] = ()
    """Those of other organisations, reached over SIP."""
    table: RouteTable = field(default_factory=RouteTable)
    has_microsoft_address: Callable[[str], bool] = lambda address: False
    """Whether a bare address is known to be on the Microsoft side; asked in the advanced mode."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done, and why."""

    action: Action
    routes: tuple[StaticRoute, ...] = ()
    """To be tried in this order."""
    status: int = 0
    """Of a refusal: the SIP answer to a request that came in."""
    condition: str = ""
    """Of a refusal: the stanza error for one of our own people."""
    reason: str = ""
    """Of a refusal: one sentence."""
    steps: tuple[str, ...] = ()


def decide(
    question: Question, rules: Rules, draw: Draw, is_dead: Callable[[Hop], bool] = lambda hop: False
) -> Decision:
    """Decides on a request."""
    walk = _Walk(question, rules, draw, is_dead)
    return walk.inbound() if question.is_inbound else walk.outbound()


def explain_domain(domain: str, domains: Collection[str]) -> tuple[str, str]:
    """Says why nobody of a domain can be reached here, and the cure.

    Two people share presence only within one domain that both sides have (seed 000: misconfigured domains).
    """
    parent = next((one for one in sorted(domains, key=len, reverse=True) if domain.endswith(f".{one}")), None)
    if parent is not None:
        return (
            f"{domain} is not among our domains; {parent} is, but who is in a sub-domain is not in it",
            f"Add it on both sides: ubiety domain add {domain}. Or move its people to {parent}.",
        )
    return f"{domain} is not among our domains", f"If it shall be: ubiety domain add {domain}"


class _Walk:
    """One decision on its way."""

    def __init__(self, question: Question, rules: Rules, draw: Draw, is_dead: Callable[[Hop], bool]) -> None:
        self._question = question
        self._rules = rules
        self._draw = draw
        self._is_dead = is_dead
        self._steps: list[str] = []

    def inbound(self) -> Decision:
        """A request of a peer: for one of our people, or for nobody."""
        question, rules = self._question, self._rules
        self._note(f"A peer brings a request of {question.sender} for {question.recipient}.")
        refusal = self._judge_sender()
        if refusal is not None:
            return refusal
        if question.domain in rules.remote_domains:  # seed 000: federation is for our own people only
            reason = f"{question.domain} is reached by our own people only, not through us."
            return self._refuse(404, "item-not-found", reason)
        if question.domain not in rules.domains:
            why, cure = explain_domain(question.domain, rules.domains)
            self._note(cure)
            return self._refuse(404, "item-not-found", f"{why}.")  # facts §5.2: never sent on
        self._note(f"{question.domain} is one of our domains.")
        if question.is_ours:  # even if it went out from here: they have become ours meanwhile
            return self._deliver()
        if self._is_loop:
            self._note("The request went out from here and was sent back: a loop.")
        self._note(f"{question.recipient} is not one of our people.")
        self._note("What came from outside is never sent out again: that would be a loop.")
        reason = f"Nobody has the address {question.recipient} on either side."
        if not self._is_loop:
            reason = f"{question.recipient} is not one of our people."
        return self._refuse(404, "item-not-found", reason)

    @property
    def _is_loop(self) -> bool:
        """Whether the Microsoft side sent back what went out from here.

        Nobody else can: our mark on a request of another organisation says that they run Ubiety too.
        """
        question, rules = self._question, self._rules
        is_from_us = question.sender.rpartition("@")[2] in rules.domains
        return question.is_returned and is_from_us and rules.is_shared

    def _judge_sender(self) -> Decision | None:
        """Only those may be named as sender who can be at the other end."""
        question, rules = self._question, self._rules
        domain = question.sender.rpartition("@")[2]
        if domain in rules.remote_domains:
            self._note(f"{domain} belongs to another organisation that is reached over SIP.")
            return None
        if domain not in rules.domains:
            return self._refuse(403, "forbidden", f"{self._explain(domain)}.")
        if self._is_loop:
            return None
        if question.is_sender_ours:  # seed 000: a person is enabled on one of the two sides only
            return self._refuse(403, "forbidden", f"{question.sender} is one of our people and not outside.")
        if not rules.is_shared:
            self._note("To share our domains with Microsoft servers: ubiety federation enable")
            return self._refuse(403, "forbidden", f"{domain} is not shared with servers outside.")
        self._note(f"{domain} is shared with Microsoft servers.")
        return None

    def outbound(self) -> Decision:
        """A request of one of our own people."""
        question, rules = self._question, self._rules
        self._note(f"{question.sender}, one of our people, asks for {question.recipient}.")
        if question.domain in rules.remote_domains:
            self._note(f"{question.domain} belongs to another organisation that is reached over SIP.")
            return self._send(Action.REMOTE)
        if question.domain not in rules.domains:
            return self._refuse(404, "remote-server-not-found", f"{self._explain(question.domain)}.")
        self._note(f"{question.domain} is one of our domains.")
        return self._deliver() if question.is_ours else self._elsewhere()

    def _elsewhere(self) -> Decision:
        """For somebody of our domains who is not ours (seed 000: routing modes)."""
        question, rules = self._question, self._rules
        self._note(f"{question.recipient} is not one of our people.")
        if not rules.is_shared:
            self._note(
                "Our domains are not shared with Microsoft servers. To share: ubiety federation enable"
            )
            return self._refuse(404, "item-not-found", f"Nobody has the address {question.recipient}.")
        if not question.user:
            return self._refuse(404, "item-not-found", "The request is for a domain and not for a person.")
        if rules.mode == ADVANCED:
            if not rules.has_microsoft_address(question.recipient):
                self._note(
                    "The routing mode is advanced, and no such address is known on the Microsoft side."
                )
                self._note(f"If there is: ubiety microsoft add {question.recipient}")
                return self._refuse(404, "item-not-found", f"Nobody has the address {question.recipient}.")
            self._note("The routing mode is advanced, and the address is known on the Microsoft side.")
        else:
            self._note("The routing mode is basic: who is not ours is looked for on the Microsoft side.")
        return self._send(Action.MICROSOFT)

    def _explain(self, domain: str) -> str:
        """Note the cures for a domain that is not known here, and return what is wrong with it."""
        why, cure = explain_domain(domain, self._rules.domains)
        self._note(f"{domain} is neither one of our domains nor federated over SIP.")
        self._note(cure)
        self._note(f"If it is another organisation's: ubiety federation add {domain}")
        return why

    def _deliver(self) -> Decision:
        question = self._question
        self._note(f"{question.recipient} is one of our people: it is delivered here.")
        return Decision(Action.LOCAL, steps=tuple(self._steps))

    def _send(self, action: Action) -> Decision:
        question = self._question
        if question.max_forwards <= 0:  # RFC 3261 §16.3, check 3
            return self._refuse(483, "policy-violation", "The request has been passed on too often.")
        found = self._rules.table.find(question.user, question.domain, self._draw, self._is_dead)
        self._steps += found.steps
        if found.routes:
            order = ", then ".join(route.words for route in found.routes)
            self._note(f"It is sent to {order}.")
            return Decision(action, found.routes, steps=tuple(self._steps))
        if found.is_blocked:
            return self._refuse(403, "forbidden", f"The route to {question.recipient} is blocked.")
        if found.steps:
            reason = f"All routes to {question.recipient} are out of service."
            return self._refuse(503, "service-unavailable", reason)
        self._note(f"No static route matches. See: ubiety route add {_example(question.domain)}")
        return self._refuse(404, "remote-server-not-found", f"There is no route to {question.domain}.")

    def _refuse(self, status: int, condition: str, reason: str) -> Decision:
        answer = f"SIP {status}" if self._question.is_inbound else f"the error {condition}"
        self._note(f"Refused with {answer}: {reason}")
        return Decision(Action.REFUSED, (), status, condition, reason, tuple(self._steps))

    def _note(self, step: str) -> None:
        self._steps.append(step)


def _example(domain: str) -> str:
    return f".{'.'.join(reversed(domain.split('.')))} HOST --tls"
