"""The settings of redundancy, with the names that Cisco's documentation has for them."""

from ubiety.settings import Setting

CRITICAL_DELAY = Setting(
    "ha.critical_service_delay",
    float,
    10.0,
    "seconds",
    "Time for which a critical service may be down before the node fails over: "
    "Critical Service (Down) Delay.",
    minimum=0,
    maximum=3600,
)
AUTOMATIC_FALLBACK = Setting(
    "ha.automatic_fallback",
    bool,
    False,
    "",
    "People return to their node by themselves once it has been well for a time: Enable Automatic Fallback.",
)
FALLBACK_MINUTES = Setting(
    "ha.fallback_minutes",
    int,
    30,
    "minutes",
    "Time for which both nodes must have been well before people return by themselves.",
    minimum=1,
    maximum=10_080,
)
INITIAL_TIMEOUT = Setting(
    "ha.initial_heartbeat_timeout",
    float,
    10.0,
    "seconds",
    "Time that a node which starts waits to hear of its peer before it serves people: "
    "Initialization Keep Alive (Heartbeat) Timeout.",
    minimum=1,
    maximum=600,
)
HEARTBEAT_TIMEOUT = Setting(
    "ha.heartbeat_timeout",
    float,
    2.5,
    "seconds",
    "Time without a heartbeat after which the peer counts as down, and is taken over when its lease in the "
    "database has run out, too: Keep Alive (Heartbeat) Timeout.",
    minimum=1,
    maximum=600,
)
HEARTBEAT_INTERVAL = Setting(
    "ha.heartbeat_interval",
    float,
    0.5,
    "seconds",
    "Pause between two heartbeats to the peer: Keep Alive (Heartbeat) Interval.",
    minimum=0.1,
    maximum=60,
)
MONITOR_AUTHENTICATION = Setting(
    "ha.monitor_authentication",
    bool,
    True,
    "",
    "The Cisco XCP Authentication Service counts as a critical service: Enable monitoring of XCP "
    "Authentication Service.",
)
SETTINGS = (
    CRITICAL_DELAY,
    AUTOMATIC_FALLBACK,
    FALLBACK_MINUTES,
    INITIAL_TIMEOUT,
    HEARTBEAT_TIMEOUT,
    HEARTBEAT_INTERVAL,
    MONITOR_AUTHENTICATION,
)
