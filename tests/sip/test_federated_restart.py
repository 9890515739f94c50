"""A node that is killed and comes back: what SIPp has open with it goes on in the same dialogs."""

import asyncio
from pathlib import Path
from typing import Any

from tests.harness.client import Client
from tests.sip.federated import Federated
from tests.sip.sipp import answering, calling

ROSTER = "jabber:iq:roster"


async def test_dialogs_outlive_the_node(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    bob = "bob-stays@example.org"
    port = federated.route("bob-stays", transport="udp")
    keys = {"ours": anna.user, "theirs": "bob-stays"}
    calls: dict[str, Any] = {"directory": tmp_path, "transport": "udp", "keys": keys}
    async with (
        calling("presence_restart", federated.port, seconds=60, **calls) as watcher,
        calling("im_in_restart", federated.port, seconds=60, **calls) as writer,
        answering("presence_shown_restart", port=port, calls=1, **calls) as shown,
    ):
        await watcher.until("<basic>open")
        await anna.expect_message("before the fall")
        anna.send(f"<presence type='subscribe' to='{bob}'/>")
        await anna.expect(lambda tag: tag.get("type") == "subscribed" and tag.get("from") == bob)
        await shown.until("200 OK.*CSeq: 1 NOTIFY")
        await asyncio.sleep(0.5)  # what was told them is written beside other work
        federated.node.kill()
        anna.abort()
        federated.restart()
        await watcher.until("<basic>closed")
        again = await Client(federated.node.place, anna.user).login()
        again.send("<presence/>")
        again.send(f"<message type='chat' to='{bob}'><body>here again</body></message>")
        await again.expect_message("after the fall")
        reports = [await one.report() for one in (watcher, writer, shown)]
        await again.expect(lambda tag: tag.get("from") == bob and tag.find("show") is not None)
    assert [report.successful for report in reports] == [1, 1, 1], "\n".join(map(str, reports))
