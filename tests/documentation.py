"""Runs the Python blocks of a Markdown file, and compares what they print with the text block that follows.

`python -m tests.documentation` rewrites the text blocks of all pages from what the code prints now.
"""

import contextlib
import io
import linecache
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<shown>.*?)^```\n)?", re.MULTILINE | re.DOTALL)


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


def rewrite(page: Path) -> None:
    """Put what the code prints into the page."""
    printed = iter(run_page(page))

    def block(match: re.Match[str]) -> str:
        code, _, output = next(printed)
        shown = "\n".join(line.rstrip() for line in output.rstrip().splitlines())
        return f"```python\n{code}```\n" + (f"\n```text\n{shown}\n```\n" if shown else "")

    page.write_text(BLOCK.sub(block, page.read_text()))


if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        rewrite(Path(name))
