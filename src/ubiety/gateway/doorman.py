"""Who a SIP client is: digest authentication of requests (RFC 3261 §22, RFC 7616, RFC 8760)."""

from collections.abc import Callable
from math import ceil
from typing import Final, Protocol

from ubiety.gateway.addresses import NoAddress, jid_of
from ubiety.gateway.client_settings import DIGEST_MD5
from ubiety.routing.homes import Person
from ubiety.sip import digest
from ubiety.sip.digest import MD5, SHA_256, Credentials, Freshness, Nonces
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.outputs import Peer
from ubiety.sip.syntax import SipSyntaxError
from ubiety.store import users as rows
from ubiety.store.digests import Vault
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users.context import Context

BUSY_SECONDS: Final = 10
MD5_ALONE: Final = ("baresip v0.", "baresip v1.")
"""COMPAT: baresip up to 1.x gives up when it is offered anything besides MD5 (against RFC 8760 §2.4)."""


class Backoff(Protocol):
    """How long somebody must wait who has failed: by address, and by account."""

    def wait(self, key: str, now: float) -> float:
        """Return how many seconds the next try must wait."""

    def failed(self, key: str, now: float) -> None:
        """Count a failure."""

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""


class Doorman:
    """Challenges requests, and knows whose they are that answer a challenge rightly."""

    def __init__(
        self,
        context: Context,
        vault: Vault,
        nonces: Nonces,
        addresses: Backoff,
        accounts: Backoff,
        token: Callable[[], str],
    ) -> None:
        """`addresses` and `accounts` pace those who fail."""
        self.realm = vault.realm
        self._context = context
        self._vault = vault
        self._nonces = nonces
        self._addresses = addresses
        self._accounts = accounts
        self._token = token

    def challenge(self, request: Request, *, is_stale: bool = False) -> Response:
        """Return the 401 to a request: the algorithm that is preferred comes first (RFC 8760 §2.3)."""
        nonce = self._nonces.make(self._context.clock.monotonic(), self._token())
        algorithms = self._algorithms()
        if MD5 in algorithms and (request.headers.get("user-agent") or "").startswith(MD5_ALONE):
            algorithms = (MD5,)
        asked = [
            ("WWW-Authenticate", digest.challenge(self.realm, nonce, algorithm, is_stale=is_stale))
            for algorithm in algorithms
        ]
        return make_response(request, 401, to_tag=self._token(), headers=asked)

    def has_key(self, request: Request) -> bool:
        """Tell whether a request answers a challenge of ours."""
        try:
            return digest.find_credentials(request.headers, self.realm) is not None
        except SipSyntaxError:
            return True  # to be told so

    async def check(self, request: Request, peer: Peer) -> Person | Response:
        """Return whose request it is, or the answer that refuses it."""
        try:
            credentials = digest.find_credentials(request.headers, self.realm)
            address = jid_of((request.to if request.method == "REGISTER" else request.from_).uri)
        except NoAddress:
            return make_response(request, 404, to_tag=self._token())
        except SipSyntaxError as error:
            return make_response(request, error.status, to_tag=self._token())
        if credentials is None:
            return self.challenge(request)
        now = self._context.clock.monotonic()
        wait = max(self._addresses.wait(peer.address, now), self._accounts.wait(address.bare, now))
        if wait > 0:
            return self._later(request, ceil(wait))
        try:
            account = await self._context.database.read(rows.load_credentials, address.bare)
        except StoreError as error:
            event("sip_login_failed", "warning", reason=str(error))
            return self._later(request, BUSY_SECONDS)
        secrets = self._vault.open(account.userid, account.scram) if account is not None else {}
        if account is None or not self._is_right(request, credentials, account.userid, secrets):
            self._failed(peer, address.bare, "" if secrets else "no secret for SIP is kept for this account")
            return self.challenge(request)
        freshness = self._nonces.judge(credentials.nonce, credentials.count, self._context.clock.monotonic())
        if freshness is not Freshness.FRESH:
            # RFC 7616 §3.3: stale, since the password is right; also for a nonce of another run or node.
            return self.challenge(request, is_stale=True)
        self._addresses.succeeded(peer.address)
        self._accounts.succeeded(address.bare)
        person = self._context.homes.find(address.bare)
        if person is None or not person.enabled:
            return make_response(request, 403, "Account Disabled", to_tag=self._token())
        return person

    def _is_right(
        self, request: Request, credentials: Credentials, userid: str, secrets: dict[str, str]
    ) -> bool:
        ha1 = secrets.get(credentials.algorithm.upper())
        if ha1 is None or credentials.username != userid:
            return False
        return digest.verify(credentials, ha1, request.method, request.uri, self._algorithms())

    def _algorithms(self) -> tuple[str, ...]:
        return (SHA_256, MD5) if self._context.settings.get(DIGEST_MD5) else (SHA_256,)

    def _failed(self, peer: Peer, account: str, why: str) -> None:
        now = self._context.clock.monotonic()
        self._addresses.failed(peer.address, now)
        self._accounts.failed(account, now)
        reason = why or "wrong password or user id"
        event("sip_login_refused", "warning", address=peer.address, account=account, reason=reason)

    def _later(self, request: Request, seconds: int) -> Response:
        return make_response(
            request, 503, to_tag=self._token(), headers=(("Retry-After", str(max(1, seconds))),)
        )
