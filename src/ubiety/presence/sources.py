"""What is known of people's presence besides their devices: phones, the calendar, their own choice.

Kept in memory by the home of each person. Whoever reports a phone reports it again before the report expires,
so a new home hears of it too. Pure.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ubiety.presence.model import Device, Situation, Statement


@dataclass(slots=True)
class _Known:
    phones: dict[str, Statement] = field(default_factory=dict)
    calendar: Statement | None = None
    own: Statement | None = None

    def is_empty(self) -> bool:
        return not self.phones and self.calendar is None and self.own is None


class Sources:
    """Everything but devices, by user id. One per node."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._watchers: list[Callable[[int], None]] = []

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._known))

    def watch(self, changed: Callable[[int], None]) -> None:
        """Have ``changed`` called with the user id whenever one of a person's sources says something else."""
        self._watchers.append(changed)

    def put_phone(self, user_id: int, line: str, said: Statement | None) -> None:
        """A line of a person says something; None: it is idle, or nobody reports it any more.

        ``line`` tells the person's lines (publications) apart.
        """
        known = self._known.get(user_id) or _Known()
        if known.phones.get(line) == said:
            return
        if said is None:
            del known.phones[line]
        else:
            known.phones[line] = said
        self._keep(user_id, known)

    def put_calendar(self, user_id: int, said: Statement | None) -> None:
        """A person's calendar says something; None: nothing."""
        known = self._known.get(user_id) or _Known()
        if known.calendar != said:
            known.calendar = said
            self._keep(user_id, known)

    def put_own(self, user_id: int, said: Statement | None) -> None:
        """A person has chosen how they are shown; None: as their devices and the others say."""
        known = self._known.get(user_id) or _Known()
        if known.own != said:
            known.own = said
            self._keep(user_id, known)

    def signed_out(self, user_id: int) -> None:
        """A person is signed in nowhere any more: their choice ends with that (facts §4.3)."""
        if self._known:
            self.put_own(user_id, None)

    def forget(self, user_ids: Iterable[int]) -> None:
        """Another node serves these people from now on, or they are deleted; nobody is told."""
        for user_id in user_ids:
            self._known.pop(user_id, None)

    def knows(self, user_id: int) -> bool:
        """Tell whether anything is known of a person."""
        return user_id in self._known

    def situation(self, user_id: int, devices: tuple[Device, ...]) -> Situation:
        """Return everything that is known of a person who has these devices."""
        known = self._known.get(user_id)
        if known is None:
            return Situation(devices)
        return Situation(devices, tuple(known.phones.values()), known.calendar, known.own)

    def _keep(self, user_id: int, known: _Known) -> None:
        if known.is_empty():
            self._known.pop(user_id, None)
        else:
            self._known[user_id] = known
        for changed in self._watchers:
            changed(user_id)
