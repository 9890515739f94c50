"""A simulated client's subscriptions to its contacts, made and refreshed (RFC 6665, the subscriber)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from ubiety.lab.availability import Shown
from ubiety.lab.dialog import Dialog, opened
from ubiety.lab.exchanges import NoAnswerError
from ubiety.lab.journal import Journal, PresenceSeen, SubscriptionSeen
from ubiety.lab.pidf import BodyError, read_pidf
from ubiety.lab.plan import Plan
from ubiety.lab.site import new_token
from ubiety.sip.message import Request, Response, make_request, make_response

FINAL = frozenset({403, 404, 405, 489, 603, 604, 606})
"""Answers after which trying again makes no sense."""
COMES_AGAIN = frozenset({"deactivated", "timeout"})
LONGER = 8 / 7
"""How much longer than the time between refreshes a subscription lasts: 7,200 s for 6,300 s."""

Originate = Callable[[Request], Awaitable[Response]]


class Subscription:
    """One contact of one client."""

    def __init__(
        self, plan: Plan, refresh: float, me: str, contact: str, peer: str, journal: Journal
    ) -> None:
        self.plan = plan
        self.refresh = refresh
        self.peer = peer
        self.shown: Shown | None = None
        self.state = "new"
        """new, pending, active, or terminated"""
        self.call_id = new_token()
        self.dialog: Dialog | None = None
        self._first: Request | None = None
        self._me = me
        self._contact = contact
        self._journal = journal
        self._wake = asyncio.Event()
        self._is_stopped = False
        self._least = 0

    async def run(self, originate: Originate) -> None:
        """Keeps the subscription alive until it is stopped or refused for good."""
        while not self._is_stopped and self.state != "terminated":
            wait = await self._attempt(originate)
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def refresh_now(self) -> None:
        """Refreshes at once, or tries again at once."""
        self._wake.set()

    async def stop(self, originate: Originate) -> None:
        """Ends the subscription: Expires 0."""
        self._is_stopped = True
        self._wake.set()
        if self.dialog is not None:
            with contextlib.suppress(NoAnswerError):
                await originate(self._subscribe(0))
            self._note("terminated", "unsubscribed")

    async def _attempt(self, originate: Originate) -> float:
        """Sends one SUBSCRIBE; returns the seconds until the next."""
        try:
            request = self._subscribe(max(round(self.refresh * LONGER), self._least))
            answer = await originate(request)
        except NoAnswerError as error:
            self._lose("failed", str(error))
            return self.plan.retry
        if answer.status >= 300:
            return self._refused(answer)
        if self.dialog is None:
            self.dialog = opened(request, answer)
        granted = self.refresh * LONGER if answer.expires is None else answer.expires
        return min(self.refresh, granted / LONGER)

    def _refused(self, answer: Response) -> float:
        was_known = self.dialog is not None
        least = answer.headers.get("Min-Expires") or ""
        if answer.status == 423 and least.isdecimal() and int(least) > self._least:  # RFC 6665 §4.1.2.1
            self._least = int(least)
            return 0.0
        if answer.status in FINAL and not was_known:
            self._note("terminated", str(answer.status))
            return self.plan.retry
        self._lose("failed", str(answer.status))
        return 0.0 if answer.status == 481 and was_known else self.plan.retry

    def _lose(self, state: str, reason: str) -> None:
        """Gives the dialog up; the next SUBSCRIBE opens a new one."""
        self.dialog = None
        self.call_id = new_token()
        self._note(state, reason)

    def _subscribe(self, expires: int) -> Request:
        headers = (
            ("Contact", self._contact),
            ("Event", "presence"),
            ("Accept", self.plan.accept),
            ("Expires", str(expires)),
            ("User-Agent", USER_AGENT),
        )
        if self.dialog is not None:
            return self.dialog.request("SUBSCRIBE", headers)
        self._first = make_request(
            "SUBSCRIBE",
            f"sip:{self.peer}",
            f"<sip:{self._me}>;tag={new_token()};epid={new_token()[:10]}",
            f"<sip:{self.peer}>",
            self.call_id,
            1,
            headers=headers,
        )
        return self._first

    def notified(self, request: Request) -> Response:
        """Takes a NOTIFY of this subscription."""
        if self.dialog is None:
            if self._first is None:
                return make_response(request, 481, to_tag=new_token())
            self.dialog = opened(self._first, request)  # it was faster than the answer, RFC 6665 §4.4.1
        elif not self.dialog.is_in_order(request):
            return make_response(request, 500)
        state, _, params = (request.headers.get("Subscription-State") or "active").partition(";")
        if request.body:
            try:
                seen = read_pidf(request.body)
            except BodyError:
                return make_response(request, 400)
            self.shown = seen.shown
            self._journal.add(PresenceSeen(self.peer, seen.shown))
        self._state_told(state.strip().lower(), params)
        return make_response(request, 200)

    def _state_told(self, state: str, params: str) -> None:
        if state == "terminated":
            reason = params.partition("reason=")[2].partition(";")[0].strip()
            comes_again = reason in COMES_AGAIN and not self._is_stopped
            self._lose("ended" if comes_again else "terminated", reason)
            self._wake.set()
        elif state != self.state:
            self._note(state)

    def _note(self, state: str, reason: str = "") -> None:
        if state == self.state == "terminated":
            return  # told when we asked for it
        self.state = state
        self._journal.add(SubscriptionSeen(self.peer, state, reason))


USER_AGENT = "UCCAPI/4.0.7577.0 OC/4.0.7577.0 (Microsoft Lync 2010)"
