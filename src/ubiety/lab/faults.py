"""What can be wrong with a front end, to see how the other side copes."""

import asyncio
from dataclasses import dataclass, field

from ubiety.sip.message import Request, Response, make_response

GARBAGE = b"\x16\x03\x01 this is no SIP \x00\xff\r\nX: y\r\n\r\n"


@dataclass(slots=True)
class Faults:
    """The faults of one front end; a fresh one has none."""

    is_mute: bool = False
    """Takes requests and never answers."""
    delay: float = 0.0
    """Seconds that every answer is late."""
    answers_twice: bool = False
    """Sends every final answer two times."""
    refusals: dict[str, int] = field(default_factory=dict)
    """Status codes by method, "*" for all: answered in place of the real answer."""
    refused_options: bool = False
    """Refuses OPTIONS as well, so that a probe finds the front end dead."""

    def refusal(self, request: Request) -> Response | None:
        """The answer that a fault puts in place of the real one."""
        status = self.refusals.get(request.method, self.refusals.get("*", 0))
        if not status or (request.method == "OPTIONS" and not self.refused_options):
            return None
        headers = (("Retry-After", "30"),) if status == 503 else ()
        return make_response(request, status, to_tag="refused", headers=headers)

    async def hold_back(self) -> None:
        """Waits as long as the answers are late."""
        if self.delay:
            await asyncio.sleep(self.delay)
