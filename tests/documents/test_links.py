"""What a document points to is there: other documents and their headings, files of the project, tests."""

import re
from pathlib import Path

import pytest

from tests.documents.test_commands import NOT_HERE

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Between backticks or in a block: a path from the top, or the name of a test.
FILE = re.compile(r"(?<![\w/.<>-])((?:benchmarks|deploy|docs|tests|vimmon)/[\w./-]*\w)(?![\w/<>*…-])")
TEST = re.compile(r"(?<![\w/])(test_\w+\.py)\b")


def headings(document: Path) -> set[str]:
    """Its anchors, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_link_to_another_document_leads_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        to = document.parent / name if name else document
        assert to.is_file(), link
        assert not heading or heading in headings(to), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    assert [file for file in FILE.findall(text) if not (ROOT / file).exists()] == []
    tests = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    assert set(TEST.findall(text)) <= tests


def test_the_readme_leads_to_each_document() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall((ROOT / "README.md").read_text())}
    assert {f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")} <= linked


def test_what_the_readme_leaves_to_other_tests_is_tested_there() -> None:
    assert [where for where in NOT_HERE.values() if where.startswith("tests/") and not (ROOT / where).exists()] == []
