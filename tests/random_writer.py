"""The text of a random cell, written from the table of ops (random_cells.py checks what must hold for it).

The text is made while it is traced: a statement is kept if the shapes fit. Values stay small (tanh where they grow), so that
central differences work; what has a kink is moved by an odd number, so that no value lies on it.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

import ostinato
from ostinato import OstinatoError
from ostinato.ir import ops
from ostinato.ir.graph import Port, Value
from ostinato.ir.op import dims_of, type_of
from ostinato.ir.shapes import Type, Varies
from ostinato.language import functions
from ostinato.language.declarations import Declaration
from ostinato.language.trace import trace
from ostinato.language.tracer import tracer_of

SCOPE = {**vars(ops), **vars(functions), **vars(ostinato)}
LARGEST = 3.0  # what may grow further is put through tanh
MOST_ELEMENTS, MOST_ELEMENTS_WIDE = 200, 1000
MOST_WEIGHTS = 200_000
WIDE = (8, 9, 13, 15, 15, 16, 16, 17, 17, 24, 31, 32, 33, 33, 47, 48, 49, 63, 64, 65, 100, 127, 129, 257, 300)  # around vectors
ROLE = {"input": "Input", "context": "Context", "state": "State", "weight": "Weight", "bias": "Bias"}


class Writer:
    """Writes one cell: declarations first, then statements over everything declared and written so far."""

    def __init__(self, seed: int, n_statements: int, *, wide: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.n_statements = n_statements
        self.most = MOST_ELEMENTS_WIDE if wide else MOST_ELEMENTS
        self.names = [str(name) for name in self.rng.permutation(["n", "m", "k"])[: self.whole(1, 4)]]
        self.sizes = {name: int(self.rng.choice([1, 2, 3, 3, 4, 5, 7])) for name in self.names}
        if wide:
            self.sizes[self.names[0]] = int(self.rng.choice(WIDE))
        self.declared: dict[str, tuple[str, str]] = {}  # name -> (role, what stands in the parentheses)
        self.lines: list[str] = []
        self.expressions: list[str] = []
        self.pool: dict[str, Any] = {}
        self.bound: dict[str, float] = {}

    # --- drawing

    def whole(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def one(self, *items: Any) -> Any:
        return items[self.whole(0, len(items))]

    def number(self) -> str:
        return f"{self.rng.uniform(-1, 1):.5f}"

    def dims(self) -> tuple[str | int, ...]:
        while True:
            rank = self.one(0, 1, 1, 1, 2, 2, 3)
            dims = tuple(self.one(*self.names, *self.names, 1, 2) for _ in range(rank))
            if prod(self.sizes.get(str(d), d) for d in dims) <= max(self.most, 7**3):
                return dims

    def value(self, *, rank: int | None = None, at_least: int = 0) -> str:
        """A value of the pool, preferably a recent one."""
        fitting = [n for n, v in self.pool.items() if v.ndim >= at_least and (rank is None or v.ndim == rank)]
        if not fitting:
            raise LookupError
        return fitting[min(len(fitting) - 1, int(len(fitting) * self.rng.random() ** 0.6))]

    def summable(self, **wanted: int) -> str:
        """A value with not so many elements that the order of their sum would matter more than everything else."""
        while self.pool[name := self.value(**wanted)].size > 10 * MOST_ELEMENTS_WIDE:
            pass
        return name

    # --- writing

    def declarations(self) -> dict[str, Declaration]:
        result = {}

        def declare(name: str, role: str, dims: tuple[str | int, ...], initial: float = 0.0) -> None:
            more = [f"initial={initial}"] if initial else []
            self.declared[name] = (role, ", ".join([*map(repr, dims), *more]))
            result[name] = Declaration(role, dims, initial=initial)

        for i in range(self.one(1, 1, 2)):
            declare(f"x{i}", "input", self.dims())
        for i in range(self.one(0, 0, 1)):
            declare(f"k{i}", "context", self.dims())
        for i in range(self.one(0, 1, 1, 1, 2, 2)):
            declare(f"s{i}", "state", self.dims(), float(self.one(0, 0, 0.25)))
        for i in range(self.one(0, 1, 2)):
            declare(f"w{i}", "weight", self.dims())
        for i, name in enumerate(self.names):  # so that every name is the dimension of something alone
            declare(f"b{i}", "bias", (name,))
        return result

    def new_weight(self, *dims: Any) -> str:
        """A weight that fits, declared when it is needed."""
        if prod(d.size for d in dims) > MOST_WEIGHTS:
            raise LookupError
        tracer = tracer_of(next(iter(self.pool.values())))
        name = f"W{len(self.declared)}"
        self.declared[name] = ("weight", ", ".join(str(d.size) if d.is_number else repr(d.expression) for d in dims))
        self.pool[name] = tracer.port(Port(Value(name, Type("f64", tuple(dims), Varies.NEVER)), "weight"))
        self.bound[name] = 1.0
        return name

    def statements(self, **symbols: Any) -> Any:
        """Runs as the function of the cell, on symbols."""
        self.pool |= symbols
        self.bound |= dict.fromkeys(symbols, 2.0)
        written = attempts = 0
        while written < self.n_statements and attempts < 20 * self.n_statements:
            attempts += 1
            try:
                expression, bound = self.expression()
                self.keep(expression, bound)
            except (OstinatoError, LookupError):
                continue
            written += 1
        return self.results()

    def evaluated(self, expression: str) -> Any:
        return eval(expression, SCOPE, self.pool)

    def keep(self, expression: str, bound: float, most: int = 0) -> str:
        if bound > LARGEST:
            expression, bound = f"tanh({expression})", 1.0
        symbol = self.evaluated(expression)
        if symbol.ndim > 4 or symbol.size > (most or self.most):
            raise LookupError
        name = f"v{len(self.lines) + 1}"
        self.lines.append(f"{name} = {expression}")
        self.expressions.append(expression)
        self.pool[name], self.bound[name] = symbol, bound
        return name

    def expression(self) -> tuple[str, float]:
        if self.expressions and self.rng.random() < 0.06:
            return self.one(*self.expressions), LARGEST  # the same once more: to be shared
        kind = self.one(*KINDS)
        written: tuple[str, float] = getattr(self, kind)()
        return written

    # --- kinds of statements: text, and how large the value may be

    def elementwise(self) -> tuple[str, float]:
        a, c = self.value(), self.number()
        most = self.bound[a] + 1
        return self.one(
            (f"tanh({a})", 1), (f"sigmoid({a})", 1), (f"exp({a})", 9), (f"softplus({a} + {c})", most + 1), (f"-{a}", most),
            (f"relu({a} + {c})", most), (f"abs({a} - {c})", most), (f"sqrt(1.5 + {a} * {a})", most),
            (f"log(1.1 + abs({a}))", 2),
            (f"{a} ** 2", most**2), (f"{a} ** 3", most**3), (f"(0.5 + sigmoid({a})) ** 1.5", 2),
            (f"sign({a} + {c}) * {a}", most),
            # both are continuous, though floor and the remainder are not
            (f"abs({a} + {c} - floor({a} + {c}) - 0.5)", 1), (f"abs(({a} + {c}) % 1.3 - 0.65)", 1),
            (f"{c} * {a}", most), (f"{a} - {c}", most), (f"{c} / (2 + tanh({a}))", 1), (f"elu({a})", most),
            (f"softsign({a})", 1),
            (f"leaky_relu({a} + {c})", most), (f"hard_sigmoid({a} * 0.317)", 1), (f"0 + {a} * 1", most), (f"-(-{a})", most),
        )  # fmt: skip

    def binary(self) -> tuple[str, float]:
        a, b, c = self.value(), self.value(), self.number()
        most = self.bound[a] + self.bound[b]
        return self.one(
            (f"{a} + {b}", most), (f"{a} - {b}", most), (f"{a} * {b}", self.bound[a] * self.bound[b]),
            (f"{a} / (1.5 + {b} * {b})", most), (f"maximum({a} + {c}, {b})", most), (f"minimum({a}, {b} - {c})", most),
            (f"(1 + sigmoid({a})) ** tanh({b})", 2), (f"{a} * sigmoid({b}) + (1 - sigmoid({b})) * {a}", 2 * most),
        )  # fmt: skip

    def choice(self) -> tuple[str, float]:
        a, b, d, c = self.value(), self.value(), self.value(), self.number()
        condition = self.one(
            f"{a} > {b} + {c}", f"{a} + {c} <= {b}", f"({a} > {c}) & ({b} < {c} + 1)", f"({a} < {c}) | ~({b} >= {c})",
            f"({a} == {b}) | ({a} < {c})", f"{a} != {c}",
        )  # fmt: skip
        most = self.bound[d] + self.bound[a]
        return self.one((f"where({condition}, {d}, {a})", most), (f"where({condition}, {d}, 0.5)", most))

    def product(self) -> tuple[str, float]:
        """All kinds of ranks: two values, or a value and a weight on either side."""
        a = self.value(at_least=1)
        dims = dims_of(self.pool[a])
        other = dims_of(self.pool[self.value(at_least=1)])[-1]
        kind = self.one("values", "values", "right", "right", "right", "column", "left", "transposed", "stack")
        if kind == "values":
            return f"{a} @ {self.value(at_least=1)}", 9
        if kind == "right":
            return f"{a} @ {self.new_weight(dims[-1], other)}", 9
        if kind == "column":
            return f"{a} @ {self.new_weight(dims[-1])}", 9
        if kind == "transposed":
            return f"{a} @ {self.new_weight(other, dims[-1])}.T", 9
        if kind == "stack":
            return f"{a} @ {self.new_weight(self.one(*dims), dims[-1], other)}", 9
        return f"{self.new_weight(other, dims[-2] if len(dims) > 1 else dims[-1])} @ {a}", 9

    def gates(self) -> tuple[str, float]:
        """What recurrent cells are made of: products of joined or several values, cut into gates."""
        a, b = self.value(at_least=1), self.value(rank=1)
        joined = self.evaluated(f"concat({a}, {b})") if self.pool[a].ndim == 1 else self.pool[a]
        text = f"concat({a}, {b})" if self.pool[a].ndim == 1 else a
        name = self.one(*self.names)
        n = dims_of(self.evaluated(f"reshape(b{self.names.index(name)}, {name!r})"))[0]
        form = self.one("joined", "split", "sum")
        if form == "joined":
            return f"tanh({text} @ {self.new_weight(dims_of(joined)[-1], n)} + b{self.names.index(name)})", 1
        if form == "sum":
            left, right = self.new_weight(dims_of(self.pool[a])[-1], n), self.new_weight(dims_of(self.pool[b])[-1], n)
            return f"sigmoid({a} @ {left} + {b} @ {right} + b{self.names.index(name)} + {a} @ {left})", 1
        cut = self.keep(f"{text} @ {self.new_weight(dims_of(joined)[-1], n + n + n)}", 9)
        return f"sigmoid(split({cut}, 3)[{self.whole(0, 3)}]) * split({cut}, 3)[{self.whole(0, 3)}] + split({cut}, 3)[0]", 2

    def reduction(self) -> tuple[str, float]:
        a = self.summable(at_least=1)
        rank = self.pool[a].ndim
        axes = sorted({self.whole(-rank, rank) % rank for _ in range(self.one(1, 1, 2))})
        axis = axes[0] - self.one(0, rank) if len(axes) == 1 else tuple(axes)
        keep = self.one("", ", keepdims=True")
        name = self.one("sum", "mean", "max")
        return f"{name}({a}, axis={axis}{keep})", 9 if name == "sum" else self.bound[a]

    def normalised(self) -> tuple[str, float]:
        a = self.value(at_least=1)
        length = (f"normalize({a}, epsilon=0.5)", 1)
        return self.one((f"softmax({a})", 1), (f"layer_norm({a}, epsilon=0.1)", 2), (f"{a} * softmax({a} * 2)", 2), length)

    def joined(self) -> tuple[str, float]:
        a = self.value(at_least=1)
        parts = [a, *(self.value(rank=self.pool[a].ndim) for _ in range(self.one(1, 1, 2)))]
        axis = self.whole(-self.pool[a].ndim, self.pool[a].ndim)
        return f"concat({', '.join(parts)}, axis={axis})", max(self.bound[p] for p in parts)

    def part(self) -> tuple[str, float]:
        a = self.value(at_least=1)
        places = []
        for size in self.pool[a].shape:
            first = self.whole(0, size)
            places.append(self.one(":", f"{first}:", f":{first + 1}", f"{first}", f"{first - size}", f"{first}::2", "::2", ":"))
        if self.rng.random() < 0.3:
            axis = self.whole(0, len(places))
            size = self.pool[a].shape[axis]
            n_parts = self.one(*(n for n in range(1, size + 1) if size % n == 0))
            return f"split({a}, {n_parts}, axis={axis})[{self.whole(0, n_parts)}]", self.bound[a]
        return f"{a}[{', '.join(places)}]", self.bound[a]

    def shaped(self) -> tuple[str, float]:
        a = self.value()
        dims = [repr(d.expression) if not d.is_number else str(d.size) for d in dims_of(self.pool[a])]
        order = [int(i) for i in self.rng.permutation(len(dims))]
        at = self.whole(0, len(dims) + 1)
        forms = [f"reshape({a}, {self.pool[a].size})", f"reshape({a}, {', '.join([*dims[:at], '1', *dims[at:]])})"]
        if dims:
            forms += [f"reshape({a}, {', '.join(dims[i] for i in order)})", f"{a}.T"]
            forms += [f"transpose({a}, ({', '.join(map(str, order))},))"]
            forms += [f"reshape({a}, {', '.join(dims[at:])}{',' * (0 < at < len(dims))} {', '.join(dims[:at])})"]
        return self.one(*forms), self.bound[a]

    def patched(self) -> tuple[str, float]:
        a = self.value(at_least=2)
        space = self.pool[a].shape[:-1]
        size = tuple(self.whole(1, min(n, 3) + 1) for n in space)
        stride = tuple(self.whole(1, 3) for _ in space)
        return f"patches({a}, {size}, stride={stride}, padding={self.one('valid', 'same')!r})", self.bound[a]

    def dropped(self) -> tuple[str, float]:
        a = self.value()
        return f"dropout({a}, 0.3, per={self.one('step', 'sequence')!r})", 1.5 * self.bound[a]

    def stopped(self) -> tuple[str, float]:
        a = self.value()
        return f"stop_gradient({a})", self.bound[a]

    # --- what the cell returns

    def results(self) -> Any:
        new = [self.new_state(name) for name, (role, _) in self.declared.items() if role == "state"]
        items = list(new)
        if not new or self.rng.random() < 0.6:
            other = self.rng.random() < 0.5
            items.insert(0, f"Output({self.value()}{', other=' + self.value() if other else ''})")
        self.lines.append(f"return {', '.join(items)}")
        return tuple(self.evaluated(item) for item in items)

    def new_state(self, name: str) -> str:
        state = self.pool[name]
        fitting = [n for n, v in self.pool.items() if type_of(v).fits(type_of(state)) and n != name]
        if fitting and self.rng.random() < 0.7:
            chosen = fitting[-1 - int(len(fitting) * self.rng.random() ** 2)]
            return self.keep(f"0.5 * {name} + {chosen}", 9, most=max(self.most, 7**3)) if self.rng.random() < 0.4 else chosen
        scalar = self.summable()
        if self.pool[scalar].ndim:
            scalar = f"sum({scalar}, axis={tuple(range(self.pool[scalar].ndim))})"
        return self.keep(f"{self.number()} * {name} + {scalar}", 9, most=max(self.most, 7**3))

    def text(self) -> str:
        parameters = ", ".join(f"{name}={ROLE[role]}({inside})" for name, (role, inside) in self.declared.items())
        return f"@cell\ndef random_cell({parameters}):\n    " + "\n    ".join(self.lines) + "\n"


KINDS = [
    *["elementwise"] * 3, *["binary"] * 4, *["choice"] * 2, *["product"] * 5, *["gates"] * 3, *["reduction"] * 2, "normalised",
    *["joined"] * 2, *["part"] * 2, *["shaped"] * 2, "patched", "dropped", "stopped",
]  # fmt: skip


def write(seed: int, n_statements: int, *, wide: bool = False) -> tuple[str, dict[str, int]]:
    """The text of a random cell, and the sizes of its dimensions; `wide`: one of them may reach 300."""
    writer = Writer(seed, n_statements, wide=wide)
    declarations = writer.declarations()
    trace("random_cell", writer.statements, declarations, {}, writer.sizes, "f64", True)
    return writer.text(), writer.sizes
