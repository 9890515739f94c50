"""A simulated Lync client: what a person does, as calls, and what it has seen, as a journal.

bob = await pool.sign_in("bob")
await bob.add_contact("ann@example.org")
await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")
await bob.send("ann@example.org", "Hello")
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Protocol

from ubiety.lab.availability import Shown, parse_availability
from ubiety.lab.conversation import Conversation
from ubiety.lab.dialog import address_of
from ubiety.lab.front_end import FrontEnd
from ubiety.lab.journal import ConversationSeen, Entry, Journal, PromptSeen
from ubiety.lab.people import Person
from ubiety.lab.plan import bare
from ubiety.lab.site import Site, new_token
from ubiety.lab.watching import Subscription
from ubiety.sip.message import Request, Response, make_response


class Servers(Protocol):
    """What a client needs of its pool."""

    site: Site

    def home_of(self, uri: str) -> FrontEnd:
        """The front end that serves a person now."""

    async def originate(self, front_end: FrontEnd, request: Request) -> Response:
        """Sends a request of a client of ours. Raises NoAnswerError."""

    def acknowledge(self, front_end: FrontEnd, request: Request) -> None:
        """Sends an ACK of a client of ours."""

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Runs something that goes on when the front end stops."""


OnEntry = Callable[["Client", Entry], None]


