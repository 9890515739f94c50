"""A driver without sockets: performs what a `C2sStream` asks, answers its questions, and writes it down."""

from collections.abc import Iterator

from ubiety import jid
from ubiety.stanza import Stanza
from ubiety.xmpp import sasl
from ubiety.xmpp.c2s import C2sConfig, C2sStream
from ubiety.xmpp.outputs import (
    Authenticated,
    BindRequested,
    CredentialsNeeded,
    Output,
    PasswordNeeded,
    SmEnableRequested,
    SmResumeRequested,
    StanzaAnswered,
    StartTls,
    Write,
)

DOMAINS = frozenset({"example.org", "example.com"})
ENDPOINT_HASH = b"hash of the certificate"

# RFC 5802 §5, RFC 7677 §3: the account of the published examples.
_USER_SALTS = {"sha1": "QSXCR+Q6sek8bf92", "sha256": "W22ZaJ0SNY7soEsUEjb6gQ=="}
_KEYS = {
    ("user", name): sasl.derive_keys("pencil", sasl.decode(salt), 4096, name)
    for name, salt in _USER_SALTS.items()
}
DISABLED = "leaver"
TAKEN_RESOURCE = "taken"


class Edge:
    """One connection: `said` is what the other side sees (`S: ...`) and what was asked of us (`S! ...`)."""

    def __init__(self, ids: Iterator[str], now: float = 0.0, secure: bool = False, **config: object) -> None:
        fields: dict[str, object] = {"secret": b"secret", "scram_iterations": 4096} | config
        self.config = C2sConfig(domains=DOMAINS.__contains__, default_domain="example.org", **fields)  # type: ignore[arg-type]
        self.stream = C2sStream(
            self.config, lambda: next(ids), now, secure, ENDPOINT_HASH if secure else None
        )
        self.now = now
        self.said: list[str] = []

    def receive(self, data: bytes) -> None:
        """Let the client send."""
        self.perform(self.stream.receive(data, self.now))

    def advance(self, seconds: float) -> None:
        """Let time pass; tick as a driver would."""
        self.now += seconds
        self.perform(self.stream.tick(self.now))

    def perform(self, outputs: list[Output]) -> None:
        """Do what the stream asks, in order; answers are performed before what follows."""
        for output in outputs:
            self._note(output)
            self.perform(self._answer(output))

    def _note(self, output: Output) -> None:
        if isinstance(output, Write | StanzaAnswered):
            self.said.append(f"S: {output.data.decode()}")
        elif isinstance(output, Stanza):
            self.said.append(f"S! Stanza {output.to_bytes().decode()}")
        else:
            self.said.append(f"S! {output!r}")

    def _answer(self, output: Output) -> list[Output]:
        stream = self.stream
        match output:
            case StartTls():
                return stream.tls_ready(ENDPOINT_HASH, self.now)
            case CredentialsNeeded(username, _, _, hash_name):
                return stream.credentials(_KEYS.get((username, hash_name)), self.now)
            case PasswordNeeded(username, _, password):
                keys = _KEYS.get((username, "sha256"))
                ok = username == DISABLED or (keys is not None and sasl.check_password(keys, password))
                return stream.password_checked(ok, self.now)
            case Authenticated(username):
                return stream.refused("account-disabled") if username == DISABLED else stream.authorised()
            case BindRequested(resource):
                if resource == TAKEN_RESOURCE:
                    return stream.bind_failed("conflict")
                return stream.bound(jid.make(stream.username, stream.domain, resource or "made-up"))
            case SmEnableRequested(resume):
                return stream.enabled("sm-id", 600 if resume else None, resume)
            case SmResumeRequested(previd):
                if previd != "sm-id":
                    return stream.resume_failed(h=3 if previd == "crashed" else None)
                address = jid.make(stream.username, stream.domain, "desk")
                return stream.resumed(address, previd, 2, [b"<message id='again'/>"])
        return []
