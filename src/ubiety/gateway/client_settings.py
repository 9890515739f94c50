"""Settings of SIP clients (RFC 3261 §10, RFC 3903, RFC 3428, RFC 8760)."""

from ubiety.settings import Setting

CLIENTS = Setting(
    "sip.clients",
    bool,
    False,
    "",
    "Whether people may sign in with SIP clients. Their passwords must be set while this is on: only then is "
    "kept what SIP needs to check them.",
)
DIGEST_MD5 = Setting(
    "sip.digest_md5",
    bool,
    False,
    "",
    "Whether SIP clients that know no better may sign in with MD5 instead of SHA-256. It holds for passwords "
    "that are set while it is on.",
)
REGISTRATION_SECONDS = Setting(
    "sip.registration_seconds",
    int,
    3600,
    "seconds",
    "How long a registration of a SIP client lasts at most before it must be refreshed.",
    minimum=60,
    maximum=86_400,
)
SETTINGS = (CLIENTS, DIGEST_MD5, REGISTRATION_SECONDS)
