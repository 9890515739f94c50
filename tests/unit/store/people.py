"""What the tests of people and contact lists share."""

from sqlalchemy import Connection

from ubiety.store import domains, roster, users


def add_people(conn: Connection, count: int) -> list[tuple[int, int]]:
    """Add ``person0`` and so on to example.org; return (users.id, addresses.id) of each."""
    domain = domains.find(conn, "example.org") or domains.add(conn, "example.org", 1.0)
    made = []
    for number in range(count):
        name = f"person{number}"
        profile = {"display_name": f"Person {number}", "mail": f"{name}@example.org"}
        user_id = users.create(conn, f"{name}@example.org", name, domain.id, 2.0, profile)
        found = users.load(conn, user_id)
        assert found is not None
        made.append((user_id, found.address_id))
    return made


def add_contacts(conn: Connection, people: list[tuple[int, int]], subscription: int) -> None:
    """Give the first person all others as contacts."""
    owner = people[0][0]
    for number, (_, address_id) in enumerate(people[1:]):
        roster.put_item(conn, owner, address_id, f"Contact {number}", ["Work"])
        roster.set_subscription(conn, owner, address_id, subscription)
