"""SIPp against the simulated front end: the scenarios that Ubiety is tested with fit it as well."""

import asyncio
import base64
from pathlib import Path

from tests.lab.two_pools import DOMAIN, free_port, make_pool
from tests.sip.sipp import run_sipp
from ubiety.lab.journal import MessageSeen
from ubiety.lab.pool import Pool


async def test_presence_is_watched(tmp_path: Path) -> None:
    """Available, busy, refreshed, away, offline, ended; one NOTIFY for each."""
    port = free_port()
    users = [{"uri": f"bob@{DOMAIN}", "prompts": "accept"}]
    async with make_pool("fe", port, free_port(), users) as pool:
        bob = await pool.sign_in("bob")
        keys = {"ours": "bob", "theirs": "wanda"}
        run = asyncio.create_task(run_sipp("presence_watched", port, directory=tmp_path, keys=keys))
        for count, word in ((1, "busy"), (3, "away"), (4, "offline")):
            await notified(pool, count)
            bob.set_availability(word)
        report = await run
        assert report.successful == 1, report
        assert not pool.presence.watches


async def notified(pool: Pool, count: int) -> None:
    """Wait until the one watcher has taken so many NOTIFYs."""
    async with asyncio.timeout(15):
        while sum(watch.notified for watch in pool.presence.watches.values()) < count:
            await asyncio.sleep(0.02)


async def test_first_message_in_the_invite(tmp_path: Path) -> None:
    port = free_port()
    async with make_pool("fe", port, free_port(), [{"uri": f"bob@{DOMAIN}"}]) as pool:
        bob = await pool.sign_in("bob")
        first = base64.b64encode("Grüße 😀".encode()).decode()
        keys = {"ours": "bob", "theirs": "wanda", "first": first}
        report = await run_sipp("im_in_first", port, directory=tmp_path, keys=keys)
        assert report.successful == 1, report
        assert "Grüße 😀" in [seen.text for seen in bob.journal.of(MessageSeen)]
        assert not bob.conversations


async def test_probes(tmp_path: Path) -> None:
    port = free_port()
    async with make_pool("fe", port, free_port(), [{"uri": f"bob@{DOMAIN}"}]):
        report = await run_sipp("options_probe", port, directory=tmp_path, calls=20)
        assert report.successful == 20, report
