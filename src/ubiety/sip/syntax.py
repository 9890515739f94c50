"""The pieces of grammar that all of SIP shares: tokens, quoted strings, parameters, lists (RFC 3261 §25.1).

Text here is unfolded: white space inside a header value is space and tab only. All patterns are
written so that they read each character once, whatever comes.
"""

import re

TOKEN = r"[-A-Za-z0-9.!%*_+`'~]"
"""One character of a token, as a regular expression."""
QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A quoted string, as a regular expression that needs DOTALL."""

_VALUE = r"[!#-+\--:=?-~]"  # printable ASCII without "<>,; : a token or host, and what is seen besides

Params = tuple[tuple[str, str | None], ...]
"""Parameters in their order, names and values as they were written; None where there is no `=`."""

_IS_TOKEN = re.compile(TOKEN + "+")
_PARAM = re.compile(rf"[ \t]*+;[ \t]*+({TOKEN}++)(?:[ \t]*+=[ \t]*+({QUOTED}|{_VALUE}*+))?[ \t]*+", re.DOTALL)
# Where a list may not be cut; what is not closed goes on to the end.
_WHOLE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|<[^>]*+>?|,', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NUMBER = re.compile(r"[0-9]+")


class SipSyntaxError(ValueError):
    """Something is not as the grammar wants it; `status` is what a request that has it is answered."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def is_token(text: str) -> bool:
    """Return whether the text is a token."""
    return _IS_TOKEN.fullmatch(text) is not None


def quote(text: str) -> str:
    """Return the text as a quoted string."""
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def unquote(text: str) -> str:
    """Return what a quoted string says; any other text is returned as it is."""
    if len(text) < 2 or text[0] != '"':
        return text
    text = text[1:-1]
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def readable(text: str) -> str:
    """Return the text with replacement characters for the bytes that were no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def parse_params(text: str, start: int = 0) -> Params:
    """Return the parameters `;a=b;c` which are all of the text from `start` on; raises SipSyntaxError."""
    params: list[tuple[str, str | None]] = []
    end = len(text)
    while start < end:
        match = _PARAM.match(text, start)
        if match is None:
            raise SipSyntaxError(f"not a parameter: {shortened(text[start:])}")
        params.append((match[1], match[2]))
        start = match.end()
    check_repeated(params)
    return tuple(params)


def check_repeated(params: list[tuple[str, str | None]]) -> None:
    """Raise SipSyntaxError if a parameter is there twice (RFC 3261 §7.3.1)."""
    count = len(params)
    if count < 2 or (count == 2 and params[0][0].lower() != params[1][0].lower()):
        return
    if len({name.lower() for name, _ in params}) < count:
        raise SipSyntaxError("the same parameter twice")


def print_params(params: Params) -> str:
    """Return the parameters as they are written."""
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params)


def find_param(params: Params, name: str) -> str | None:
    """Return the value of a parameter as it is written, "" if it has none; None if it is not there."""
    name = name.lower()
    for other, value in params:
        if other == name or other.lower() == name:
            return value or ""
    return None


def set_param(params: Params, name: str, value: str | None) -> Params:
    """Return the parameters with this one changed, or added at the end."""
    new = (name, value)
    if find_param(params, name) is None:
        return (*params, new)
    return tuple(new if pair[0].lower() == name.lower() else pair for pair in params)


def split_list(text: str) -> list[str]:
    """Return the elements of a comma-separated list without the white space around them."""
    if "," not in text:
        return [text.strip(" \t")]
    if '"' not in text and "<" not in text:
        return [part.strip(" \t") for part in text.split(",")]
    parts = []
    start = 0
    for match in _WHOLE.finditer(text):
        if match[0] == ",":
            parts.append(text[start : match.start()].strip(" \t"))
            start = match.end()
    parts.append(text[start:].strip(" \t"))
    return parts


def parse_number(text: str, what: str, maximum: int = 2**32 - 1) -> int:
    """Return the number, at most 2**32; raises SipSyntaxError if it is none or over the maximum."""
    if _NUMBER.fullmatch(text) is None:
        raise SipSyntaxError(f"{what} is not a number: {shortened(text)}")
    digits = text.lstrip("0")
    number = int(digits or "0") if len(digits) <= 10 else 2**32
    if number > maximum:
        raise SipSyntaxError(f"{what} is over {maximum}: {shortened(text)}")
    return number


def shortened(text: str) -> str:
    """Return the text for an error: not long, and in printable ASCII."""
    return ascii(text if len(text) <= 60 else text[:60] + "...")
