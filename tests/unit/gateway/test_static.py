"""Static routes: patterns in both documented spellings, and the order in which routes are tried."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.gateway import patterns, static
from ubiety.gateway.patterns import DOMAIN, USER, PatternError
from ubiety.gateway.static import RouteTable, StaticRoute, candidates, check, weighted
from ubiety.sip.outputs import Hop


def route(number: int, pattern: str, **fields: object) -> StaticRoute:
    """A route of the kind that its pattern looks like, to a hop of its own."""
    kind = patterns.guess_kind(pattern)
    made = StaticRoute(number, pattern, kind, "", f"hop{number}.example", 5061, "tls")
    return replace(made, **fields)  # type: ignore[arg-type]


def tried(routes: list[StaticRoute], user: str, domain: str, *dead: int) -> list[int]:
    """The numbers of the routes in the order in which they are tried."""
    gone = {f"hop{number}.example" for number in dead}
    found = candidates(routes, user, domain, lambda: 0.0, lambda hop: hop.host in gone)
    return [one.id for one in found]


MATCHES = [
    # pattern, allow less specific, domain, matches
    (".com.domaina", False, "domaina.com", True),
    (".com.domaina", True, "domaina.com", True),
    (".com.domaina.*", False, "domaina.com", True),
    (".com.domaina", False, "eng.domaina.com", False),
    (".com.domaina", True, "eng.domaina.com", True),
    (".com.domaina.*", False, "eng.domaina.com", True),
    (".com.domaina.*", False, "a.b.domaina.com", True),
    (".com.domaina", True, "domainab.com", False),
    (".com.domaina.*", False, "domainab.com", False),
    (".com.domaina", True, "com", False),
    (".com.domaina", True, "domaina.com.evil.example", False),
    (".com.domaina.lyncserver", False, "lyncserver.domaina.com", True),
    (".com.domaina.lync*", False, "lyncserver.domaina.com", True),
    (".com.domaina.lync*", False, "lync.domaina.com", True),
    (".com.domaina.lync*", False, "sql.domaina.com", False),
    (".com.*.sales", False, "sales.domaina.com", True),
    (".com.*.sales", False, "sales.com", False),
    (".com.domain\\*", False, "domaina.com", False),
    (".COM.DomainA", False, "domaina.com", True),
    (".com.domaina", False, "DOMAINA.com", True),
    (".*", False, "whatever.example", True),
    (".com.domaina", True, "192.0.2.1", False),
    (".*", True, "192.0.2.1", False),
    (".*", True, "[2001:db8::1]", False),
    (".example.xn--bcher-kva", False, "bücher.example", True),
    (".example.bücher", False, "bücher.example", True),
]


@pytest.mark.parametrize(("pattern", "allows", "domain", "matches"), MATCHES)
def test_domain_patterns(pattern: str, allows: bool, domain: str, matches: bool) -> None:
    one = StaticRoute(1, pattern, DOMAIN, "", "hop1.example", 5061, "tls", allow_less_specific=allows)
    assert tried([one], "bob", domain) == ([1] if matches else [])


@pytest.mark.parametrize(
    ("pattern", "user", "matches"),
    [
        ("4123", "4123", True),
        ("4123", "41234", False),
        ("41..", "4123", True),
        ("41..", "412", False),
        ("41*", "41", True),
        ("41*", "41234567", True),
        ("*", "anybody", True),
        ("*99", "4199", True),
        ("*99", "4198", False),
        ("4*9*1", "4991", True),
        ("4*9*1", "41", False),
        ("\\*72", "*72", True),
        ("\\*72", "172", False),
        ("jane\\.doe", "jane.doe", True),
        ("jane\\.doe", "janexdoe", False),
        ("Jane*", "jane.doe", True),
        ("+4930.*", "+49301", True),
        ("ab*ba", "aba", False),
        ("...", "日本語", True),
    ],
)
def test_user_patterns(pattern: str, user: str, matches: bool) -> None:
    one = StaticRoute(1, pattern, USER, "", "hop1.example", 5060, "tcp")
    assert tried([one], user, "example.org") == ([1] if matches else [])
    assert tried([one], "", "example.org") == []


ORDERS = [
    # what is shown, routes, user, domain, dead hops, order
    ("priority, lower first", [("a", 2), ("b", 1), ("c", 3)], (), [2, 1, 3]),
    ("the dead ones last, by priority", [("a", 1), ("b", 2), ("c", 3)], (1, 2), [3, 1, 2]),
    ("all dead: they are tried all the same", [("a", 1), ("b", 2)], (1, 2), [1, 2]),
]


@pytest.mark.parametrize(("_", "given_", "dead", "order"), ORDERS, ids=lambda value: str(value)[:40])
def test_priorities(_: str, given_: list[tuple[str, int]], dead: tuple[int, ...], order: list[int]) -> None:
    routes = [
        route(number, ".com.domaina", priority=priority) for number, (_, priority) in enumerate(given_, 1)
    ]
    assert tried(routes, "bob", "domaina.com", *dead) == order


def test_the_most_specific_pattern_comes_first() -> None:
    routes = [
        route(1, ".*"),
        route(2, ".com.*"),
        route(3, ".com.domaina.*", priority=1),
        route(4, ".com.domaina.eng", priority=9),
        route(5, "bob"),
        route(6, "b..", priority=1),
        route(7, "b*"),
        route(8, "carol"),
    ]
    assert tried(routes, "bob", "eng.domaina.com") == [5, 6, 7, 4, 3, 2, 1]
    assert tried(routes, "dave", "domaina.com") == [3, 2, 1]


def test_both_spellings_of_a_domain_are_one_pattern() -> None:
    routes = [route(1, ".com.domaina.*", priority=2), route(2, ".com.domaina", priority=1)]
    assert tried(routes, "bob", "domaina.com") == [2, 1]


def test_less_specific_routes_only_where_they_are_allowed() -> None:
    routes = [
        route(1, ".com.*"),
        route(2, ".com.domaina", allow_less_specific=False),
        route(3, ".com.domaina"),
    ]
    assert tried(routes, "bob", "domaina.com") == [2, 3]
    assert tried([routes[0], routes[2]], "bob", "domaina.com") == [3, 1]


def test_out_of_service_is_passed_over() -> None:
    routes = [
        route(1, ".com.domaina", in_service=False, allow_less_specific=False),
        route(2, ".com.domaina", priority=2),
        route(3, ".com.*"),
        route(4, ".com.domaina", in_service=False, is_blocked=True),
    ]
    assert tried(routes, "bob", "domaina.com") == [2, 3]
    found = RouteTable([routes[0]]).find("bob", "domaina.com", lambda: 0.0)
    assert found.routes == () and not found.is_blocked and "not in service" in found.steps[0]


def test_a_blocked_route_ends_the_search_behind_its_priority() -> None:
    routes = [
        route(1, ".com.domaina", priority=1),
        route(2, ".com.domaina", priority=2, is_blocked=True),
        route(3, ".com.domaina", priority=2),
        route(4, ".com.domaina", priority=3),
        route(5, ".com.*"),
    ]
    assert tried(routes, "bob", "domaina.com") == [1, 3]
    found = RouteTable(routes[1:2]).find("bob", "domaina.com", lambda: 0.0)
    assert found.is_blocked and found.routes == ()
    assert found.steps[-1] == "Route 2 is blocked: nothing behind it is tried."


def test_weights_share_at_equal_priority() -> None:
    draw = random.Random(7).random
    routes = [route(1, ".com.a", weight=10), route(2, ".com.a", weight=30), route(3, ".com.a", weight=60)]
    first = Counter(weighted(routes, draw)[0].id for _ in range(10_000))
    assert 800 < first[1] < 1200 and 2700 < first[2] < 3300 and 5600 < first[3] < 6400
    second = Counter(tuple(one.id for one in weighted(routes, draw))[1] for _ in range(10_000))
    assert min(second.values()) > 1500, "every route backs up the others"


def test_steps_say_what_was_done() -> None:
    routes = [route(1, ".com.domaina"), route(2, ".com.domaina", priority=2, next_hop="2001:db8::7")]
    found = RouteTable(routes).find("bob", "domaina.com", lambda: 0.0, lambda hop: hop.host == "hop1.example")
    first, second, last = found.steps
    assert first == (
        "Route 1 matches by the domain pattern .com.domaina: hop1.example port 5061 over TLS,"
        " priority 1, weight 10."
    )
    assert "[2001:db8::7] port 5061 over TLS, priority 2" in second
    assert last == "hop1.example port 5061 over TLS does not answer: it is tried last."


@pytest.mark.parametrize(
    ("next_hop", "port", "transport", "hop"),
    [
        ("lync1.domaina.com", 5061, "tls", Hop("tls", "lync1.domaina.com", 5061, "lync1.domaina.com")),
        ("192.0.2.7", 5061, "tls", Hop("tls", "192.0.2.7", 5061)),
        ("2001:db8::7", 5061, "tls", Hop("tls", "2001:db8::7", 5061)),
        ("lync1.domaina.com", 5060, "tcp", Hop("tcp", "lync1.domaina.com", 5060)),
        ("_sips._tcp.domaina.com", 0, "tls", Hop("tls", "_sips._tcp.domaina.com", 0, "domaina.com")),
    ],
)
def test_hops(next_hop: str, port: int, transport: str, hop: Hop) -> None:
    assert route(1, ".com.a", next_hop=next_hop, port=port, transport=transport).hop == hop


@pytest.mark.parametrize(
    ("fields", "cause", "cure"),
    [
        ({"pattern": ""}, "empty", ".com.example"),
        ({"pattern": "domaina.com"}, "does not begin with a dot", ".com.domaina"),
        ({"pattern": "." + "a" * 255}, "longer than 255", ""),
        ({"pattern": ".com..domaina"}, "two dots", ".com.example"),
        ({"pattern": ".com.domaina."}, "a dot at the end", ".com.example"),
        ({"pattern": ".com.do maina"}, "'do maina'", ".com.example"),
        ({"pattern": ".com.domaina\\"}, "'domaina\\\\'", ".com.example"),
        ({"pattern": "." + "x" * 70}, "stands for no domain", ""),
        ({"pattern": ".com.domaina", "kind": USER}, "pattern of a domain", "--type domain"),
        ({"pattern": "12\\", "kind": USER}, "backslash", "\\\\"),
        ({"pattern": "bob@x", "kind": USER}, "a character", "91....."),
        ({"kind": "both"}, "no type", "domain or user"),
        ({"transport": "sctp"}, "no protocol", "tcp, tls or udp"),
        ({"port": 65536}, "port 65536", ""),
        ({"port": -1}, "port -1", ""),
        ({"priority": 0}, "priority 0", ""),
        ({"weight": 65536}, "weight 65536", ""),
        ({"next_hop": ""}, "neither an IP address nor the name", "lync1.example.com"),
        ({"next_hop": "a b"}, "neither an IP address nor the name", "lync1.example.com"),
        ({"next_hop": "192.0.2.256"}, "neither an IP address nor the name", "192.0.2.10"),
        ({"next_hop": "192.0.2.1", "port": 0}, "cannot have", "a name as the next hop"),
        ({"description": "x" * 256}, "description", ""),
    ],
)
def test_what_cannot_be_used_is_refused_with_cause_and_cure(
    fields: dict[str, object], cause: str, cure: str
) -> None:
    with pytest.raises(PatternError) as caught:
        check(replace(route(1, ".com.domaina"), **fields))  # type: ignore[arg-type]
    assert cause in str(caught.value) and cure in caught.value.cure
    broken = replace(route(1, ".com.domaina"), **fields)  # type: ignore[arg-type]
    table = RouteTable([broken, route(2, ".com.domaina")])
    assert [one.id for one in table.find("bob", "domaina.com", lambda: 0.0).routes] == [2]
    assert [one.id for one, _ in table.refused] == [1]


def test_what_is_typed_is_stored_in_one_form() -> None:
    checked = check(route(1, " .COM.DomainA.* ", next_hop="Lync1.DomainA.com."))
    assert (checked.pattern, checked.next_hop) == (".com.domaina.*", "lync1.domaina.com")
    assert check(route(1, ".com.a", next_hop="[2001:DB8:0::7]")).next_hop == "2001:db8::7"
    assert check(checked) == checked


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (".com.domaina", DOMAIN),
        (".com", DOMAIN),
        (".*", DOMAIN),
        ("91...", USER),
        (".100", USER),
        ("...", USER),
    ],
)
def test_the_kind_is_guessed(text: str, kind: str) -> None:
    assert patterns.guess_kind(text) == kind


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(NAMES, min_size=1, max_size=5).map(".".join)


@given(DOMAINS, NAMES)
def test_a_domain_matches_its_own_pattern_and_what_is_below(domain: str, label: str) -> None:
    pattern = patterns.reverse(domain)
    assert patterns.domain_of(pattern) == patterns.domain_of(pattern + ".*") == domain
    for spelling in (pattern, pattern + ".*"):
        read = patterns.read(DOMAIN, spelling)
        exact, below = read.rank("", domain, True), read.rank("", f"{label}.{domain}", True)
        assert exact is not None and below is not None and exact > below
        assert read.rank("", f"{label}{domain}", True) is None
    assert patterns.read(DOMAIN, pattern).rank("", f"{label}.{domain}", False) is None


PATTERNS = st.text("ab.*1", min_size=1, max_size=8)


def _matches(pattern: str, text: str) -> bool:
    """The plain definition, one character after the other."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_matches(pattern[1:], text[skipped:]) for skipped in range(len(text) + 1))
    return bool(text) and pattern[0] in (".", text[0]) and _matches(pattern[1:], text[1:])


