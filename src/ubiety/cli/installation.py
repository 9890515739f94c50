"""`ubiety domain`, `setting`, `session`, `token`, `certificate` and `audit`."""

from typing import Annotated

import typer

from ubiety.cli.options import Data, Domain, Json, Limit, OtherNode, client
from ubiety.cli.output import moment, print_json, print_line, print_note, print_properties, print_table

domain_app = typer.Typer(name="domain", help="Domains that are served here.", no_args_is_help=True)
setting_app = typer.Typer(name="setting", help="Settings.", no_args_is_help=True)
session_app = typer.Typer(name="session", help="Sessions of people.", no_args_is_help=True)
token_app = typer.Typer(name="token", help="Tokens for the REST interface.", no_args_is_help=True)
certificate_app = typer.Typer(name="certificate", help="The TLS certificate.", no_args_is_help=True)
audit_app = typer.Typer(name="audit", help="Who changed what.", no_args_is_help=True)

DomainName = Annotated[str, typer.Argument(help="The domain, for instance example.org.")]
SettingName = Annotated[str, typer.Argument(help="Name of the setting; see `ubiety setting list`.")]


@domain_app.command("add")
def add_domain(name: DomainName, as_json: Json = False, data: Data = None) -> None:
    """Add a domain."""
    made = client(data).post("domain.add", name=name)
    if as_json:
        print_json(made)
        return
    print_line(f"Added {made['name']}.")
    if not made["in_certificate"]:
        print_line("The certificate does not hold it: see `ubiety check`.")


@domain_app.command("list")
def list_domains(as_json: Json = False, data: Data = None) -> None:
    """List the domains."""
    found = client(data).get("domain.list")["domains"]
    if as_json:
        print_json(found)
        return
    rows = ((one["name"], one["is_default"], one["in_certificate"], moment(one["created"])) for one in found)
    print_table(["Domain", "Default", "In certificate", "Added"], rows, "There are no domains.")


@domain_app.command("delete")
def delete_domain(name: DomainName, data: Data = None) -> None:
    """Delete a domain to which nobody belongs any more."""
    print_line(f"Deleted {client(data).post('domain.delete', name=name)['name']}.")


@setting_app.command("list")
def list_settings(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only those that differ from the default.")
    ] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List the settings with their values."""
    answer = client(data).get("setting.list")
    found = [one for one in answer["settings"] if not (changed and one["is_default"])]
    if as_json:
        print_json(found)
        return
    rows = ((one["name"], _value(one["value"]), _default(one), one["unit"], one["sentence"]) for one in found)
    print_table(["Setting", "Value", "Default", "Unit", "Meaning"], rows, "All settings have their default.")
    for service, names in answer["restart_needed"].items():
        print_line(f"Restart {service}: {', '.join(names)} changed.")


@setting_app.command("get")
def get_setting(name: SettingName, as_json: Json = False, data: Data = None) -> None:
    """Show a setting."""
    one = client(data).get("setting.get", name=name)
    if as_json:
        print_json(one)
        return
    print_properties(
        {
            "Setting": one["name"],
            "Value": _value(one["value"]),
            "Default": _value(one["default"]),
            "Allowed": f"{one['allowed']} {one['unit']}".strip(),
            "Meaning": one["sentence"],
            "Change": one["takes_effect"],
        }
    )


@setting_app.command("set", context_settings={"ignore_unknown_options": True})
def set_setting(
    name: SettingName,
    value: Annotated[str, typer.Argument(help="The new value, for instance 200 or on.")],
    data: Data = None,
) -> None:
    """Set a setting."""
    one = client(data).post("setting.set", name=name, value=value)
    print_line(f"{one['name']} is {_value(one['value'])}. {one['takes_effect']}")


@setting_app.command("reset")
def reset_setting(name: SettingName, data: Data = None) -> None:
    """Go back to the default."""
    one = client(data).post("setting.reset", name=name)
    print_line(f"{one['name']} is {_value(one['value'])}, the default. {one['takes_effect']}")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _default(one: dict[str, object]) -> str:
    return "" if one["is_default"] else _value(one["default"])


@session_app.command("list")
def list_sessions(
    userid: Annotated[str | None, typer.Option("--user", help="Only those of this person.")] = None,
    domain: Domain = None,
    limit: Limit = 100_000,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List the sessions of all nodes."""
    answer = client(data).get("session.list", userid=userid, domain=domain, limit=min(limit, 100_000))
    found = answer["sessions"]
    if as_json:
        print_json(found)
        return
    titles = ["Address", "State", "Presence", "Priority", "Since", "From", "Transport", "Queued", "Node"]
    names = ("address", "state", "presence", "priority", "since", "remote", "transport", "queued", "node")
    rows = ([moment(one[n]) if n == "since" else one[n] for n in names] for one in found)
    print_table(titles, rows, "There are no sessions.")
    if answer["missing"]:
        print_note(f"Not counted, because they do not answer: {', '.join(answer['missing'])}.")


