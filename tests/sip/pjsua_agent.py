"""A pjsua2 user agent in a process of its own: orders come in as lines of JSON, what happens goes out so.

Run by `tests.sip.pjsua.Agent`; it imports nothing of Ubiety's.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any

import pjsua2 as pj


def tell(event: str, **fields: Any) -> None:
    """Say what has happened."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Buddy(pj.Buddy):
    """Somebody who is watched."""

    def onBuddyState(self) -> None:
        """Tell it."""
        info = self.getInfo()
        status = info.presStatus
        tell(
            "buddy",
            uri=info.uri,
            state=info.subStateName,
            is_online=status.status == pj.PJSUA_BUDDY_STATUS_ONLINE,
            activity=int(status.activity),
            note=status.note,
        )


class Account(pj.Account):
    """The person."""

    def onRegState(self, prm: pj.OnRegStateParam) -> None:
        """Tell it."""
        tell("registered", status=int(prm.code), expires=int(prm.expiration), reason=prm.reason)

    def onInstantMessage(self, prm: pj.OnInstantMessageParam) -> None:
        """Tell it."""
        tell("message", sender=prm.fromUri, kind=prm.contentType, text=prm.msgBody)

    def onInstantMessageStatus(self, prm: pj.OnInstantMessageStatusParam) -> None:
        """Tell it."""
        tell("sent", status=int(prm.code), text=prm.msgBody, to=prm.toUri)

    def onTypingIndication(self, prm: pj.OnTypingIndicationParam) -> None:
        """Tell it."""
        tell("typing", sender=prm.fromUri, is_typing=bool(prm.isTyping))


class Agent:
    """One endpoint with one account."""

    def __init__(self) -> None:
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.userAgent = "pjsua2"
        config.logConfig.level = 5 if os.environ.get("PJSUA_LOG") else 0
        config.logConfig.consoleLevel = 0
        config.logConfig.filename = os.environ.get("PJSUA_LOG", "")
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        self.endpoint.libInit(config)
        self.endpoint.audDevManager().setNullDev()
        self.account = Account()
        self.buddies: dict[str, Buddy] = {}

    def start(self, user: str, password: str, domain: str, host: str, port: int, transport: str) -> None:
        """Sign in."""
        made = pj.TransportConfig()
        made.boundAddress = host
        kinds = {
            "tcp": pj.PJSIP_TRANSPORT_TCP,
            "tls": pj.PJSIP_TRANSPORT_TLS,
            "udp": pj.PJSIP_TRANSPORT_UDP,
        }
        self.endpoint.transportCreate(kinds[transport], made)
        self.endpoint.libStart()
        account = pj.AccountConfig()
        account.idUri = f"sip:{user}@{domain}"
        account.regConfig.registrarUri = f"sip:{domain}"
        account.regConfig.timeoutSec = 300
        account.sipConfig.proxies.append(f"sip:{host}:{port};transport={transport};lr")
        account.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, password))
        account.presConfig.publishEnabled = True
        account.presConfig.publishQueue = True
        self.account.create(account)

    def watch(self, uri: str) -> None:
        """Watch somebody."""
        config = pj.BuddyConfig()
        config.uri = uri
        config.subscribe = True
        buddy = self.buddies[uri] = Buddy()
        buddy.create(self.account, config)

    def write(self, uri: str, text: str) -> None:
        """Write to somebody who is a buddy."""
        if uri not in self.buddies:
            config = pj.BuddyConfig()
            config.uri = uri
            config.subscribe = False
            self.buddies[uri] = Buddy()
            self.buddies[uri].create(self.account, config)
        prm = pj.SendInstantMessageParam()
        prm.content = text
        self.buddies[uri].sendInstantMessage(prm)

    def type(self, uri: str, is_typing: bool) -> None:
        """Show that the person writes."""
        prm = pj.SendTypingIndicationParam()
        prm.isTyping = is_typing
        self.buddies[uri].sendTypingIndication(prm)

    def show(self, is_online: bool, activity: int = 0, note: str = "") -> None:
        """Publish."""
        status = pj.PresenceStatus()
        status.status = pj.PJSUA_BUDDY_STATUS_ONLINE if is_online else pj.PJSUA_BUDDY_STATUS_OFFLINE
        status.activity = activity
        status.note = note
        self.account.setOnlineStatus(status)

    def unregister(self) -> None:
        """Sign out."""
        self.account.setRegistration(False)

    def run(self) -> None:
        """Take orders until there are no more."""
        buffered = b""
        while True:
            self.endpoint.libHandleEvents(10)
            ready, _, _ = select.select([0], [], [], 0)
            if not ready:
                continue
            data = os.read(0, 65_536)
            if not data:
                break
            *lines, buffered = (buffered + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                name = order.pop("order")
                try:
                    getattr(self, name)(**order)
                except pj.Error as error:
                    tell("failed", order=name, reason=error.info())
        self.account.shutdown()
        for _ in range(50):
            self.endpoint.libHandleEvents(10)
        sys.stdout.flush()
        os._exit(0)  # the bindings' objects cannot be taken down in any order


if __name__ == "__main__":
    agent = Agent()
    tell("ready")
    agent.run()
