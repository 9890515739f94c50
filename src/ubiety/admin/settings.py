"""Operations on settings."""

import json
from typing import Annotated, Any

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, Result
from ubiety.admin.rbac import Caller
from ubiety.store import settings as stored


class SettingView(Result):
    """A setting with its value."""

    name: str
    value: bool | int | float | str
    default: bool | int | float | str
    is_default: bool
    type: str
    unit: str
    allowed: str
    effect: str
    sentence: str
    takes_effect: str


class SettingViews(Result):
    """All settings."""

    settings: list[SettingView]
    restart_needed: dict[str, list[str]] = Field(
        description="Services that still run with old values, and the settings concerned."
    )


class NamedSetting(Arguments):
    """Names a setting."""

    name: Line


class SetSetting(NamedSetting):
    """A value for a setting."""

    value: Annotated[Line, Field(description="As text, for instance 200, on or forking.")]


async def list_settings(node: Node, caller: Caller, arguments: Nothing) -> SettingViews:
    """Lists the settings with their values."""
    views = [_view(node, name) for name in node.settings.names()]
    return SettingViews(settings=views, restart_needed=node.settings.restart_needed())


async def get(node: Node, caller: Caller, arguments: NamedSetting) -> SettingView:
    """Shows a setting."""
    return _view(node, arguments.name)


async def set_setting(node: Node, caller: Caller, arguments: SetSetting) -> SettingView:
    """Checks a value, stores it and applies it."""
    value = node.settings.parse(arguments.name, arguments.value)
    await node.database.write(stored.put, arguments.name, json.dumps(value))
    node.settings.apply(arguments.name, value)
    return _view(node, arguments.name)


async def reset(node: Node, caller: Caller, arguments: NamedSetting) -> SettingView:
    """Goes back to the default."""
    node.settings.declaration(arguments.name)
    await node.database.write(stored.delete, arguments.name)
    node.settings.reset(arguments.name)
    return _view(node, arguments.name)


def _view(node: Node, name: str) -> SettingView:
    words = node.settings.declaration(name).effect_words
    described: dict[str, Any] = node.settings.describe_one(name)
    return SettingView(**described, takes_effect=words)


READ, WRITE = "settings.read", "settings.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("setting.list", "Lists the settings.", Nothing, SettingViews, READ, False, list_settings),
    Operation("setting.get", "Shows a setting.", NamedSetting, SettingView, READ, False, get),
    Operation("setting.set", "Sets a setting.", SetSetting, SettingView, WRITE, True, set_setting),
    Operation("setting.reset", "Goes back to the default.", NamedSetting, SettingView, WRITE, True, reset),
)
