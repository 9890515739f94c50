"""`ubiety policy`: who may see a person and write to them."""

from typing import Annotated, Any

import typer

from ubiety.cli.options import Data, Domain, Json, client
from ubiety.cli.output import print_json, print_properties

app = typer.Typer(name="policy", help="Who may see a person and write to them.", no_args_is_help=True)

UserId = Annotated[str, typer.Argument(help="User id, or an address at a domain that is served here.")]
Entry = Annotated[str, typer.Argument(help="An address or a domain.")]

_WORDS = {"allow": "everybody else is allowed", "block": "everybody else is blocked"}


@app.command("show")
def show(userid: UserId, domain: Domain = None, as_json: Json = False, data: Data = None) -> None:
    """Show a person's policy."""
    _print(client(data).get("policy.show", userid=userid, domain=domain), as_json)


@app.command("set")
def set_default(
    userid: UserId,
    default: Annotated[
        str, typer.Option("--default", help="For those on neither list: allow, block, or system.")
    ],
    domain: Domain = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Set what holds for those on neither list; system: what the setting presence.default_policy says."""
    _print(client(data).post("policy.set", userid=userid, domain=domain, default=default), as_json)


@app.command("allow")
def allow(
    userid: UserId, entry: Entry, domain: Domain = None, as_json: Json = False, data: Data = None
) -> None:
    """Let somebody, or a domain, see and reach a person."""
    _print(client(data).post("policy.allow", userid=userid, domain=domain, entry=entry), as_json)


@app.command("block")
def block(
    userid: UserId, entry: Entry, domain: Domain = None, as_json: Json = False, data: Data = None
) -> None:
    """Block somebody, or a domain: they see the person offline and cannot write to them."""
    _print(client(data).post("policy.block", userid=userid, domain=domain, entry=entry), as_json)


@app.command("remove")
def remove(
    userid: UserId, entry: Entry, domain: Domain = None, as_json: Json = False, data: Data = None
) -> None:
    """Take somebody, or a domain, off the list on which they are."""
    _print(client(data).post("policy.remove", userid=userid, domain=domain, entry=entry), as_json)


def _print(policy: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(policy)
        return
    words = _WORDS[policy["applies"]]
    print_properties(
        {
            "Person": policy["address"],
            "Default": f"{policy['default']}: {words}",
            "Allowed": policy["allowed"],
            "Blocked": policy["blocked"],
        }
    )
