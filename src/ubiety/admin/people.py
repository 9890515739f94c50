"""Operations on people."""

from typing import Annotated, Any

from pydantic import Field, SecretStr
from sqlalchemy import Connection

from ubiety.admin.context import Node
from ubiety.admin.credentials import make_keys
from ubiety.admin.naming import (
    AnyDomain,
    OfPerson,
    find_person,
    load_by_address,
    name_of,
    node_named,
    require,
)
from ubiety.admin.operation import After, Line, Operation, PageSize, Result
from ubiety.admin.problems import CONFLICT, Problem
from ubiety.admin.rbac import Caller
from ubiety.directory.assignment import MODE, NOBODY
from ubiety.directory.domains import Name
from ubiety.directory.placing import place
from ubiety.store import archive, domains, users
from ubiety.store.users import User

ARCHIVE_STEP = 500
"""Rows of history that one transaction deletes: other writers wait no longer than that takes."""

PROFILE_FIELDS = {
    "name": "display_name",
    "given_name": "given_name",
    "surname": "surname",
    "mail": "mail",
    "department": "department",
    "title": "title",
    "phone": "phone",
}


class Person(Result):
    """A person as administrators see them."""

    userid: str
    domain: str
    address: str
    name: str
    given_name: str
    surname: str
    mail: str
    department: str
    title: str
    phone: str
    enabled: bool
    created: float
    last_login: float | None
    last_seen: float | None


class PersonDetails(Person):
    """A person with what is known at this moment."""

    has_password: bool
    sessions: int
    last_status: str
    node: str = Field(description="The node to which the person is assigned; empty: to none.")


class People(Result):
    """A page of people."""

    people: list[Person]
    next: int | None = Field(description="Pass it as `after` to get the next page; null on the last one.")


class Profile(OfPerson):
    """What may be set of a person; what is not given stays as it is."""

    name: Line | None = Field(None, description="Display name.")
    given_name: Line | None = None
    surname: Line | None = None
    mail: Line | None = None
    department: Line | None = None
    title: Line | None = None
    phone: Line | None = None

    def columns(self) -> dict[str, str]:
        """The columns that were given, by the names of the store."""
        given = {column: getattr(self, field) for field, column in PROFILE_FIELDS.items()}
        return {column: value for column, value in given.items() if value is not None}


class AddPerson(Profile):
    """A new person."""

    password: SecretStr | None = Field(None, description="Without one the person cannot log in yet.")
    node: Line | None = Field(None, description="Assigned node; without it as the assignment mode has it.")


class SetPassword(OfPerson):
    """A new password for a person."""

    password: SecretStr


class ListPeople(AnyDomain):
    """Which people to list."""

    text: Annotated[Line, Field(description="Sought in user id, name and mail address.")] = ""
    department: Line = ""
    after: After = 0
    limit: PageSize = 100


class Done(Result):
    """Whom it concerned, and how many sessions were ended by it."""

    address: str
    sessions_ended: int = 0


def view(user: User) -> dict[str, Any]:
    """A row of the store in the words of the interface."""
    row = user._asdict()
    return row | {"address": user.jid, "name": user.display_name}


async def add(node: Node, caller: Caller, arguments: AddPerson) -> Person:
    """Adds a person."""
    name = name_of(arguments.userid, arguments.domain, node.domains)
    keys = await make_keys(node, name.userid, arguments.password) if arguments.password else None
    chosen = node_named(node, arguments.node).id if arguments.node else None
    mode, now = node.settings.get(MODE), node.clock.now()

    def write(conn: Connection) -> User:
        set_id = place(conn, mode) if chosen is None else chosen
        return insert(conn, name, arguments.columns(), keys, now, set_id)

    made = await node.database.write(write)
    await node.people_changed([made.address_id])
    return Person(**view(made))


def insert(
    conn: Connection, name: Name, profile: dict[str, str], keys: str | None, now: float, set_id: int
) -> User:
    """Writes a new person. Raises Problem."""
    domain = domains.find(conn, name.domain)
    if domain is None:
        raise Problem(CONFLICT, f"The domain {name.domain} was deleted meanwhile.")
    profile.setdefault("display_name", name.userid)
    if load_by_address(conn, name.address) is not None:
        cure = f"Change it with: ubiety user update {name.userid} --domain {name.domain}"
        raise Problem(CONFLICT, f"{name.address} exists already.", cure)
    user_id = users.create(conn, name.address, name.userid, domain.id, now, profile, set_id=set_id)
    if keys is not None:
        users.set_scram(conn, user_id, keys)
    made = users.load(conn, user_id)
    assert made is not None
    return made


