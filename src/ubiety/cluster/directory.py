"""Keeps this node's copies of people, domains, settings and policies as the database has them.

All of it may be called twice for the same change, and for changes that this node has made itself.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from ubiety.jid import parse
from ubiety.routing.homes import Homes, Movable
from ubiety.routing.homes import Person as Known
from ubiety.settings import SettingError, Settings
from ubiety.store import epochs, users
from ubiety.telemetry import event
from ubiety.users import outsiders, policy_changes
from ubiety.users.actor import User
from ubiety.users.context import Context

AT_ONCE = 500
"""People whose rows are read by one call."""

EndSessions = Callable[[User, str, str], Awaitable[None]]
"""Ends all sessions of a person: condition, words."""


def known(row: users.Person) -> Known:
    """Return what the directory in memory keeps of a row."""
    return Known(row.user_id, row.address_id, parse(row.jid), bool(row.enabled), row.set_id)


async def take_over_settings(settings: Settings, stored: dict[str, str]) -> None:
    """Apply values that differ from ours, and go back to the default where none is stored any more."""
    for name in settings.names():
        text = stored.get(name)
        if text is None:
            if not settings.is_default(name):
                settings.reset(name)
            continue
        try:
            settings.apply(name, json.loads(text))
        except (SettingError, ValueError) as error:
            event("setting_ignored", level="warning", problem=str(error))


class People:
    """The people in memory: who they are, to which set they belong, and what they allow."""

    def __init__(
        self,
        context: Context,
        forget: Callable[[User], None],
        end_sessions: EndSessions,
        movables: Sequence[Movable] = (),
    ) -> None:
        """``movables``: what goes with people besides their actors."""
        self._context = context
        self._movables = movables
        self._forget = forget
        self._end_sessions = end_sessions
        self.changing = asyncio.Lock()
        """Held from reading or writing rows to following them: older rows must not undo newer ones."""

    async def refresh(self, address_ids: Sequence[int] | None) -> None:
        """Take over who was added, changed, moved or deleted; None: look at everybody. Raises StoreError."""
        if address_ids is None:
            await self._refresh_all()
            return
        for start in range(0, len(address_ids), AT_ONCE):
            part = address_ids[start : start + AT_ONCE]
            async with self.changing:
                rows = await self._context.database.read(users.find_people, part)
                await self._take_over({row.address_id: row for row in rows}, part)

    async def refresh_policies(self, address_ids: Sequence[int] | None) -> None:
        """Have people follow their policy as it is stored; None: everybody. Raises StoreError."""
        chosen = list(self._context.actors) if address_ids is None else address_ids
        for address_id in chosen:
            user = self._context.actors.get(address_id)
            person = user.person if user is not None else self._context.homes.at(address_id)
            if person is not None:
                await policy_changes.read_again(self._context, person)

    async def _refresh_all(self) -> None:
        async with self.changing:
            await self._follow_all()

    async def _follow_all(self) -> None:
        rows = await self._context.database.read(lambda conn: list(users.all_people(conn)))
        by_address = {row.address_id: row for row in rows}
        gone = [person.address_id for person in self._context.homes if person.address_id not in by_address]
        everybody = [*by_address, *gone]
        for start in range(0, len(everybody), AT_ONCE):
            part = everybody[start : start + AT_ONCE]
            await self._take_over({one: by_address[one] for one in part if one in by_address}, part)
            await asyncio.sleep(0)

    async def _take_over(self, rows: dict[int, users.Person], address_ids: Sequence[int]) -> None:
        homes = self._context.homes
        people = {address_id: known(row) for address_id, row in rows.items()}
        arriving = [person.user_id for person in people.values() if _arrives(homes, person)]
        if arriving:
            # Numbers that their old home gave may be larger than ours: they must go on growing.
            self._context.set_epoch(await self._context.database.write(epochs.take_number))
        new = homes.strangers(people)
        for address_id in address_ids:
            person = people.get(address_id)
            if person is None:
                before = homes.at(address_id)
                if before is not None:
                    self._delete(before)
            else:
                before = homes.user(person.user_id)
                was_kept = before is not None and self._is_kept(before)
                homes.put(person)
                person = homes.at(address_id)
                if person is not None and not self._is_kept(person):
                    self._context.sources.forget((person.user_id,))
                    if was_kept:
                        self._leave(person)
            await self._follow(address_id, person)
        outsiders.come_home(self._context, new)
        self._arrive(arriving)

    def _arrive(self, user_ids: Sequence[int]) -> None:
        homes = self._context.homes
        people = [person for user_id in user_ids if (person := homes.user(user_id)) is not None]
        for person in people:
            for movable in self._movables:
                movable.arrived(person)

    def _leave(self, person: Known) -> None:
        for movable in self._movables:
            movable.left(person)

    def _delete(self, person: Known) -> None:
        if self._context.homes.is_here(person):
            for movable in self._movables:
                movable.deleted(person)
        self._context.homes.remove(person.user_id)
        self._context.sources.forget((person.user_id,))

    async def _follow(self, address_id: int, person: Known | None) -> None:
        """Have a person who is loaded follow the row, or leave."""
        user = self._context.actors.get(address_id)
        if user is None:
            return
        leaves = person is None or not person.enabled or person.jid.bare != user.jid.bare
        if person is not None:
            user.person = person
        if leaves:
            await self._end_sessions(user, "not-authorized", "This account may not sign in.")
            self._forget(user)
        elif person is not None and not self._is_kept(person):
            await self._end_sessions(user, MOVED, MOVED_TEXT)
            self._forget(user)

    def _is_kept(self, person: Known) -> bool:
        """Tell whether somebody stays loaded here: also who is just being handed over, by `moving`."""
        homes = self._context.homes
        return homes.is_here(person) or person.user_id in homes.moving


MOVED = "reset"
"""RFC 6120 §4.9.3.16: the stream is to be set up anew."""
MOVED_TEXT = "This account is served by another node now. Sign in again."


def _arrives(homes: Homes, person: Known) -> bool:
    """Tell whether somebody whom this node serves from now on was served by another one before."""
    before = homes.user(person.user_id)
    return before is not None and homes.is_here(person) and not homes.is_here(before)
