"""Reading YAML: values with their places, and the parts of YAML that are refused."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from ostiary.yamlsource import MAX_BYTES, Node, read_bytes

if TYPE_CHECKING:
    from ostiary.errors import Problem


def read(text: str | bytes) -> tuple[Node | None, list[tuple[int, int, str]]]:
    problems: list[Problem] = []
    node = read_bytes(text if isinstance(text, bytes) else text.encode(), "f.yaml", problems)
    return node, [(problem.line, problem.column, problem.message) for problem in problems]


def test_every_value_knows_its_place_and_path() -> None:
    node, problems = read("a:\n  - b: 1\n    c: {d: text}\n")
    assert problems == []
    assert node is not None
    assert [(each.key, each.kind, each.line, each.column) for each in node.walk()] == [
        ("", "mapping", 1, 1),
        ("a", "list", 2, 3),
        ("a[0]", "mapping", 2, 5),
        ("a[0].b", "number", 2, 8),
        ("a[0].c", "mapping", 3, 8),
        ("a[0].c.d", "string", 3, 12),
    ]


SCALARS = [
    ("1", "number", 1),
    ("-0", "number", 0),
    ("1.50", "number", Decimal("1.50")),
    ("1e3", "number", Decimal("1e3")),
    ("123456789012345678901234567890", "number", 123456789012345678901234567890),
    ("true", "bool", True),
    ("False", "bool", False),
    ("on", "string", "on"),
    ("yes", "string", "yes"),
    ("~", "null", None),
    ("null", "null", None),
    ("'1'", "string", "1"),
    ("!!str 1", "string", "1"),
    ("16:20", "string", "16:20"),
    ("2026-11-22", "string", "2026-11-22"),
    ("1.2.3", "string", "1.2.3"),
    ("'~'", "string", "~"),
]


@pytest.mark.parametrize(("text", "kind", "value"), SCALARS)
def test_scalars_are_read_in_one_way(text: str, kind: str, value: object) -> None:
    node, problems = read(f"a: {text}")
    assert problems == []
    assert node is not None
    scalar = node.get("a")
    assert scalar is not None
    assert (scalar.kind, scalar.value, type(scalar.value)) == (kind, value, type(value))


def test_a_number_keeps_its_text() -> None:
    node, _ = read("[1.50, 1E400, 0.1]")
    assert node is not None
    assert [item.text for item in node.items] == ["1.50", "1E400", "0.1"]


@pytest.mark.parametrize(
    "text", ["010", "0x1f", "0o17", "0b1", "1_000", "+1", ".5", "1.", "-.5", ".inf", "-.INF", ".nan", "1e", "1.e5"]
)
def test_numbers_of_several_readings_are_refused_or_text(text: str) -> None:
    node, problems = read(f"a: {text}")
    assert node is not None
    if text == "1e":
        assert problems == []
    else:
        assert problems == [(1, 4, f"`{text}` is a number that not every reader reads alike")]


@pytest.mark.parametrize(
    ("text", "meant"), [("on", True), ("true", True), ("Off", False), ("false", False), ("1", None)]
)
def test_switches_mean_the_same_as_words_and_as_booleans(text: str, meant: object) -> None:
    node, _ = read(f"a: {text}")
    assert node is not None
    switch = node.get("a")
    assert switch is not None
    assert switch.switch() is meant


def test_all_keys_written_twice_are_told_and_the_rest_is_read() -> None:
    node, problems = read("a: 1\nb: {c: 1, c: 2}\na: 2\nd: 3\n")
    assert problems == [
        (2, 11, "`c` is written twice, first at line 2, column 5"),
        (3, 1, "`a` is written twice, first at line 1, column 1"),
    ]
    assert node is not None
    assert [entry.name for entry in node.entries] == ["a", "b", "d"]


def test_keys_that_differ_only_in_quotes_are_the_same() -> None:
    assert read("true: 1\n'true': 2\n")[1] == [(2, 1, "`true` is written twice, first at line 1, column 1")]


def test_an_alias_is_the_value_of_its_anchor() -> None:
    node, problems = read("a: &x [1]\nb: *x\n")
    assert problems == []
    assert node is not None
    assert node.get("a") is node.get("b")


REFUSED = [
    ("nothing", "", (1, 1, "the file is empty")),
    ("comments only", "# a\n", (1, 1, "the file is empty")),
    ("two documents", "a: 1\n---\nb: 2\n", (2, 1, "the file holds more than one document")),
    ("a directive", "%YAML 1.1\n---\na: 1\n", (2, 1, "directives (`%YAML`, `%TAG`) are not read")),
    ("an unknown alias", "a: *x\n", (1, 4, "the alias `*x` has no anchor before it")),
    ("an alias of itself", "a: &x [*x]\n", (1, 8, "the alias `*x` stands inside its own anchor")),
    ("a key that is a list", "? [a]\n: 1\n", (1, 3, "a key must be a word")),
    ("an empty key", ": 1\n", (1, 1, "a key is empty")),
    ("a tag", "a: !!python/none x\n", (1, 4, "the tag `tag:yaml.org,2002:python/none` is not read")),
    ("half a character", 'a: "\\ud800"\n', (1, 4, "the text holds half a character (a lone surrogate)")),
    ("not UTF-8", b"a: \xff\n", (1, 4, "this byte is not UTF-8")),
    ("a control character", "a: b\x07\n", (1, 5, "the file holds U+0007, which YAML does not allow")),
    ("a hidden line break", "a: 1 # x\u2028b: 2\n", (1, 9, "the file holds U+2028, which hides how the text is read")),
    ("a hidden order", "a: b\u202e\n", (1, 5, "the file holds U+202E, which hides how the text is read")),
    ("a bare carriage return", "a: 1 # x\rb: 2\n", (1, 9, "the file holds U+000D, which hides how the text is read")),
    ("a syntax error", "a: b: c\n", (1, 5, "a second `: ` stands in this value")),
    ("an escape beyond Unicode", 'a: "\\UFFFFFFFF"\n', (1, 2, "this is not YAML: the parser cannot read it")),
    ("too deep", "[" * 50 + "]" * 50, (1, 41, "values are nested deeper than 40 levels")),
]


@pytest.mark.parametrize(("text", "problem"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_could_mislead_is_refused_at_its_place(text: str | bytes, problem: tuple[int, int, str]) -> None:
    assert read(text)[1] == [problem]


def test_a_billion_laughs_are_cut_short() -> None:
    lines = ["l0: &l0 [a, a, a, a, a, a, a, a, a]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert read("\n".join(lines))[1] == [(6, 5, "the file holds more than 100000 values, aliases unfolded")]


def test_a_huge_file_is_not_parsed() -> None:
    assert read(b"a" * (MAX_BYTES + 1))[1] == [(0, 0, "the file is larger than 4 MiB")]


def test_a_byte_order_mark_is_passed_over() -> None:
    node, problems = read(b"\xef\xbb\xbfa: 1\n")
    assert (problems, node is not None and node.entries[0].column) == ([], 1)


INDENTED = "members of one mapping, and items of one list, begin in one column"
QUOTE = "put it in quotes if it is text"
BETWEEN = "text that holds `: ` or `,` goes in quotes"
NOT_YAML = [
    ("a tab", "a:\n\tb: 1\n", (2, 1, "a tab stands where only spaces may", "indent with spaces, not tabs")),
    ("less indented", "a:\n   b: 1\n  c: 1\n", (3, 3, "this line does not fit the indentation around it", INDENTED)),
    ("more indented", "a: 1\n  b: 2\n", (2, 3, "this line does not fit the indentation around it", INDENTED)),
    ("a mapping in a list", "- a\nb: 1\n", (2, 1, "this line does not fit the indentation around it", INDENTED)),
    ("no space", "a:\n  b: 1\n  c:x\nd: 1\n", (3, 3, "a space is missing after `c:`", "write `c: …`")),
    ("no space in the middle", "a:\n  c:x\n  d: 1\n", (2, 3, "a space is missing after `c:`", "write `c: …`")),
    (
        "no colon",
        "a\nb: 1\n",
        (1, 1, "this line is no `name: value`", "write one, or put a text of several lines in quotes"),
    ),
    (
        "two colons",
        "a: b: c\n",
        (1, 5, "a second `: ` stands in this value", "put the value in quotes if it is text"),
    ),
    ("a sign that YAML keeps", "a: @b\n", (1, 4, "a value cannot begin with `@`", QUOTE)),
    ("a bracket that closes nothing", "a: }\n", (1, 4, "a value cannot begin with `}`", QUOTE)),
    (
        "an open brace",
        "a: {b: c\nd: 1\n",
        (
            1,
            4,
            "this `{` is not closed, or lacks a `,`",
            f"`,` stands between members, and `}}` at the end; {BETWEEN}",
        ),
    ),
    (
        "no comma",
        "a: [b: c: d]\n",
        (1, 9, "a `,` or `]` is missing before this", f"`,` stands between items, and `]` at the end; {BETWEEN}"),
    ),
    (
        "a brace too many",
        "a: {b: c}}\n",
        (1, 10, "this `}` belongs to nothing", "remove it, or put the whole value in quotes"),
    ),
    ("an open quote", 'a: "x\n', (1, 4, "this quote is not closed", "add the same quote at the end of the text")),
    (
        "a quote within quotes",
        "a: 'it's'\n",
        (
            1,
            8,
            "something follows a value that has ended",
            "put the whole value in quotes; in single quotes, a quote is written twice",
        ),
    ),
    (
        "an escape of regular expressions",
        'a: "\\d"\n',
        (1, 6, "`\\d` means nothing in double quotes", "write the text in single quotes, where `\\` is itself"),
    ),
    (
        "a list in line",
        "a: - b\n",
        (
            1,
            4,
            "a list of `-` cannot begin on the line of its name",
            "put its items on lines of their own, or write `[…]`",
        ),
    ),
    ("a star", "a: *\n", (1, 4, "`*` and `&` begin the name of an anchor", "put the value in quotes if it is text")),
]


@pytest.mark.parametrize(("text", "told"), [case[1:] for case in NOT_YAML], ids=[case[0] for case in NOT_YAML])
def test_what_is_not_yaml_is_told_in_plain_words(text: str, told: tuple[int, int, str, str]) -> None:
    problems: list[Problem] = []
    assert read_bytes(text.encode(), "f.yaml", problems) is None
    assert [(each.line, each.column, each.message, each.hint) for each in problems] == [told]


def test_an_empty_value_stands_where_its_key_does() -> None:
    node, problems = read("a:\n  b:   # nothing\n  c: 1\n  d: null\n")
    assert problems == []
    assert node is not None
    assert [(each.key, each.line, each.column) for each in node.walk() if each.kind == "null"] == [
        ("a.b", 2, 3),
        ("a.d", 4, 6),
    ]
