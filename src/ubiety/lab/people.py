"""The people of a simulated pool: what each shows, whom each lets see it, and where each is signed in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ubiety.lab.availability import Shown
from ubiety.lab.plan import UserPlan
from ubiety.sip.message import Request, Response

ALLOWED, BLOCKED, ASKED = "allowed", "blocked", "asked"


class Endpoint(Protocol):
    """Something a person is signed in with: a simulated client, or a connection of a real one."""

    opaque: str
    """The part of its GRUU that tells it from the person's other ones."""

    async def answer(self, request: Request, on_provisional: Callable[[Response], None]) -> Response:
        """Takes a request, in a dialog or not, and returns the final answer."""

    def acknowledged(self, request: Request) -> None:
        """Takes the ACK of a 2xx."""

    def prompted(self, watcher: str) -> None:
        """Shows the pop-up: somebody wants to see this person."""

    def has_dialog(self, call_id: str) -> bool:
        """Whether a request of this call is for this endpoint."""


@dataclass(slots=True)
class Person:
    """One user of the pool. `uri` is the bare address, user@domain."""

    plan: UserPlan
    shown: Shown = field(default_factory=Shown)
    contacts: list[str] = field(default_factory=list)
    allowed: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    asking: dict[str, None] = field(default_factory=dict)
    """Watchers that wait for an answer to the pop-up, in their order."""
    endpoints: list[Endpoint] = field(default_factory=list)
    on_change: list[Callable[["Person"], None]] = field(default_factory=list)
    """Called when what others may see has changed."""

    @classmethod
    def of(cls, plan: UserPlan) -> "Person":
        """The person of a users file, signed out."""
        return cls(plan, Shown(), list(plan.contacts), set(plan.allowed), set(plan.blocked))

    @property
    def uri(self) -> str:
        """The bare address."""
        return self.plan.uri

    @property
    def name(self) -> str:
        """The name that people read."""
        return self.plan.name or self.uri.partition("@")[0]

    def show(self, shown: Shown) -> None:
        """Changes what this person shows."""
        if shown != self.shown:
            self.shown = shown
            self.changed()

    def changed(self) -> None:
        """Tells everybody who watches."""
        for listener in list(self.on_change):
            listener(self)

    def judge(self, watcher: str, is_colleague: bool) -> str:
        """Says what becomes of a subscription: ALLOWED, BLOCKED (politely) or ASKED (a pop-up is up)."""
        if watcher in self.blocked:
            return BLOCKED
        if is_colleague or watcher in self.allowed or watcher in self.contacts or watcher == self.uri:
            return ALLOWED
        if self.plan.prompts == "accept":
            self.allowed.add(watcher)
            return ALLOWED
        if self.plan.prompts == "deny":
            self.blocked.add(watcher)
            return BLOCKED
        if watcher not in self.asking:
            self.asking[watcher] = None
            for endpoint in self.endpoints:
                endpoint.prompted(watcher)
        return ASKED

    def decide(self, watcher: str, *, is_allowed: bool) -> None:
        """Answers a pop-up, or changes an earlier answer; it holds from now on."""
        self.asking.pop(watcher, None)
        (self.allowed if is_allowed else self.blocked).add(watcher)
        (self.blocked if is_allowed else self.allowed).discard(watcher)
        self.changed()

    def forget(self, watcher: str) -> None:
        """Takes back what was decided about a watcher: the next subscription prompts again."""
        self.asking.pop(watcher, None)
        self.allowed.discard(watcher)
        self.blocked.discard(watcher)
        self.changed()

    def endpoint_for(self, request: Request, opaque: str) -> Endpoint | None:
        """The endpoint that a request goes to: the one of its call, the one it names, else the newest."""
        for endpoint in self.endpoints:
            if endpoint.has_dialog(request.call_id):
                return endpoint
        for endpoint in self.endpoints:
            if opaque and endpoint.opaque == opaque:
                return endpoint
        return self.endpoints[-1] if self.endpoints and not opaque else None
