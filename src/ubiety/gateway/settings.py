"""Settings of the federation with Microsoft servers and of SIP subscriptions (facts §5.1)."""

from collections.abc import Callable

from ubiety.settings import Setting

BASIC, ADVANCED = "basic", "advanced"
MODES = (BASIC, ADVANCED)

MICROSOFT = Setting(
    "federation.microsoft",
    bool,
    False,
    "",
    "Whether people on Microsoft Lync or OCS share our domains: who is not ours is looked for there "
    "(partitioned intradomain federation).",
)
ROUTING_MODE = Setting(
    "federation.routing_mode",
    str,
    BASIC,
    "",
    "Who of our domains is looked for on the Microsoft side: everybody who is not ours (basic), or only who "
    "is known to have an address there (advanced; for a single cluster).",
    choices=MODES,
)
SUBSCRIPTION_SECONDS = Setting(
    "federation.subscription_seconds",
    int,
    7446,
    "seconds",
    "Life of a presence subscription to somebody outside, before it is refreshed.",
    minimum=300,
    maximum=86_400,
)
RESTORE_RATE = Setting(
    "federation.restore_rate",
    int,
    300,
    "requests per second",
    "SIP requests per second with which subscriptions are taken up again after a restart or a take-over.",
    minimum=1,
    maximum=100_000,
)
SETTINGS = (MICROSOFT, ROUTING_MODE, SUBSCRIPTION_SECONDS, RESTORE_RATE)


def refuse_advanced(clusters: Callable[[], int]) -> Callable[[str], str]:
    """A check of the routing mode: says why a mode cannot be chosen now, or nothing.

    `clusters`: how many clusters are joined, this one included.
    """

    def check(mode: str) -> str:
        if mode == ADVANCED and (number := clusters()) > 1:
            return (
                f"The advanced routing mode is for a single cluster, and {number} clusters are joined here: "
                "none of them knows all addresses of the Microsoft side. Use basic."
            )
        return ""

    return check
