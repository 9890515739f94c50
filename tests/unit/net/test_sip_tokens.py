"""Tokens are never the same, and long enough."""

from ubiety.net.sip_tokens import AT_ONCE, BYTES, Tokens


def test_all_differ() -> None:
    one, other = Tokens(), Tokens()
    found = [make() for _ in range(2 * AT_ONCE + 1) for make in (one, other)]
    assert len(set(found)) == len(found)
    assert all(len(token) == 2 * BYTES and int(token, 16) >= 0 for token in found)
