"""docs/seeds.md lists what the three texts say: every row has its test, every test its row, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

from tests import test_seeds, test_seeds_gate

ROOT = Path(__file__).parent.parent
CHECKLIST = ROOT / "docs" / "seeds.md"
TESTS = [name for module in (test_seeds, test_seeds_gate) for name in vars(module) if name.startswith("test_")]
PAGES = [CHECKLIST, *sorted((ROOT / "docs" / "seeds").glob("*.md"))]
VERDICTS = ("right", "wrong", "imprecise")


def anchor_of(heading):
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings(page):
    """The headings of a page: its title, and the others."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    title, *others = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return title, others


def rows():
    """The cells of every row of the checklist that has a number."""
    lines = CHECKLIST.read_text().splitlines()
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines if re.match(r"\| \d+ \|", line)]


def test_the_checklist_names_every_test_once_and_no_other():
    named = [name for row in rows() for name in re.findall(r"`(test_\w+)`", row[-1])]
    assert sorted(named) == sorted(TESTS)


def test_the_rows_of_the_checklist_are_numbered_and_complete():
    found = rows()
    assert [int(row[0]) for row in found] == list(range(1, len(found) + 1))
    for row in found:
        assert len(row) == 5, row
        assert all(row), row
        assert row[2] in VERDICTS, row
        assert re.search(r"\]\(seeds/\d_\w+\.md#[\w-]+\)", row[3]), row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not link.startswith("http")]
    assert links or page != CHECKLIST
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        title, others = headings(target) if anchor else ("", [])
        assert not anchor or anchor in map(anchor_of, (title, *others)), link


def test_every_chapter_of_the_pages_is_linked_from_the_checklist():
    text = CHECKLIST.read_text()
    for page in PAGES[1:]:
        _, others = headings(page)
        assert others
        for heading in others:
            assert f"(seeds/{page.name}#{anchor_of(heading)})" in text, heading
