"""A structured weight while a cell is traced: it has the shape of the dense matrix, and its products are written out.

`x @ W`, `W @ x`, `W.T` and the shape are all that can be asked of it; what is behind them stands in structure/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import CellError, lay_out
from ..ir import ops
from ..ir.graph import Value
from ..ir.op import dims_of, user_source
from ..structure.base import Constants, Placement
from .tracer import Symbol

if TYPE_CHECKING:
    from .trace import Tracer


class Structured(Symbol):
    """The symbol of a structured weight. Its type is that of the dense matrix; `_stored` is the symbol of what is stored."""

    __slots__ = ("_constants", "_placement", "_stored", "_turned")

    _placement: Placement
    _stored: Symbol
    _constants: Constants
    _turned: bool  # whether it is the transpose

    def __init__(
        self, tracer: Tracer, value: Value, stored: Symbol, placement: Placement, constants: Constants, *, turned: bool = False
    ) -> None:  # fmt: skip
        super().__init__(tracer, value)
        slots = {"_stored": stored, "_placement": placement, "_constants": constants, "_turned": turned}
        for slot, content in slots.items():
            object.__setattr__(self, slot, content)

    @property
    def _transposed(self) -> Structured:
        """The transpose; the matrix itself once more, if this is one."""
        value = Value(self._value.name, self._type.with_dims(self._type.dims[::-1]))
        return Structured(self._tracer, value, self._stored, self._placement, self._constants, turned=not self._turned)

    def _left_multiplied(self, x: Any) -> Any:
        """`x @ W`, written out."""
        placement, stored = self._placement, self._stored
        rows, columns = placement.rows, placement.columns
        if self._turned:
            stored = placement.structure.transposed(stored, rows, columns)
            rows, columns = columns, rows
        product = placement.structure.product(x, stored, rows, columns, self._constants)
        return ops.reshape(product, *dims_of(x)[:-1], self._type.dims[-1])


def apply(tracer: Tracer, op: ops.Op, operands: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """An op among whose operands is a structured weight.

    Raises:
        CellError: it is another op than a product with a value of the cell.
        ShapeError: shapes that do not fit.
    """
    first = next(operand for operand in operands if isinstance(operand, Structured))
    if op is ops.transpose and attributes["axes"] == (-1, -2):
        return first._transposed
    plain = [operand for operand in operands if not isinstance(operand, Structured)]
    if op is not ops.matmul or len(plain) != 1:
        refuse(first, op.name)
    values = [o._value if isinstance(o, Structured) else tracer.value_of(o, op) for o in operands]
    tracer.checked_type(op, values, dict(attributes))
    if operands[1] is first:
        result = first._left_multiplied(operands[0])
    elif len(dims_of(operands[1])) == 1:
        result = first._transposed._left_multiplied(operands[1])
    else:
        result = first._transposed._left_multiplied(operands[1].mT).mT
    if not first._turned:  # an equation shows the product, not how it is computed
        result._reads_as("matmul", [o._stored if isinstance(o, Structured) else o for o in operands])
    return result


def refuse(weight: Structured, what: str) -> NoReturn:
    """Say what a structured weight can not be used for."""
    tracer = weight._tracer
    headline = f"{what}: `{weight._value.name}` is a {weight._placement.structure} matrix, and all that it can do is multiply"
    row = tracer.row(weight._value)
    hint = "`x @ W`, `W @ x`, or `W.T` in one of these; without `structure` it is an ordinary matrix"
    raise CellError(lay_out(headline, source=user_source(), values=[row], hint=hint))