async def list_people(node: Node, caller: Caller, arguments: ListPeople) -> People:
    """Lists people, a page at a time, in the order in which they were added."""
    rows = await node.database.read(
        users.list_page,
        after=arguments.after,
        limit=arguments.limit,
        domain=arguments.scope(node.domains) or "",
        department=arguments.department,
        text=arguments.text,
    )
    more = rows[-1].id if len(rows) == arguments.limit else None
    return People(people=[Person(**view(row)) for row in rows], next=more)


async def show(node: Node, caller: Caller, arguments: OfPerson) -> PersonDetails:
    """Shows a person."""
    user = await find_person(node, arguments.userid, arguments.domain)
    credentials = await node.database.read(users.load_credentials, user.jid)
    count = await node.sessions.count(user.jid)
    has_password = credentials is not None and credentials.scram is not None
    assigned = node.topology.value.name_of(user.set_id) if user.set_id != NOBODY else ""
    return PersonDetails(**view(user), has_password=has_password, sessions=count, node=assigned)


async def update(node: Node, caller: Caller, arguments: Profile) -> Person:
    """Changes what is known about a person."""
    user = await find_person(node, arguments.userid, arguments.domain)
    if changes := arguments.columns():
        require(await node.database.write(users.update, user.id, changes), user.jid)
        await node.people_changed([user.address_id])
    return Person(**view(await find_person(node, arguments.userid, arguments.domain)))


async def set_password(node: Node, caller: Caller, arguments: SetPassword) -> Done:
    """Sets a person's password and ends the sessions that began with the old one."""
    user = await find_person(node, arguments.userid, arguments.domain)
    keys = await make_keys(node, user.userid, arguments.password)
    require(await node.database.write(users.set_scram, user.id, keys), user.jid)
    await node.people_changed([user.address_id])
    ended = await node.sessions.end(user.jid, "The password was changed.")
    return Done(address=user.jid, sessions_ended=ended)


async def disable(node: Node, caller: Caller, arguments: OfPerson) -> Done:
    """Keeps a person from logging in and ends their sessions; nothing is deleted."""
    user = await find_person(node, arguments.userid, arguments.domain)
    require(await node.database.write(users.set_enabled, user.id, False), user.jid)
    ended = await _end_sessions(node, user, "The account is disabled.")
    await node.people_changed([user.address_id])
    return Done(address=user.jid, sessions_ended=ended)


async def enable(node: Node, caller: Caller, arguments: OfPerson) -> Done:
    """Lets a disabled person log in again."""
    user = await find_person(node, arguments.userid, arguments.domain)
    require(await node.database.write(users.set_enabled, user.id, True), user.jid)
    await node.people_changed([user.address_id])
    return Done(address=user.jid)


async def delete(node: Node, caller: Caller, arguments: OfPerson) -> Done:
    """Deletes a person with contact list, stored messages and history. It cannot be undone."""
    user = await find_person(node, arguments.userid, arguments.domain)
    # First nobody gets in any more, so that nothing new is written for them.
    require(await node.database.write(users.set_enabled, user.id, False), user.jid)
    ended = await _end_sessions(node, user, "The account was deleted.")
    await node.people_changed([user.address_id])
    while await node.database.write(archive.delete_some, user.id, ARCHIVE_STEP):
        pass
    await node.database.write(users.delete, user.id)
    await node.people_changed([user.address_id])
    return Done(address=user.jid, sessions_ended=ended)


async def _end_sessions(node: Node, user: User, reason: str) -> int:
    """Ends the sessions of somebody who may not sign in any more; a node that is away learns it later."""
    try:
        return await node.sessions.end(user.jid, reason)
    except Problem:
        return 0


READ, WRITE = "people.read", "people.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("user.add", "Adds a person.", AddPerson, Person, WRITE, True, add),
    Operation("user.list", "Lists people.", ListPeople, People, READ, False, list_people),
    Operation("user.show", "Shows a person.", OfPerson, PersonDetails, READ, False, show),
    Operation("user.update", "Changes what is known about a person.", Profile, Person, WRITE, True, update),
    Operation("user.password", "Sets a person's password.", SetPassword, Done, WRITE, True, set_password),
    Operation("user.disable", "Keeps a person from logging in.", OfPerson, Done, WRITE, True, disable),
    Operation("user.enable", "Lets a person log in again.", OfPerson, Done, WRITE, True, enable),
    Operation("user.delete", "Deletes a person for good.", OfPerson, Done, WRITE, True, delete),
)
