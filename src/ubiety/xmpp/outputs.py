"""What a stream asks of its driver: frozen values, to be performed in order.

A `Stanza` stands in the same list as it is. Orders are imperatives, facts are past participles. Where an
output asks something (`CredentialsNeeded`, `BindRequested` ...), the stream holds all further input until the
answer.
"""

from dataclasses import dataclass, field

from ubiety.stanza import Stanza


@dataclass(frozen=True, slots=True)
class Write:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection once everything before is written."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """Start the TLS handshake as the server, then call `tls_ready`. Unread plain text is void."""


@dataclass(frozen=True, slots=True)
class CredentialsNeeded:
    """Look up an account's SCRAM keys; answer with `credentials` or `refused`."""

    username: str
    """Local part of the address, prepared."""
    domain: str
    mechanism: str
    """As the client chose it, perhaps with -PLUS."""
    hash_name: str
    """Which keys are wanted: "sha256" or "sha1"."""


@dataclass(frozen=True, slots=True)
class PasswordNeeded:
    """Check a password in a thread; answer with `password_checked` or `refused`.

    For an unknown account spend the same time, or the clock tells who exists.
    """

    username: str
    domain: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The client proved who it is; answer with `authorised`, or `refused` (account disabled, throttled)."""

    username: str
    domain: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class AuthenticationFailed:
    """A guess was wrong: count it against the address and the account. The client has been told."""

    username: str
    """Local part, or "" when no such name can exist."""
    condition: str


@dataclass(frozen=True, slots=True)
class RegistrationRequested:
    """An iq of jabber:iq:register came before authentication (XEP-0077); write the answer when you like."""

    stanza: Stanza
    domain: str


@dataclass(frozen=True, slots=True)
class BindRequested:
    """Bind a resource (None: invent one); answer with `bound` or `bind_failed`."""

    resource: str | None


@dataclass(frozen=True, slots=True)
class StanzaAnswered:
    """The stream answered a stanza itself: count one as received and settled (XEP-0198).

    `data` is a stanza too: send it the session's way, so that it is counted. It may be empty.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The client closed its stream properly: nothing is to be resumed."""


@dataclass(frozen=True, slots=True)
class SmEnableRequested:
    """The client wants stream management: before the next output answer with `enabled` or `enable_failed`."""

    resume: bool
    max: int | None
    """Seconds that the client would like to have for resuming."""


@dataclass(frozen=True, slots=True)
class SmResumeRequested:
    """The client wants an earlier session back; answer with `resumed` or `resume_failed`."""

    previd: str
    h: int


@dataclass(frozen=True, slots=True)
class SmAck:
    """The client acknowledged: hand `h` to `Smacks.acked`."""

    h: int


@dataclass(frozen=True, slots=True)
class SmRequest:
    """The client asks for `h`: answer at once (not if its `SmEnableRequested` was refused just now)."""


@dataclass(frozen=True, slots=True)
class ClientState:
    """The client tells whether somebody looks at it (XEP-0352)."""

    active: bool


Output = (
    Write
    | Close
    | StartTls
    | CredentialsNeeded
    | PasswordNeeded
    | Authenticated
    | AuthenticationFailed
    | RegistrationRequested
    | BindRequested
    | StanzaAnswered
    | SessionEnded
    | SmEnableRequested
    | SmResumeRequested
    | SmAck
    | SmRequest
    | ClientState
    | Stanza
)
