"""A person's privacy policy: who may see their availability and write to them.

The default (allow or block) and two lists of people and domains (facts §4.2); the list of blocked
people is what XEP-0191 shows to clients. A blocked watcher always sees offline (polite blocking).
"""

from collections.abc import Iterable

from ubiety.jid import Jid


class Policy:
    """The loaded policy of one person. Pure: look-ups in sets."""

    __slots__ = ("allowed", "allowed_domains", "blocked", "blocked_domains", "default_allow")

    def __init__(
        self,
        default_allow: bool,
        allowed: Iterable[str] = (),
        blocked: Iterable[str] = (),
    ) -> None:
        """Make a policy; an entry with an ``@`` is a bare address, one without is a domain."""
        allowed, blocked = list(allowed), list(blocked)
        self.default_allow = default_allow
        self.allowed = {entry for entry in allowed if "@" in entry}
        self.allowed_domains = {entry for entry in allowed if "@" not in entry}
        self.blocked = {entry for entry in blocked if "@" in entry}
        self.blocked_domains = {entry for entry in blocked if "@" not in entry}

    def allows(self, peer: Jid) -> bool:
        """Tell whether ``peer`` may see and reach the person. A person's entry beats a domain's."""
        if peer.bare in self.blocked:
            return False
        if peer.bare in self.allowed:
            return True
        if peer.domain in self.blocked_domains:
            return False
        if peer.domain in self.allowed_domains:
            return True
        return self.default_allow

    def admits(self, peer: Jid) -> bool:
        """Tell whether ``peer`` is on the list of those allowed, by name or by domain, and not blocked."""
        is_listed = peer.bare in self.allowed or peer.domain in self.allowed_domains
        return is_listed and self.allows(peer)

    def blocks(self, peer: Jid) -> bool:
        """Tell whether ``peer`` is on the block list (the person must not write to them: XEP-0191 §3.2)."""
        return peer.bare in self.blocked or (
            peer.domain in self.blocked_domains and peer.bare not in self.allowed
        )