@session_app.command("kick")
def kick(
    userid: Annotated[str, typer.Argument(help="User id or address.")],
    domain: Domain = None,
    resource: Annotated[str | None, typer.Option("--resource", help="Only this one.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="What the client is told.")] = None,
    data: Data = None,
) -> None:
    """End a person's sessions; their clients may log in again."""
    bare, slash, named = userid.partition("/")
    if slash and resource is None and "@" in bare:
        userid, resource = bare, named
    done = client(data).post("session.kick", userid=userid, domain=domain, resource=resource, reason=reason)
    count = done["sessions_ended"]
    print_line(f"Ended {count} session{'s' if count > 1 else ''} of {done['address']}.")


@token_app.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[
        str | None, typer.Option("--role", help="administrator, auditor, helpdesk, monitoring.")
    ] = None,
    permission: Annotated[list[str] | None, typer.Option("--permission", help="A single permission.")] = None,
    domain: Annotated[
        list[str] | None, typer.Option("--domain", help="Limit the role to this domain.")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a token and show it once."""
    made = client(data).post(
        "token.add", name=name, role=role, permissions=permission or None, domains=domain or None
    )
    if as_json:
        print_json(made)
        return
    print(made["token"])
    print_line(f"It is shown this once. Send it as: Authorization: Bearer TOKEN. It may: {_may(made)}")


def _may(token: dict[str, list[str]]) -> str:
    return ", ".join(token["permissions"])


@token_app.command("list")
def list_tokens(as_json: Json = False, data: Data = None) -> None:
    """List the tokens, without their secrets."""
    found = client(data).get("token.list")["tokens"]
    if as_json:
        print_json(found)
        return
    rows = ((one["name"], _may(one), moment(one["created"])) for one in found)
    print_table(["Token", "May", "Made"], rows, "There are no tokens. Make one: ubiety token add NAME")


@token_app.command("delete")
def delete_token(name: Annotated[str, typer.Argument()], data: Data = None) -> None:
    """Delete a token: it is refused from now on."""
    print_line(f"Deleted the token {client(data).post('token.delete', name=name)['name']}.")


@certificate_app.command("show")
def show_certificate(node: OtherNode = None, as_json: Json = False, data: Data = None) -> None:
    """Show the certificate in use."""
    _print_certificate(client(data).get("certificate.show", node=node), as_json)


@certificate_app.command("reload")
def reload_certificate(node: OtherNode = None, as_json: Json = False, data: Data = None) -> None:
    """Read the certificate files again; new connections use them at once."""
    _print_certificate(client(data).post("certificate.reload", node=node), as_json)


def _print_certificate(one: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    ends = one["not_after"]
    print_properties(
        {
            "File": one["path"],
            "Names": one["names"],
            "Issuer": one["issuer"],
            "Clients trust": one["authority_file"],
            "Valid until": moment(ends if isinstance(ends, float) else None),
            "SHA-256": one["fingerprint"],
        }
    )


@audit_app.command("list")
def list_audit(limit: Limit = 100, as_json: Json = False, data: Data = None) -> None:
    """List who changed what, the newest first."""
    found = client(data).get("audit.list", limit=min(limit, 1000))["entries"]
    if as_json:
        print_json(found)
        return
    rows = ((moment(o["at"]), o["actor"], o["operation"], o["arguments"], o["outcome"]) for o in found)
    print_table(["When", "Who", "What", "With", "Outcome"], rows, "Nothing was changed yet.")