@given(PATTERNS, st.text("ab1", max_size=8))
def test_user_patterns_mean_what_they_say(pattern: str, user: str) -> None:
    if patterns.guess_kind(pattern) == DOMAIN:
        return
    found = patterns.read(USER, pattern).rank(user, "example.org", True)
    assert (found is not None) == (_matches(pattern, user) and bool(user))


def test_many_stars_take_no_time() -> None:
    pattern = patterns.read(USER, "*1" * 100)
    assert pattern.rank("1" * 99 + "2" * 900, "example.org", True) is None
    assert pattern.rank("21" * 500, "example.org", True) is not None


@st.composite
def tables(draw: st.DrawFn) -> list[StaticRoute]:
    """Routes of all kinds that more or less fit bob at eng.domaina.com."""
    shapes = [
        ".com.domaina",
        ".com.domaina.*",
        ".com.domaina.eng",
        ".com.*",
        ".*",
        "bob",
        "b*",
        "b..",
        ".org.a",
    ]
    count = draw(st.integers(0, 12))
    return [
        route(
            number,
            draw(st.sampled_from(shapes)),
            priority=draw(st.integers(1, 3)),
            weight=draw(st.integers(1, 5)),
            allow_less_specific=draw(st.booleans()),
            in_service=draw(st.booleans()),
            is_blocked=draw(st.sampled_from([False, False, False, True])),
        )
        for number in range(count)
    ]


