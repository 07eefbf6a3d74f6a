"""A structured weight while a cell is traced: it has the shape of the dense matrix, and its products are written out.

`x @ W`, `W @ x`, `W.T` and the shape are all that can be asked of it; what is behind them stands in structure/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..errors import CellError, lay_out, user_source
from ..ir import ops
from ..ir.graph import Value
from ..ir.op import Op, dims_of
from ..structure.base import Constants, Placement
from .tracer import Symbol, Tracer


class Structured(Symbol):
    """The symbol of a structured weight. Its type is that of the dense matrix; `_stored` is the symbol of what is stored."""

    __slots__ = ("_constants", "_placement", "_stored", "_turned")

    _priority = 1  # before the symbols that it is multiplied with

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

    def _applied(self, tracer: Tracer, op: Op, operands: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        """What an op makes of its operands, of which this is one.

        Raises:
            CellError: it is another op than a product with a value of the cell.
            ShapeError: shapes that do not fit.
        """
        if op is ops.transpose and attributes["axes"] == (-1, -2):
            return self._transposed
        if op is not ops.matmul or sum(isinstance(operand, Structured) for operand in operands) > 1:
            refuse(self, op.name)
        values = [self._value if operand is self else tracer.value_of(operand, op.name) for operand in operands]
        tracer.checked_type(op, values, dict(attributes))
        if operands[1] is self:
            result = self._left_multiplied(operands[0])
        elif len(dims_of(operands[1])) == 1:
            result = self._transposed._left_multiplied(operands[1])
        else:
            result = self._transposed._left_multiplied(operands[1].mT).mT
        if not self._turned:  # an equation shows the product, not how it is computed
            result._reads_as("matmul", [self._stored if operand is self else operand for operand in operands])
        return result

    def _as_operand(self, _: Tracer, what: str) -> NoReturn:
        refuse(self, what)

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


def refuse(weight: Structured, what: str) -> NoReturn:
    """Say what a structured weight cannot be used for."""
    tracer = weight._tracer
    headline = f"{what}: `{weight._value.name}` is a {weight._placement.structure} matrix, and all that it can do is multiply"
    row = tracer.row(weight._value)
    hint = "`x @ W`, `W @ x`, or `W.T` in one of these; without `structure` it is an ordinary matrix"
    raise CellError(lay_out(headline, source=user_source(), values=[row], hint=hint))
