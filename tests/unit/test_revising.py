# SPDX-License-Identifier: Apache-2.0
"""Documents out of files, one revision out of another, and how a difference is shown."""

from __future__ import annotations

import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st

from controller import bounds, diffs
from controller.bounds import OutOfBounds
from controller.editing import check_texts, read_files, with_files, without
from controller.excerpts import excerpts
from controller.problems import InputRefused
from controller.yamlfile import parse
from tests.unit.policies import BASE, WEB_TO_DB

PARTS = [
    "kind: A\n",
    "{kind: A}\n",
    "# c\n",
    "é: ü\n",
    "- 1\n- 2\n",
    "t: |\n  --- x\n  y\n",
    "\n",
    "",
]
MARKS = ["---\n", "--- # note\n", "...\n---\n", "...\n# between\n---\n", "---\n---\n"]


@given(
    st.lists(st.tuples(st.sampled_from(MARKS), st.sampled_from(PARTS)), max_size=6),
    st.sampled_from(["", "\ufeff", "# first\n", "# first\n---\n", "kind: B\n"]),
    st.booleans(),
)
@example([("---\n", "kind: A\n")], "\ufeff", True)
def test_a_document_reads_alone_as_it_does_in_its_file(
    parts: list[tuple[str, str]], start: str, crlf: bool
) -> None:
    text = start + "".join(mark + part for mark, part in parts)
    content = (text.replace("\n", "\r\n") if crlf else text).encode()
    try:
        whole = parse("f", content)
    except InputRefused:
        reject()
    found = excerpts("f", content)
    assert [one.document.value for one in found] == [one.value for one in whole]
    for one in found:
        (alone,) = parse("f", one.text.encode())
        assert alone.value == one.document.value
        assert excerpts("f", one.text.encode())[0].text == one.text


def test_comments_stay_with_their_document() -> None:
    text = "# one\nkind: A\n# end of one\n---\n# two\nkind: B # here\n...\n# three\n--- {kind: C}\n"
    assert [one.text for one in excerpts("f", text.encode())] == [
        "# one\nkind: A\n# end of one\n",
        "# two\nkind: B # here\n",
        "# three\n {kind: C}\n",
    ]


def test_all_that_is_wrong_in_any_file_is_said_at_once() -> None:
    files = [("a", b"a: ["), ("b", b"kind: X"), ("c", WEB_TO_DB.encode()), ("d", b"\xff")]
    with pytest.raises(InputRefused) as caught:
        read_files(files)
    assert {problem.source.file for problem in caught.value.problems} == {"a", "b", "d"}


def test_edits_put_delete_and_leave() -> None:
    before = {item.key: item for item in read_files([("p", (BASE + WEB_TO_DB).encode())])}
    moved = read_files([("other", ("---\n" + WEB_TO_DB).encode())])
    assert not with_files(before, moved, prune=False)
    pruned = with_files(before, moved, prune=True)
    assert (pruned.put, set(pruned.deleted)) == ((), before.keys() - {("Allow", "web-to-db")})
    assert pruned.after["Allow", "web-to-db"].row.file == "p"
    changed = read_files([("q", WEB_TO_DB.replace("6379", "1").encode())])
    made = with_files(before, changed, prune=False)
    check_texts(made)
    assert [item.row.file for item in made.put] == ["q"]
    assert list(made.after)[-1] == ("Allow", "web-to-db")  # what is new is looked at last
    assert without(before, [("Allow", "web-to-db")]).deleted == (("Allow", "web-to-db"),)
    assert with_files({}, [], prune=True).revision.placed == ()


def test_a_diff_is_bounded_in_size_and_in_time() -> None:
    assert diffs.unified("a\n", "a\n") == ""
    assert diffs.unified("", "a\n") == "@@ -0,0 +1 @@\n+a\n"
    long = "".join(f"line {n}\n" for n in range(50_000))
    shown = diffs.unified(long, long.upper())
    assert len(shown.encode()) <= diffs.MAX_BYTES
    assert shown.startswith("@@ -1,50000 +1,50000 @@\n-line 0\n")
    assert shown.endswith("(cut)\n")
    wide = diffs.unified("", "é" * diffs.MAX_BYTES)
    assert wide == "@@ -0,0 +1 @@\n... (cut)\n"


@pytest.mark.parametrize(
    ("size", "token", "good"),
    [
        (0, "", True),
        (1000, "12", True),
        (5, "12 abcdefgh234567ab", True),
        (5, "web-1 12", True),
        (1001, "", False),
        (5, "-1", False),
        (5, "Web 1", False),
        (5, "9" * 19, False),
        (5, "1\n", False),
        (5, "²", False),
    ],
)
def test_pages_have_bounds(size: int, token: str, good: bool) -> None:
    if good:
        assert bounds.page(size, token).after == token
    else:
        with pytest.raises(OutOfBounds):
            bounds.page(size, token)
