"""What a stranger's text can do to a terminal, a table, a spreadsheet or a plot: nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess

import pytest

from cache_schema.terminal import Terminal, echo
from cache_schema.text import (
    csv_text,
    json_text,
    letters_alone,
    markdown,
    one_line,
    page,
    plot_text,
    shell_word,
    visible,
)

# Escape sequences, C0, C1, DEL, line separators, direction, what is not seen, bytes that are no text.
UNSAFE = (
    "\x1b\x1b]0;title\x07\x00\x08\r\x7f\x9b31m\u2028\u202e\u2066\u200f\u200b\u2060\ufeff\ufff9\u180e"
    "\U000e0041\udc80\ud800"
)


@pytest.mark.parametrize("escape", [one_line, page, markdown, csv_text, plot_text])
@pytest.mark.parametrize("character", UNSAFE, ids=lambda c: f"U+{ord(c):04X}")
def test_no_output_gets_an_unsafe_character(escape: object, character: str) -> None:
    escaped = escape(f"a{character}b")  # type: ignore[operator]
    assert escaped.startswith("a")
    assert escaped.endswith("b")
    assert escaped.isprintable() or character.isprintable()
    escaped.encode("utf-8")


def test_printable_text_of_any_language_stays() -> None:
    text = "père 犬 собака كلب 👩‍🚀 a_b (c) 50 %"
    assert one_line(text) == page(text) == csv_text(text) == plot_text(text) == text


@pytest.mark.parametrize("sign", "=+-@\uff1d\uff0b\uff0d\uff20")
def test_a_spreadsheet_takes_no_text_for_a_formula(sign: str) -> None:
    assert csv_text(f"{sign}1") == f"'{sign}1"


def test_a_line_stays_one_and_a_page_keeps_its_lines() -> None:
    assert one_line("a\nb\tc") == "a\\nb\\tc"
    assert page("a\nb\tc\r") == "a\nb\tc\\r"


def test_a_byte_that_is_no_text_is_shown_as_it_is_in_the_path() -> None:
    assert one_line(b"caf\xe9.wav".decode("utf-8", "surrogateescape")) == "caf\\xe9.wav"


def test_json_reads_back_as_it_was() -> None:
    document = {"id": "a\x1b[2J\x9b\u202e\u2028\n犬\ufeff\U000e0041\x7f", "n": [1, None]}
    for indent in (None, 1):
        text = json_text(document, indent)
        assert json.loads(text) == document
        assert text.replace("\n", "").isprintable()
        assert "犬" in text


def test_json_holds_no_half_of_a_character() -> None:
    """Readers that are strict reject all of a file for one."""
    name = b"M\xfcller.flac".decode("utf-8", "surrogateescape")
    text = json_text({name: [f"{name}\ud800"]})
    assert json.loads(text) == {"M\\xfcller.flac": ["M\\xfcller.flac\\ud800"]}


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "`x`",
        "<b>x</b>",
        "[a](javascript:x)",
        "a\\|b",
        "*x*",
        "![x](y)",
        "a\n|b",
        "&lt;",
        "$x$",
    ],
)
def test_a_cell_of_markdown_holds_text_alone(text: str) -> None:
    found = markdown(text)
    assert "\n" not in found
    unescaped = found.replace("\\\\", "")
    for mark in ("|", "`", "[", "]", "*", "$"):
        assert unescaped.count(mark) == unescaped.count("\\" + mark)
    assert "<" not in found
    assert ">" not in found


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1"])
def test_no_cell_of_csv_begins_a_formula(text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([csv_text(text)])
    (cell,) = next(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert cell[0] not in "=+-@\t\r\n"


def test_the_terminal_escapes_lines_and_cells(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    echo("a\x1b[31m\nb")
    console = Terminal()
    console.print("c\x1b]0;x\x07 [bold]d[/bold] \u202e :dog:")
    table = Table("class\x1b")
    table.add_row("e\x9b2J")
    console.print(table)
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    for text in (
        "a\\x1b[31m\nb",
        "c\\x1b]0;x\\x07 [bold]d[/bold] \\u202e :dog:",
        "class\\x1b",
        "e\\x9b2J",
    ):
        assert text in printed


def test_a_long_name_is_cut_in_a_plot_and_no_formula_begins_in_what_is_left() -> None:
    shown = plot_text("a" * 59 + "$b$")
    assert shown == "a" * 59 + r"\$" + "…"


def test_marks_that_show_nothing_make_no_other_name() -> None:
    for twin in ("\u200fשלום", "שלום\u200e", "\u202bשלום\u202c", "\ufeffשלום", " שלום"):
        assert letters_alone(twin) == letters_alone("שלום") == visible(twin) == "שלום"
    assert letters_alone("\u260e\ufe0f") == letters_alone("\u260e") != letters_alone("\u260f")
    joined, apart = "می\u200cخواهم", "میخواهم"  # two spellings that readers tell apart
    assert letters_alone(joined) != letters_alone(apart)


@pytest.mark.parametrize(
    "name",
    ["it's new\tand\nodd", "-a\x1b[31m", "\u202eback\\slash'", "latin-\udce9", "$HOME `id` \x07"],
)
def test_a_shell_reads_the_very_name(name: str) -> None:
    word = shell_word(name)
    assert word.isprintable()
    found = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert os.fsdecode(found.stdout) == (f"./{name}" if name.startswith("-") else name)


def test_what_no_file_is_called_is_still_a_word() -> None:
    assert shell_word("\ud800") == r"$'\xed\xa0\x80'"
