"""A real client that has signed in: messages for its person go over its connection, signed."""

from collections.abc import Callable

from ubiety.lab.connection import Connection
from ubiety.lab.dialog import Dialog
from ubiety.lab.exchanges import NoAnswerError
from ubiety.lab.front_end import FrontEnd
from ubiety.lab.people import Person
from ubiety.lab.signing import Association
from ubiety.lab.site import new_token
from ubiety.sip.message import Request, Response


class RealClient:
    """One registered connection of one person."""

    def __init__(
        self, person: Person, connection: Connection, front_end: FrontEnd, association: Association
    ) -> None:
        self.person = person
        self.connection = connection
        self.front_end = front_end
        self.association = association
        self.opaque = f"user:epid:{new_token()}-{new_token()[:4]}AA"
        self.address = ""
        self.on_left: list[Callable[[], None]] = []
        self.on_prompt: Callable[[str], None] = lambda _watcher: None

    @property
    def gruu(self) -> str:
        """The address that leads to this client and no other of the person."""
        return f"sip:{self.person.uri};opaque={self.opaque};gruu"

    def bound(self, address: str) -> None:
        """Notes where the client registered itself."""
        self.address = address
        if self not in self.person.endpoints:
            self.person.endpoints.append(self)

    def left(self) -> None:
        """Signs the client out."""
        if self in self.person.endpoints:
            self.person.endpoints.remove(self)
            for listener in self.on_left:
                listener()

    def has_dialog(self, call_id: str) -> bool:
        """Nobody but the client knows its dialogs; requests find it by its GRUU."""
        del call_id
        return False

    def prompted(self, watcher: str) -> None:
        """Tells the client that somebody wants to see its person."""
        self.on_prompt(watcher)

    async def answer(self, request: Request, on_provisional: Callable[[Response], None]) -> Response:
        """Passes a request on to the client and returns its answer. Raises NoAnswerError."""
        passed = request.replace(uri=self.address)
        return await self.front_end.send(passed, self.connection, on_provisional)

    def acknowledged(self, request: Request) -> None:
        """Passes an ACK on."""
        self.connection.send(self.front_end.with_via(request.replace(uri=self.address)))

    def push(
        self, dialog: Dialog, headers: tuple[tuple[str, str], ...], body: bytes, *, is_best_effort: bool
    ) -> None:
        """Notifies the client: by BENOTIFY, which has no answer (MS-SIP 3.5), where it takes that."""
        if is_best_effort:
            self.connection.send(self.front_end.with_via(dialog.request("BENOTIFY", headers, body)))
        else:
            self.front_end.spawn(self._notify(dialog.request("NOTIFY", headers, body)))

    async def _notify(self, request: Request) -> None:
        try:
            await self.front_end.send(request, self.connection)
        except NoAnswerError:
            return
