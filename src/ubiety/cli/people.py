"""`ubiety user`: people."""

from typing import Annotated, Any

import typer

from ubiety.cli.client import Client, CommandError
from ubiety.cli.importing import import_people
from ubiety.cli.options import Data, Domain, Json, Limit, client, read_password
from ubiety.cli.output import moment, print_json, print_line, print_properties, print_table

app = typer.Typer(name="user", help="People.", no_args_is_help=True)

UserId = Annotated[str, typer.Argument(help="User id, or an address at a domain that is served here.")]
Name = Annotated[str | None, typer.Option("--name", help="Display name.", show_default=False)]
GivenName = Annotated[str | None, typer.Option("--given-name", show_default=False)]
Surname = Annotated[str | None, typer.Option("--surname", show_default=False)]
Mail = Annotated[str | None, typer.Option("--mail", help="Mail address.", show_default=False)]
Department = Annotated[str | None, typer.Option("--department", show_default=False)]
Title = Annotated[str | None, typer.Option("--title", help="Job title.", show_default=False)]
Phone = Annotated[str | None, typer.Option("--phone", help="Telephone number.", show_default=False)]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@app.command("add")
def add(
    userid: UserId,
    name: Name = None,
    domain: Domain = None,
    given_name: GivenName = None,
    surname: Surname = None,
    mail: Mail = None,
    department: Department = None,
    title: Title = None,
    phone: Phone = None,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Add a person."""
    made = client(data).post(
        "user.add",
        userid=userid,
        domain=domain,
        name=name,
        given_name=given_name,
        surname=surname,
        mail=mail,
        department=department,
        title=title,
        phone=phone,
        password=read_password() if password_stdin else None,
    )
    if as_json:
        print_json(made)
        return
    print_line(f"Added {made['address']}.")
    if not password_stdin:
        print_line(f"Set a password so that they can log in: ubiety user password {userid} --password-stdin")


@app.command("list")
def list_people(
    domain: Domain = None,
    department: Department = None,
    text: Annotated[str | None, typer.Option("--text", help="Sought in user id, name and mail.")] = None,
    limit: Limit = 1_000_000,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List people."""
    found = _pages(client(data), limit, domain=domain, department=department, text=text)
    if as_json:
        print_json(found)
        return
    print_table(
        ["User id", "Name", "Address", "Department", "Enabled", "Last login"],
        (
            (p["userid"], p["name"], p["address"], p["department"], p["enabled"], moment(p["last_login"]))
            for p in found
        ),
        'Nobody. Add somebody: ubiety user add USERID --name "..." --password-stdin',
    )


def _pages(node: Client, limit: int, **arguments: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None and len(found) < limit:
        page = node.get("user.list", after=after, limit=min(1000, limit - len(found)), **arguments)
        found += page["people"]
        after = page["next"]
    return found


@app.command("show")
def show(userid: UserId, domain: Domain = None, as_json: Json = False, data: Data = None) -> None:
    """Show a person."""
    person = client(data).get("user.show", userid=userid, domain=domain)
    if as_json:
        print_json(person)
        return
    moments = {name: moment(person[name]) for name in ("created", "last_login", "last_seen")}
    words = {name: value for name, value in person.items() if name != "domain"} | moments
    print_properties({name.replace("_", " ").capitalize(): value for name, value in words.items()})


@app.command("update")
def update(
    userid: UserId,
    name: Name = None,
    domain: Domain = None,
    given_name: GivenName = None,
    surname: Surname = None,
    mail: Mail = None,
    department: Department = None,
    title: Title = None,
    phone: Phone = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Change what is known about a person; an empty text removes it."""
    changed = client(data).post(
        "user.update",
        userid=userid,
        domain=domain,
        name=name,
        given_name=given_name,
        surname=surname,
        mail=mail,
        department=department,
        title=title,
        phone=phone,
    )
    if as_json:
        print_json(changed)
    else:
        print_line(f"Changed {changed['address']}.")


@app.command("password")
def set_password(
    userid: UserId, domain: Domain = None, password_stdin: PasswordStdin = False, data: Data = None
) -> None:
    """Set a person's password, and end the sessions that began with the old one."""
    if not password_stdin:
        raise CommandError("A password is not given on the command line.", "Add --password-stdin.", 2)
    done = client(data).post("user.password", userid=userid, domain=domain, password=read_password())
    print_line(f"Set the password of {done['address']}.{_ended(done)}")


@app.command("disable")
def disable(userid: UserId, domain: Domain = None, data: Data = None) -> None:
    """Keep a person from logging in and end their sessions; nothing is deleted."""
    done = client(data).post("user.disable", userid=userid, domain=domain)
    print_line(f"Disabled {done['address']}.{_ended(done)}")


@app.command("enable")
def enable(userid: UserId, domain: Domain = None, data: Data = None) -> None:
    """Let a disabled person log in again."""
    done = client(data).post("user.enable", userid=userid, domain=domain)
    print_line(f"Enabled {done['address']}.")


@app.command("delete")
def delete(
    userid: UserId,
    domain: Domain = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
) -> None:
    """Delete a person with contact list, stored messages and history. It cannot be undone."""
    if not yes and not typer.confirm(f"Delete {userid} with contact list, messages and history for good?"):
        raise CommandError("Nothing was deleted.", "To keep a person from logging in: ubiety user disable")
    done = client(data).post("user.delete", userid=userid, domain=domain)
    print_line(f"Deleted {done['address']}.{_ended(done)}")


def _ended(done: dict[str, Any]) -> str:
    count = done["sessions_ended"]
    return f" {count} session{'s were' if count > 1 else ' was'} ended." if count else ""


app.command("import")(import_people)
