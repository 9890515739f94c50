"""One IM conversation of a simulated client: a session by INVITE, texts by MESSAGE, typing by INFO.

MS-SIP and RFC 3261; session mode, as all Microsoft clients use it. Glare is not resolved: each INVITE makes a
conversation of its own, and what is sent goes into the newest.
"""

import asyncio
from collections.abc import Awaitable, Callable

from ubiety.lab import imbody
from ubiety.lab.dialog import Dialog, accepted, opened
from ubiety.lab.exchanges import NoAnswerError
from ubiety.lab.journal import AnswerSeen, ConversationSeen, Journal, MessageSeen, TypingSeen
from ubiety.lab.site import new_token
from ubiety.sip.message import Request, Response, make_request, make_response

Originate = Callable[[Request], Awaitable[Response]]
Acknowledge = Callable[[Request], None]
ALLOW = "INVITE, MESSAGE, INFO, SUBSCRIBE, OPTIONS, BYE, CANCEL, NOTIFY, ACK, REFER, BENOTIFY"
ROUTES_CHANGE = "ms-dialog-route-set-update"
USER_AGENT = "UCCAPI/4.0.7577.0 OC/4.0.7577.0 (Microsoft Lync 2010)"


class Conversation:
    """A conversation with one peer, ours (`start`) or theirs (`invited`)."""

    def __init__(
        self,
        me: str,
        contact: str,
        host: str,
        peer: str,
        journal: Journal,
        originate: Originate,
        acknowledge: Acknowledge,
    ) -> None:
        self.me = me
        self.peer = peer
        self.call_id = new_token()
        self.dialog: Dialog | None = None
        self.is_over = False
        self.is_acknowledged = False
        self._contact = contact
        self._host = host
        self._journal = journal
        self._originate = originate
        self._acknowledge = acknowledge
        self._turn = asyncio.Lock()

    def _headers(self, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        return (
            ("Contact", self._contact),
            ("User-Agent", USER_AGENT),
            *more,
            ("Supported", ROUTES_CHANGE),
        )

    async def start(
        self, conversation_id: int, first: str = "", others: tuple[str, ...] = ()
    ) -> tuple[int, bool]:
        """Invites; returns the final status, and whether `first` came with the INVITE and was taken.

        With `others` it is an invitation to a group chat, as clients of 2005 made it.
        """
        headers = [("Ms-Conversation-ID", str(conversation_id)), ("Supported", "ms-sender"), ("Allow", ALLOW)]
        if others:
            everybody = ", ".join(f"<sip:{one}>" for one in (self.me, self.peer, *others))
            headers += [("Roster-Manager", f"<sip:{self.me}>"), ("EndPoints", everybody)]
            headers.append(("Require", "com.microsoft.rtc-multiparty"))
        if first:
            headers.append(("ms-text-format", imbody.first_message(first)))
        invite = make_request(
            "INVITE",
            f"sip:{self.peer}",
            f"<sip:{self.me}>;tag={new_token()};epid={new_token()[:10]}",
            f"<sip:{self.peer}>",
            self.call_id,
            1,
            headers=self._headers(*headers),
            content_type=imbody.SDP,
            body=imbody.write_sdp(self._host),
        )
        async with self._turn:
            try:
                answer = await self._originate(invite)
            except NoAnswerError as error:
                answer = make_response(invite, error.status)
            if answer.status >= 300:
                self._end("failed", answer.status)
                return answer.status, False
            self.dialog = opened(invite, answer)
            self._acknowledge(self.dialog.request("ACK", (("User-Agent", USER_AGENT),)))
            self.is_acknowledged = True
            self._journal.add(ConversationSeen(self.peer, "opened", answer.status))
            return answer.status, bool(first) and "ms-text-format" in answer.headers.values("Supported")

    async def say(self, text: str, content_type: str = "") -> int:
        """Sends a text; returns the final status."""
        return await self._request("MESSAGE", content_type or imbody.text_type(), text.encode())

    async def type(self, is_typing: bool) -> int:
        """Tells whether we type; returns the final status."""
        return await self._request("INFO", imbody.KEYBOARD, imbody.write_keyboard(is_typing))

    async def end(self) -> None:
        """Says good-bye."""
        if not self.is_over and self.dialog is not None:
            self.is_over = True
            await self._request("BYE", "", b"")
            self._journal.add(ConversationSeen(self.peer, "ended"))

    async def _request(self, method: str, content_type: str, body: bytes) -> int:
        async with self._turn:  # texts stay in order: one at a time
            if self.dialog is None:
                return 481
            typed = (("Content-Type", content_type),) if content_type else ()
            request = self.dialog.request(method, self._headers(*typed), body)
            try:
                status = (await self._originate(request)).status
            except NoAnswerError as error:
                status = error.status
        self._journal.add(AnswerSeen(self.peer, method, status))
        if status in (408, 481) and method != "BYE":  # RFC 3261 §12.2.1.2: the dialog is gone
            self._end("ended", status)
        return status

    def invited(self, request: Request) -> Response:
        """Accepts an INVITE of the peer, or refuses what is no IM conversation."""
        if "com.microsoft.rtc-multiparty" in request.headers.values("Require"):
            unsupported = (("Unsupported", "com.microsoft.rtc-multiparty"),)
            return make_response(request, 420, to_tag=new_token(), headers=unsupported)
        if request.body and not imbody.offers_messages(request.body):
            return make_response(request, 488, to_tag=new_token())
        taken = imbody.read_first_message(request.headers.get("ms-text-format") or "")
        self.call_id = request.call_id
        self.dialog = accepted(request, new_token())
        self._journal.add(ConversationSeen(self.peer, "opened", 200))
        headers = [("Allow", ALLOW)]
        if taken is not None:
            headers.append(("Supported", "ms-text-format"))
            self._journal.add(MessageSeen(self.peer, taken))
        return self._ok(request, *headers)

    def _ok(self, request: Request, *headers: tuple[str, str]) -> Response:
        assert self.dialog is not None
        return make_response(
            request,
            200,
            to_tag=self.dialog.local_tag,
            headers=self._headers(*headers),
            content_type=imbody.SDP,
            body=imbody.write_sdp(self._host),
        )

    def requested(self, request: Request) -> Response:
        """Answers a request in the dialog."""
        if self.dialog is None or self.is_over:
            return make_response(request, 481)
        if not self.dialog.is_in_order(request):
            return make_response(request, 500)
        handler = {
            "INVITE": self._ok,
            "MESSAGE": self._told,
            "INFO": self._informed,
            "BYE": self._left,
        }.get(request.method)
        return handler(request) if handler else make_response(request, 405, headers=(("Allow", ALLOW),))

    def _told(self, request: Request) -> Response:
        kind = request.content_type
        if kind not in imbody.UNDERSTOOD:
            return make_response(request, 415, headers=(("Accept", imbody.ACCEPTED.replace(" ", ", ")),))
        charset = request.content_params.get("charset", "utf-8")
        try:
            text = request.body.decode(charset)
        except (LookupError, UnicodeDecodeError):
            return make_response(request, 400)
        self._journal.add(MessageSeen(self.peer, text, kind))
        return make_response(request, 200)

    def _informed(self, request: Request) -> Response:
        is_typing = imbody.read_keyboard(request.body)
        if is_typing is not None:
            self._journal.add(TypingSeen(self.peer, is_typing))
        return make_response(request, 200 if is_typing is not None else 415)

    def _left(self, request: Request) -> Response:
        self._end("ended")
        return make_response(request, 200)

    def acknowledged(self) -> None:
        """Their ACK of our 200 has come."""
        self.is_acknowledged = True

    def _end(self, state: str, status: int = 0) -> None:
        if not self.is_over:
            self.is_over = True
            self._journal.add(ConversationSeen(self.peer, state, status))
