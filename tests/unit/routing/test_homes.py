"""Who is known, and who is served here."""

from dataclasses import replace

from ubiety.jid import parse
from ubiety.routing.homes import Homes, Person


def test_people_served_here_are_counted() -> None:
    homes = Homes(node_id=1)
    people = [Person(n, n, parse(f"person{n}@example.org"), set_id=1 + n % 2) for n in range(1, 6)]
    for person in people:
        homes.put(person)
    assert homes.count_here() == 2
    homes.here.add(2)
    assert homes.count_here() == 5
    homes.here = {1}
    homes.put(replace(people[0], set_id=1))
    assert homes.count_here() == 3
    homes.remove(2)
    homes.remove(2)
    assert homes.count_here() == 2
    homes.here.clear()
    assert homes.count_here() == 0
