"""What all tests share: golden files, and the guard that every `raise` of the package is run.

    pytest --update-golden        rewrites the golden files of the tests that run (in one process, not with -n)

The guard looks at a whole, successful run only: nothing chosen by path or by name, nothing failed. It then lists the `raise`
statements of src/ostinato that no test has reached, and the run fails. It works under `pytest -n` too: the workers hand their
sites to the first process. The doors to other frameworks have commands of their own, `pytest tests/doors/torch`, and are
guarded by them; scikit-learn's checks of estimators, which take a minute, are one more.
"""

from __future__ import annotations

import ast
import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import ostinato
from ostinato.ir import parse
from ostinato.plan import planner
from ostinato.runtime.backends import VARIABLE

SOURCE = Path(ostinato.__file__).parent
GOLDEN = Path(__file__).parent / "golden"
DOORS = ("torch",)  # packages whose tests are tests/doors/<name>

# `raise` statements that no test can reach, or whose class is not ours to watch: (file, class) -> why
EXPLAINED = {
    ("__init__.py", "AttributeError"): "what Python expects of a module; tests/test_structure.py runs it",
    ("renamed.py", "AttributeError"): "what Python expects of a module, too; tests/test_version_0_1.py runs it",
    ("ir/op.py", "NotImplementedError"): "the method of the abstract Symbolic; every symbol has its own",
    ("language/array_like.py", "NotImplementedError"): "the methods of the abstract ArrayLike; every symbol has its own",
    ("ir/shapes.py", "ValueError"): "tests/test_shapes.py and the messages built from it",
    ("language/declarations.py", "ValueError"): "caught three lines below; pinned in tests/golden/errors_cell.txt",
    ("passes/fuse.py", "_DoesNotFitError"): "caught in the same file; see tests/test_corners.py",
    ("runtime/arguments.py", "AssertionError"): "the line above always raises",
    ("process/interrupts.py", "error"): "what another thread raised goes on in the one that waits for it",
    ("plan/stages.py", "NotImplementedError"): "the properties of the abstract Stage; every kind of stage has its own",
    ("torch/__init__.py", "MissingExtraError"): "in a process without PyTorch: tests/doors/torch/test_torch_swapping.py",
    ("runtime/backends.py", "NotImplementedError"): "a stream asks native code alone for a stepper",
}

# What a cell means is asked of the interpreter, where nothing has to be compiled; native code is compared with it in the files
# named below, which run as a user would.
os.environ[VARIABLE] = "numpy"
planner.CHECKED = True  # every plan that a test makes is verified
if "OSTINATO_CACHE" not in os.environ:  # the tests neither fill nor need the cache of whoever runs them
    folder = tempfile.mkdtemp(prefix="ostinato-")
    os.environ["OSTINATO_CACHE"] = folder  # the processes of pytest-xdist share it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
AS_A_USER = (
    "test_torch_",
    "test_native",
    "test_documentation",
    "test_examples",
    "test_cli_learning",
    "test_jit",
    "test_structured",
)


@pytest.fixture(autouse=True, scope="module")
def _backend(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.path.name.startswith(AS_A_USER):
        del os.environ[VARIABLE]
    yield
    os.environ[VARIABLE] = "numpy"


reached: set[tuple[str, int]] = set()


def _watch(error: type[BaseException]) -> None:
    """Note the file and line in which an exception of this class is made."""
    original = error.__init__

    def noting(self: BaseException, *args: object, **options: object) -> None:
        frame = sys._getframe(1)
        reached.add((frame.f_code.co_filename.removeprefix(f"{SOURCE}{os.sep}").replace(os.sep, "/"), frame.f_lineno))
        original(self, *args, **options)

    error.__init__ = noting  # type: ignore[method-assign]


_watch(ostinato.OstinatoError)
_watch(parse._Unreadable)


@cache
def raise_statements() -> list[tuple[Path, ast.Raise, str]]:
    """Every `raise X(...)` of the package, with the name of X. What only raises again is not among them."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                found.append((path, node, ast.unparse(made)))
    return found


def inside(path: Path) -> str:
    """The path of a source file inside the package."""
    return path.relative_to(SOURCE).as_posix()


def unreached(sites: set[tuple[str, int]], door: str = "") -> list[str]:
    """The `raise` statements that are neither reached nor explained, as file:line: statement; of all rooms, or of a door."""
    found = []
    for path, node, name in raise_statements():
        first = inside(path).partition("/")[0]
        if (first if first in DOORS else "") != door:
            continue
        lines = {line for file, line in sites if file == inside(path)}
        seen = lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        if not seen and (inside(path), name) not in EXPLAINED:
            found.append(f"{inside(path)}:{node.lineno}: {ast.unparse(node)[:120]}")
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


def guarded(session: pytest.Session) -> str | None:
    """What a run that chose nothing is guarded for: "" for `pytest`, the name of a door for all of its tests; else None."""
    config = session.config
    names = ("keyword", "lf", "deselect", "collectonly", "ignore", "update_golden")
    if any(config.getoption(name, None) for name in names) or config.getoption("markexpr") != "not sweep":
        return None
    if config.args_source == pytest.Config.ArgsSource.TESTPATHS:
        return ""
    chosen = [Path(config.invocation_params.dir, argument) for argument in config.args]
    return next((door for door in DOORS if chosen == [Path(__file__).parent / "doors" / door]), None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """In the first process under xdist: what a worker has reached."""
    for file, line in getattr(node, "workeroutput", {}).get("raise_sites", ()):
        reached.add((file, line))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["raise_sites"] = sorted(reached)
        return
    door = guarded(session)
    if exitstatus == 0 and session.testscollected and door is not None:
        missing = unreached(reached, door)
        if missing:
            sys.stderr.write("\n\n`raise` statements that no test has run:\n  " + "\n  ".join(missing) + "\n")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("file.txt", text)`: the text is that of the file in tests/golden, to the letter."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("update_golden"):
            path.write_text(text.rstrip("\n") + "\n")
        assert path.exists(), f"{name} is not there: run pytest --update-golden, and read what it wrote"
        assert path.read_text() == text.rstrip("\n") + "\n"

    return check
