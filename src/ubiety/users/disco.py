"""Service discovery (XEP-0030): what the server and accounts are and can do, gathered from the features.

Every feature says of itself what it answers (``handlers``) and what is announced of it. Nothing is
announced here that a feature has not said.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ubiety.conditions import StanzaError
from ubiety.element import escape_attribute
from ubiety.settings import Setting, Settings
from ubiety.users import caps
from ubiety.users.caps import Identity
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.permissions import require_watcher
from ubiety.xmpp import ns

SERVER = Identity("server", "im", "Ubiety")
ACCOUNT = Identity("account", "registered")
NODE = "urn:ubiety:server"
"""The node of our entity capabilities (XEP-0115 §4)."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that this server does: the queries it answers and what is announced of it."""

    handlers: tuple[Handler, ...] = ()
    server: tuple[str, ...] = ()
    """Announced by the server."""
    account: tuple[str, ...] = ()
    """Announced by every account."""
    identities: tuple[Identity, ...] = ()
    """What an account is because of it."""
    when: Setting[bool] | None = None
    """Announced only while this setting is on."""
    account_items: Callable[[Request], Awaitable[bytes]] | None = None
    """Renders the items of an account; refuses by itself who may not see them."""
    account_node: Callable[[Request, str], Awaitable[bytes]] | None = None
    """Renders what is told of one node of an account."""

    def is_on(self, settings: Settings) -> bool:
        """Tell whether it is announced now."""
        return self.when is None or settings.get(self.when)


class Disco:
    """Answers service discovery for the server and for accounts."""

    def __init__(self, features: Iterable[Feature], settings: Settings) -> None:
        own = Feature(server=(ns.DISCO_INFO, ns.DISCO_ITEMS), account=(ns.DISCO_INFO, ns.DISCO_ITEMS))
        self._features = (own, *features)
        self._settings = settings
        self._caps: tuple[str, bytes] | None = None
        self._items = [f.account_items for f in self._features if f.account_items is not None]
        for setting in {f.when for f in self._features if f.when is not None}:
            settings.watch(setting, self._forget_caps)
        self._nodes = [f.account_node for f in self._features if f.account_node is not None]

    def handlers(self) -> list[Handler]:
        """The queries answered here."""
        return [
            Handler(Asked.HOST, "get", ns.DISCO_INFO, "query", self._server_info),
            Handler(Asked.HOST, "get", ns.DISCO_ITEMS, "query", self._server_items),
            Handler(Asked.OWN, "get", ns.DISCO_INFO, "query", self._account_info),
            Handler(Asked.OWN, "get", ns.DISCO_ITEMS, "query", self._account_items),
            Handler(Asked.OTHER, "get", ns.DISCO_INFO, "query", self._account_info),
            Handler(Asked.OTHER, "get", ns.DISCO_ITEMS, "query", self._account_items),
        ]

    # -- the server --------------------------------------------------------------------------------

    def server_features(self) -> tuple[str, ...]:
        """Return what the server announces now, sorted."""
        found = {var for f in self._features if f.is_on(self._settings) for var in f.server}
        return tuple(sorted(found))

    def stream_feature(self, _domain: str) -> bytes:
        """Render the server's entity capabilities for the stream features (XEP-0115 §6.3)."""
        return self._capabilities()[1]

    def _capabilities(self) -> tuple[str, bytes]:
        if self._caps is None:
            ver = caps.verification([SERVER], self.server_features())
            element = f"<c xmlns='{ns.CAPS}' hash='sha-1' node='{NODE}' ver='{ver}'/>"
            self._caps = (ver, element.encode())
        return self._caps

    def _forget_caps(self, _value: object) -> None:
        self._caps = None

    def _server_info(self, request: Request) -> Answer:
        node = _node(request)
        if node and node != f"{NODE}#{self._capabilities()[0]}":
            raise StanzaError("item-not-found")  # XEP-0030 §3.2
        return _info([SERVER], self.server_features(), node)

    def _server_items(self, request: Request) -> Answer:
        if _node(request):
            raise StanzaError("item-not-found")
        return _items(b"")

    # -- accounts ------------------------------------------------------------------------------------

    async def _account_info(self, request: Request) -> Answer:
        require_watcher(request, "service-unavailable")  # XEP-0030 §8: nothing for strangers
        node = _node(request)
        if node:
            for render in self._nodes:
                return await render(request, node)
            raise StanzaError("item-not-found")
        on = [f for f in self._features if f.is_on(self._settings)]
        identities = [ACCOUNT, *(identity for f in on for identity in f.identities)]
        return _info(identities, sorted({var for f in on for var in f.account}))

    async def _account_items(self, request: Request) -> Answer:
        require_watcher(request, "service-unavailable")
        if _node(request):
            return _items(b"", _node(request))
        return _items(b"".join([await render(request) for render in self._items]))


def _node(request: Request) -> str:
    query = request.stanza.child(*request.stanza.children[0])
    return (query.get("node") if query is not None else None) or ""


def _info(identities: Iterable[Identity], features: Iterable[str], node: str = "") -> bytes:
    content = "".join(identity.render() for identity in identities)
    content += "".join(f"<feature var='{escape_attribute(var)}'/>" for var in features)
    return f"<query xmlns='{ns.DISCO_INFO}'{_node_attribute(node)}>{content}</query>".encode()


def _items(items: bytes, node: str = "") -> bytes:
    head = f"<query xmlns='{ns.DISCO_ITEMS}'{_node_attribute(node)}>"
    return head.encode() + items + b"</query>"


def _node_attribute(node: str) -> str:
    return f" node='{escape_attribute(node)}'" if node else ""
