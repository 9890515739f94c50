"""Who may do what: permissions, roles, and the callers who hold them (pure).

A grant is `permission` or `permission@domain`. `*` stands for every permission, `people.*` for all of that
subject.
"""

from collections.abc import Iterable
from dataclasses import dataclass

PERMISSIONS = {
    "people.read": "List and show people.",
    "people.write": "Add, change, disable and delete people, and set their passwords.",
    "domains.read": "List domains.",
    "domains.write": "Add and delete domains.",
    "federation.read": "List static routes and trusted peers, and explain what is routed where.",
    "federation.write": "Change static routes, trusted peers and domains of others.",
    "settings.read": "List and show settings.",
    "settings.write": "Change settings.",
    "sessions.read": "List sessions.",
    "sessions.end": "End sessions.",
    "messages.announce": "Send announcements.",
    "messages.trace": "See in the SIP messages of a node what people write; every look is audited.",
    "services.read": "List services.",
    "services.write": "Start and stop services.",
    "system.read": "Status, checks, certificate, counters.",
    "system.write": "Reload the certificate.",
    "tokens.read": "List tokens of the administration interface.",
    "tokens.write": "Make and delete tokens.",
    "audit.read": "Read who changed what.",
}

ROLES: dict[str, tuple[str, ...]] = {
    "administrator": ("*",),
    "auditor": tuple(name for name in PERMISSIONS if name.endswith(".read")),
    "helpdesk": ("people.read", "people.write", "sessions.read", "sessions.end"),
    "monitoring": ("system.read", "services.read"),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls an operation."""

    name: str
    """For the audit: `unix:root` or `token:backup`."""
    grants: frozenset[str]

    def holds(self, permission: str, domain: str | None = None) -> bool:
        """Whether the caller may do this in `domain`; None asks for the whole installation."""
        wanted = {"*", permission, permission.split(".")[0] + ".*"}
        return any(
            (name in wanted) and (not at or place == domain)
            for name, at, place in (grant.partition("@") for grant in self.grants)
        )

    def domains(self, permission: str) -> list[str]:
        """The domains to which this permission is limited; empty when it is held everywhere or nowhere."""
        if self.holds(permission):
            return []
        places = {grant.partition("@")[2] for grant in self.grants}
        return sorted(place for place in places if place and self.holds(permission, place))


def check_grants(grants: Iterable[str]) -> None:
    """Raises ValueError when one of the grants names no permission."""
    subjects = {name.split(".")[0] + ".*" for name in PERMISSIONS}
    for grant in grants:
        name, at, place = grant.partition("@")
        if name not in PERMISSIONS and name not in subjects and name != "*":
            raise ValueError(f"{name!r} is no permission. There are: {', '.join(PERMISSIONS)}.")
        if at and not place:
            raise ValueError(f"{grant!r} names no domain behind the @.")


def role_grants(role: str, domains: Iterable[str] = ()) -> list[str]:
    """The grants of a role, limited to `domains` if there are any. Raises ValueError."""
    if role not in ROLES:
        raise ValueError(f"{role!r} is no role. There are: {', '.join(ROLES)}.")
    places = list(domains)
    return [f"{name}@{place}" for name in ROLES[role] for place in places] or list(ROLES[role])


def covers(holder: Caller, grants: Iterable[str]) -> bool:
    """Whether `holder` has all that `grants` give: nobody hands out what he does not hold."""
    for grant in grants:
        name, _, place = grant.partition("@")
        subject = name.removesuffix("*")
        wide = [one for one in PERMISSIONS if name.endswith("*") and one.startswith(subject)]
        if not all(holder.holds(one, place or None) for one in (wide or [name])):
            return False
    return True
