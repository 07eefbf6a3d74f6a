"""Counts what the order of the house is measured by, in one checkout or several beside each other.

    python -m tests.counts                        this one
    python -m tests.counts ../before ../after     others; their files are read, nothing of them is imported

tests/test_counts.py holds limits that may only fall.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DOORS = ("torch", "onnx", "keras", "jax")  # packages that carry the names and signatures of a framework: they are not counted
MANY = 6  # parameters that a function may have before it is counted
MARKS = ("# fmt: skip", "# fmt: off", "# fmt: on")  # words to the formatter, and no comments


@dataclass(frozen=True)
class Module:
    """One file of the package, by its dotted name inside it ("" for the package itself)."""

    name: str
    path: Path
    is_package: bool

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def folder(self) -> list[str]:
        parts = self.name.split(".") if self.name else []
        return parts if self.is_package else parts[:-1]

    def imports(self, known: set[str]) -> set[str]:
        """The modules of the package that it imports, wherever the import stands, also for a type checker alone."""
        found = set()
        for node in self.nodes:
            if not isinstance(node, ast.ImportFrom):
                continue
            named = node.module.split(".") if node.module else []
            if node.level:
                base = self.folder[: len(self.folder) - node.level + 1] + named
            elif named[:1] == ["ostinato"]:
                base = named[1:]
            else:
                continue
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                found.add(inner if inner in known else ".".join(base))
        return found - {self.name}


class Package:
    """The package in a checkout."""

    def __init__(self, checkout: Path) -> None:
        self.root = checkout / "src" / "ostinato"
        paths = [path for path in sorted(self.root.rglob("*.py")) if path.relative_to(self.root).parts[0] not in DOORS]
        self.modules = [self._module(path) for path in paths]

    def _module(self, path: Path) -> Module:
        parts = path.relative_to(self.root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        return Module(".".join(parts[:-1] if is_package else parts), path, is_package)

    def top_modules(self) -> int:
        """Modules in the top folder."""
        return sum(1 for module in self.modules if module.name and "." not in module.name and not module.is_package)

    def circles(self) -> list[set[str]]:
        """Groups of modules that all lead to each other by imports: strongly connected components (Tarjan 1972)."""
        known = {module.name for module in self.modules}
        graph = {module.name: module.imports(known) & known - {""} for module in self.modules if module.name}
        number: dict[str, int] = {}
        low: dict[str, int] = {}
        stack: list[str] = []
        found = []

        def visit(name: str) -> None:
            number[name] = low[name] = len(number)
            stack.append(name)
            for target in graph[name]:
                if target not in number:
                    visit(target)
                    low[name] = min(low[name], low[target])
                elif target in stack:
                    low[name] = min(low[name], number[target])
            if low[name] == number[name]:
                start = stack.index(name)
                group = set(stack[start:])
                del stack[start:]
                if len(group) > 1:
                    found.append(group)

        for name in graph:
            if name not in number:
                visit(name)
        return found

    def op_strings(self) -> Iterator[tuple[str, str]]:
        """Strings that are the name of an op, outside the table of ops and the public list; docstrings are sentences."""
        tables = [module for module in self.modules if module.path.name == "ops.py"]
        calls = [node for module in tables for node in module.nodes if isinstance(node, ast.Call)]
        made = [
            call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id.endswith("record") and call.args
        ]
        names = {first.value for first in made if isinstance(first, ast.Constant)}
        for module in self.modules:
            if module in tables or module.path.stem.startswith("op_"):  # a table, too: the meaning of each op to a guest
                continue
            public = {id(node) for listed in module.tree.body if _is_public_list(listed) for node in ast.walk(listed)}
            for node in module.nodes:
                if isinstance(node, ast.Constant) and node.value in names and id(node) not in public:
                    yield module.name, node.value

    def private_accesses(self) -> Iterator[tuple[str, str]]:
        """`thing._name` and `from .other import _name` where no `_name` is made in the module itself. Of Python's own modules
        (`sys._getframe`) nothing is counted.
        """
        for module in self.modules:
            nodes = module.nodes
            foreign = {a.asname or a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
            own = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            own |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            own |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
            own |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and _is_self(n.value)}
            for node in nodes:
                if isinstance(node, ast.Attribute) and _is_private(node.attr):
                    is_foreign = isinstance(node.value, ast.Name) and node.value.id in foreign
                    yield from [] if is_foreign or node.attr in own else [(module.name, node.attr)]
                if isinstance(node, ast.ImportFrom) and node.level:
                    yield from ((module.name, alias.name) for alias in node.names if _is_private(alias.name))

    def long_signatures(self) -> Iterator[tuple[str, str]]:
        """Functions with more than six parameters; `self`, `*args` and `**options` do not count."""
        for module in self.modules:
            for node in module.nodes:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                    if len([name for name in given if name not in ("self", "cls")]) > MANY:
                        yield module.name, node.name

    def shares(self) -> tuple[float, float]:
        """Of all lines that are not blank: those with a comment, and those of docstrings."""
        lines = comments = documented = 0
        for module in self.modules:
            rows = module.text.splitlines()
            lines += sum(1 for row in rows if row.strip())
            tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
            comments += sum(1 for token in tokens if token.type == tokenize.COMMENT and token.string not in MARKS)
            for node in module.nodes:
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                    text = node.body[0]
                    documented += sum(1 for row in rows[text.lineno - 1 : text.end_lineno] if row.strip())
        return comments / lines, documented / lines


def _is_public_list(statement: ast.stmt) -> bool:
    """Whether it is `__all__ = [...]`, which exports ops as it exports everything."""
    return isinstance(statement, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in statement.targets)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def counted(checkout: Path) -> dict[str, int]:
    """What has a limit in tests/test_counts.py."""
    package = Package(checkout)
    return {
        "modules in the top folder": package.top_modules(),
        "import circles": len(package.circles()),
        "ops named as strings outside the table": len(list(package.op_strings())),
        "accesses to private names of other modules": len(list(package.private_accesses())),
        f"functions with more than {MANY} parameters": len(list(package.long_signatures())),
    }


def report(checkouts: list[Path]) -> str:
    """A table, one column for each checkout."""
    columns = []
    for checkout in checkouts:
        comments, documented = Package(checkout).shares()
        shares = {"lines with a comment": f"{comments:.1%}", "lines of docstrings": f"{documented:.1%}"}
        columns.append({name: str(count) for name, count in counted(checkout).items()} | shares)
    width = max(map(len, columns[0]))
    names = [checkout.resolve().name for checkout in checkouts]
    widths = [max(len(name), 6) for name in names]
    rows = [["", *names], *([name, *(column[name] for column in columns)] for name in columns[0])]
    return "\n".join(
        f"{row[0]:<{width}}  " + "  ".join(f"{cell:>{w}}" for cell, w in zip(row[1:], widths, strict=True)) for row in rows
    )


if __name__ == "__main__":
    print(report([Path(name) for name in sys.argv[1:]] or [Path(__file__).parent.parent]))
