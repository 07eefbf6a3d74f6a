"""What the pages show is what the code prints; what docstrings show is what it returns."""

import doctest
import importlib
import pkgutil

import pytest

import ostinato
from tests import documentation

MODULES = [m.name for m in pkgutil.walk_packages(ostinato.__path__, "ostinato.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("page", documentation.PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs_and_prints_what_the_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = documentation.run_page(page)
    assert results, "the page has no code"
    for code, shown, printed in results:
        wanted = "\n".join(line.rstrip() for line in printed.rstrip().splitlines())
        assert (shown or "").rstrip() == wanted, f"the page shows something else for:\n{code}"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
