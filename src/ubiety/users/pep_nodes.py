"""A personal node's options and who may read it (XEP-0060 §16.4.4, XEP-0163). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_attribute, escape_text
from ubiety.xmpp import ns

ACCESS_MODELS = ("open", "presence", "whitelist")
SEND_LAST = ("never", "on_sub", "on_sub_and_presence")
MAX_ITEMS = 1000
"""Items that one node keeps at most; what "max" stands for."""
MAX_TEXT = 1023

CONFIG_FORM = "http://jabber.org/protocol/pubsub#node_config"
META_FORM = "http://jabber.org/protocol/pubsub#meta-data"


@dataclass(frozen=True, slots=True)
class Options:
    """How a node behaves; the defaults are those of personal eventing (XEP-0163 §5)."""

    access_model: str = "presence"
    persist_items: bool = True
    max_items: int = 1
    send_last_published_item: str = "on_sub_and_presence"
    notify_delete: bool = True
    notify_retract: bool = True
    deliver_payloads: bool = True
    title: str = ""
    type: str = ""

    def changed(self) -> dict[str, Any]:
        """Return what differs from the defaults, as it is stored."""
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if getattr(self, item.name) != item.default
        }


_CHOICES = {"access_model": ACCESS_MODELS, "send_last_published_item": SEND_LAST}
_FLAGS = ("persist_items", "notify_delete", "notify_retract", "deliver_payloads")
_TRUE, _FALSE = ("1", "true"), ("0", "false")


def load_options(stored: Mapping[str, Any]) -> Options:
    """Return the options of a stored node."""
    known = {item.name for item in fields(Options)}
    return Options(**{name: value for name, value in stored.items() if name in known})


def read_form(form: Element | None) -> dict[str, Any]:
    """Return the options in a submitted form; those that we do not know are passed over.

    Raises StanzaError (not-acceptable, bad-request).
    """
    given: dict[str, Any] = {}
    if form is None:
        return given
    for item in form.findall("field", ns.DATA_FORMS):
        name = (item.get("var") or "").removeprefix("pubsub#")
        value = item.find("value", ns.DATA_FORMS)
        if value is not None and item.get("var") != "FORM_TYPE":
            _read_option(given, name, value.text.strip())
    return given


def _read_option(given: dict[str, Any], name: str, text: str) -> None:
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise StanzaError("not-acceptable", f"{name} is one of {', '.join(_CHOICES[name])} here.")
        given[name] = text
    elif name in _FLAGS:
        if text not in _TRUE + _FALSE:
            raise StanzaError("bad-request", f"{name} is true or false.")
        given[name] = text in _TRUE
    elif name == "max_items":
        given[name] = _read_number(text)
    elif name in ("title", "type"):
        given[name] = text[:MAX_TEXT]
    elif name == "publish_model" and text != "publishers":
        raise StanzaError("not-acceptable", "Only the owner publishes on a personal node.")


def _read_number(text: str) -> int:
    if text == "max":
        return MAX_ITEMS
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) == 0:
        raise StanzaError("bad-request", "max_items is a number of at least 1, or max.")
    return min(int(text), MAX_ITEMS)


def configure(options: Options, given: Mapping[str, Any]) -> Options:
    """Return the options with some of them set anew."""
    return replace(options, **given)


def fits(options: Options, given: Mapping[str, Any]) -> bool:
    """Tell whether a node is as a publisher demands (XEP-0060 §7.1.5: preconditions)."""
    return all(
        getattr(options, name) == value for name, value in given.items() if name not in ("title", "type")
    )


def render_form(options: Options, form_type: str = CONFIG_FORM, kind: str = "form") -> bytes:
    """Return the options as a data form (XEP-0060 §8.2)."""
    parts = [f"<field var='FORM_TYPE' type='hidden'><value>{form_type}</value></field>"]
    for item in fields(options):
        value = getattr(options, item.name)
        choices = _CHOICES.get(item.name)
        if choices is not None:
            listed = "".join(f"<option><value>{choice}</value></option>" for choice in choices)
            parts.append(_field(item.name, "list-single", value, listed))
        elif isinstance(value, bool):
            parts.append(_field(item.name, "boolean", "1" if value else "0"))
        else:
            parts.append(_field(item.name, "text-single", str(value)))
    return f"<x xmlns='{ns.DATA_FORMS}' type='{kind}'>{''.join(parts)}</x>".encode()


def _field(name: str, kind: str, value: str, options: str = "") -> str:
    head = f"<field var='pubsub#{escape_attribute(name)}' type='{kind}'>"
    return f"{head}<value>{escape_text(value)}</value>{options}</field>"


def pubsub_error(name: str, attributes: str = "") -> bytes:
    """Return an application-specific condition of XEP-0060 §15.2."""
    return f"<{name} xmlns='{ns.PUBSUB_ERRORS}'{attributes}/>".encode()


def check_access(options: Options, *, is_owner: bool, is_watcher: bool) -> None:
    """Let somebody read a node or raise StanzaError (XEP-0060 §6.1.3, §6.5.9)."""
    if is_owner or options.access_model == "open":
        return
    if options.access_model == "presence":
        if not is_watcher:
            error = pubsub_error("presence-subscription-required")
            raise StanzaError("not-authorized", extra=error)
        return
    raise StanzaError("not-allowed", extra=pubsub_error("closed-node"))
