"""Profanity in a tmux session of its own: type into it, and read its screen."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness.client import Place
from tests.node import PASSWORD

SECONDS = 20.0
# Profanity asks nothing, rings nothing and keeps no history of ours.
CONFIG = """\
[ui]
splash=false
beep=false
flash=false
[notifications]
message=off
room=off
[logging]
chlog=false
"""


class Profanity:
    """One Profanity of one account; everything it keeps stays below `home`."""

    def __init__(self, home: Path, place: Place, user: str) -> None:
        self._place = place
        self._address = f"{user}@{place.domain}"
        # The path of a socket must be short: `home` may be too deep for it.
        self._directory = tempfile.TemporaryDirectory(prefix="tmux-")
        self._tmux = ["tmux", "-S", f"{self._directory.name}/s", "-f", "/dev/null"]
        self._home = home
        config = home / "config" / "profanity"
        config.mkdir(parents=True)
        (config / "profrc").write_text(CONFIG, "utf-8")

    def start(self) -> None:
        """Start it and log in."""
        environment = {
            "HOME": self._home,
            "XDG_CONFIG_HOME": self._home / "config",
            "XDG_DATA_HOME": self._home / "data",
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
        }
        settings = [f"{name}={value}" for name, value in environment.items()]
        command = ["new-session", "-d", "-x", "160", "-y", "50", "env", *settings, "profanity"]
        self._call(*command)
        self.until("Profanity", "Type '/help'")
        self.type(f"/connect {self._address} server {self._place.host} port {self._place.port} tls trust")
        self.until("password:")
        self.type(PASSWORD)
        self.until("logged in successfully")

    def type(self, text: str) -> None:
        """Type a line and press Enter."""
        self._call("send-keys", "-l", text)
        self._call("send-keys", "Enter")

    def screen(self) -> str:
        """Return what is on the screen."""
        return self._call("capture-pane", "-p").stdout

    def until(self, *texts: str, seconds: float = SECONDS) -> str:
        """Wait until one of these texts is on the screen; AssertionError with the screen when it is not."""
        return self._until(lambda screen: any(text in screen for text in texts), f"{texts}", seconds)

    def until_line(self, *parts: str, seconds: float = SECONDS) -> str:
        """Wait until one line of the screen holds all these parts."""
        return self._until(
            lambda screen: any(all(part in line for part in parts) for line in screen.splitlines()),
            f"a line with {parts}",
            seconds,
        )

    def stop(self) -> None:
        """End it and its terminal."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)
        self._directory.cleanup()

    def _until(self, is_shown: Callable[[str], bool], what: str, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while not is_shown(screen := self.screen()):
            assert time.monotonic() < deadline, f"Profanity does not show {what}:\n{screen.strip()}"
            time.sleep(0.1)
        return screen

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, check=True)
