"""What the pages show is what the code prints; what docstrings show is what it returns."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import shutil

import pytest

import ostinato
from tests import documentation

MODULES = [m.name for m in pkgutil.walk_packages(ostinato.__path__, "ostinato.") if not m.name.endswith("__main__")]
LINK = re.compile(r"\]\(((?!https?:)[^)\s]+)\)")


WITH_SHELL = [page for page in documentation.PAGES if documentation.SHELL.search(page.read_text())]


@pytest.mark.parametrize("page", documentation.PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs_and_prints_what_the_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = documentation.run_page(page)
    assert results or page in WITH_SHELL, "the page has no code"
    for code, shown, printed in results:
        assert documentation.agrees(shown, printed), f"the page shows something else for:\n{code}\n{printed}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("page", WITH_SHELL, ids=lambda page: page.name)
def test_every_shell_block_of_a_page_runs_as_typed_in_an_empty_folder(page, tmp_path):
    for code, shown, printed in documentation.run_shell(page, tmp_path):
        assert shown is None or documentation.agrees(shown, printed), f"the page shows something else for:\n{code}\n{printed}"


@pytest.mark.parametrize("page", documentation.PAGES, ids=lambda page: page.name)
def test_what_is_generated_is_what_the_package_says_now(page):
    for match in documentation.GENERATED.finditer(page.read_text()):
        assert match[0] == documentation.generated(match), "python -m tests.documentation writes it anew"


@pytest.mark.parametrize("page", documentation.PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_or_a_heading(page):
    for target in LINK.findall(page.read_text()):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], target


def test_what_differs_from_run_to_run_is_left_out_within_a_line():
    assert documentation.agrees("loss 0.6…, 3 epochs\n", "loss 0.6931, 3 epochs  \n\n")
    assert documentation.agrees(None, "")
    assert not documentation.agrees("loss 0.6…, 3 epochs", "loss 0.5931, 3 epochs")
    assert not documentation.agrees("loss …", "loss 0.6931\n3 epochs")
    assert not documentation.agrees("loss (0.6)", "loss 0.6")


def test_every_cell_of_the_library_has_its_heading_and_every_page_is_in_the_index():
    headings = re.findall(r"^### (\w+)$", (documentation.ROOT / "docs" / "cells.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(ostinato.cells.__all__)
    index = (documentation.ROOT / "docs" / "index.md").read_text()
    for page in (documentation.ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name, monkeypatch):
    module = importlib.import_module(name)
    tree = ast.parse(inspect.getsource(module))
    kinds = ast.ClassDef | ast.FunctionDef
    for thing in [vars(module).get(node.name) for node in tree.body if isinstance(node, kinds)]:
        if getattr(thing, "__module__", None) == "ostinato":  # it says that it is the package's own, and stands here
            monkeypatch.setattr(thing, "__module__", name)
    with_examples = [node for node in ast.walk(tree) if isinstance(node, kinds) and ">>> " in (ast.get_docstring(node) or "")]
    found = [test for test in doctest.DocTestFinder().find(module) if test.examples and test.name != name]
    assert len(found) == len(with_examples), "an example that nobody runs"
    result = doctest.testmod(module)
    assert result.failed == 0
