"""Runs the fast part of the suite with every Python that is supported and on this machine, and says which those were.

    python tests/pythons.py              all of them, each in an environment of its own (.venv-3.12)
    python tests/pythons.py 3.12 3.13    these

It is a plain script, since it runs before anything is installed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
PACKAGES = ("cloudpickle>=3,<4", "hypothesis>=6.120,<7", "pytest>=8.3,<10", "pytest-xdist>=3.6,<4")
# what depends on the version of Python: frames and columns, pickles, imports, memory that C reads, argparse, scikit-learn
FAST = [
    "pickling", "version_0_1", "saving", "language", "graph_text", "errors_authors", "errors_cell", "errors_files",
    "errors_layer", "errors_shapes", "errors_symbols", "native_calls", "native_rerun", "network", "structure", "cli",
]  # fmt: skip


def interpreter(version: str) -> str | None:
    """A Python of this version: on the path, or one of pyenv's; None where there is none."""
    found = [shutil.which(f"python{version}")]
    roots = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))]
    found += [str(path) for root in roots for path in sorted(root.glob(f"versions/{version}.*/bin/python{version}"))]
    for path in filter(None, found):
        question = [path, "-c", "import sys, venv; print(sys.version_info[:2])"]
        asked = subprocess.run(question, check=False, capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.strip() == str(tuple(map(int, version.split(".")))):
            return path
    return None


def ready(version: str, path: str) -> Path:
    """An environment of this Python with the package and what its tests need; made once, anew when pyproject.toml changes."""
    folder = ROOT / f".venv-{version}"
    python, mark = folder / "bin" / "python", folder / "test"
    if not mark.exists() or mark.stat().st_mtime < (ROOT / "pyproject.toml").stat().st_mtime:
        subprocess.run([path, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--editable", f"{ROOT}[all]", *PACKAGES], check=True)
        mark.touch()
    return python


def main(versions: list[str]) -> int:
    """Exit code 0 if every version that is there passes, and at least one is there."""
    outcomes = {}
    for version in versions:
        path = interpreter(version)
        if path is None:
            outcomes[version] = "not on this machine"
            continue
        files = [f"tests/test_{name}.py" for name in FAST]
        command = [str(ready(version, path)), "-m", "pytest", "-n", "auto", "-q", *files]
        failed = subprocess.run(command, cwd=ROOT, check=False).returncode
        outcomes[version] = "FAILED" if failed else "passed"
    for version, outcome in outcomes.items():
        print(f"Python {version}: {outcome}")
    return int("passed" not in outcomes.values() or "FAILED" in outcomes.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(VERSIONS)))
