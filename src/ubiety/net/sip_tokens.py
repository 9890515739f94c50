"""Random tokens for tags, branches and Call-IDs (RFC 3261 §19.3), asked of the kernel many at a time."""

from os import urandom

BYTES = 8
AT_ONCE = 512


class Tokens:
    """Each call returns another token, of `BYTES` random bytes. For one thread."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: list[str] = []

    def __call__(self) -> str:
        """Return the next one."""
        if not self._left:
            text, size = urandom(BYTES * AT_ONCE).hex(), 2 * BYTES
            self._left = [text[at : at + size] for at in range(0, len(text), size)]
        return self._left.pop()
