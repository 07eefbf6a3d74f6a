"""The package is built as it says: one import order, small files and functions, nothing heavy on import."""

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ostinato
from ostinato import OstinatoError, cli, renamed

from .conftest import DOORS, EXPLAINED, inside, raise_statements, unreached

PACKAGE = Path(ostinato.__file__).parent
ROOT = PACKAGE.parent.parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def rooms():
    """The list of CONTRIBUTING.md, from the lowest room to the highest: folders, and modules of the top level."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## The house in one minute")[2].partition("\nTests of")[0]
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    names = [name for line in lines for name in re.split(r" {3,}", line)[0].split()]
    return names[::-1]


ORDER = rooms()


def module_name(path):
    """The dotted name of a file inside the package; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES}


def imports(path):
    """Every module of the package that a file imports, wherever the import stands, also where only a type checker sees it."""
    folder = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        named = node.module.split(".") if node.module else []
        if node.level:
            base = [*folder[: len(folder) - node.level + 1], *named]
        elif named[0] == "ostinato":
            base = named[1:]
        else:
            continue
        for alias in node.names:
            inner = ".".join([*base, alias.name])
            yield inner if inner in NAMES else ".".join(base)


IMPORTS = {module_name(path): set(imports(path)) for path in MODULES}


def room(name):
    return name.partition(".")[0]


def test_every_module_has_its_place_in_the_order():
    assert sorted({room(name) for name in NAMES} - {""}) == sorted(ORDER)


@pytest.mark.parametrize("name", sorted(NAMES - {""}))
def test_a_room_imports_only_rooms_below_it(name):
    own = room(name)
    for target in IMPORTS[name]:
        if room(target) == own or (target == "" and own in ("commands", "cli")):  # a command asks for the version
            continue
        assert target, f"{name} imports the public list"
        assert ORDER.index(room(target)) < ORDER.index(own), f"{name} imports {target}, which stands above it"


def circle(graph):
    """Names that lead to each other, the first twice; an empty list if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_circle_of_imports_anywhere():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    inside = {name: targets - {name, ""} for name, targets in IMPORTS.items() if name}
    assert circle(inside) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_bare_except_and_every_module_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"


def test_importing_loads_numpy_and_nothing_heavy():
    heavy = ["llvmlite", "torch", "sklearn", "matplotlib", "scipy", "rich", "safetensors", "pandas", "onnx", "jax"]
    code = f"import sys, ostinato; print([name for name in {heavy!r} if name in sys.modules], 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[] True"


def test_the_interpreter_shares_no_code_with_a_pass():
    assert IMPORTS["ir.interpret"] <= {"ir.dtypes", "ir.graph", "ir.shapes", "ir.timeline", "ir.ops", "ir.op", "errors"}


def test_the_public_list_is_sorted_complete_and_documented():
    assert ostinato.__all__ == sorted(ostinato.__all__)
    for name in ostinato.__all__:
        assert getattr(ostinato, name).__doc__, name
    shown = {n for n in dir(ostinato) if not n.startswith("__")}
    assert shown - {"abs", "max", "sum"} == set(ostinato.__all__)  # which `import *` must not take from the builtins
    assert {"abs", "max", "sum", "Examples", "Progress", "RecurrentClassifier", "RecurrentRegressor"} <= shown


def test_what_is_exported_is_ours_or_asked_for():
    """Whatever of the package stands in its namespace and is no module is in the public list."""
    modules = {p.stem for p in MODULES} | {p.parent.name for p in MODULES}
    there = {n for n in vars(ostinato) if not n.startswith("_")} - modules - set(renamed.RENAMED)
    assert there - {"Any", "FunctionType", "TYPE_CHECKING", "import_module", "util"} <= {*ostinato.__all__, "abs", "max", "sum"}


WITHOUT_SKLEARN = """
import sys
from importlib.abc import MetaPathFinder

found = [(finder, finder.find_spec) for finder in sys.meta_path]

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sklearn", "scipy", "pandas", "rich"):
            return None
        return next((spec for _, find in found if (spec := find(name, path, target)) is not None), None)

sys.meta_path[:] = [Missing()]
import ostinato
before = set(sys.modules)
from ostinato import *
assert "RecurrentClassifier" not in ostinato.__all__ and "RecurrentClassifier" not in dir(ostinato)
assert Layer(cells.lstm, n_inputs=2, n_neurons=3).n_parameters > 0
try:
    ostinato.RecurrentClassifier
except MissingExtraError as error:
    print(error)
"""


def test_everything_but_the_estimators_is_there_without_scikit_learn():
    result = subprocess.run([sys.executable, "-c", WITHOUT_SKLEARN], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == 'the estimators need scikit-learn: pip install "ostinato[learn]"', result.stderr


def test_what_the_readme_shows_first_needs_no_extra():
    """A layer is made, run, saved and loaded with what every installation has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.match(r"[\w-]+", text).group() for text in project["dependencies"]}
    assert needed == {"llvmlite", "numpy", "safetensors"}
    assert project["optional-dependencies"]["files"] == []  # `pip install ostinato[files]` goes on working


def test_help_shows_what_to_call_first_and_where_things_are():
    """Every name on the page is there."""
    page = ostinato.__doc__
    for name in re.findall(r"\b(?:ostinato\.)?([A-Za-z_]\w+)", page.partition("Where things are:")[2]):
        if name[0].isupper() and name not in {"In", "RecurrentClassifier"}:
            assert hasattr(ostinato, name), name
    code = page.partition("\n\n")[2].partition("Where things are:")[0]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert "recurrent" in done.stdout, done.stderr


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'ostinato' has no attribute 'Lstm'"):
        _ = ostinato.Lstm


FORBIDDEN = ("/wo" + "rk/", "/tm" + "p/", "ses" + "sion of", "py" + "pi.org", "files.python" + "hosted")


@pytest.mark.parametrize("word", FORBIDDEN)
def test_no_word_that_does_not_belong(word):
    """Paths of a machine and hosts of registries have no place in the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".html", ".svg", ""):
            assert word not in path.read_text(errors="ignore"), name


# --- the guard of conftest.py -------------------------------------------------------------------------------------------------


def test_the_guard_knows_the_raise_statements():
    names = [name for _, _, name in raise_statements()]
    assert len(names) > 80
    assert {"ShapeError", "DataError", "FileError", "OptionError", "CellError", "SymbolError"} <= set(names)


def test_what_is_explained_is_still_there():
    there = {(inside(path), name) for path, _, name in raise_statements()}
    assert set(EXPLAINED) <= there


def test_the_guard_sees_what_is_not_run():
    everything = {(inside(path), node.lineno) for path, node, _ in raise_statements()}
    assert unreached(everything) == []
    statements = [(inside(path), name) for path, _, name in raise_statements()]
    rooms = [site for site in statements if site[0].partition("/")[0] not in DOORS]
    assert len(unreached(set())) == len([site for site in rooms if site not in EXPLAINED])


def family(error):
    """A class and everything that derives from it."""
    return {error}.union(*(family(derived) for derived in error.__subclasses__()))


def test_only_our_own_errors_are_raised():
    ours = {error.__name__ for error in family(OstinatoError)}
    classes = [n for path in MODULES for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    ours |= {
        c.name for c in classes if {ast.unparse(base) for base in c.bases} & ours
    }  # those of doors, which nothing has loaded
    assert cli.Refused.__name__ in ours
    allowed = ours | {"_Unreadable"} | {name for _, name in EXPLAINED}
    foreign = [f"{path.name}:{node.lineno} {name}" for path, node, name in raise_statements() if name not in allowed]
    assert foreign == []
