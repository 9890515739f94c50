"""Plays every transcript in this folder; the format is in README.md."""

import ast
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transcripts.edge import Edge

FOLDER = Path(__file__).parent
REWRITE = bool(os.environ.get("UBIETY_REWRITE_TRANSCRIPTS"))

_HEADING = re.compile(r"(config|ids|secure|login|session|open|C:|after)(?:\s+(.*))?$", re.S)

HEADER = (
    "<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
LOGIN = (
    HEADER % "example.org",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHVzZXIAcGVuY2ls</auth>",
    HEADER % "example.org",
)
SESSION = (
    *LOGIN,
    "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
    "<resource>desk</resource></bind></iq>",
)


def parse_lines(text: str) -> list[str]:
    """Join indented lines to the one before; keep comments and empty lines."""
    lines: list[str] = []
    for line in text.splitlines():
        if line[:1] == " " and lines:
            lines[-1] += "\n" + line
        else:
            lines.append(line)
    return lines


def make_ids(given: list[str]) -> Iterator[str]:
    return itertools.chain(given, (f"id{n}" for n in itertools.count(1)))


class Player:
    """Plays the client's lines and writes down what really follows each."""

    def __init__(self) -> None:
        self.config: dict[str, object] = {}
        self.ids: list[str] = []
        self.secure = False
        self.edge: Edge | None = None

    def play(self, line: str) -> list[str]:
        """Perform one line that is not the server's; return the server's lines that follow."""
        heading = _HEADING.match(line)
        assert heading, f"not understood: {line!r}"
        word, rest = heading[1], heading[2] or ""
        if word == "config":
            self.config |= {k: ast.literal_eval(v) for k, v in (pair.split("=", 1) for pair in rest.split())}
        elif word == "ids":
            self.ids = [part.strip() for part in rest.split(",")]
        elif word == "secure":
            self.secure = True
        elif word in ("login", "session"):
            self.secure = True
            for data in LOGIN if word == "login" else SESSION:
                self.converse("C:", data)
        else:
            return self.converse(word, rest)
        return []

    def converse(self, word: str, rest: str) -> list[str]:
        if self.edge is None:
            self.edge = Edge(make_ids(self.ids), secure=self.secure, **self.config)
        self.edge.said.clear()
        if word == "open":
            self.edge.receive((HEADER % (rest or "example.org")).encode())
        elif word == "C:":
            self.edge.receive(rest.encode())
        else:
            self.edge.advance(float(rest.removesuffix("s")))
        return list(self.edge.said)


def replay(text: str) -> str:
    """Return the transcript with the server's lines as they are today."""
    player = Player()
    out: list[str] = []
    for line in parse_lines(text):
        if line[:2] in ("S:", "S!"):
            continue
        out.append(line)
        if line and not line.startswith("#"):
            out += player.play(line)
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    text = path.read_text()
    today = replay(text)
    if REWRITE:
        path.write_text(today)
    else:
        assert today.splitlines() == text.splitlines()


def test_there_are_transcripts() -> None:
    assert len(list(FOLDER.glob("*.txt"))) >= 10
