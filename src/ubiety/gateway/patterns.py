r"""Patterns of static routes (pure): which domains or users a route is for, and how specifically.

A pattern of a domain is the domain read backwards: `.com.domaina` for domaina.com, `.com.domaina.*` for that
and whatever is below it. Both spellings are documented for the same purpose; the first one reaches below the
domain too where the route allows it (facts §5.1). In a pattern of users, mostly phone numbers, `.` stands for
one character and `*` for any number of them. `\` takes the meaning from the character behind it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ubiety import jid
from ubiety.jid import JidError

Kind = Literal["domain", "user"]
DOMAIN: Kind = "domain"
USER: Kind = "user"
KINDS: tuple[Kind, ...] = (DOMAIN, USER)
MAX_LENGTH = 255
BELOW = ".*"

Rank = tuple[int, int, int, int]
"""How specific a match is: the greater one wins."""

_LABEL = re.compile(r"(?:[\w*-]|\\\*)+")
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}|\[?[0-9a-f]*:[0-9a-f:.]*\]?", re.IGNORECASE)
_BACKWARDS = re.compile(r"\.[a-z]{2,}\.")


class PatternError(ValueError):
    """A pattern cannot be used; the text names the cause, `cure` what to write instead."""

    def __init__(self, text: str, cure: str = "") -> None:
        super().__init__(text)
        self.cure = cure


@dataclass(frozen=True, slots=True)
class _Any:
    """One character, whichever."""


_Token = str | _Any | None
"""A character, any one character, or (None) any number of them."""


@dataclass(frozen=True, slots=True)
class _Glob:
    """Fixed pieces with anything between them; matching takes time in proportion to the text."""

    pieces: tuple[re.Pattern[str], ...]
    sizes: tuple[int, ...]

    def matches(self, text: str) -> bool:
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            return first.fullmatch(text) is not None
        position, end = self.sizes[0], len(text) - self.sizes[-1]
        if end < position or not first.match(text) or not last.match(text, end):
            return False
        for piece in self.pieces[1:-1]:  # the leftmost place is as good as any other
            found = piece.search(text, position, end)
            if found is None:
                return False
            position = found.end()
        return True


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, ready to be compared. Make it with `read`."""

    kind: Kind
    text: str
    """As it is stored: in lower case, for a domain with its labels prepared."""
    is_open: bool
    """Of a domain: it ends in `.*` and means what is below as well."""
    _exact: _Glob = field(repr=False, compare=False)
    _below: _Glob | None = field(repr=False, compare=False)
    _rank: Rank = field(repr=False, compare=False)

    def rank(self, user: str, domain: str, allow_less_specific: bool) -> Rank | None:
        """How specifically the pattern stands for a user at a domain; None: it does not."""
        if self.kind == USER:
            return self._rank if user and self._exact.matches(user.lower()) else None
        backwards = reverse(domain)
        if not backwards:
            return None
        if self._exact.matches(backwards):
            return self._rank
        if (
            self._below is not None
            and (self.is_open or allow_less_specific)
            and self._below.matches(backwards)
        ):
            return (self._rank[0], 0, *self._rank[2:])
        return None


def reverse(domain: str) -> str:
    """A domain as patterns have it: domaina.com is `.com.domaina`; an IP address has no such form."""
    if not domain or _ADDRESS.fullmatch(domain):
        return ""
    return "." + ".".join(reversed(domain.lower().removesuffix(".").split(".")))


def domain_of(pattern: str) -> str:
    """The domain for which a pattern without further wildcards is meant; empty if it has some."""
    body = pattern.removesuffix(BELOW)
    return ".".join(reversed(body[1:].split("."))) if body and "*" not in body else ""


def guess_kind(text: str) -> Kind:
    """What kind a pattern is when nobody says so: `.com.domaina` is that of a domain."""
    given = text.strip().lower()
    return DOMAIN if given == BELOW or _BACKWARDS.match(given + ".") else USER


def read(kind: Kind, text: str) -> Pattern:
    """Reads a pattern as an administrator types it. Raises PatternError."""
    given = text.strip()
    if not given:
        raise PatternError("The pattern is empty.", "For instance .com.example or 91*.")
    if len(given) > MAX_LENGTH:
        raise PatternError(f"The pattern is longer than {MAX_LENGTH} characters.")
    return _read_domain(given) if kind == DOMAIN else _read_user(given)


def _read_domain(text: str) -> Pattern:
    if not text.startswith("."):
        backwards = reverse(text) if "." in text else f".{text}"
        raise PatternError(
            f"The pattern {text!r} does not begin with a dot.",
            f"Domains are written backwards, for instance {backwards or '.com.example'}.",
        )
    is_open = text.endswith(BELOW)
    body = _prepare(text.removesuffix(BELOW)) if text != BELOW else ""
    tokens = _tokens(body, {"*": None})
    below = _glob([*tokens, ".", None])
    rank = (0, 1, *_weigh(tokens))
    return Pattern(DOMAIN, body + BELOW if is_open else body, is_open, _glob(tokens), below, rank)


def _prepare(body: str) -> str:
    labels = body[1:].lower().split(".")
    bad = next((label for label in labels if not _LABEL.fullmatch(label)), None)
    if bad is not None:
        what = f"the part {bad!r}" if bad else "two dots with nothing between them, or a dot at the end"
        raise PatternError(
            f"The pattern {body!r} has {what}, which no name of a host has.",
            "For instance .com.example for example.com, .com.example.* for that and all below it.",
        )
    if "*" in body:
        return "." + ".".join(labels)
    try:
        return reverse(jid.make("", ".".join(reversed(labels))).domain)
    except JidError as error:
        raise PatternError(f"The pattern {body!r} stands for no domain: {error}.") from error


def _read_user(text: str) -> Pattern:
    lowered = text.lower()
    if _BACKWARDS.match(lowered + "."):
        raise PatternError(
            f"{text!r} is the pattern of a domain, and the type of the route is user.",
            "Give the type: --type domain",
        )
    if any(character.isspace() or character in "@/<>\"'" for character in lowered):
        raise PatternError(
            f"The pattern {text!r} holds a character that no user name or number has.",
            "For instance 91..... or 44* or jane\\.doe.",
        )
    tokens = _tokens(lowered, {"*": None, ".": _Any()})
    is_exact = None not in tokens
    return Pattern(USER, lowered, False, _glob(tokens), None, (1, int(is_exact), *_weigh(tokens)))


def _tokens(text: str, special: dict[str, _Token]) -> list[_Token]:
    tokens: list[_Token] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            taken = next(characters, None)
            if taken is None:
                raise PatternError(f"The pattern {text!r} ends with a backslash.", "Write \\\\ for one.")
            tokens.append(taken)
        else:
            tokens.append(special.get(character, character))
    return tokens


def _weigh(tokens: Sequence[_Token]) -> tuple[int, int]:
    return sum(isinstance(token, str) for token in tokens), sum(isinstance(token, _Any) for token in tokens)


def _glob(tokens: Sequence[_Token]) -> _Glob:
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token is None:
            pieces.append([])
        else:
            pieces[-1].append("." if isinstance(token, _Any) else re.escape(token))
    return _Glob(
        tuple(re.compile("".join(piece), re.DOTALL) for piece in pieces),
        tuple(len(piece) for piece in pieces),
    )
