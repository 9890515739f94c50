"""The settings of people's instant messaging and presence (facts: Presence Settings, Messaging Settings)."""

from ubiety.settings import Setting

IM_ENABLED = Setting(
    "im.enabled", bool, True, "", "People may exchange instant messages; off leaves presence only."
)
OFFLINE_SUPPRESSED = Setting(
    "im.offline_suppressed",
    bool,
    False,
    "",
    "Messages to people who are signed out are refused instead of stored until they sign in.",
)
MULTI_DEVICE = Setting(
    "im.multi_device",
    bool,
    True,
    "",
    "Every device of a person gets every message, sent and received (carbons); "
    "off: messages fork to all devices until one replies, then go to that one.",
)
ARCHIVE_ENABLED = Setting(
    "archive.enabled", bool, True, "", "Each person's messages are kept in an archive that clients can query."
)
ARCHIVE_DAYS = Setting(
    "archive.keep_days",
    int,
    0,
    "days",
    "Time for which messages stay in the archive; looked at once a day.",
    minimum=0,
    maximum=36_500,
    zero="for ever",
)
SHARING_ENABLED = Setting(
    "presence.sharing",
    bool,
    True,
    "",
    "People see each other's availability; off: everybody sees only their own.",
)
AUTO_AUTHORIZE = Setting(
    "presence.auto_authorize",
    bool,
    True,
    "",
    "People may see the availability of others without being prompted for approval.",
)
MAX_CONTACTS = Setting(
    "roster.max_contacts",
    int,
    200,
    "contacts",
    "Maximum contact list size of a person.",
    minimum=0,
    maximum=100_000,
    zero="no limit",
)
MAX_WATCHERS = Setting(
    "roster.max_watchers",
    int,
    200,
    "watchers",
    "Maximum number of people who watch one person.",
    minimum=0,
    maximum=100_000,
    zero="no limit",
)
TEMPORARY_ENABLED = Setting(
    "presence.temporary_subscriptions",
    bool,
    True,
    "",
    "People may look up the availability of others who are not on their contact list.",
)
TEMPORARY_MAX = Setting(
    "presence.temporary_max",
    int,
    0,
    "subscriptions",
    "Maximum number of active temporary presence subscriptions on a node.",
    minimum=0,
    maximum=10_000_000,
    zero="no limit",
)
TEMPORARY_SECONDS = Setting(
    "presence.temporary_seconds",
    int,
    3600,
    "seconds",
    "Time after which a temporary presence subscription ends.",
    minimum=30,
    maximum=86_400,
)
DEFAULT_BLOCK = Setting(
    "presence.default_policy",
    str,
    "allow",
    "",
    "What a person who has not chosen a policy does with people who are on neither of their lists.",
    choices=("allow", "block"),
)
RESUME_SECONDS = Setting(
    "c2s.resume_seconds",
    int,
    300,
    "seconds",
    "Time for which a lost connection can be resumed with nothing lost.",
    "reconnect",
    minimum=0,
    maximum=3600,
)
MAX_SESSIONS = Setting(
    "c2s.sessions_per_user",
    int,
    20,
    "sessions",
    "Devices that one person can be signed in with at a time.",
    "reconnect",
    minimum=1,
    maximum=1000,
)
PING_SECONDS = Setting(
    "c2s.ping_seconds",
    int,
    120,
    "seconds",
    "A client that was silent for this long is asked for a sign of life and closed if it gives none.",
    minimum=10,
    maximum=3600,
)

ALL = (
    IM_ENABLED,
    OFFLINE_SUPPRESSED,
    MULTI_DEVICE,
    ARCHIVE_ENABLED,
    ARCHIVE_DAYS,
    SHARING_ENABLED,
    AUTO_AUTHORIZE,
    MAX_CONTACTS,
    MAX_WATCHERS,
    TEMPORARY_ENABLED,
    TEMPORARY_MAX,
    TEMPORARY_SECONDS,
    DEFAULT_BLOCK,
    RESUME_SECONDS,
    MAX_SESSIONS,
    PING_SECONDS,
)
