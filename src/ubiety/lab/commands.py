"""The words that drive a simulated pool: one line is one command, its answer some lines.

sign-in bob busy
im bob ann@example.org Hello there
"""

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ubiety.lab.availability import NAMES, AvailabilityError
from ubiety.lab.client import Client
from ubiety.lab.journal import (
    MessageSeen,
    NothingCameError,
    PresenceSeen,
    PromptSeen,
    SubscriptionSeen,
    TypingSeen,
)
from ubiety.lab.pool import Pool

KINDS: dict[str, type[Any]] = {
    "im": MessageSeen,
    "typing": TypingSeen,
    "presence": PresenceSeen,
    "prompt": PromptSeen,
    "subscription": SubscriptionSeen,
}
"""What `wait` can wait for."""


class CommandRefusedError(Exception):
    """A command that cannot be carried out. The text says why."""


Lines = Sequence[str]
Function = Callable[[Pool, list[str]], Awaitable[Lines]]


@dataclass(frozen=True, slots=True)
class Command:
    """One word with its arguments; those in square brackets may be left out."""

    usage: str
    help: str
    function: Function

    @property
    def needed(self) -> int:
        """How many arguments there must be."""
        return sum(not word.startswith("[") for word in self.usage.split()[1:])


async def run(pool: Pool, line: str) -> Lines:
    """Carries out one line and returns what it prints. Raises CommandRefusedError."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise CommandRefusedError(f"{error}.") from error
    if not words:
        return ()
    command = COMMANDS.get(words[0])
    if command is None:
        raise CommandRefusedError(f"there is no command {words[0]!r}. Say help.")
    if len(words) <= command.needed:
        raise CommandRefusedError(f"usage: {command.usage}")
    try:
        return await command.function(pool, words[1:])
    except (LookupError, AvailabilityError, NothingCameError, OSError) as error:
        raise CommandRefusedError(str(error)) from error


def _client(pool: Pool, word: str) -> Client:
    person = pool.site.find(word)
    client = pool.clients.get(person.uri)
    if client is None:
        raise CommandRefusedError(f"{person.uri} is not signed in. Say: sign-in {word}")
    return client


def _status(status: int) -> Lines:
    if status >= 300:
        raise CommandRefusedError(f"answered {status}")
    return (f"answered {status}",)


async def _help(_pool: Pool, _words: list[str]) -> Lines:
    width = max(len(one.usage) for one in COMMANDS.values())
    return [f"{one.usage:{width}}  {one.help}" for one in COMMANDS.values()]


async def _who(pool: Pool, _words: list[str]) -> Lines:
    lines = []
    for person in pool.site.people.values():
        signed = f"signed in {len(person.endpoints)}x" if person.endpoints else "signed out"
        asking = f", asked by {', '.join(person.asking)}" if person.asking else ""
        watchers = len(pool.presence.watchers_of(person))
        lines.append(f"{person.uri}: {person.shown}, {signed}, {watchers} watchers{asking}")
    return lines


async def _front_ends(pool: Pool, _words: list[str]) -> Lines:
    return [
        f"{one.plan.name}: {'running' if one.is_running else 'stopped'}, "
        + ", ".join(f"{transport} {port}" for transport, port in one.ports.items())
        + f", {len(one.connections)} connections"
        for one in pool.front_ends
    ]


async def _sign_in(pool: Pool, words: list[str]) -> Lines:
    client = await pool.sign_in(words[0], *words[1:2])
    return (f"{client.uri} is {client.person.shown}",)


async def _sign_out(pool: Pool, words: list[str]) -> Lines:
    await pool.sign_out(words[0])
    return ()


async def _availability(pool: Pool, words: list[str]) -> Lines:
    _client(pool, words[0]).set_availability(words[1], " ".join(words[2:]))
    return ()


async def _activity(pool: Pool, words: list[str]) -> Lines:
    _client(pool, words[0]).set_availability(words[1], activity=words[2])
    return ()


async def _add(pool: Pool, words: list[str]) -> Lines:
    _client(pool, words[0]).add_contact(words[1])
    return ()


async def _remove(pool: Pool, words: list[str]) -> Lines:
    await _client(pool, words[0]).remove_contact(words[1])
    return ()


async def _refresh(pool: Pool, words: list[str]) -> Lines:
    for subscription in _client(pool, words[0]).subscriptions.values():
        subscription.refresh_now()
    return ()


async def _contacts(pool: Pool, words: list[str]) -> Lines:
    found = _client(pool, words[0]).subscriptions
    return [f"{peer}: {one.shown or 'unknown'} ({one.state})" for peer, one in found.items()]


async def _accept(pool: Pool, words: list[str]) -> Lines:
    pool.site.find(words[0]).decide(words[1].lower(), is_allowed=True)
    return ()


async def _deny(pool: Pool, words: list[str]) -> Lines:
    pool.site.find(words[0]).decide(words[1].lower(), is_allowed=False)
    return ()


async def _forget(pool: Pool, words: list[str]) -> Lines:
    pool.site.find(words[0]).forget(words[1].lower())
    return ()


async def _im(pool: Pool, words: list[str]) -> Lines:
    return _status(await _client(pool, words[0]).send(words[1], " ".join(words[2:])))


async def _type(pool: Pool, words: list[str]) -> Lines:
    return _status(await _client(pool, words[0]).typing(words[1], words[2:3] != ["stop"]))


async def _end(pool: Pool, words: list[str]) -> Lines:
    await _client(pool, words[0]).end(words[1])
    return ()


async def _group(pool: Pool, words: list[str]) -> Lines:
    return _status(await _client(pool, words[0]).invite_to_group(words[1], *words[2:]))


async def _flood(pool: Pool, words: list[str]) -> Lines:
    count = int(words[2]) if words[2].isdecimal() else 0
    statuses = await _client(pool, words[0]).flood(words[1], count)
    return [f"{status}: {times}" for status, times in sorted(statuses.items())]


async def _answer(pool: Pool, words: list[str]) -> Lines:
    if not words[1].isdecimal():
        raise CommandRefusedError("give a SIP status, or 0 to let it ring")
    _client(pool, words[0]).invite_answer = int(words[1])
    return ()


async def _received(pool: Pool, words: list[str]) -> Lines:
    return [str(entry) for entry in _client(pool, words[0]).journal.entries]


async def _clear(pool: Pool, words: list[str]) -> Lines:
    _client(pool, words[0]).journal.clear()
    return ()


async def _wait(pool: Pool, words: list[str]) -> Lines:
    if words[1] not in KINDS:
        raise CommandRefusedError(f"give one of {', '.join(KINDS)}")
    word = words[2] if len(words) > 2 else ""
    seconds = float(words[3]) if len(words) > 3 else 5.0
    journal = _client(pool, words[0]).journal
    entry: Any = await journal.wait(KINDS[words[1]], lambda entry: word in str(entry), seconds=seconds)
    return (str(entry),)


async def _returned(pool: Pool, _words: list[str]) -> Lines:
    return list(pool.site.returned)


async def _stop(pool: Pool, words: list[str]) -> Lines:
    await pool.front_end(words[0]).stop()
    return ()


async def _start(pool: Pool, words: list[str]) -> Lines:
    await pool.front_end(words[0]).start()
    return ()


async def _restart(pool: Pool, _words: list[str]) -> Lines:
    await pool.restart()
    return ()


async def _fault(pool: Pool, words: list[str]) -> Lines:
    front_end, kind, rest = pool.front_end(words[0]), words[1], words[2:]
    faults = front_end.faults
    match kind:
        case "mute":
            faults.is_mute = True
        case "late":
            faults.delay = float(rest[0]) if rest else 5.0
        case "twice":
            faults.answers_twice = True
        case "refuse":
            faults.refusals[rest[1].upper() if len(rest) > 1 else "*"] = int(rest[0]) if rest else 503
        case "drop":
            front_end.drop_connections()
        case "garbage":
            front_end.send_garbage()
        case "none":
            front_end.faults = type(faults)()
        case _:
            raise CommandRefusedError("give mute, late, twice, refuse, drop, garbage or none")
    return ()


_ROWS = (
    ("help", "print this", _help),
    ("who", "everybody, how available, who asks", _who),
    ("front-ends", "the servers of the pool", _front_ends),
    ("sign-in USER [AVAILABILITY]", "sign a simulated client in", _sign_in),
    ("sign-out USER", "sign it out", _sign_out),
    ("availability USER WORD [NOTE]", f"show one of {', '.join(NAMES)}, or a number", _availability),
    ("activity USER WORD ACTIVITY", "the same with an activity such as on-the-phone", _activity),
    ("add USER ADDRESS", "add a contact and subscribe", _add),
    ("remove USER ADDRESS", "remove a contact and unsubscribe", _remove),
    ("refresh USER", "refresh all subscriptions now", _refresh),
    ("contacts USER", "what is seen of the contacts", _contacts),
    ("accept USER ADDRESS", "answer a pop-up: let somebody see the user", _accept),
    ("deny USER ADDRESS", "block somebody", _deny),
    ("forget USER ADDRESS", "take an answer back: the next request prompts again", _forget),
    ("im USER ADDRESS TEXT", "send an IM", _im),
    ("type USER ADDRESS [stop]", "tell that the user types, or stops", _type),
    ("end USER ADDRESS", "end the conversation", _end),
    ("group USER ADDRESS OTHER", "invite somebody to a group chat", _group),
    ("flood USER ADDRESS COUNT", "invite somebody many times at once", _flood),
    ("answer USER STATUS", "how invitations are answered: 200, 486, 603 ... or 0", _answer),
    ("received USER", "what has come", _received),
    ("clear USER", "forget what has come", _clear),
    ("wait USER KIND [TEXT] [SECONDS]", f"wait for {', '.join(KINDS)}", _wait),
    ("returned", "addresses of unknown people whose requests went to the other side", _returned),
    ("stop FRONT-END", "stop one server", _stop),
    ("start FRONT-END", "start it again", _start),
    ("restart", "restart all; subscriptions and conversations are forgotten", _restart),
    ("fault FRONT-END KIND [VALUE] [METHOD]", "mute, late, twice, refuse, drop, garbage or none", _fault),
)
COMMANDS = {usage.split()[0]: Command(usage, text, function) for usage, text, function in _ROWS}
"""All commands by their first word."""