@given(tables(), st.randoms(use_true_random=False), st.sets(st.integers(0, 11)))
def test_the_order_keeps_its_promises(
    routes: list[StaticRoute], chance: random.Random, dead: set[int]
) -> None:
    gone = {f"hop{number}.example" for number in dead}
    table = RouteTable(routes)
    found = table.find("bob", "eng.domaina.com", chance.random, lambda hop: hop.host in gone).routes
    assert len({one.id for one in found}) == len(found), "nobody twice"
    assert all(one.in_service and not one.is_blocked for one in found)
    alive = [one.id not in dead for one in found]
    assert alive == sorted(alive, reverse=True), "the dead behind the living"
    places = {
        one.id: (level, one.priority)
        for level, group in enumerate(table.levels("bob", "eng.domaina.com"))
        for one in group
    }
    for part in (
        [one for one in found if one.id not in dead],
        [one for one in found if one.id in dead],
    ):
        order = [places[one.id] for one in part]
        assert order == sorted(order), "the most specific first, then by priority"
    for wall in (one for one in routes if one.is_blocked and one.in_service and one.id in places):
        assert all(places[one.id] <= places[wall.id] for one in found), "nothing behind a blocked one"
    for strict in (
        one for one in routes if one.in_service and not one.allow_less_specific and one.id in places
    ):
        assert all(places[one.id][0] <= places[strict.id][0] for one in found), "nothing less specific"


def test_at_most_so_many_numbers() -> None:
    assert (static.MAX_SAME, static.MAX_NUMBER) == (100, 65_535)
