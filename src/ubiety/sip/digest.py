"""Digest authentication of SIP, both sides (RFC 3261 §22, RFC 7616, RFC 8760). No time or randomness inside.

What goes in is HA1, never a password. Only `qop=auth` is spoken: without it a recorded answer could be
used again, and RFC 3261 §22.4 makes every client know it.
"""

import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import md5, sha256

from ubiety.sip.headers import Headers
from ubiety.sip.syntax import SipSyntaxError, is_token, quote, shortened, split_list, unquote
from ubiety.sip.uri import SipUri, parse_uri

SHA_256 = "SHA-256"
MD5 = "MD5"

_SESSION = "-SESS"
_HASHES: dict[str, Callable[[bytes], str]] = {
    SHA_256: lambda data: sha256(data).hexdigest(),
    MD5: lambda data: md5(data, usedforsecurity=False).hexdigest(),
}
_COUNT = re.compile("[0-9a-fA-F]{1,8}")
_UNQUOTED = frozenset({"algorithm", "stale", "nc"})  # and qop in an answer (RFC 7616 §3.4)


class Freshness(Enum):
    """What a nonce is worth."""

    FRESH = "fresh"
    STALE = "stale"
    """It was ours: challenge again with `is_stale`, and the client need not ask the user."""
    UNKNOWN = "unknown"
    """It never was ours."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server asks (`WWW-Authenticate`, `Proxy-Authenticate`)."""

    realm: str
    nonce: str
    algorithm: str = SHA_256
    opaque: str = ""
    is_stale: bool = False
    qops: tuple[str, ...] = ("auth",)

    @staticmethod
    def parse(text: str) -> "Challenge":
        """Return the challenge; raises SipSyntaxError, also for another scheme than Digest."""
        params = _parse(text)
        return Challenge(
            _needed(params, "realm"),
            _needed(params, "nonce"),
            params.get("algorithm", MD5),
            params.get("opaque", ""),
            params.get("stale", "").lower() == "true",
            tuple(split_list(params["qop"].lower())) if "qop" in params else (),
        )

    def __str__(self) -> str:
        params = {"realm": self.realm, "nonce": self.nonce, "algorithm": self.algorithm}
        if self.opaque:
            params["opaque"] = self.opaque
        if self.is_stale:
            params["stale"] = "true"
        if self.qops:
            params["qop"] = ",".join(self.qops)
        return _print(params)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client answers (`Authorization`, `Proxy-Authorization`)."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = MD5
    cnonce: str = ""
    nc: str = ""
    """How often the client has used the nonce, eight hexadecimal digits as it wrote them."""
    qop: str = ""
    opaque: str = ""

    @staticmethod
    def parse(text: str) -> "Credentials":
        """Return the credentials; raises SipSyntaxError, also for another scheme than Digest."""
        params = _parse(text)
        return Credentials(
            _needed(params, "username"),
            _needed(params, "realm"),
            _needed(params, "nonce"),
            _needed(params, "uri"),
            _needed(params, "response").lower(),
            params.get("algorithm", MD5),
            params.get("cnonce", ""),
            params.get("nc", ""),
            params.get("qop", "").lower(),
            params.get("opaque", ""),
        )

    @property
    def count(self) -> int:
        """How often the client has used the nonce; 0 if it does not say so."""
        return int(self.nc, 16) if _COUNT.fullmatch(self.nc) else 0

    def __str__(self) -> str:
        params = {
            "username": self.username,
            "realm": self.realm,
            "nonce": self.nonce,
            "uri": self.uri,
            "response": self.response,
            "algorithm": self.algorithm,
        }
        if self.qop:
            params |= {"cnonce": self.cnonce, "nc": self.nc, "qop": self.qop}
        if self.opaque:
            params["opaque"] = self.opaque
        return _print(params, unquoted=_UNQUOTED | {"qop"})


def make_ha1(username: str, realm: str, password: str, algorithm: str = SHA_256) -> str:
    """Return the secret that is kept in place of a password, for when a password is set."""
    return _hash(algorithm, username, realm, password)


def challenge(
    realm: str, nonce: str, algorithm: str = SHA_256, opaque: str = "", is_stale: bool = False
) -> str:
    """Return the value of a WWW-Authenticate. Of several, the preferred is put first (RFC 8760 §2.3)."""
    return str(Challenge(realm, nonce, algorithm, opaque, is_stale))


def find_credentials(headers: Headers, realm: str, name: str = "Authorization") -> Credentials | None:
    """Return the Digest credentials for a realm; other realms and schemes are passed over.

    Raises SipSyntaxError if there are none and some Digest credentials could not be read.
    """
    fault = None
    for value in headers.all(name):
        if not _is_digest(value):
            continue
        try:
            found = Credentials.parse(value)
        except SipSyntaxError as error:
            fault = error
            continue
        if found.realm == realm:
            return found
    if fault is not None:
        raise fault
    return None


def verify(
    credentials: Credentials,
    ha1: str,
    method: str,
    request_uri: str | None = None,
    algorithms: Sequence[str] = (SHA_256,),
) -> bool:
    """Return whether the credentials prove the knowledge of HA1 for this request.

    Whether the nonce is ours and fresh is asked of `Nonces`. With `request_uri` the credentials must have
    been made for that address (RFC 7616 §3.4.6).
    """
    if credentials.algorithm.upper() not in algorithms:
        return False
    if credentials.qop != "auth" or not credentials.cnonce or not credentials.count:
        return False
    if request_uri is not None and not _is_same(credentials.uri, request_uri):
        return False
    right = _response(credentials, ha1, method)
    return hmac.compare_digest(right.encode(), credentials.response.encode("utf-8", "replace"))


