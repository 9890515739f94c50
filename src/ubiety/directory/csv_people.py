"""Reads people from CSV with a header, as spreadsheets and other servers write it (RFC 4180; pure)."""

import csv
from collections.abc import Iterable, Iterator

from ubiety.directory.records import FIELDS, Entry, Fault, ImportFault, Record, Skipped

SYNONYMS = {
    "userid": ("userid", "user", "username", "uid", "samaccountname", "login"),
    "name": ("name", "displayname", "cn", "fullname", "commonname"),
    "given_name": ("givenname", "firstname"),
    "surname": ("surname", "lastname", "sn", "familyname"),
    "mail": ("mail", "email", "mailid", "emailaddress", "mailaddress"),
    "department": ("department", "ou", "departmentname"),
    "title": ("title", "jobtitle"),
    "phone": ("phone", "telephone", "telephonenumber", "phonenumber"),
    "domain": ("domain",),
    "password": ("password", "userpassword"),
}
_BY_HEADER = {word: name for name, words in SYNONYMS.items() for word in words}
DELIMITERS = ",;\t"
_REASONS = {
    "unexpected end of data": "A quotation mark that begins here is never closed; the rest is not read.",
    "field larger than field limit (131072)": "A field is too long; is a quotation mark not closed?",
}


def read_csv(lines: Iterable[str]) -> Iterator[Entry]:
    """Reads people from the lines of a file, one entry at a time. Raises ImportFault.

    The delimiter is the one that the header has most of. Empty rows are passed over.
    """
    source = iter(lines)
    header = next(source, "").removeprefix("\ufeff")
    delimiter = max(DELIMITERS, key=header.count)
    columns = _read_header(header, delimiter)
    for index, title in enumerate(columns):
        if title.startswith("?"):
            yield Skipped(1, title[1:] or f"column {index + 1}", "This column is not known and is not read.")
    yield from _read_rows(source, delimiter, columns)


def _read_header(header: str, delimiter: str) -> list[str]:
    titles = next(csv.reader([header], delimiter=delimiter), [])
    columns = [_BY_HEADER.get(_plain(title), "?" + title.strip()) for title in titles]
    known = [name for name in columns if name in FIELDS]
    if "userid" not in known:
        raise ImportFault(
            "The first line has no column for the user id. It must name the columns, for instance: "
            "userid,name,mail,department,password"
        )
    twice = {name for name in known if known.count(name) > 1}
    if twice:
        raise ImportFault(f"The first line names {', '.join(sorted(twice))} twice. Keep one column of each.")
    return columns


def _plain(title: str) -> str:
    return "".join(character for character in title.lower() if character.isalnum())


def _read_rows(source: Iterator[str], delimiter: str, columns: list[str]) -> Iterator[Entry]:
    rows = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        number = rows.line_num + 2  # the header was read before; lines count from 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Fault(number, "", _REASONS.get(str(error), f"This row cannot be read: {error}."))
            continue
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield _read_row(number, row, columns)


def _read_row(number: int, row: list[str], columns: list[str]) -> Entry:
    values = {
        name: cell if name == "password" else cell.strip()
        for name, cell in zip(columns, row, strict=False)
        if cell.strip() and not name.startswith("?")
    }
    userid = values.get("userid", "")
    if len(row) != len(columns):
        reason = (
            f"It has {len(row)} columns, the first line {len(columns)}. Put quotes around text with commas."
        )
        return Fault(number, userid, reason)
    if not userid:
        return Fault(number, "", "The user id is empty.")
    return Record(number, values)
