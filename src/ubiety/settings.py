"""How settings are declared, checked, read and watched (design §7).

A setting is declared once, as a module constant beside the code that uses it. `app.py` hands all of them to
one `Settings`; forms, reference pages and "restart needed" notices are made from the declarations.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Value = bool | int | float | str
T = TypeVar("T", bound=Value)

LIVE = "live"
RECONNECT = "reconnect"

_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_WORDS: dict[type, str] = {
    bool: "on or off",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


class SettingError(Exception):
    """A setting is not known or a value does not fit. The text names the cause and the cure."""


@dataclass(frozen=True)
class Setting(Generic[T]):
    """The declaration of one setting.

    `effect` says when a change takes effect: "live", "reconnect" (for clients that connect afterwards) or
    "restart <service>". `minimum` and `maximum` are inclusive (for texts: their length); `zero` says what 0
    stands for where it is special, as in "no limit".
    """

    name: str
    type: type[T]
    default: T
    unit: str
    sentence: str
    effect: str = LIVE
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[T, ...] = ()
    zero: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: a setting is named subject.property, in small letters")
        if self.effect not in (LIVE, RECONNECT) and not self.effect.startswith("restart "):
            raise ValueError(f"{self.name}: {self.effect!r} is no way to take effect")
        self.check(self.default)

    def check(self, value: object) -> T:
        """Returns `value` as this setting's type; raises SettingError when it does not fit."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type) or (self.type is int and isinstance(value, bool)):
            raise self._refusal(value)
        if self.choices and value not in self.choices:
            raise self._refusal(value)
        size: float = len(value) if isinstance(value, str) else value
        low = -float("inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        if not low <= size <= high:  # also refuses NaN
            raise self._refusal(value)
        return value

    def parse(self, text: str) -> T:
        """Reads a value as an administrator types it; raises SettingError."""
        return self.check(self._read(text.strip()))

    def format(self, value: Value) -> str:
        """A value as an administrator types and reads it."""
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return str(value)

    @property
    def allowed(self) -> str:
        """What may be entered, in words."""
        if self.choices:
            return "one of " + ", ".join(self.format(choice) for choice in self.choices)
        words = _WORDS[self.type]
        if self.minimum is not None and self.maximum is not None:
            words += f" from {self.format(self.minimum)} to {self.format(self.maximum)}"
        elif self.minimum is not None:
            words += f" of at least {self.format(self.minimum)}"
        elif self.maximum is not None:
            words += f" of at most {self.format(self.maximum)}"
        if self.type is str and (self.minimum is not None or self.maximum is not None):
            words += " characters"
        return words + (f" (0: {self.zero})" if self.zero else "")

    @property
    def effect_words(self) -> str:
        """When a change takes effect, as a sentence for the administrator."""
        if self.effect == LIVE:
            return "Takes effect at once."
        if self.effect == RECONNECT:
            return "Takes effect for clients that connect from now on."
        return f"Takes effect after a restart of {self.effect.removeprefix('restart ')}."

    def _read(self, text: str) -> object:
        if self.type is str:
            return text
        try:
            if self.type is bool:
                return _boolean(text)
            return int(text.replace("_", "")) if self.type is int else float(text)
        except ValueError:
            raise self._refusal(text) from None

    def _refusal(self, value: object) -> SettingError:
        unit = f" ({self.unit})" if self.unit else ""
        return SettingError(f"{self.name} cannot be {value!r}. Give {self.allowed}{unit}.")


def _boolean(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(text)
    return word in _TRUE


class Settings:
    """The current value of every setting of the cluster.

    Reading is one look-up in a dict, so that it may be done per stanza. Nothing is written to the database
    here: the operation `setting.set` does that and then calls `apply`.
    """

    def __init__(self, declared: Iterable[Setting[Any]]) -> None:
        self._declared: dict[str, Setting[Any]] = {}
        for setting in declared:
            if setting.name in self._declared:
                raise ValueError(f"the setting {setting.name} is declared twice")
            self._declared[setting.name] = setting
        self._values: dict[str, Any] = {name: item.default for name, item in self._declared.items()}
        self._changed: set[str] = set()
        self._watchers: dict[str, list[Callable[[Any], None]]] = {}
        self._restart_needed: dict[str, Any] = {}
        self._guards: dict[str, Callable[[Any], str]] = {}

    def get(self, setting: Setting[T]) -> T:
        """The current value of `setting`."""
        value: T = self._values[setting.name]
        return value

    def declaration(self, name: str) -> Setting[Any]:
        """The declaration of the setting called `name`; raises SettingError when there is none."""
        try:
            return self._declared[name]
        except KeyError:
            near = [other for other in self._declared if name.split(".")[-1] in other]
            hint = f" Did you mean {', '.join(near[:3])}?" if near else ""
            raise SettingError(f"There is no setting {name!r}.{hint} See `ubiety setting list`.") from None

    def guard(self, setting: Setting[T], refuse: Callable[[T], str]) -> None:
        """Has `refuse` say why a typed value cannot be taken as things are; nothing: it can."""
        self._guards[self.declaration(setting.name).name] = refuse

    def parse(self, name: str, text: str) -> Value:
        """Checks a typed value without applying it; raises SettingError."""
        value: Value = self.declaration(name).parse(text)
        reason = self._guards[name](value) if name in self._guards else ""
        if reason:
            raise SettingError(f"{name} cannot be {self.declaration(name).format(value)}: {reason}")
        return value

    def apply(self, name: str, value: Value) -> None:
        """Makes `value` the current value and tells who watches it; raises SettingError."""
        setting = self.declaration(name)
        checked = setting.check(value)
        before = self._values[name]
        self._values[name] = checked
        self._changed.add(name)
        self._note_restart(setting, before, checked)
        if checked != before:
            for callback in list(self._watchers.get(name, ())):
                callback(checked)

    def set_text(self, name: str, text: str) -> Value:
        """Checks a typed value and applies it; returns it. Raises SettingError."""
        value = self.parse(name, text)
        self.apply(name, value)
        return value

    def reset(self, name: str) -> Value:
        """Goes back to the default and returns it; raises SettingError."""
        default: Value = self.declaration(name).default
        self.apply(name, default)
        self._changed.discard(name)
        return default

    def watch(self, setting: Setting[Any], callback: Callable[[Any], None]) -> Callable[[], None]:
        """Calls `callback` with each new value of `setting`; the result ends that."""
        callbacks = self._watchers.setdefault(self.declaration(setting.name).name, [])
        callbacks.append(callback)
        return lambda: callbacks.remove(callback)

    def load(self, stored: Mapping[str, str]) -> list[str]:
        """Takes over what the database holds (JSON by name), at start; watchers are not called.

        Returns a sentence for each entry that was ignored.
        """
        problems = []
        for name, text in stored.items():
            try:
                self._values[name] = self.declaration(name).check(json.loads(text))
                self._changed.add(name)
            except (SettingError, ValueError) as error:
                problems.append(f"The stored setting {name} is ignored: {error}")
        return problems

    def is_default(self, name: str) -> bool:
        """Whether nobody has set this setting."""
        return name not in self._changed

    def names(self) -> list[str]:
        """The names of all settings, sorted."""
        return sorted(self._declared)

    def restart_needed(self) -> dict[str, list[str]]:
        """Services that must be restarted for changes to take effect, with the settings that changed."""
        services: dict[str, list[str]] = {}
        for name in sorted(self._restart_needed):
            services.setdefault(self._declared[name].effect.removeprefix("restart "), []).append(name)
        return services

    def restarted(self, service: str) -> None:
        """Notes that `service` runs with the values of now: it needs no restart."""
        effect = f"restart {service}"
        for name in [name for name in self._restart_needed if self._declared[name].effect == effect]:
            del self._restart_needed[name]

    def describe(self) -> list[dict[str, object]]:
        """Every setting with its declaration and its value, sorted by name, ready for JSON."""
        return [self.describe_one(name) for name in self.names()]

    def describe_one(self, name: str) -> dict[str, object]:
        """One setting with its declaration and its value, ready for JSON; raises SettingError."""
        setting = self.declaration(name)
        return {
            "name": name,
            "value": self._values[name],
            "default": setting.default,
            "is_default": self.is_default(name),
            "type": setting.type.__name__,
            "unit": setting.unit,
            "allowed": setting.allowed,
            "effect": setting.effect,
            "sentence": setting.sentence,
        }

    def _note_restart(self, setting: Setting[Any], before: object, after: object) -> None:
        if not setting.effect.startswith("restart ") or before == after:
            return
        if self._restart_needed.setdefault(setting.name, before) == after:
            del self._restart_needed[setting.name]  # set back to what the service runs with
