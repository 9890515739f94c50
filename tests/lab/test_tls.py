"""Front ends that speak TLS to each other: both show a certificate, and a stranger's is refused."""

import ssl
from pathlib import Path
from typing import Any

from tests.lab.certificates import make_certificates
from tests.lab.two_pools import DOMAIN, free_port
from ubiety.lab.journal import MessageSeen, PresenceSeen
from ubiety.lab.plan import make_plan
from ubiety.lab.pool import Pool
from ubiety.net.authority import Files

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"


def make_pool(
    name: str, files: Files, port: int, other: str, other_port: int, user: str, **more: Any
) -> Pool:
    """A pool that listens for TLS only; names are looked up in the plan."""
    table: dict[str, Any] = {
        "domains": [DOMAIN],
        "trusted": [other],
        "front_ends": [{"name": name, "tls_port": port}],
        "routes": {DOMAIN: {"host": other, "port": other_port}},
        "hosts": {other: f"127.0.0.1:{other_port}"},
        "users": [{"uri": user}],
        "tls": {"certificate": str(files.certificate), "key": str(files.key), "trusted": str(files.ca)},
        "time_out": 3.0,
    }
    return Pool(make_plan({**table, **more}))


async def test_mutual_tls(tmp_path: Path) -> None:
    ours, theirs = make_certificates(tmp_path, "fe.lync.example", "im.ubiety.example")
    left_port, right_port = free_port(), free_port()
    left = make_pool("fe.lync.example", ours, left_port, "im.ubiety.example", right_port, BOB)
    right = make_pool(
        "im.ubiety.example",
        theirs,
        right_port,
        "fe.lync.example",
        left_port,
        ANN,
        hosts={"fe.lync.example": f"127.0.0.1:{left_port}"},
    )
    async with left, right:
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        ann.accept(BOB)
        bob.add_contact(ANN)
        await bob.journal.wait(PresenceSeen)
        assert await bob.send(ANN, "safely") == 200
        assert (await ann.journal.wait(MessageSeen)).text == "safely"
        names = {name for one in right.front_ends[0].connections for name in one.names}
        assert names == {"fe.lync.example"}


async def test_wrong_name_is_refused(tmp_path: Path) -> None:
    ours, theirs = make_certificates(tmp_path, "fe.lync.example", "im.ubiety.example")
    left_port, right_port = free_port(), free_port()
    route = {DOMAIN: {"host": "127.0.0.1", "port": right_port, "name": "other.example"}}
    left = make_pool("fe.lync.example", ours, left_port, "im.ubiety.example", right_port, BOB, routes=route)
    right = make_pool("im.ubiety.example", theirs, right_port, "fe.lync.example", left_port, ANN)
    async with left, right:
        bob = await left.sign_in("bob")
        assert await bob.send(ANN, "who are you?") == 503


async def test_old_versions_are_refused(tmp_path: Path) -> None:
    ours, *_ = make_certificates(tmp_path, "fe.lync.example")
    pool = make_pool("fe.lync.example", ours, free_port(), "im.ubiety.example", 1, BOB)
    assert pool.site.server_tls is not None
    assert pool.site.server_tls.minimum_version == ssl.TLSVersion.TLSv1_2
