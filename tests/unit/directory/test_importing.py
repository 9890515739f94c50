"""directory/importing.py, csv_people.py and ldif_people.py."""

import base64
import csv
import io
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.directory.csv_people import read_csv
from ubiety.directory.importing import guess_format, read_people
from ubiety.directory.ldif_people import read_ldif
from ubiety.directory.records import MAX_PHOTO, Entry, Fault, ImportFault, Record, Skipped


def records(entries: Iterator[Entry]) -> list[dict[str, str]]:
    found = list(entries)
    assert all(isinstance(entry, Record) for entry in found), found
    return [entry.values for entry in found if isinstance(entry, Record)]


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


# -- CSV ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "userid,name,mail",
        "\ufeffUser ID;Display Name;E-Mail",
        "sAMAccountName\tcn\tMail ID",
        '"UID","Name","EMail"',
    ],
)
def test_headers_of_many_makers_are_understood(header: str) -> None:
    delimiter = next(one for one in ",;\t" if one in header)
    row = delimiter.join(["user1", " User One ", "user1@example.org"])
    assert records(read_csv(lines(f"{header}\r\n{row}\r\n"))) == [
        {"userid": "user1", "name": "User One", "mail": "user1@example.org"}
    ]


def test_quotes_commas_and_lines_within_a_field() -> None:
    text = 'userid,name,title\nuser1,"One, User","says ""hi"""\nuser2,"two\nlines",\n'
    found = list(read_csv(lines(text)))
    assert [entry.number for entry in found] == [2, 3]
    assert records(iter(found)) == [
        {"userid": "user1", "name": "One, User", "title": 'says "hi"'},
        {"userid": "user2", "name": "two\nlines"},
    ]


def test_rows_that_cannot_be_used_are_faults_with_their_line() -> None:
    text = 'userid,name\nuser1\nuser2,a,b\n,nobody\n\n ,\nuser7,x\n"user8,never closed\nuser9,y\n'
    found = list(read_csv(lines(text)))
    assert [(type(entry).__name__, entry.number) for entry in found] == [
        ("Fault", 2),
        ("Fault", 3),
        ("Fault", 4),
        ("Record", 7),
        ("Fault", 8),
    ]
    assert isinstance(found[4], Fault) and "never closed" in found[4].reason


def test_columns_that_are_not_known_are_told() -> None:
    found = list(read_csv(lines("userid,shoe size,\nuser1,42,\n")))
    assert [entry.what for entry in found if isinstance(entry, Skipped)] == ["shoe size", "column 3"]
    assert isinstance(found[2], Record) and found[2].values == {"userid": "user1"}


@pytest.mark.parametrize("text", ["", "\n", "name,mail\nx,y\n", "userid,uid\na,b\n", "\x00\n"])
def test_a_file_without_a_usable_header_is_refused(text: str) -> None:
    with pytest.raises(ImportFault, match=r"first line"):
        list(read_csv(lines(text)))


def test_a_password_keeps_its_spaces() -> None:
    assert records(read_csv(lines("userid,password\nuser1, two words \n")))[0]["password"] == " two words "


@given(st.lists(st.tuples(st.text(min_size=1).filter(str.strip), st.text()), min_size=1))
def test_what_a_spreadsheet_writes_is_read(rows: list[tuple[str, str]]) -> None:
    usable = [row for row in rows if not any("\x00" in cell or "\r" in cell for cell in row)]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("userid", "name"), *usable])
    file.seek(0)
    found = [entry for entry in read_csv(file) if isinstance(entry, Record)]
    assert [one.userid for one in found] == [userid.strip() for userid, _ in usable]


@given(st.text(), st.sampled_from([read_csv, read_ldif]))
def test_no_text_does_more_than_be_refused(text: str, read: Callable[[list[str]], Iterator[Entry]]) -> None:
    try:
        for entry in read(lines(text)):
            assert entry.number >= 1
    except ImportFault as error:
        assert "first line" in str(error)


# -- LDIF --------------------------------------------------------------------------------------------

PERSON = """version: 1
# a comment
 that goes on

dn: uid=user1,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: user1
cn: User One
displayName:: {name}
givenName: User
sn;lang-en: One
mail: user1@exam
 ple.org
ou: Sales
title: Clerk
telephoneNumber: +1 555 0100
userPassword: secret
jpegPhoto:: {photo}

"""
PHOTO = b"\xff\xd8\xff\xe0" + bytes(range(256))


