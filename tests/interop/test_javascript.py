"""@xmpp/client in Node: the journeys of `js/journeys.mjs`, each against the same node."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.interop.requirements import JS, need_modules
from tests.node import PASSWORD, Node

# Journey and how many people take part.
JOURNEYS = {
    "login": 1,
    "loginDirectTls": 1,
    "wrongPassword": 1,
    "roster": 1,
    "subscribeAndPresence": 2,
    "deny": 2,
    "chat": 2,
    "carbons": 2,
    "offline": 2,
    "archive": 2,
    "blocking": 2,
    "resume": 2,
    "resumeSendsAgain": 2,
    "resumeRefused": 2,
}


@pytest.fixture(scope="session", autouse=True)
def modules() -> None:
    """Have the packages of the lock file installed."""
    need_modules()


def test_every_journey_is_run() -> None:
    listed = subprocess.run(
        ["node", "run.mjs", "--list"], cwd=JS, capture_output=True, text=True, check=True, timeout=60
    )
    assert sorted(listed.stdout.split()) == sorted(JOURNEYS)


@pytest.fixture(scope="module")
def swift_node(own_node: Node) -> Node:
    """The module's node; people are asked who may see them. Passwords are hashed as little as is allowed.

    This client hashes in JavaScript, one round after the other: at each login it takes a second for 10,000.
    """
    own_node.set_setting("presence.auto_authorize", "false")
    own_node.set_setting("password.iterations", "4096")
    return own_node


@pytest.mark.parametrize("journey", JOURNEYS)
def test_journey(swift_node: Node, journey: str) -> None:
    place = swift_node.place
    settings = {
        "service": f"xmpp://{place.host}:{place.port}",
        "tls": f"xmpps://{place.host}:{place.tls_port}",
        "domain": place.domain,
        "users": swift_node.take_users(JOURNEYS[journey]),
        "password": PASSWORD,
    }
    environment = {
        **os.environ,
        "PLACE": json.dumps(settings),
        # The node makes its own certificate, and nobody here has installed its authority.
        "NODE_TLS_REJECT_UNAUTHORIZED": "0",
        "NODE_NO_WARNINGS": "1",
    }
    done = subprocess.run(
        ["node", "run.mjs", journey], cwd=JS, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
