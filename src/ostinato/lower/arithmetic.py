"""Numbers side by side, with the operators that formulas are written in: a thin layer over the builder of LLVM code.

Everything here is one instruction or a few on every target that has vectors: no function of the C library is called.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import llvm_text as llvm
from .polynomials import Format


@dataclass(frozen=True)
class Numbers:
    """Numbers side by side. A Python number next to them stands for itself in every lane."""

    value: llvm.Value
    builder: llvm.IRBuilder
    format: Format
    fma: bool  # whether the target has a fused multiply-add

    # --- types

    def shaped(self, scalar: llvm.Type) -> llvm.Type:
        """One of `scalar` for each lane."""
        kind = self.value.type
        return llvm.VectorType(scalar, kind.count) if isinstance(kind, llvm.VectorType) else scalar

    def holding(self, value: llvm.Value) -> Numbers:
        return Numbers(value, self.builder, self.format, self.fma)

    def constant(self, number: float) -> Numbers:
        """The same number in every lane."""
        return self.holding(splat(self.value.type, number))

    def _other(self, other: Numbers | float) -> llvm.Value:
        return other.value if isinstance(other, Numbers) else splat(self.value.type, other)

    # --- arithmetic

    def __add__(self, other: Numbers | float) -> Numbers:
        return self.holding(self.builder.fadd(self.value, self._other(other)))

    def __radd__(self, other: float) -> Numbers:
        return self.holding(self.builder.fadd(self._other(other), self.value))

    def __sub__(self, other: Numbers | float) -> Numbers:
        return self.holding(self.builder.fsub(self.value, self._other(other)))

    def __rsub__(self, other: float) -> Numbers:
        return self.holding(self.builder.fsub(self._other(other), self.value))

    def __mul__(self, other: Numbers | float) -> Numbers:
        return self.holding(self.builder.fmul(self.value, self._other(other)))

    def __rmul__(self, other: float) -> Numbers:
        return self.holding(self.builder.fmul(self._other(other), self.value))

    def __truediv__(self, other: Numbers | float) -> Numbers:
        return self.holding(self.builder.fdiv(self.value, self._other(other)))

    def __rtruediv__(self, other: float) -> Numbers:
        return self.holding(self.builder.fdiv(self._other(other), self.value))

    def __neg__(self) -> Numbers:
        return self.holding(self.builder.fneg(self.value))

    def __abs__(self) -> Numbers:
        return self.holding(self._intrinsic("fabs", self.value))

    def sqrt(self) -> Numbers:
        return self.holding(self._intrinsic("sqrt", self.value))

    def times_plus(self, factor: Numbers | float, addend: Numbers | float) -> Numbers:
        """self * factor + addend: rounded once where the target can, else twice (`llvm.fma` would call the C library there)."""
        if not self.fma:
            return self * factor + addend
        return self.holding(self._intrinsic("fma", self.value, self._other(factor), self._other(addend)))

    def minus_times(self, factor: Numbers, other: Numbers) -> Numbers:
        """self - factor * other, rounded as `times_plus` is."""
        return (-factor).times_plus(other, self) if self.fma else self - factor * other

    def _intrinsic(self, name: str, *operands: llvm.Value) -> llvm.Value:
        kind = self.value.type
        lanes = f"v{kind.count}" if isinstance(kind, llvm.VectorType) else ""
        function = self.builder.module.declare(f"llvm.{name}.{lanes}f{self.format.bits}", kind, [kind] * len(operands))
        return self.builder.call(function, operands)

    # --- comparisons and choices; a comparison with NaN is false

    def compare(self, relation: str, other: Numbers | float) -> llvm.Value:
        return self.builder.fcmp_ordered(relation, self.value, self._other(other))

    def is_nan(self) -> llvm.Value:
        return self.builder.is_nan(self.value)

    def where(self, condition: llvm.Value, otherwise: Numbers | float) -> Numbers:
        """This where the condition is true, `otherwise` elsewhere."""
        return self.holding(self.builder.select(condition, self.value, self._other(otherwise)))

    def at_most(self, limit: float) -> Numbers:
        """The smaller; NaN stays. With the operands in this order it is one instruction of x86."""
        limits = self.constant(limit)
        return limits.where(limits.compare("<", self), self)

    def at_least(self, limit: float) -> Numbers:
        limits = self.constant(limit)
        return limits.where(limits.compare(">", self), self)

    # --- bits

    def bits(self) -> llvm.Value:
        """The representation as whole numbers."""
        return self.builder.bitcast(self.value, self.shaped(llvm.WHOLE[self.format.bits]))

    def of_bits(self, bits: llvm.Value) -> Numbers:
        return self.holding(self.builder.bitcast(bits, self.value.type))

    def as_exponent(self) -> llvm.Value:
        """The lowest bits of the representation, shifted to where the exponent stands."""
        bits = self.bits()
        return self.builder.shl(bits, splat(bits.type, self.format.fraction_bits))

    def signs(self) -> llvm.Value:
        """The representation with nothing but the sign."""
        bits = self.bits()
        return self.builder.and_(bits, splat(bits.type, 1 << (self.format.bits - 1)))

    def with_signs(self, signs: llvm.Value) -> Numbers:
        """The sign turned around where `signs` has its bit set."""
        return self.of_bits(self.builder.xor(self.bits(), signs))

    # --- polynomials

    def polynomial(self, coefficients: tuple[float, ...]) -> Numbers:
        """The polynomial with these coefficients, lowest first, for short waits rather than few operations (Estrin 1960).

        Neighbours are joined to pairs, pairs to fours and so on, all at the same time; the last three or so by Horner's rule.
        """
        power = self
        terms = [self.constant(c) for c in coefficients]
        terms = _paired(terms, power)
        while len(terms) > 3:
            power = power * power
            terms = _paired(terms, power)
        power = power * power
        result = terms[-1]
        for term in reversed(terms[:-1]):
            result = result.times_plus(power, term)
        return result


def _paired(terms: list[Numbers], power: Numbers) -> list[Numbers]:
    """Each two neighbours a, b as a + b power; what is left over at the end stays."""
    pairs = [b.times_plus(power, a) for a, b in zip(terms[::2], terms[1::2], strict=False)]
    return pairs + terms[2 * len(pairs) :]


def splat(kind: llvm.Type, number: float) -> llvm.Constant:
    """A constant of a type: the same number in every lane of a vector."""
    return llvm.Constant(kind, number)
