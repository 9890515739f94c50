"""The programs of other make that the interop tests drive must be there; nothing is skipped."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.interop import requirements


def test_programs_are_installed() -> None:
    assert requirements.missing(*requirements.PACKAGES) == []


def test_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert requirements.missing("profanity") == [
        "profanity is not installed: apt-get install profanity-light"
    ]
    with pytest.raises(pytest.fail.Exception, match="apt-get install tmux"):
        requirements.need("tmux")


def test_lock_file_names_no_registry() -> None:
    lock = json.loads((requirements.JS / "package-lock.json").read_text("utf-8"))
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
