"""Settings of the SIP transports. The listeners themselves are bootstrap configuration (`config.py`)."""

from ubiety.settings import RECONNECT, Setting

CONNECT_SECONDS = Setting(
    "sip.connect_seconds",
    int,
    5,
    "seconds",
    "Time that a SIP next hop has to take a connection, TLS included.",
    minimum=1,
    maximum=60,
)
IDLE_SECONDS = Setting(
    "sip.idle_seconds",
    int,
    600,
    "seconds",
    "Silence after which a SIP connection that nobody needs is closed.",
    minimum=1,
    maximum=86_400,
)
CONNECTIONS = Setting(
    "sip.connections",
    int,
    10_000,
    "connections",
    "SIP connections at a time; more are refused.",
    minimum=1,
    maximum=100_000,
)
ADDRESS_CONNECTIONS = Setting(
    "sip.connections_per_address",
    int,
    1000,
    "connections",
    "SIP connections from one network address at a time; more are refused.",
    minimum=1,
    maximum=100_000,
)
ACCEPT_RATE = Setting(
    "sip.accept_rate",
    int,
    200,
    "connections per second",
    "New SIP connections let in per second; more wait their turn.",
    minimum=1,
    maximum=100_000,
)
MESSAGE_RATE = Setting(
    "sip.message_rate",
    int,
    2000,
    "messages per second",
    "SIP messages taken per second from one connection, or over UDP from one address. A connection that "
    "sends more is read slower; datagrams beyond it are dropped.",
    minimum=10,
    maximum=1_000_000,
)
MESSAGE_BYTES = Setting(
    "sip.message_bytes",
    int,
    262_144,
    "bytes",
    "Size of the largest body of a SIP message.",
    RECONNECT,
    minimum=10_000,
    maximum=10_000_000,
)
TRANSACTIONS = Setting(
    "sip.transactions",
    int,
    50_000,
    "transactions",
    "SIP transactions at a time; requests beyond are answered 503.",
    minimum=100,
    maximum=1_000_000,
)
TLS_CIPHERS = Setting(
    "sip.tls_ciphers",
    str,
    "compatible",
    "",
    "Ciphers of SIP over TLS 1.2: `strict` as for XMPP clients, or `compatible` with Lync Server on old "
    "versions of Windows.",
    RECONNECT,
    choices=("strict", "compatible"),
)
TRACE_MESSAGES = Setting(
    "sip.trace_messages",
    int,
    1000,
    "messages",
    "SIP messages kept in memory for `ubiety sip trace`.",
    minimum=0,
    maximum=100_000,
    zero="none",
)
SETTINGS = (
    CONNECT_SECONDS,
    IDLE_SECONDS,
    CONNECTIONS,
    ADDRESS_CONNECTIONS,
    ACCEPT_RATE,
    MESSAGE_RATE,
    MESSAGE_BYTES,
    TRANSACTIONS,
    TLS_CIPHERS,
    TRACE_MESSAGES,
)
