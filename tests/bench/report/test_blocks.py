from __future__ import annotations

import io

import pytest
from golden import shown
from markdown_it import MarkdownIt

from oneflow_bench.bench.cli.console import Console
from oneflow_bench.bench.report.blocks import (
    Figure,
    Heading,
    Table,
    Text,
    format_html,
    format_markdown,
    print_blocks,
    strip_controls,
)


def test_markdown_takes_names_and_errors_as_text():
    text = format_markdown([Heading("a_b"), Text(["<x> | `y_z` `"]), Table(["n"], [["1|2\n[3]"]])])
    assert text.splitlines() == [
        "# a\\_b", "", "\\<x\\> \\| `y_z` \\`  ", "", "| n |", "| --- |", "| 1\\|2 \\[3\\] |",
    ]  # fmt: skip


def test_html_takes_names_as_text_and_a_label_opens_its_explanation():
    table = Table(["", "n"], [["<b>", "1"], ["time", "2"]], right=["n"])
    figure = Figure('"x"', "a b.png")
    blocks = [Heading("a & b"), Text(["<i> `--flag`\x1b[2J"]), table, figure]
    text = format_html(blocks, lambda label: "By a <clock>." if label == "time" else "")
    for part in (
        "<h2>a &amp; b</h2>", "<p>&lt;i&gt; <code>--flag</code></p>", 'aria-label="a &amp; b"',
        '<th scope="row">&lt;b&gt;</th><td class="number">1</td>',
        "<details><summary>time</summary>By a &lt;clock&gt;.</details>",
        '<img src="a%20b.png" alt="&quot;x&quot;">',
    ):  # fmt: skip
        assert part in text, part


def test_only_the_first_heading_is_the_title():
    assert format_markdown([Heading("a"), Heading("b"), Heading("c")]) == "# a\n\n## b\n\n## c\n"


def test_a_terminal_takes_brackets_as_text_and_obeys_no_control():
    text = shown([Text(["[bold]x[/bold] \x1b[2J\x07y"]), Table(["t"], [["[red]z"]])])
    assert "[bold]x[/bold] y" in text and "[red]z" in text
    assert "\x1b" not in text and "\x07" not in text


def test_a_name_longer_than_the_terminal_is_printed_whole():
    name = "layer." * 30
    text = shown([Table(["name", "number"], [[name, "1"]], right=["number"])], width=40)
    assert text.splitlines() == [
        name,
        "  number: 1",
    ]  # the terminal folds it, and it is copied whole


@pytest.mark.parametrize("width, is_table", [(80, True), (50, True), (40, False), (20, False)])
def test_no_width_cuts_a_word_of_a_table(width, is_table):
    words = ["compare-my_file-npnoise", "equal within rounding", "9 min ago", "0.14"]
    text = shown([Table(["run", "first difference", "begun", "error"], [words], ["error"])], width)
    assert all(word in text.split() for words in words for word in words.split())
    assert ("first difference: " not in text) == is_table
    assert all(len(line) <= width for line in text.splitlines() if words[0] not in line)


def test_controls_are_stripped_and_lines_are_kept():
    assert strip_controls("\x1b[31ma\x1b[0m\x00\n\tb\ud800é") == "a\n\tbé"


def test_a_figure_is_a_picture_in_markdown_and_a_path_in_a_terminal():
    blocks = [Heading("a"), Figure("a [b]", "b.png")]
    assert format_markdown(blocks) == "# a\n\n![a \\[b\\]](b.png)\n"
    assert "a [b]: b.png" in shown(blocks)


def test_names_are_no_markup_in_any_form_of_a_report():
    name = "[red]a_b*[/x] ~~&lt;~~ $x$"
    table = Table([name], [[name]])
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    print_blocks([Heading(name), Text([name]), table, Figure(name, "p.png")], console)
    assert console.file.getvalue().count(name) == 5
    text = format_markdown([Heading(name), Text([f"# {name}", "1. one", "- two"]), table])
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    assert html.count(name.replace("&", "&amp;")) == 4
    assert html.count("<h1>") == 1 and "<ol" not in html and "<ul" not in html
    assert "](a%20%28b%29.png)" in format_markdown([Figure("t", "a (b).png")])
