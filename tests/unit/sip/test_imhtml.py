"""HTML as text: what is shown stays, markup and scripts do not, and time is bounded."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.sip.imhtml import MAX_CHARACTERS, to_text

CASES = {
    "plain": ("Hello", "Hello"),
    "bold": ("Hello <b>W</b>orld", "Hello World"),
    "entities": ("&lt;b&gt; &amp; &#128512; &#x1F600; &eacute;", "<b> & \U0001f600 \U0001f600 é"),
    "an entity is resolved once": ("&amp;lt;script&amp;gt;", "&lt;script&gt;"),
    "breaks": ("one<br>two<BR/>three", "one\ntwo\nthree"),
    "paragraphs": ("<p>one</p>\n<p>two</p>", "one\ntwo"),
    "divs": ("<div>one</div><div>two <span>three</span></div>", "one\ntwo three"),
    "spaces": ("a  \n b&nbsp;&nbsp;c", "a b  c"),
    "preformatted": ("<pre>a  b\n  c</pre>d", "a  b\n  c\nd"),
    "script": ("a<script>alert('<b>x</b>')</script>b", "ab"),
    "script with a tag's look-alike": ("a<script>if (x</y>z) 1</script >b", "ab"),
    "style": ("<style>p { color: red }</style>text", "text"),
    "head": ("<html><head><title>t</title><meta x></head><body>text</body></html>", "text"),
    "head without an end": ("<head><title>t</title><body>text", "text"),
    "comment": ("a<!-- <b> -->b<!DOCTYPE html>c<?php x ?>d", "abcd"),
    "comment that never ends": ("a<!-- b", "a"),
    "tag that never ends": ("a<b href='x", "a"),
    "greater-than in quotes": ("a<i title='x > y'>b</i>", "ab"),
    "less-than": ("1 < 2 and I <3 you", "1 < 2 and I <3 you"),
    "emoticon as a picture": ("Hi <img src='x' alt=':-)'/>!", "Hi :-)!"),
    "list": ("<ul><li>a</li><li>b</li></ul>c", "- a\n- b\nc"),
    "table": ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a\tb\nc"),
    "link that says where it leads": ("<a href='http://x.example/'>http://x.example</a>", "http://x.example"),
    "link that does not": ("<a href='http://bad.example'>bank</a>", "bank <http://bad.example>"),
    "link without text": ("<a href='https://x.example'></a>", "https://x.example"),
    "script link": ("<a href='javascript:alert(1)'>x</a>", "x"),
    "mail": ("<a href='mailto:a@example.org'>a@example.org</a>", "a@example.org"),
    "svg": ("a<svg><text>no</text></svg>b<svg/>c", "abc"),
    "stray ends": ("</p></b>a</div>b", "a\nb"),
    "absurd reference": ("&#99999999999999999999;&#x" + "f" * 5000 + ";", "\ufffd\ufffd"),
    "what Communicator writes": (
        "<DIV style=\"font-family: 'Segoe UI'\"><SPAN style='color:#000'>Hello \U0001f600</SPAN></DIV>\r\n",
        "Hello \U0001f600",
    ),
}


@pytest.mark.parametrize(("html", "text"), CASES.values(), ids=CASES.keys())
def test_html_is_read_as_a_reader_would_see_it(html: str, text: str) -> None:
    assert to_text(html) == text


HOSTILE = [
    "<",
    "<a ",
    "<!--",
    "<!",
    "</",
    "<?",
    "&",
    "&#",
    "<a b='",
    "<a b=\"'",
    "<style>",
    "<style></styl",
    "<i a=",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_html_takes_no_time(piece: str) -> None:
    html = piece * (MAX_CHARACTERS // len(piece))
    start = time.process_time()
    to_text(html)
    to_text(f"<img {html}>")
    assert time.process_time() - start < 1.5


@given(st.text(max_size=200))
def test_any_text_is_read(html: str) -> None:
    assert isinstance(to_text(html), str)


@given(
    st.text(
        alphabet=st.characters(exclude_characters="<&\r\n\t\f \xa0", exclude_categories=["Cs"]), max_size=60
    )
)
def test_text_without_markup_is_left_alone(text: str) -> None:
    assert to_text(text) == text


@given(st.text(alphabet="<>/abscriptle=\"'! -", max_size=80))
def test_no_script_gets_through(text: str) -> None:
    assert "alert(1)" not in to_text(f"<script>{text}alert(1){text.replace('<', '')}")
