"""settings.py"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.settings import RECONNECT, Setting, SettingError, Settings

CONTACTS = Setting(
    "roster.maximum",
    int,
    200,
    "contacts",
    "Most contacts of a person.",
    minimum=0,
    maximum=5000,
    zero="no limit",
)
SHARING = Setting("presence.sharing", bool, True, "", "Whether presence is shared.")
WINDOW = Setting("ledger.window", float, 0.025, "seconds", "Longest wait.", "restart ledger", 0.001, 1)
MODE = Setting("im.mode", str, "multi", "", "How messages fork.", RECONNECT, choices=("multi", "forking"))
DECLARED: list[Setting[Any]] = [CONTACTS, SHARING, WINDOW, MODE]


@pytest.fixture
def settings() -> Settings:
    return Settings(DECLARED)


def test_the_default_is_the_first_value(settings: Settings) -> None:
    assert settings.get(CONTACTS) == 200
    assert settings.get(SHARING) is True
    assert settings.is_default("roster.maximum")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("roster.maximum", "5000", 5000),
        ("roster.maximum", " 1_000 ", 1000),
        ("presence.sharing", "OFF", False),
        ("presence.sharing", "yes", True),
        ("ledger.window", "1", 1.0),
        ("im.mode", "forking", "forking"),
    ],
)
def test_a_fitting_text_is_applied(settings: Settings, name: str, text: str, value: object) -> None:
    assert settings.set_text(name, text) == value
    assert settings.describe_one(name)["value"] == value
    assert not settings.is_default(name)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("roster.maximum", "5001", "from 0 to 5000"),
        ("roster.maximum", "-1", "from 0 to 5000"),
        ("roster.maximum", "1.5", "whole number"),
        ("presence.sharing", "maybe", "on or off"),
        ("ledger.window", "nan", "from 0.001 to 1"),
        ("im.mode", "other", "one of multi, forking"),
        ("roster.max", "1", "no setting"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    settings: Settings, name: str, text: str, complaint: str
) -> None:
    before = settings.describe()
    with pytest.raises(SettingError, match=complaint):
        settings.set_text(name, text)
    assert settings.describe() == before


def test_an_unknown_name_suggests_a_known_one(settings: Settings) -> None:
    with pytest.raises(SettingError, match=r"Did you mean roster\.maximum"):
        settings.parse("contacts.maximum", "1")


def test_a_watcher_hears_changes_until_it_stops(settings: Settings) -> None:
    heard: list[int] = []
    stop = settings.watch(CONTACTS, heard.append)
    settings.set_text("roster.maximum", "10")
    settings.set_text("roster.maximum", "10")
    settings.reset("roster.maximum")
    stop()
    settings.set_text("roster.maximum", "11")
    assert heard == [10, 200]


def test_a_restart_is_needed_until_the_value_is_set_back(settings: Settings) -> None:
    settings.set_text("ledger.window", "0.5")
    assert settings.restart_needed() == {"ledger": ["ledger.window"]}
    settings.set_text("ledger.window", "0.7")
    assert settings.restart_needed() == {"ledger": ["ledger.window"]}
    settings.reset("ledger.window")
    assert settings.restart_needed() == {}


def test_loading_keeps_the_good_and_names_the_bad(settings: Settings) -> None:
    problems = settings.load(
        {"roster.maximum": "7", "presence.sharing": '"on"', "gone.away": "1", "im.mode": "multi"}
    )
    assert settings.get(CONTACTS) == 7
    assert settings.get(SHARING) is True
    assert len(problems) == 3 and "gone.away" in " ".join(problems)
    assert settings.restart_needed() == {}


def test_a_description_has_all_that_a_form_needs(settings: Settings) -> None:
    described = settings.describe_one("roster.maximum")
    assert described["allowed"] == "a whole number from 0 to 5000 (0: no limit)"
    assert described["effect"] == "live"
    assert [item["name"] for item in settings.describe()] == settings.names()
    assert WINDOW.effect_words == "Takes effect after a restart of ledger."


def test_faulty_declarations_are_found_when_they_are_made() -> None:
    with pytest.raises(ValueError, match=r"subject\.property"):
        Setting("Bad Name", int, 1, "", "")
    with pytest.raises(ValueError, match="no way to take effect"):
        Setting("a.b", int, 1, "", "", "sometime")
    with pytest.raises(SettingError):
        Setting("a.b", int, 1, "", "", minimum=2)
    with pytest.raises(ValueError, match="twice"):
        Settings([CONTACTS, CONTACTS])


@given(st.integers(0, 5000))
def test_what_is_formatted_parses_back(number: int) -> None:
    assert CONTACTS.parse(CONTACTS.format(number)) == number


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    for setting in DECLARED:
        try:
            assert setting.check(setting.parse(text)) is not None
        except SettingError as error:
            assert setting.name in str(error)