def encoded(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return "\n ".join(text[start : start + 60] for start in range(0, len(text), 60))


def test_a_person_of_a_directory() -> None:
    text = PERSON.format(name=encoded("Üser Öne".encode()), photo=encoded(PHOTO))
    (entry,) = read_ldif(lines(text))
    assert isinstance(entry, Record) and entry.number == 5
    assert entry.values == {
        "userid": "user1",
        "name": "Üser Öne",
        "given_name": "User",
        "surname": "One",
        "mail": "user1@example.org",
        "department": "Sales",
        "title": "Clerk",
        "phone": "+1 555 0100",
        "password": "secret",
    }
    assert entry.photo == PHOTO and entry.enabled and entry.notes == []


def one(text: str) -> Entry:
    (entry,) = read_ldif(lines(text))
    return entry


def test_active_directory() -> None:
    entry = one(
        "dn: CN=User Two,DC=example,DC=org\nobjectClass: top\nobjectClass: person\nobjectClass: user\n"
        "sAMAccountName: user2\ndisplayName: User Two\ndepartment: IT\nuserAccountControl: 514\n"
    )
    assert isinstance(entry, Record) and not entry.enabled
    assert entry.values == {"userid": "user2", "name": "User Two", "department": "IT"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dn: cn=pc\nobjectClass: user\nobjectClass: computer\nuid: pc$\n", "not a person"),
        ("dn: ou=people\nobjectClass: organizationalUnit\nou: people\n", "not a person"),
        ("dn: uid=x\nchangetype: delete\n", "change"),
    ],
)
def test_what_is_no_person_is_skipped(text: str, reason: str) -> None:
    entry = one(text)
    assert isinstance(entry, Skipped) and reason in entry.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dn: cn=x\nobjectClass: person\ncn: x\n", "neither uid"),
        ("dn: cn=x\nno colon here\n", "colon"),
        ("dn: cn=x\nuid:: !!!\n", "base64"),
        ("dn: cn=x\nuid: x\njpegPhoto:< file:///etc/passwd\n", "not supported"),
        ("dn: cn=x\nuid:: /w==\n", "UTF-8"),
    ],
)
def test_entries_that_cannot_be_used_are_faults(text: str, reason: str) -> None:
    entry = one(text)
    assert isinstance(entry, Fault) and reason in entry.reason


def test_passwords_and_photos_that_cannot_be_taken_over_are_notes() -> None:
    big = base64.b64encode(b"\xff\xd8" + bytes(MAX_PHOTO)).decode()
    entry = one(f"dn: uid=x\nuid: x\nuserPassword: {{SSHA}}abc\njpegPhoto:: {big}\n")
    assert isinstance(entry, Record) and "password" not in entry.values and not entry.photo
    assert len(entry.notes) == 2 and "{SSHA}" in entry.notes[0]
    clear = one("dn: uid=x\nuid: x\nuserPassword: {CLEARTEXT}s3cret\njpegPhoto:: aGVsbG8=\n")
    assert isinstance(clear, Record) and clear.values["password"] == "s3cret" and "JPEG" in clear.notes[0]


def test_a_bad_entry_leaves_the_others_alone() -> None:
    found = list(read_ldif(lines("dn: uid=a\nuid: a\n\ndn: x\nbroken\n\ndn: uid=b\nuid: b\n")))
    assert [type(entry).__name__ for entry in found] == ["Record", "Fault", "Record"]
    assert [entry.number for entry in found] == [1, 4, 7]


# -- both --------------------------------------------------------------------------------------------


def test_formats_are_told_apart() -> None:
    assert guess_format("people.LDIF", []) == "ldif"
    assert guess_format("people.txt", ["version: 1\n"]) == "ldif"
    assert guess_format("", ["# export\n", "dn: uid=x\n"]) == "ldif"
    assert guess_format("people", ["userid,name\n"]) == "csv"
    assert isinstance(next(read_people(lines("dn: uid=a\nuid: a\n"))), Record)


def test_a_user_id_that_came_before_is_a_fault() -> None:
    text = "userid,domain\nuser1,\nUSER1,\nuser1,example.com\n"
    found = list(read_people(lines(text)))
    assert [type(entry).__name__ for entry in found] == ["Record", "Fault", "Record"]
    assert isinstance(found[1], Fault) and "line 2" in found[1].reason
