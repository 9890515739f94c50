"""A phone system publishes what lines of our people do, and it shows."""

import pytest

from tests.unit.gateway.rig import ROUTE, Rig
from tests.unit.users.place import DOMAIN, Client
from ubiety.gateway.publishing import Publishing
from ubiety.presence.model import State
from ubiety.routing.homes import Person
from ubiety.sip import pidf
from ubiety.sip.message import Request, Response, make_request
from ubiety.sip.pidf import PIDF, SipPresence
from ubiety.users.outsiders import composed_of

ANN = f"ann@{DOMAIN}"
TALKING = SipPresence(True, frozenset({"on-the-phone"}))
IDLE = SipPresence(True)


class Phones:
    """A phone system on the other side."""

    def __init__(self, rig: Rig, client: Client) -> None:
        self.rig = rig
        self.person: Person = client.user.person
        numbers = iter(range(1000))
        ours = rig.ours
        self.publishing = Publishing(
            ours.context, ours, rig.timeline.call_later, lambda: f"etag{next(numbers)}"
        )
        original = ours.request_received

        def received(key: int, request: Request) -> None:
            if request.method == "PUBLISH":
                self.publishing.received(key, request, self.person)
            else:
                original(key, request)

        ours.request_received = received  # type: ignore[method-assign]
        self._count = 0

    async def publish(
        self,
        presence: SipPresence | None,
        etag: str | None = None,
        expires: int = 600,
        event: str = "presence",
        body: bytes = b"",
        content_type: str = PIDF,
    ) -> Response:
        """Publish and return the answer."""
        if presence is not None:
            content_type, body = pidf.write(f"sip:{ANN}", presence)
        self._count += 1
        headers = [("Event", event), ("Expires", str(expires))]
        if etag is not None:
            headers.append(("SIP-If-Match", etag))
        request = make_request(
            "PUBLISH",
            f"sip:{ANN}",
            f"<sip:{ANN}>;tag=p",
            f"<sip:{ANN}>",
            f"pub{self._count}",
            1,
            headers=headers,
            content_type=content_type if body else "",
            body=body,
        )
        key = self.rig.theirs.send(request, ROUTE)
        await self.rig.settle()
        answer = self.rig.theirs.responses[key]
        assert isinstance(answer, Response)
        return answer

    def state(self) -> State:
        """What Ann is."""
        return composed_of(self.rig.place.context, self.person).state


@pytest.fixture
async def phones(rig: Rig) -> Phones:
    """A phone system that knows Ann's lines."""
    return Phones(rig, await rig.place.sign_in("ann"))


def etag_of(answer: Response) -> str:
    assert answer.status == 200
    return answer.headers.get("sip-etag") or ""


async def test_a_call(phones: Phones) -> None:
    etag = etag_of(await phones.publish(IDLE))
    assert phones.state() is State.AVAILABLE
    etag = etag_of(await phones.publish(TALKING, etag))
    assert phones.state() is State.ON_THE_PHONE
    etag = etag_of(await phones.publish(None, etag))
    assert phones.state() is State.ON_THE_PHONE
    answer = await phones.publish(IDLE, etag)
    assert phones.state() is State.AVAILABLE
    assert answer.headers.get("expires") == "600"
    assert etag_of(await phones.publish(None, etag_of(answer), expires=0))
    assert len(phones.publishing) == 0


async def test_two_lines(phones: Phones) -> None:
    one = etag_of(await phones.publish(TALKING))
    two = etag_of(await phones.publish(TALKING))
    await phones.publish(IDLE, one)
    assert phones.state() is State.ON_THE_PHONE
    await phones.publish(None, two, expires=0)
    assert phones.state() is State.AVAILABLE


async def test_a_line_that_nobody_reports_any_more(phones: Phones) -> None:
    await phones.publish(TALKING)
    await phones.rig.advance(300)
    later = etag_of(await phones.publish(TALKING))
    await phones.rig.advance(306)
    assert phones.state() is State.ON_THE_PHONE
    assert len(phones.publishing) == 1
    await phones.publish(None, later)
    await phones.rig.advance(500)
    assert len(phones.publishing) == 1
    await phones.rig.advance(120)
    assert phones.state() is State.AVAILABLE
    assert len(phones.publishing) == 0
    assert phones.rig.timeline.next_at() is None


async def test_a_person_who_is_moved(phones: Phones) -> None:
    etag = etag_of(await phones.publish(TALKING))
    phones.publishing.release(lambda user_id: user_id == phones.person.user_id)
    assert phones.state() is State.ON_THE_PHONE  # nobody is told
    assert (await phones.publish(None, etag)).status == 412
    assert len(phones.publishing) == 0


@pytest.mark.parametrize(
    ("changes", "status", "header"),
    [
        ({"event": "dialog"}, 489, ("allow-events", "presence")),
        ({"presence": None, "body": b"x", "content_type": "text/plain"}, 415, ("accept", PIDF)),
        ({"presence": None, "body": b"<x"}, 400, ("server", "Ubiety-Partitioned")),
        ({"presence": None}, 400, ("server", "Ubiety-Partitioned")),
        ({"expires": 5}, 423, ("min-expires", "60")),
        ({"etag": "never"}, 412, ("server", "Ubiety-Partitioned")),
    ],
)
async def test_refusals(
    phones: Phones, changes: dict[str, object], status: int, header: tuple[str, str]
) -> None:
    answer = await phones.publish(**{"presence": TALKING, **changes})  # type: ignore[arg-type]
    assert answer.status == status
    assert answer.headers.get(header[0]) == header[1]
    assert phones.state() is State.AVAILABLE
