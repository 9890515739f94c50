"""Finch with the SIPE plug-in in a terminal of its own: type into a real Lync client, read its screen."""

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

SECONDS = 30.0
SIPE = Path("/usr/lib/purple-2/libsipe.so")
PACKAGES = {"finch": "finch", "tmux": "tmux"}
SAX2_MAGIC = bytes.fromhex("afbeedde")
AVAILABLE, AWAY, OFFLINE = "◯", "⊖", "⊗"
"""How Finch marks buddies; what is busy or away looks the same."""
ACCOUNTS = """\
<?xml version='1.0' encoding='UTF-8' ?>
<account version='1.0'><account>
 <protocol>prpl-sipe</protocol>
 <name>{uri},{user}</name>
 <password>{password}</password>
 <settings>
  <setting name='server' type='string'>{server}</setting>
  <setting name='transport' type='string'>tcp</setting>
  <setting name='authentication' type='string'>ntlm</setting>
 </settings>
 <settings ui='gnt-purple'><setting name='auto-login' type='bool'>1</setting></settings>
</account></account>
"""


def need() -> None:
    """Fail the test, naming the Debian packages, unless Finch and SIPE are there."""
    lacking = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    lacking += [] if SIPE.exists() else ["pidgin-sipe"]
    if lacking:
        pytest.fail(f"not installed: apt-get install {' '.join(lacking)}", pytrace=False)


class Finch:
    """One Finch of one account; everything it keeps stays below `home`."""

    def __init__(self, home: Path, uri: str, password: str, server: str) -> None:
        need()
        purple = home / ".purple"
        (purple / "plugins").mkdir(parents=True)
        user = uri.partition("@")[0]
        accounts = ACCOUNTS.format(uri=uri, user=user, password=escape(password), server=server)
        (purple / "accounts.xml").write_text(accounts, "utf-8")
        (purple / "plugins" / SIPE.name).write_bytes(mended(SIPE.read_bytes()))
        # The path of a socket must be short: `home` may be too deep for it.
        self._directory = tempfile.TemporaryDirectory(prefix="tmux-")
        self._tmux = ["tmux", "-S", f"{self._directory.name}/s", "-f", "/dev/null"]
        self._home = home

    async def start(self) -> None:
        """Start it; it signs in by itself."""
        settings = [f"HOME={self._home}", "TERM=screen-256color", "LC_ALL=C.UTF-8"]
        self._call("new-session", "-d", "-x", "100", "-y", "40", "env", *settings, "finch")
        await self.until("Buddy List")

    async def until(self, *texts: str, seconds: float = SECONDS) -> str:
        """Wait until one line of the screen holds all these texts; AssertionError with the screen if none."""
        try:
            async with asyncio.timeout(seconds):
                while not any(all(text in line for text in texts) for line in self.screen().splitlines()):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"Finch does not show {texts}:\n{self.screen().strip()}") from None
        return self.screen()

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, as fast as a person does."""
        for key in keys:
            self._call("send-keys", key)
            await asyncio.sleep(0.3)

    async def say(self, text: str) -> None:
        """Type a line into the window in front and press Enter."""
        self._call("send-keys", "-l", text)
        await self.press("Enter")

    def screen(self) -> str:
        """Return what is on the screen."""
        return self._call("capture-pane", "-p").stdout

    def stop(self) -> None:
        """End it and its terminal."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)
        self._directory.cleanup()

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, check=True)


def mended(plugin: bytes) -> bytes:
    """The plug-in so that it can read XML.

    COMPAT: SIPE 1.25.0 marks its table of SAX 1 functions as one of SAX 2; libxml2 2.9.14 then calls none.
    """
    assert plugin.count(SAX2_MAGIC) == 1, "another build of SIPE: see whether it still needs mending"
    return plugin.replace(SAX2_MAGIC, bytes((1, 0, 0, 0)))
