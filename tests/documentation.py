"""Runs the Python and shell blocks of a Markdown file, and compares what they print with the text block that follows.

`python -m tests.documentation` rewrites the text blocks of all pages from what the code prints now, and what is generated
(see generated_pages.py).
"""

import contextlib
import io
import linecache
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ostinato
from tests import generated_pages

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FLAGS = re.MULTILINE | re.DOTALL
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<shown>.*?)^```\n)?", FLAGS)
SHELL = re.compile(r"^```sh\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<shown>.*?)^```\n)?", FLAGS)
GENERATED = re.compile(r"^<!-- generated: (?P<name>\w+) -->\n(?P<text>.*?)^<!-- end -->\n", FLAGS)


def run_page(page: Path) -> list[tuple[str, str | None, str]]:
    """For every block: its code, the text shown in the page (None if there is none), and what it printed."""
    namespace = {"__name__": "__main__"}
    results = []
    for number, match in enumerate(BLOCK.finditer(page.read_text()), start=1):
        code = match["code"]
        filename = f"{page.stem.lower()}_{number}.py"
        # so that messages can show the author's line, as they do for a file
        linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, filename, "exec"), namespace)
        results.append((code, match["shown"], printed.getvalue()))
    return results


def run_shell(page: Path, folder: Path) -> list[tuple[str, str | None, str]]:
    """As `run_page`, for the shell blocks: one after another in a folder, with the `ostinato` and `python` of this environment.

    Raises:
        AssertionError: a command failed.
    """
    bin_folder = folder / ".commands"
    bin_folder.mkdir()
    for name, arguments in (("ostinato", "-m ostinato.cli"), ("python", "")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (bin_folder / name).chmod(0o755)
    if page.name == "README.md":  # a part of it is typed in the clone
        shutil.copytree(ROOT / "examples", folder / "examples")
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join([str(bin_folder), environment["PATH"]])
    environment["PYTHONPATH"] = str(Path(ostinato.__file__).parent.parent)
    results = []
    for match in SHELL.finditer(page.read_text()):
        code = match["code"]
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", code],
            cwd=folder,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{page.name}: exit code {done.returncode} of\n{code}\n{done.stdout}\n{done.stderr}"
        results.append((code, match["shown"], done.stdout))
    return results


def stripped(text: str) -> str:
    """Without blanks at the ends of lines and of the whole."""
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def agrees(shown: str | None, printed: str) -> bool:
    """Whether a page shows what was printed; `…` stands for what differs from run to run, within a line."""
    pattern = "[^\n]*".join(re.escape(part) for part in (shown or "").rstrip().split("…"))
    return re.fullmatch(pattern, stripped(printed)) is not None


def generated(match: re.Match[str]) -> str:
    """A generated part as it must be."""
    return f"<!-- generated: {match['name']} -->\n\n{generated_pages.SECTIONS[match['name']]()}\n\n<!-- end -->\n"


def rewrite(page: Path) -> None:
    """Put what the code prints into the page; of the shell only where something is shown."""
    page.write_text(GENERATED.sub(generated, page.read_text()))
    printed = iter(run_page(page))

    def block(match: re.Match[str]) -> str:
        code, shown, output = next(printed)
        shown = (shown or "").rstrip() if agrees(shown, output) else stripped(output)
        return f"```python\n{code}```\n" + (f"\n```text\n{shown}\n```\n" if shown else "")

    page.write_text(BLOCK.sub(block, page.read_text()))
    with tempfile.TemporaryDirectory() as folder:
        answers = iter(run_shell(page, Path(folder)))

    def shell(match: re.Match[str]) -> str:
        code, shown, output = next(answers)
        if shown is None or agrees(shown, output):
            return match[0]
        return f"```sh\n{code}```\n\n```text\n{stripped(output)}\n```\n"

    page.write_text(SHELL.sub(shell, page.read_text()))


if __name__ == "__main__":
    here = Path.cwd()
    pages = [Path(name).resolve() for name in sys.argv[1:]] or PAGES
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # pages write files
        for name in pages:
            rewrite(name)
        os.chdir(here)
