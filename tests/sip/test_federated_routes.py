"""Three next hops, one dead and one that answers 503: who gets requests, and when."""

import socket
from pathlib import Path

from tests.sip.federated import Federated
from tests.sip.sipp import HOST, answering

TAKEN, REFUSED = "200 OK.*CSeq: 1 BYE", "503 Service Unavailable"


async def test_three_next_hops(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))  # a port at which nobody listens, and which nobody else gets
        dead = federated.route("fail-*", nobody.getsockname()[1], priority=1)
        busy, good = (federated.route("fail-*", priority=number) for number in (2, 3))
        async with (
            answering("hop_unavailable", directory=tmp_path, port=busy) as second,
            answering("hop_taken", directory=tmp_path, port=good, keys={"theirs": "fail"}) as third,
        ):
            anna.send("<message type='chat' to='fail-1@example.org'><body>one</body></message>")
            await second.until(REFUSED)
            await third.until(TAKEN)
            anna.send("<message type='chat' to='fail-2@example.org'><body>two</body></message>")
            await third.until(TAKEN, 2)
            listed = {one["port"]: one["trouble"] for one in federated.console.get("route.list")["routes"]}
            assert listed[dead] and "503" in listed[busy] and not listed[good]
            assert (await second.stop()).messages.count("INVITE sip:") == 1, "passed over the second time"
            nobody.close()
            async with answering("hop_back", directory=tmp_path, port=dead, keys={"theirs": "fail"}) as first:
                await first.until("200 OK.*CSeq: 1 OPTIONS", seconds=20)
                anna.send("<message type='chat' to='fail-3@example.org'><body>three</body></message>")
                await first.until("INVITE sip:fail-3")
            assert (await third.stop()).messages.count("INVITE sip:") == 2
    assert not [tag for tag in anna.wire.inbox if getattr(tag, "name", "") == "message"], anna.wire.inbox


async def test_the_advanced_mode_sends_nothing_for_unknown_people(
    federated: Federated, tmp_path: Path
) -> None:
    (anna,) = await federated.log_in()
    port = federated.route("known-*")
    federated.console.post("microsoft.add", addresses=["known-1@example.org"])
    federated.console.post("federation.enable", mode="advanced")
    try:
        async with answering("hop_taken", directory=tmp_path, port=port, keys={"theirs": "known"}) as sipp:
            anna.send("<message type='chat' to='known-2@example.org' id='x'><body>two</body></message>")
            error = await anna.expect(lambda tag: tag.get("id") == "x")
            assert error.condition() == "service-unavailable", error
            anna.send("<message type='chat' to='known-1@example.org'><body>one</body></message>")
            await sipp.until(TAKEN)
            assert "known-2" not in (await sipp.stop()).messages
    finally:
        federated.console.post("federation.enable", mode="basic")