def choose(values: Iterable[str], algorithms: Sequence[str] = (SHA_256, MD5)) -> Challenge | None:
    """Return the first challenge that we can answer (RFC 8760 §2.4); None if there is none."""
    for value in values:
        try:
            found = Challenge.parse(value)
        except SipSyntaxError:
            continue
        if _base(found.algorithm) in algorithms and (not found.qops or "auth" in found.qops):
            return found
    return None


def respond(
    asked: Challenge, username: str, ha1: str, method: str, uri: str, cnonce: str, count: int = 1
) -> str:
    """Return the value of an Authorization that answers a challenge.

    `count` is how often this nonce was used, this time included. Old servers that name no qop are answered
    without one. Raises ValueError for an algorithm that is not spoken here.
    """
    qop = "auth" if asked.qops else ""
    answer = Credentials(
        username,
        asked.realm,
        asked.nonce,
        uri,
        "",
        asked.algorithm,
        cnonce,
        f"{count:08x}",
        qop,
        asked.opaque,
    )
    return str(replace(answer, response=_response(answer, ha1, method)))


class Nonces:
    """Makes nonces that tell when they were made, and knows which uses of them are new.

    A nonce is the time and a MAC over it, so nothing is kept for one that is never used. Of those in use
    the highest count is kept, for at most `capacity` nonces: one that was pushed out is stale.
    """

    def __init__(self, secret: bytes, lifetime: float = 300.0, capacity: int = 20_000) -> None:
        self._secret = secret
        self._lifetime = lifetime
        self._capacity = capacity
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._forgotten_until = 0.0

    def make(self, now: float, token: str) -> str:
        """Return a new nonce; `token` makes it unique (hexadecimal digits or other token characters)."""
        made = f"{int(now * 1000):x}.{token}"
        return f"{made}.{self._sign(made)}"

    def judge(self, nonce: str, count: int, now: float) -> Freshness:
        """Return what this use of a nonce is worth, and remember it: the same again is stale.

        Ask only when `verify` said yes, so that strangers cannot push out what is remembered.
        """
        made, _, mac = nonce.rpartition(".")
        if not hmac.compare_digest(self._sign(made).encode(), mac.encode("utf-8", "replace")):
            return Freshness.UNKNOWN
        born = int(made.partition(".")[0], 16) / 1000
        if not born - 1 <= now <= born + self._lifetime:
            return Freshness.STALE
        last = self._counts.get(nonce)
        if last is None and born <= self._forgotten_until:
            return Freshness.STALE
        if count <= (last or 0):
            return Freshness.STALE
        self._remember(nonce, count)
        return Freshness.FRESH

    def _remember(self, nonce: str, count: int) -> None:
        self._counts[nonce] = count
        self._counts.move_to_end(nonce)
        while len(self._counts) > self._capacity:
            gone, _ = self._counts.popitem(last=False)
            self._forgotten_until = max(self._forgotten_until, int(gone.partition(".")[0], 16) / 1000)

    def _sign(self, text: str) -> str:
        return hmac.digest(self._secret, text.encode("utf-8", "replace"), "sha256").hex()[:32]


def _is_digest(value: str) -> bool:
    return value[:6].lower() == "digest" and value[6:7] in (" ", "\t")


def _parse(text: str) -> dict[str, str]:
    if not _is_digest(text):
        raise SipSyntaxError(f"not Digest: {shortened(text)}")
    params: dict[str, str] = {}
    for part in split_list(text[7:]):
        name, equals, value = part.partition("=")
        name = name.rstrip(" \t").lower()
        if not equals or not is_token(name) or name in params:
            raise SipSyntaxError(f"not a Digest parameter: {shortened(part)}")
        value = value.lstrip(" \t")
        if value[:1] == '"' and (len(value) < 2 or value[-1] != '"'):
            raise SipSyntaxError(f"not a quoted string: {shortened(value)}")
        params[name] = unquote(value)
    return params


def _needed(params: dict[str, str], name: str) -> str:
    try:
        return params[name]
    except KeyError:
        raise SipSyntaxError(f"no {name} in the Digest parameters") from None


def _print(params: dict[str, str], unquoted: frozenset[str] = _UNQUOTED) -> str:
    parts = [f"{name}={value if name in unquoted else quote(value)}" for name, value in params.items()]
    return "Digest " + ", ".join(parts)


def _is_same(uri: str, other: str) -> bool:
    if uri == other:
        return True
    try:
        left, right = parse_uri(uri), parse_uri(other)
    except SipSyntaxError:
        return False
    return left == right or (isinstance(left, SipUri) and left.matches(right))


def _base(algorithm: str) -> str:
    return algorithm.upper().removesuffix(_SESSION)


def _hash(algorithm: str, *parts: str) -> str:
    compute = _HASHES.get(_base(algorithm))
    if compute is None:
        raise ValueError(f"Digest with {algorithm} is not spoken here")
    return compute(":".join(parts).encode("utf-8", "surrogateescape"))


def _response(answer: Credentials, ha1: str, method: str) -> str:
    """Compute the `response` (RFC 7616 §3.4.1)."""
    if answer.algorithm.upper().endswith(_SESSION):
        ha1 = _hash(answer.algorithm, ha1, answer.nonce, answer.cnonce)
    ha2 = _hash(answer.algorithm, method, answer.uri)
    if not answer.qop:  # RFC 2069, as RFC 3261 §22.4 wants it
        return _hash(answer.algorithm, ha1, answer.nonce, ha2)
    return _hash(answer.algorithm, ha1, answer.nonce, answer.nc, answer.cnonce, answer.qop, ha2)
