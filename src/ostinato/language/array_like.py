"""What a symbol has of an array: operators, methods, what NumPy asks of it; and what it refuses, since it has no numbers.

Every operator becomes a node, and so does what NumPy computes of it: `h.sum()`, `np.tanh(h)`, `alpha * h` with a number of
NumPy (array_methods.py, numpy_calls.py). What cannot be done without numbers (`if h > 0`, `math.tanh(h)`, `h[0] = 1`) is
refused in words.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self

import numpy as np

from ..errors import SymbolAttributeError, SymbolError, known_names, lay_out, user_source
from ..ir import ops
from ..ir.dtypes import DTYPES
from ..ir.op import Symbolic, refuse, type_of
from ..ir.shapes import Reason
from . import functions, numpy_calls
from .array_methods import ELSEWHERE, METHODS, divmod_, floor_divide, xor

# functions of Ostinato that a symbol is asked for as a method: `h.tanh()`
FUNCTIONS = {op.name for op in ops.OPS.values() if not (op.infix or op.prefix or op.internal)} - {ops.slice_.name}
FUNCTIONS |= {
    name for name, value in vars(functions).items() if inspect.isfunction(value) and value.__module__ == functions.__name__
}


class ArrayLike(Symbolic):
    """A value with a shape and without numbers, which is asked as an array is."""

    __slots__ = ()

    # --- for the rest of the package

    def _said(self, what: str, hint: str = "") -> str:
        """A message; `{}` stands for the symbol as its author calls it."""
        raise NotImplementedError

    def _row(self) -> tuple[str, str, str]:
        """What the symbol is called, its shape, and where it comes from: a line of a message."""
        raise NotImplementedError

    def _refuse(self, what: str, hint: str = "") -> NoReturn:
        raise SymbolError(self._said(what, hint))

    # --- what arrays have

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes, for one instance."""
        return self._type.sizes

    @property
    def ndim(self) -> int:
        return len(self._type.dims)

    @property
    def size(self) -> int:
        """How many elements it has, for one instance."""
        return self._type.n_elements

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = np.dtype(DTYPES[self._type.dtype])
        return found

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def real(self) -> Self:
        return self

    @property
    def T(self) -> ArrayLike:  # noqa: N802 - the name that arrays have
        return self if self.ndim < 2 else ops.transpose(self)

    @property
    def mT(self) -> ArrayLike:  # noqa: N802 - the name that arrays have
        if self.ndim < 2:
            refuse("mT", Reason("the last two dimensions are turned around, and the value has fewer"), [self._row()])
        axes = (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)
        return ops.transpose(self, axes)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked by the machinery of Python, NumPy or an editor
            raise SymbolAttributeError(lay_out(f"a symbolic value has no attribute `{name}`"))
        hint = f"it is a function: `{name}(x)`" if name in FUNCTIONS else ""
        known = "" if name in ELSEWHERE or hint else f"; {known_names(name, dir(self), 'attributes')}"
        what = f"the symbolic value `{{}}` has no attribute `{name}`{known}"
        raise SymbolAttributeError(self._said(what, ELSEWHERE.get(name, hint)))

    def __dir__(self) -> Iterable[str]:
        return sorted({n for n in dir(type(self)) if not n.startswith("_")})

    def __len__(self) -> int:
        if not self.ndim:
            self._refuse("the symbolic value `{}` is a single number, and has no length")
        return self.shape[0]

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: Any) -> Self:
        return self

    __hash__ = object.__hash__  # an `__eq__` is set below

    def __repr__(self) -> str:
        return f"<symbol {self._row()[0]}: {self._type.one_instance}>"

    def __format__(self, spec: str) -> str:
        if spec:
            self._refuse("the symbolic value `{}` has no numbers to write while the cell is traced", '`f"{x}"` shows its shape')
        return repr(self)

    # --- what NumPy, PyTorch and JAX ask when they meet one

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        known = numpy_calls.of_ufunc(ufunc, method, options)
        if known is not None:
            return known(*inputs)
        return self._not_by_numpy(ufunc, method, options)

    def _not_by_numpy(self, ufunc: np.ufunc, method: str, options: Mapping[str, Any]) -> NoReturn:
        name = f"np.{ufunc.__name__}" + (f".{method}" if method != "__call__" else "")
        if "out" in options:
            self._refuse(f"{name} was asked to write into an array what it computes with `{{}}`", "make a new value instead")
        what = f"{name} can not compute with the symbolic value `{{}}`"
        if method == "reduce":
            reductions = {"add": "`x.sum()`", "maximum": "`x.max()`", "minimum": "`x.min()`"}
            self._refuse(what, reductions.get(ufunc.__name__, ""))
        if options and method == "__call__":
            self._refuse(f"{what} and the option {', '.join(options)}", "`where(condition, a, b)` chooses between two values")
        self._refuse(what, _instead(ufunc.__name__))

    def __array_function__(self, function: Callable[..., Any], _: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        known = numpy_calls.of_function(function)
        if known is not None:
            return known(*args, **options)
        name = f"{function.__module__.replace('numpy', 'np', 1)}.{function.__name__}"
        return self._refuse(f"{name} can not compute with the symbolic value `{{}}`", _instead(function.__name__))

    @classmethod
    def __torch_function__(cls, function: Any, _: Any, args: Any = (), options: Any = None) -> NoReturn:
        name = getattr(function, "__name__", "")
        symbol = next(_symbols_in((args, tuple((options or {}).values()))))
        symbol._refuse(f"torch.{name} can not compute with the symbolic value `{{}}`", _instead(name))


def _symbols_in(values: Any) -> Iterator[ArrayLike]:
    if isinstance(values, ArrayLike):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _symbols_in(value)


def _instead(name: str) -> str:
    """What to write instead of a function of another package; "" where there is nothing."""
    ours = name if name in FUNCTIONS else {"concatenate": "concat", "cat": "concat"}.get(name, "")
    otherwise = "an array is declared as a Weight, and assigned to the layer"
    return f"`ostinato.{ours}`" if ours else numpy_calls.INSTEAD.get(name, f"use the functions of ostinato; {otherwise}")


# --- what is refused ----------------------------------------------------------------------------------------------------------


def _forbidden(what: str, hint: str | Callable[[str], str] = "") -> Callable[..., NoReturn]:
    def method(self: ArrayLike, *_: Any, **__: Any) -> NoReturn:
        source = user_source()
        said = hint if isinstance(hint, str) else hint(source.expression if source else "")
        self._refuse(what, said)

    return method


def _truth_hint(expression: str) -> str:
    """By what was written: Python asks for the truth value in `max(a, b)` and `a < b < c` too."""
    largest = re.match(r"(max|min)\(", expression)
    if largest:
        return f"`{largest.group(1)}imum(a, b)` for two values; `x.{largest.group(1)}()` over the elements of one"
    return "choose with `where(condition, a, b)`, combine with `&`, `|` and `~`; `if` may ask keyword-only options"


_NO_NUMBER = "the symbolic value `{}` is no number while the cell is traced"
_WALKED = "the symbolic value `{}` can not be walked through"
_CHANGED = "the symbolic value `{}` can not be changed in place", "make a new value: `concat`, `where`, or an expression"
_SHIFTED = "the bits of the symbolic value `{}` can not be shifted"
_CONTEXT = "the symbolic value `{}` is nothing that `with` can enter"
_WAITED = "the symbolic value `{}` is nothing to wait for"
_FORBIDDEN: dict[str, tuple[str, str | Callable[[str], str]]] = {
    "bool": ("the symbolic value `{}` has no truth value while the cell is traced", _truth_hint),
    **dict.fromkeys(("float", "int", "index", "complex"), (_NO_NUMBER, "use the functions of ostinato, not those of math")),
    "round": (_NO_NUMBER, "`x.round()`, `x.round(decimals)`"),
    "floor": (_NO_NUMBER, "`floor(x)` of ostinato"),
    "ceil": (_NO_NUMBER, "`np.ceil(x)`"),
    "trunc": (_NO_NUMBER, "`np.trunc(x)`"),
    "bytes": (_NO_NUMBER, ""),
    "array": ("NumPy was asked to make an array of the symbolic value `{}`", "join values with `concat`, or with `np.stack`"),
    "jax_array": ("JAX was asked to compute with the symbolic value `{}`", "use the functions of ostinato"),
    **dict.fromkeys(("iter", "next", "reversed"), (_WALKED, "cut it with `split(value, parts)`")),
    "contains": ("`in` can not be asked of the symbolic value `{}`", "compare with `==`, choose with `where`"),
    "setitem": _CHANGED, "delitem": _CHANGED,
    "setattr": ("the symbolic value `{}` can not be given attributes", ""),
    "delattr": ("the symbolic value `{}` can not be given attributes", ""),
    "call": ("the symbolic value `{}` can not be called", "a product is written `a * b`, or `a @ b`"),
    "reduce_ex": ("the symbolic value `{}` can not be pickled", "a cell keeps nothing from one call to another"),
    **dict.fromkeys(("lshift", "rlshift", "rshift", "rrshift"), (_SHIFTED, "times a power of two: `x * 2.0**n`")),
    **dict.fromkeys(("enter", "exit", "aenter", "aexit"), (_CONTEXT, "")),
    **dict.fromkeys(("await", "aiter", "anext"), (_WAITED, "")),
}  # fmt: skip
for _name, (_what, _hint) in _FORBIDDEN.items():
    setattr(ArrayLike, f"__{_name}__", _forbidden(_what, _hint))


# --- operators ----------------------------------------------------------------------------------------------------------------


def _operator(function: Callable[..., Any], *, swapped: bool = False) -> Callable[..., Any]:
    """A method for an operator; an op by itself would not bind to the symbol as a method does."""

    def method(*operands: Any) -> Any:
        return function(*(reversed(operands) if swapped else operands))

    return method


def _xor(a: Any, b: Any) -> Any:
    if any(isinstance(v, ArrayLike) and type_of(v).dtype != "bool" for v in (a, b)):
        symbol = a if isinstance(a, ArrayLike) else b
        symbol._refuse("`^` is of truth values, and `{}` has none", "a power is written `a ** b`")
    return xor(a, b)


_of_two: dict[str, Callable[..., Any]] = {
    "add": ops.add, "sub": ops.subtract, "mul": ops.multiply, "truediv": ops.divide, "pow": ops.power, "mod": ops.remainder,
    "floordiv": floor_divide, "divmod": divmod_, "matmul": ops.matmul, "and": ops.logical_and, "or": ops.logical_or,
    "xor": _xor,
}  # fmt: skip
for _name, _op in _of_two.items():
    setattr(ArrayLike, f"__{_name}__", _operator(_op))
    setattr(ArrayLike, f"__r{_name}__", _operator(_op, swapped=True))
for _name, _op, _swapped in (
    ("lt", ops.less, False), ("le", ops.less_equal, False), ("gt", ops.less, True), ("ge", ops.less_equal, True),
    ("eq", ops.equal, False),
):  # fmt: skip
    setattr(ArrayLike, f"__{_name}__", _operator(_op, swapped=_swapped))
_others: dict[str, Callable[..., Any]] = {
    "neg": ops.negative, "abs": ops.abs_, "invert": ops.logical_not, "pos": lambda a: a,
    "ne": lambda a, b: ops.logical_not(ops.equal(a, b)),
}  # fmt: skip
for _name, _function in _others.items():
    setattr(ArrayLike, f"__{_name}__", _operator(_function))
for _name, _function in METHODS.items():
    setattr(ArrayLike, _name, _function)
