"""What stands for a value while a cell is traced: a shape without numbers, with the operators of an array.

Every operator becomes a node. What can not be done without numbers (`if h > 0`, `np.tanh(h)`, `h[0] = 1`) is refused in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import ops
from .boundary import Symbolic, user_source
from .errors import SymbolError, lay_out
from .graph import Value

if TYPE_CHECKING:
    from .trace import Tracer


def _forbidden(what: str, hint: str) -> Callable[..., Any]:
    def method(self: Symbol, *_: Any, **__: Any) -> Any:
        shown = self.tracer.display(self)
        headline = f"{self.tracer.name}: {what.format(shown)}"
        row = (shown, self.type.one_instance, self.tracer.origin(self))
        raise SymbolError(lay_out(headline, source=user_source(), values=[row], hint=hint))

    return method


class Symbol(Symbolic):
    """A value of the cell while it is traced. It has a shape and no numbers."""

    __slots__ = ("tracer", "type", "value")

    def __init__(self, tracer: Tracer, value: Value) -> None:
        for slot, content in (("tracer", tracer), ("value", value), ("type", value.type)):
            object.__setattr__(self, slot, content)

    tracer: Tracer
    value: Value

    def traced(self, op: ops.Op, args: Sequence[Any], options: Mapping[str, Any]) -> Symbol:
        return self.tracer.apply(op, args, options)

    def reads_as(self, name: str, operands: Sequence[Symbol]) -> None:
        self.tracer.meanings[self.value.name] = (name, tuple(o.value.name for o in operands))

    def dropped(self, rate: float, per: str) -> Symbol:
        return self.tracer.dropout(self, rate, per)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes, for one instance."""
        return self.type.sizes

    @property
    def ndim(self) -> int:
        return len(self.type.dims)

    @property
    def T(self) -> Symbol:  # noqa: N802 - the name that arrays have
        return self if self.ndim < 2 else ops.transpose(self)

    @property
    def mT(self) -> Symbol:  # noqa: N802 - the name that arrays have
        axes = (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)
        return ops.transpose(self, axes)  # type: ignore[no-any-return]

    def reshape(self, *dims: Any) -> Symbol:
        return ops.reshape(self, *dims)  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Symbol:
        return self.tracer.index(self, index)

    def __repr__(self) -> str:
        return f"<symbol {self.value.name}: {self.type.one_instance}>"

    __hash__ = object.__hash__
    __bool__ = _forbidden(
        "the symbolic value `{}` has no truth value while the cell is traced",
        "choose with `where(condition, a, b)`; `if` may ask keyword-only options",
    )
    __float__ = __int__ = __index__ = __complex__ = _forbidden(
        "the symbolic value `{}` is no number while the cell is traced", "use the functions of ostinato, not those of math"
    )
    __array__ = __array_ufunc__ = __array_function__ = _forbidden(
        "NumPy was asked to compute with the symbolic value `{}`",
        "use the functions of ostinato; an array is declared as a Weight, and assigned to the layer",
    )
    __iter__ = _forbidden("the symbolic value `{}` can not be walked through", "cut it with `split(value, parts)`")
    __len__ = _forbidden("the symbolic value `{}` has no length", "its sizes are in `.shape`")
    __contains__ = _forbidden("`in` can not be asked of the symbolic value `{}`", "compare with `==`, choose with `where`")
    __setitem__ = __delitem__ = _forbidden(
        "the symbolic value `{}` can not be changed in place", "make a new value: `concat`, `where`, or an expression"
    )
    __setattr__ = __delattr__ = _forbidden("the symbolic value `{}` can not be given attributes", "")


def _operator(function: Callable[..., Any], *, swapped: bool = False) -> Callable[..., Any]:
    """A method for an operator; an op by itself would not bind to the symbol as a method does."""

    def method(*operands: Any) -> Any:
        return function(*(reversed(operands) if swapped else operands))

    return method


for _name, _op in {
    "add": ops.add, "sub": ops.subtract, "mul": ops.multiply, "truediv": ops.divide, "pow": ops.power,
    "matmul": ops.matmul, "and": ops.logical_and, "or": ops.logical_or,
}.items():  # fmt: skip
    setattr(Symbol, f"__{_name}__", _operator(_op))
    setattr(Symbol, f"__r{_name}__", _operator(_op, swapped=True))
for _name, _op, _swapped in (
    ("lt", ops.less, False), ("le", ops.less_equal, False), ("gt", ops.less, True), ("ge", ops.less_equal, True),
    ("eq", ops.equal, False),
):  # fmt: skip
    setattr(Symbol, f"__{_name}__", _operator(_op, swapped=_swapped))
_others: dict[str, Callable[..., Any]] = {
    "neg": ops.negative, "abs": ops.abs_, "invert": ops.logical_not, "pos": lambda a: a,
    "ne": lambda a, b: ops.logical_not(ops.equal(a, b)),
}  # fmt: skip
for _name, _function in _others.items():
    setattr(Symbol, f"__{_name}__", _operator(_function))