class Client:
    """One signed-in simulated client. Peers are bare addresses, user@domain."""

    def __init__(self, servers: Servers, person: Person, on_entry: OnEntry) -> None:
        self.person = person
        self.journal = Journal(lambda entry: on_entry(self, entry))
        self.opaque = f"user:epid:{new_token()}-{new_token()[:4]}AA"
        self.subscriptions: dict[str, Subscription] = {}
        self.conversations: dict[str, Conversation] = {}
        self.invite_answer = 200
        """How INVITEs are answered; 0 lets them ring for ever."""
        self.answer_after = 0.0
        """Seconds that an INVITE rings."""
        self.joins_first_message = servers.site.plan.first_message_in_invite
        self._servers = servers
        self._count = 0
        self._ended: deque[Subscription] = deque(maxlen=64)
        self._by_call: dict[str, Subscription] = {}

    @property
    def uri(self) -> str:
        """The bare address."""
        return self.person.uri

    @property
    def contact(self) -> str:
        """The Contact header: a GRUU, as Microsoft's servers give it out."""
        return f"<sip:{self.uri};opaque={self.opaque};gruu>"

    @property
    def home(self) -> FrontEnd:
        """The front end that serves this client."""
        return self._servers.home_of(self.uri)

    async def _originate(self, request: Request) -> Response:
        return await self._servers.originate(self.home, request)

    def _acknowledge(self, request: Request) -> None:
        self._servers.acknowledge(self.home, request)

    # Presence

    def set_availability(self, word: str, note: str = "", activity: str = "") -> None:
        """Shows an availability, by name or number. Raises AvailabilityError."""
        self.person.show(Shown(parse_availability(word), activity, note))

    def watch_contacts(self) -> None:
        """Subscribes to everybody in the contact list, as a client does when it has signed in."""
        for peer in self.person.contacts:
            self._watch(peer)

    def add_contact(self, address: str) -> Subscription:
        """Puts somebody into the contact list and subscribes to the presence."""
        peer = bare(address)
        if peer not in self.person.contacts:
            self.person.contacts.append(peer)
        return self._watch(peer)

    async def remove_contact(self, address: str) -> None:
        """Takes somebody off the contact list and ends the subscription."""
        peer = bare(address)
        if peer in self.person.contacts:
            self.person.contacts.remove(peer)
        subscription = self.subscriptions.pop(peer, None)
        if subscription is not None:
            await self._unsubscribe(subscription)

    async def _unsubscribe(self, subscription: Subscription) -> None:
        self._ended.append(subscription)  # one more NOTIFY is to come
        await subscription.stop(self._originate)

    def _watch(self, peer: str) -> Subscription:
        known = self.subscriptions.get(peer)
        if known is not None and known.state != "terminated":
            known.refresh_now()
            return known
        plan = self._servers.site.plan
        refresh = self.person.plan.refresh or plan.refresh
        subscription = Subscription(plan, refresh, self.uri, self.contact, peer, self.journal)
        self.subscriptions[peer] = subscription
        self._servers.spawn(subscription.run(self._originate))
        return subscription

    def sees(self, address: str) -> Shown | None:
        """What is known of a contact; None if nothing yet."""
        subscription = self.subscriptions.get(bare(address))
        return subscription.shown if subscription else None

    def prompted(self, watcher: str) -> None:
        """Shows the pop-up."""
        self.journal.add(PromptSeen(watcher))

    def accept(self, address: str) -> None:
        """Lets somebody see this person, now and later."""
        self.person.decide(bare(address), is_allowed=True)

    def deny(self, address: str) -> None:
        """Blocks somebody, who is then shown an offline user."""
        self.person.decide(bare(address), is_allowed=False)

    # Conversations

    def conversation(self, address: str) -> Conversation | None:
        """The newest open conversation with somebody."""
        peer = bare(address)
        found = [one for one in self.conversations.values() if one.peer == peer and not one.is_over]
        return found[-1] if found else None

    async def send(self, address: str, text: str, content_type: str = "") -> int:
        """Sends an IM, in a new conversation if there is none; returns the final SIP status."""
        conversation = self.conversation(address)
        if conversation is None:
            conversation = self._new(bare(address))
            with_invite = text if self.joins_first_message and not content_type else ""
            status, was_taken = await self._start(conversation, with_invite)
            if status >= 300 or was_taken:
                return status
        return await conversation.say(text, content_type)

    async def typing(self, address: str, is_typing: bool = True) -> int:
        """Tells somebody that this person types, in a new conversation if there is none."""
        conversation = self.conversation(address)
        if conversation is None:
            conversation = self._new(bare(address))
            status, _ = await self._start(conversation)
            if status >= 300:
                return status
        return await conversation.type(is_typing)

    async def invite(self, address: str) -> int:
        """Opens one more conversation without saying anything; returns the final status."""
        status, _ = await self._start(self._new(bare(address)))
        return status

    async def invite_to_group(self, address: str, *others: str) -> int:
        """Invites somebody to a conversation of several people; returns the final status."""
        status, _ = await self._start(self._new(bare(address)), others=tuple(map(bare, others)))
        return status

    async def flood(self, address: str, count: int) -> Counter[int]:
        """Invites somebody many times at once; returns how often each final status came."""
        return Counter(await asyncio.gather(*(self.invite(address) for _ in range(count))))

    async def end(self, address: str) -> None:
        """Ends all conversations with somebody."""
        for conversation in list(self.conversations.values()):
            if conversation.peer == bare(address):
                await conversation.end()
                self.conversations.pop(conversation.call_id, None)

    def _new(self, peer: str) -> Conversation:
        host = self._servers.site.plan.address
        return Conversation(
            self.uri, self.contact, host, peer, self.journal, self._originate, self._acknowledge
        )

    async def _start(
        self, conversation: Conversation, first: str = "", others: tuple[str, ...] = ()
    ) -> tuple[int, bool]:
        self._count += 1
        self.conversations[conversation.call_id] = conversation
        try:
            return await conversation.start(self._count, first, others)
        finally:
            if conversation.is_over:
                self.conversations.pop(conversation.call_id, None)

    # What comes in

    def has_dialog(self, call_id: str) -> bool:
        """Whether a request of this call is for this client."""
        return call_id in self.conversations or self._subscription(call_id) is not None

    def _subscription(self, call_id: str) -> Subscription | None:
        known = self._by_call.get(call_id)
        if known is None or known.call_id != call_id:  # it has lost its dialog, or has never been asked for
            everyone = (*self.subscriptions.values(), *self._ended)
            known = next((one for one in everyone if one.call_id == call_id), None)
            self._by_call.pop(call_id, None)
            if known is not None:
                self._by_call[call_id] = known
        return known

    async def answer(self, request: Request, on_provisional: Callable[[Response], None]) -> Response:
        """Takes a request and returns the final answer."""
        if request.method == "NOTIFY":
            subscription = self._subscription(request.call_id)
            if subscription is not None:
                return subscription.notified(request)
            return make_response(request, 481, to_tag=new_token())
        if request.method == "INVITE" and not request.to.tag:
            return await self._invited(request, on_provisional)
        conversation = self.conversations.get(request.call_id)
        if conversation is None:
            return make_response(request, 481, to_tag=new_token())
        answer = conversation.requested(request)
        if conversation.is_over:
            self.conversations.pop(request.call_id, None)
        return answer

    async def _invited(self, request: Request, on_provisional: Callable[[Response], None]) -> Response:
        peer, tag = address_of(request.from_), new_token()
        if self.answer_after or not self.invite_answer:
            on_provisional(make_response(request, 180, to_tag=tag, headers=(("Contact", self.contact),)))
            await asyncio.sleep(self.answer_after if self.invite_answer else 3600)
        if self.invite_answer >= 300:
            self.journal.add(ConversationSeen(peer, "refused", self.invite_answer))
            return make_response(request, self.invite_answer, to_tag=tag)
        conversation = self._new(peer)
        answer = conversation.invited(request)
        if answer.status < 300:
            self.conversations[conversation.call_id] = conversation
        return answer

    def acknowledged(self, request: Request) -> None:
        """Takes the ACK of a 2xx."""
        conversation = self.conversations.get(request.call_id)
        if conversation is not None:
            conversation.acknowledged()

    async def leave(self) -> None:
        """Ends everything, as signing out does."""
        for conversation in list(self.conversations.values()):
            await conversation.end()
        for subscription in list(self.subscriptions.values()):
            await self._unsubscribe(subscription)
        self.conversations.clear()
        self.subscriptions.clear()
