"""Operations on privacy policies: who may see a person and write to them (facts §4.2)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.naming import OfPerson, find_person
from ubiety.admin.operation import Line, Operation, Result
from ubiety.admin.problems import INVALID, NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.conditions import StanzaError
from ubiety.jid import Jid, JidError, parse
from ubiety.store import policy
from ubiety.store.users import User

SYSTEM = "system"


class PolicyView(Result):
    """A person's privacy policy."""

    address: str
    default: str = Field(description="allow, block, or system: what the setting says.")
    applies: str = Field(description="allow or block: what holds for those on neither list.")
    allowed: list[str] = Field(description="People and domains.")
    blocked: list[str] = Field(description="People and domains.")


class SetPolicy(OfPerson):
    """What holds for those on neither list."""

    default: Literal["allow", "block", "system"]


class PolicyEntry(OfPerson):
    """A person or a domain on somebody's lists."""

    entry: Annotated[Line, Field(min_length=1, description="An address or a domain.")]


async def show(node: Node, caller: Caller, arguments: OfPerson) -> PolicyView:
    """Shows a person's policy."""
    return await _view(node, await find_person(node, arguments.userid, arguments.domain))


async def set_default(node: Node, caller: Caller, arguments: SetPolicy) -> PolicyView:
    """Sets what holds for those on neither list; it shows at once."""
    user = await find_person(node, arguments.userid, arguments.domain)
    await node.policies.set_default(user, None if arguments.default == SYSTEM else arguments.default)
    return await _view(node, user)


async def allow(node: Node, caller: Caller, arguments: PolicyEntry) -> PolicyView:
    """Lets somebody, or a domain, see and reach a person."""
    return await _put(node, policy.ALLOW, arguments)


async def block(node: Node, caller: Caller, arguments: PolicyEntry) -> PolicyView:
    """Blocks somebody, or a domain: they see the person offline."""
    return await _put(node, policy.BLOCK, arguments)


async def remove(node: Node, caller: Caller, arguments: PolicyEntry) -> PolicyView:
    """Takes somebody, or a domain, off the list on which they are."""
    user = await find_person(node, arguments.userid, arguments.domain)
    target = _entry(arguments.entry)
    before = await _view(node, user)
    if target.text not in (*before.allowed, *before.blocked):
        raise Problem(
            NOT_FOUND,
            f"{target.text} is on neither list of {user.jid}.",
            f"See: ubiety policy show {user.jid}",
        )
    await node.policies.remove(user, target)
    return await _view(node, user)


async def _put(node: Node, action: str, arguments: PolicyEntry) -> PolicyView:
    user = await find_person(node, arguments.userid, arguments.domain)
    target = _entry(arguments.entry)
    if action == policy.BLOCK and target.text in (user.jid, user.domain):
        raise Problem(INVALID, "People cannot be blocked from themselves or their own server.")
    try:
        await node.policies.put(user, action, target)
    except StanzaError as error:
        raise Problem(INVALID, error.text) from error
    return await _view(node, user)


def _entry(text: str) -> Jid:
    try:
        target = parse(text)
    except JidError as error:
        raise Problem(INVALID, f"{text!r} is neither an address nor a domain: {error}.") from error
    if target.resource:
        raise Problem(INVALID, f"{text!r} names one device.", f"Give the person: {target.bare}")
    return target


async def _view(node: Node, user: User) -> PolicyView:
    stored = await node.database.read(policy.load, user.id)
    lists: dict[str, list[str]] = {policy.ALLOW: [], policy.BLOCK: []}
    for entry in stored.entries:
        lists[entry.action].append(entry.jid or entry.domain or "")
    return PolicyView(
        address=user.jid,
        default=stored.default_action or SYSTEM,
        applies=stored.default_action or node.policies.default,
        allowed=sorted(lists[policy.ALLOW]),
        blocked=sorted(lists[policy.BLOCK]),
    )


READ, WRITE = "people.read", "people.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("policy.show", "Shows a person's privacy policy.", OfPerson, PolicyView, READ, False, show),
    Operation(
        "policy.set",
        "Sets what holds for those on neither list of a person.",
        SetPolicy,
        PolicyView,
        WRITE,
        True,
        set_default,
        place="home",
    ),
    Operation(
        "policy.allow",
        "Lets somebody, or a domain, see and reach a person.",
        PolicyEntry,
        PolicyView,
        WRITE,
        True,
        allow,
        place="home",
    ),
    Operation(
        "policy.block",
        "Blocks somebody, or a domain: they see the person offline.",
        PolicyEntry,
        PolicyView,
        WRITE,
        True,
        block,
        place="home",
    ),
    Operation(
        "policy.remove",
        "Takes somebody, or a domain, off a person's lists.",
        PolicyEntry,
        PolicyView,
        WRITE,
        True,
        remove,
        place="home",
    ),
)
