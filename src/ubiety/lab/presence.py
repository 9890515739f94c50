"""The presence server of a pool: it answers subscriptions to its people, whether they are signed in or not.

RFC 6665 as a notifier, with the policy of `people`: a watcher who is blocked is shown an offline user, one
who has to wait for the answer to a pop-up is pending.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ubiety.lab.availability import Shown
from ubiety.lab.dialog import Dialog, accepted, address_of
from ubiety.lab.exchanges import NoAnswerError
from ubiety.lab.front_end import FrontEnd
from ubiety.lab.people import ALLOWED, ASKED, Person
from ubiety.lab.pidf import PIDF, write_pidf
from ubiety.lab.site import Site, new_token
from ubiety.sip.message import Request, Response, make_response

READABLE = (PIDF, "application/cpim-pidf+xml", "*/*", "application/*")
"""Accept values of others that our one dialect satisfies."""
Originate = Callable[[FrontEnd, Request], Awaitable[Response]]


@dataclass(slots=True, eq=False)
class Watch:
    """One subscription of somebody to one of our people."""

    person: Person
    watcher: str
    dialog: Dialog
    front_end: FrontEnd
    content_type: str
    expires_at: float
    event: str = "presence"
    is_dirty: bool = True
    is_over: bool = False
    reason: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    notified: int = 0
    """How many NOTIFYs were accepted; for those who count."""


class PresenceServer:
    """All subscriptions to people of one pool. `originate` sends a request of ours through a front end."""

    def __init__(self, site: Site, originate: Originate) -> None:
        self.site = site
        self._originate = originate
        self.watches: dict[tuple[str, str], Watch] = {}
        self._of: dict[str, set[Watch]] = {uri: set() for uri in site.people}
        for person in site.people.values():
            person.on_change.append(self._person_changed)

    def subscribe(self, request: Request, person: Person, front_end: FrontEnd) -> Response:
        """Answers the first SUBSCRIBE of a subscription; the NOTIFY follows."""
        event = request.event
        if event is None or event.package != "presence":
            return make_response(request, 489, to_tag=new_token(), headers=(("Allow-Events", "presence"),))
        content_type = choose_type(request.headers.values("Accept"))
        if not content_type:
            return make_response(request, 406, to_tag=new_token())
        dialog = accepted(request, new_token())
        watcher = address_of(request.from_)
        verdict = person.judge(watcher, watcher in self.site.people)
        seconds = self._granted(request)
        watch = Watch(person, watcher, dialog, front_end, content_type, _now() + seconds)
        self.watches[request.call_id, dialog.local_tag] = watch
        self._of[person.uri].add(watch)
        front_end.spawn(self._serve(watch))
        return self._accept(request, watch, 202 if verdict == ASKED else 200, seconds)

    def refresh(self, request: Request) -> Response:
        """Answers a SUBSCRIBE in a dialog: a refresh, or the end of it."""
        watch = self.watches.get((request.call_id, request.to.tag or ""))
        if watch is None or watch.is_over:
            return make_response(request, 481)
        if not watch.dialog.is_in_order(request):
            return make_response(request, 500)
        seconds = self._granted(request)
        watch.expires_at = _now() + seconds
        watch.is_dirty = True
        watch.wake.set()
        return self._accept(request, watch, 200, seconds)

    def forget_all(self) -> None:
        """Loses every subscription without telling anybody, as a server that was restarted has."""
        for watch in self.watches.values():
            watch.is_over = True
            watch.wake.set()
        self.watches.clear()

    def end_all(self, reason: str = "deactivated") -> None:
        """Ends every subscription properly, so that watchers come again."""
        for watch in self.watches.values():
            watch.reason = reason
            watch.is_dirty = True
            watch.wake.set()

    def watchers_of(self, person: Person) -> list[str]:
        """Who watches a person, the same one once for each subscription."""
        return [watch.watcher for watch in self._of[person.uri]]

    def _granted(self, request: Request) -> float:
        asked = 3600 if request.expires is None else request.expires
        return min(float(asked), self.site.plan.grant)

    def _accept(self, request: Request, watch: Watch, status: int, seconds: float) -> Response:
        headers = (
            ("Contact", f"<{watch.front_end.contact};ms-fe={watch.front_end.plan.name}>"),
            ("Expires", f"{seconds:.0f}"),
            ("Event", watch.event),
            ("Supported", "com.microsoft.autoextend"),
        )
        return make_response(request, status, to_tag=watch.dialog.local_tag, headers=headers)

    def _person_changed(self, person: Person) -> None:
        for watch in self._of[person.uri]:
            watch.is_dirty = True
            watch.wake.set()

    async def _serve(self, watch: Watch) -> None:
        """Sends NOTIFYs, one at a time and always the newest state, until the subscription ends."""
        try:
            while not watch.is_over:
                if watch.is_dirty:
                    watch.is_dirty = False
                    await self._notify(watch)
                    continue
                watch.wake.clear()
                try:
                    async with asyncio.timeout(max(0.0, watch.expires_at - _now())):
                        await watch.wake.wait()
                except TimeoutError:
                    watch.is_dirty = True  # the last NOTIFY says why
        finally:
            self.watches.pop((watch.dialog.call_id, watch.dialog.local_tag), None)
            self._of[watch.person.uri].discard(watch)

    async def _notify(self, watch: Watch) -> None:
        left = watch.expires_at - _now()
        if watch.reason or left <= 0:
            watch.is_over = True
        request = self._notification(watch, left)
        try:
            answer = await self._originate(watch.front_end, request)
        except NoAnswerError:
            watch.is_over = True  # RFC 6665 §4.2.2
            return
        if answer.status >= 300:
            watch.is_over = True
        else:
            watch.notified += 1

    def _notification(self, watch: Watch, left: float) -> Request:
        verdict = watch.person.judge(watch.watcher, watch.watcher in self.site.people)
        state = "pending" if verdict == ASKED else "active"
        if watch.is_over:
            value = f"terminated;reason={watch.reason or 'timeout'}"
        else:
            value = f"{state};expires={left:.0f}"
        headers = [
            ("Contact", f"<{watch.front_end.contact};ms-fe={watch.front_end.plan.name}>"),
            ("Event", watch.event),
            ("Subscription-State", value),
        ]
        body = b""
        if state == "active":
            shown = watch.person.shown if verdict == ALLOWED else Shown()
            body = write_pidf(f"sip:{watch.person.uri}", shown, watch.person.name)
            headers.append(("Content-Type", watch.content_type))
        return watch.dialog.request("NOTIFY", tuple(headers), body)


def choose_type(accept: tuple[str, ...]) -> str:
    """The type of the body for somebody who reads `accept`; empty if we write none of them."""
    if not accept:
        return PIDF  # RFC 3856 §6.7
    wanted = [value.partition(";")[0].strip().lower() for value in accept]
    if PIDF in wanted or any(one in wanted for one in ("*/*", "application/*")):
        return PIDF
    return next((one for one in wanted if one in READABLE), "")


def _now() -> float:
    return asyncio.get_running_loop().time()
