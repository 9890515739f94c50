"""Reads a file of people, CSV or LDIF, and finds those that it has twice (pure)."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from ubiety.directory.csv_people import read_csv
from ubiety.directory.ldif_people import read_ldif
from ubiety.directory.records import Entry, Fault, Record

CSV, LDIF = "csv", "ldif"
FORMATS = (CSV, LDIF)
_LOOK_AHEAD = 50


def guess_format(name: str, head: Iterable[str]) -> str:
    """The format of a file by the ending of its name, else by its first lines."""
    ending = name.rpartition(".")[2].lower()
    if ending in FORMATS:
        return ending
    starts = ("dn:", "version:")
    return LDIF if any(line.removeprefix("\ufeff").lower().startswith(starts) for line in head) else CSV


def read_people(lines: Iterable[str], format_: str = "", name: str = "") -> Iterator[Entry]:
    """Reads the entries of a file one by one; a user id that came before is a fault.

    `format_` is csv or ldif, empty: guessed. Raises ImportFault when it is no file of people at all.
    """
    source = iter(lines)
    head = list(islice(source, _LOOK_AHEAD))
    read = read_ldif if (format_ or guess_format(name, head)) == LDIF else read_csv
    return _without_repeats(read(chain(head, source)))


def _without_repeats(entries: Iterator[Entry]) -> Iterator[Entry]:
    seen: dict[tuple[str, str], int] = {}
    for entry in entries:
        if isinstance(entry, Record):
            key = (entry.userid.lower(), entry.values.get("domain", "").lower())
            before = seen.setdefault(key, entry.number)
            if before != entry.number:
                yield Fault(entry.number, entry.userid, f"The same user id stands on line {before} already.")
                continue
        yield entry
