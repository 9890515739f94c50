"""The SASL part of a client's stream (RFC 6120 §6): from `<auth/>` to a proven name, or to the last try."""

from base64 import b64encode
from collections.abc import Callable
from enum import Enum

from ubiety.element import Element
from ubiety.xmpp import ns, sasl
from ubiety.xmpp.features import C2sConfig, list_mechanisms, sasl_failure
from ubiety.xmpp.outputs import (
    Authenticated,
    AuthenticationFailed,
    CredentialsNeeded,
    Output,
    PasswordNeeded,
    Write,
)
from ubiety.xmpp.sasl import SaslError, ScramKeys, ScramServer

MAX_WRONG_PASSWORDS = 3  # RFC 6120 §6.4.5 recommends 2 to 5 retries
MAX_FAILURES = 10  # of any kind: a client that only ever aborts goes round in circles


class Question(Enum):
    """What the driver was asked last and has not answered."""

    CREDENTIALS = "credentials"
    PASSWORD = "password"
    AUTHORISATION = "authorisation"


class Authentication:
    """Takes `<auth/>`, `<response/>` and `<abort/>` and the driver's answers. One per connection."""

    __slots__ = (
        "_challenged", "_config", "_domain", "_endpoint_hash", "_failures", "_final", "_ids", "_mechanism",
        "_scram", "_secure", "_wrong_passwords", "asked", "mechanisms", "username",
    )  # fmt: skip

    def __init__(self, config: C2sConfig, ids: Callable[[], str]) -> None:
        self._config = config
        self._ids = ids
        self._failures = 0
        self._wrong_passwords = 0
        self.open("", False, None)

    def open(self, domain: str, secure: bool, endpoint_hash: bytes | None) -> None:
        """Begin anew for a stream to `domain`; failures stay counted."""
        self._domain = domain
        self._secure = secure
        self.mechanisms = list_mechanisms(secure, self._config, endpoint_hash)
        self._endpoint_hash = endpoint_hash if self._config.plus else None
        self._forget()

    def _forget(self) -> None:
        self._mechanism = ""
        self._scram: ScramServer | None = None
        self._challenged = False
        self._final = b""
        self.asked: Question | None = None
        self.username = ""
        """The local part that is being authenticated."""

    @property
    def is_exhausted(self) -> bool:
        """Whether there were too many failures on this stream."""
        return self._wrong_passwords >= MAX_WRONG_PASSWORDS or self._failures >= MAX_FAILURES

    # From the client.

    def take(self, element: Element) -> list[Output]:
        """Take an element of the SASL namespace."""
        try:
            if element.name == "auth":
                return self._start(element)
            if element.name == "response" and self._mechanism:
                return self._proceed(sasl.decode(element.text))
            if element.name == "abort":
                raise SaslError("aborted")
            raise SaslError("malformed-request")
        except SaslError as error:
            return self._fail(error)

    def _start(self, element: Element) -> list[Output]:
        self._forget()
        mechanism = element.get("mechanism") or ""
        if mechanism not in self.mechanisms:
            known = mechanism == "PLAIN" or mechanism.removesuffix(sasl.PLUS) in sasl.SCRAM_MECHANISMS
            raise SaslError("encryption-required" if known and not self._secure else "invalid-mechanism")
        self._mechanism = mechanism
        if mechanism != "PLAIN":
            self._scram = ScramServer(mechanism, self._ids(), self._endpoint_hash)
        if element.text:
            return self._proceed(sasl.decode(element.text))
        return [Write(f"<challenge xmlns='{ns.SASL}'/>".encode())]  # RFC 6120 §6.4.2: no initial response

    def _proceed(self, message: bytes) -> list[Output]:
        if self._scram is None:
            return self._take_plain(message)
        if not self._challenged:
            return self._take_client_first(self._scram, message)
        self._final = self._scram.finish(message)
        return self._succeed()

    def _take_plain(self, message: bytes) -> list[Output]:
        authzid, username, password = sasl.parse_plain(message)
        self._identify(username, authzid)
        self.asked = Question.PASSWORD
        return [PasswordNeeded(self.username, self._domain, password)]

    def _take_client_first(self, scram: ScramServer, message: bytes) -> list[Output]:
        self._identify(scram.start(message), scram.authzid)
        self.asked = Question.CREDENTIALS
        return [CredentialsNeeded(self.username, self._domain, self._mechanism, scram.hash_name)]

    def _identify(self, username: str, authzid: str) -> None:
        self.username = sasl.find_local(username, self._domain)
        if not sasl.is_own_authzid(authzid, self.username, self._domain):
            raise SaslError("invalid-authzid", "Nobody may act for somebody else here.")

    def _succeed(self) -> list[Output]:
        self.asked = Question.AUTHORISATION
        return [Authenticated(self.username, self._domain, self._mechanism)]

    def _fail(self, error: SaslError) -> list[Output]:
        outputs: list[Output] = [Write(sasl_failure(error.condition, error.text))]
        self._failures += 1
        if error.is_wrong_password:
            self._wrong_passwords += 1
            outputs.append(AuthenticationFailed(self.username, error.condition))
        self._forget()
        return outputs

    # From the driver. What was not asked is void: only AUTHORISATION means that the client proved itself.

    def credentials(self, found: ScramKeys | None) -> list[Output]:
        """Take the keys that `CredentialsNeeded` asked for, None for an account that has none."""
        scram = self._scram
        if scram is None or self.asked is not Question.CREDENTIALS:
            return []
        if found is None:
            iterations = self._config.scram_iterations
            found = sasl.make_fake_keys(
                self._config.secret, self.username, self._domain, scram.hash_name, iterations
            )
        self.asked = None
        self._challenged = True
        data = b64encode(scram.challenge(found)).decode()
        return [Write(f"<challenge xmlns='{ns.SASL}'>{data}</challenge>".encode())]

    def password_checked(self, ok: bool) -> list[Output]:
        """Take the answer to `PasswordNeeded`."""
        if self.asked is not Question.PASSWORD:
            return []
        return self._succeed() if ok else self._fail(SaslError("not-authorized", is_wrong_password=True))

    def refused(self, condition: str, text: str = "") -> list[Output]:
        """Refuse whatever is asked; this is no wrong password."""
        return self._fail(SaslError(condition, text)) if self.asked is not None else []

    def succeed(self) -> bytes:
        """End the exchange: render `<success/>` with the server's proof (RFC 6120 §6.4.6)."""
        self.asked = None
        data = b64encode(self._final).decode()
        return f"<success xmlns='{ns.SASL}'>{data}</success>".encode()
