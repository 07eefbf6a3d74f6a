"""Vector code of the elementwise ops: inline LLVM code, and for one number the same bits whatever the number of lanes.

`emit` is given a builder, an op of the table and its operands, and returns the result. No function of the C library is
called: everything becomes additions, multiplications, divisions, comparisons, selections and shifts, which every target has
for vectors.

The meaning is that of NumPy (ir/ops.py), for NaN, infinities, signed zeros and subnormal numbers too; the larger and the
smaller of 0 and -0 are the second operand. These ops are not exact; their error is less than (in units in the last place of the
exact result, with and without fused multiply-adds; of float32 every number was tried, of float64 and for power many):

                float32   float64
    exp           2.5       2
    log           1.5       1
    tanh          3         3
    sigmoid       3.5       3
    softplus      4         3
    power         0.55      3

`remainder` is that of NumPy to the last bit while the quotient is below 2^29 (float32) or 2^53 (float64); beyond, where the
divisor is less than a rounding of what is divided, it is a number between 0 and the divisor. The other ops are exact or
correctly rounded. Flags that let LLVM reorder or contract are never set: the bits do not depend on what stands around the code.
The sign and the digits of a NaN are not kept.

How (Muller et al., Handbook of Floating-Point Arithmetic, 2nd edition 2018, is the general reference):

* rounding to a whole number is the addition of 1.5 * 2^p, where p counts the bits of the fraction. The whole number then stands
  in the lowest bits and is shifted into an exponent; the constant carries the bias of that exponent;
* exp subtracts multiples of log 2 in two parts (Cody and Waite 1980): the first product is exact, fused or not;
* tanh and sigmoid are ratios with exp in them, and need no case for large, small or negative operands;
* power of float32 is computed in float64; that of float64 has a logarithm in two parts (Dekker 1971).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InternalError, known_names, lay_out
from . import llvm_text as llvm
from .arithmetic import Numbers, splat
from .polynomials import F32, F64

# --- exp and what comes from it ------------------------------------------------------------------------------------------


def _exp(x: Numbers, low: Numbers | None = None) -> Numbers:
    """exp(x + low).

    x = 2 m log 2 + r, so exp(x) = exp(r) 2^m 2^m: two factors, because 2^(2m) reaches from below the least subnormal number to
    infinity, and each 2^m is a normal number. The last product rounds once, to a subnormal number too.
    """
    f = x.format
    x = x.at_least(f.least_exponent).at_most(f.greatest_exponent)
    magic = f.magic + f.bias
    shifted = x.times_plus(f.log2_e / 2, magic)
    m = shifted - magic
    r = m.times_plus(-2 * f.log_2_low, m.times_plus(-2 * f.log_2_high, x))
    if low is not None:
        r = r + low
    power_of_two = x.of_bits(shifted.as_exponent())  # multiplied in early: it is ready before the polynomial
    start = power_of_two.times_plus(r, power_of_two)
    return (power_of_two * (r * r)).times_plus(r.polynomial(f.exp_wide), start) * power_of_two


def _exp_minus(x: Numbers, scale: int) -> Numbers:
    """exp(-x) 2^scale, for x so that all of these powers of two are normal numbers."""
    f = x.format
    magic = f.magic + f.bias + scale
    shifted = x.times_plus(-f.log2_e, magic)
    n = shifted - magic
    r = n.times_plus(f.log_2_low, n.times_plus(f.log_2_high, x))  # -x = n log 2 - r
    power_of_two = x.of_bits(shifted.as_exponent())
    start = power_of_two.minus_times(power_of_two, r)
    return (power_of_two * (r * r)).times_plus(r.polynomial(f.exp_minus), start)


def _sigmoid(x: Numbers) -> Numbers:
    """s / (s + s exp(-x)), with a scale s = 2^-75 or so: no overflow where exp(-x) would, subnormal results rounded once."""
    f = x.format
    x = x.at_least(f.least_exponent).at_most(f.sigmoid_one)
    scale = 2.0**f.sigmoid_scale
    return x.constant(scale) / (_exp_minus(x, f.sigmoid_scale) + scale)


def _softplus(x: Numbers) -> Numbers:
    """max(x, 0) + log(1 + exp(-|x|))."""
    f = x.format
    e = _exp_minus(abs(x).at_most(-f.least_exponent), f.softplus_scale) * 2.0**-f.softplus_scale
    return x.where(x.compare(">", 0.0), 0.0) + _log_one_plus(e)


def _log_one_plus(e: Numbers) -> Numbers:
    """log(1 + e) for 0 <= e <= 1."""
    f = e.format
    if not f.log_by_division:
        return (e * e).times_plus(e.polynomial(f.log_one_plus), e)
    s = e / (e + 2.0)  # log(1 + e) = 2 artanh(s) = 2s + s z Q(z), and 2s = e - s e
    z = s * s
    return e.minus_times(s, e.minus_times(z, z.polynomial(f.log_one_plus)))


def _tanh(x: Numbers) -> Numbers:
    """(1 - e) / (1 + e), e = exp(-2|x|) = s exp(-2r), s = 2^n; then the sign: an odd function, and never beyond 1.

    1 - e = (1 - s) + s (1 - exp(-2r)) keeps its leading digits. log 2 is taken in one part: its error grows with n, and what it
    does to the result shrinks as 2^n.
    """
    f = x.format
    size = abs(x).at_most(f.tanh_one)
    magic = f.magic + f.bias
    shifted = size.times_plus(-2 * f.log2_e, magic)
    n = shifted - magic
    r = n.times_plus((f.log_2_high + f.log_2_low) / 2, size)
    s = x.of_bits(shifted.as_exponent())
    q = (r * r).times_plus(r.polynomial(f.tanh), r + r)
    difference = s.times_plus(q, 1.0 - s)
    return (difference / (2.0 - difference)).with_signs(x.signs())


# --- logarithms ----------------------------------------------------------------------------------------------------------


def _split(x: Numbers) -> tuple[Numbers, Numbers]:
    """(m, e) so that x = m 2^e and sqrt(1/2) <= m < sqrt(2), for positive x, subnormal ones too."""
    f, builder = x.format, x.builder
    subnormal = x.compare("<", f.least_normal)
    bits = (x * 2.0**f.fraction_bits).where(subnormal, x).bits()
    moved = builder.add(bits, splat(bits.type, f.one_bits - f.root_half_bits))
    exponent = builder.lshr(moved, splat(bits.type, f.fraction_bits))
    # the exponent below the leading bit of 2^p is the number 2^p + exponent: no conversion, which few targets have for 64 bits
    e = x.of_bits(builder.or_(exponent, splat(bits.type, f.whole_bits)))
    bias = 2.0**f.fraction_bits + f.bias
    e = e - x.constant(bias + f.fraction_bits).where(subnormal, bias)
    fraction = builder.and_(moved, splat(bits.type, (1 << f.fraction_bits) - 1))
    return x.of_bits(builder.add(fraction, splat(bits.type, f.root_half_bits))), e


def _log_of_positive(x: Numbers) -> Numbers:
    """log(x) of finite positive numbers; anything for others."""
    f = x.format
    m, e = _split(x)
    g = m - 1.0
    if not f.log_by_division:
        square = g * g
        tail = e.times_plus(f.log_2_low, g * square * g.polynomial(f.log))
        return e.times_plus(f.log_2_high, g + square.times_plus(-0.5, tail))
    s = g / (g + 2.0)
    z = s * s
    half = g * g * 0.5  # log(1 + g) = g - g^2/2 + s (g^2/2 + z Q(z)), after FreeBSD's e_log.c
    tail = e.times_plus(f.log_2_low, s * (half + z * z.polynomial(f.log)))
    return e.times_plus(f.log_2_high, g + (tail - half))


def _log(x: Numbers) -> Numbers:
    result = _log_of_positive(x).where(x.compare("<", float("inf")), x)  # infinity and NaN are their own logarithms
    result = x.constant(float("nan")).where(x.compare("<", 0.0), result)
    return x.constant(float("-inf")).where(x.compare("==", 0.0), result)


# --- power ---------------------------------------------------------------------------------------------------------------


def _power(x: Numbers, y: Numbers) -> Numbers:
    """x ** y with the special cases of IEEE 754 (9.2.1) and C (F.10.4.4)."""
    if x.format is F32:
        return _narrowed(_power_in_double(_widened(x), _widened(y), _exp_of_product), x)
    return _power_in_double(x, y, _exp_of_long_product)


def _widened(x: Numbers) -> Numbers:
    return Numbers(x.builder.fpext(x.value, x.shaped(llvm.F64)), x.builder, F64, x.fma)


def _narrowed(x: Numbers, like: Numbers) -> Numbers:
    return like.holding(x.builder.fptrunc(x.value, like.value.type))


def _power_in_double(x: Numbers, y: Numbers, exp_of_product: Callable[[Numbers, Numbers], Numbers]) -> Numbers:
    builder = x.builder
    size = abs(x)
    # beyond 2^64 the power of anything but 1 is 0 or infinite already; then 0 and infinity need no case of their own
    result = exp_of_product(size, y.at_least(-(2.0**64)).at_most(2.0**64))
    whole = _is_whole(y)
    odd = builder.and_(whole, builder.not_(_is_whole(y * 0.5)))
    signs = x.signs()
    result = result.with_signs(builder.select(odd, signs, splat(signs.type, 0)))
    negative = builder.and_(x.compare("<", 0.0), x.compare(">", float("-inf")))
    result = x.constant(float("nan")).where(builder.and_(negative, builder.not_(whole)), result)
    return x.constant(1.0).where(builder.or_(y.compare("==", 0.0), x.compare("==", 1.0)), result)


def _is_whole(y: Numbers) -> llvm.Value:
    size = abs(y)
    all_whole = 2.0**52  # from here on there are no fractions
    rounded = (size + all_whole) - all_whole
    return y.builder.or_(size.compare(">=", all_whole), rounded.compare("==", size))


def _with_limits(logarithm: Numbers, size: Numbers) -> Numbers:
    """The logarithm where it was of a finite positive number, and -infinity, infinity or NaN elsewhere."""
    logarithm = logarithm.where(size.compare("<", float("inf")), size)
    return size.constant(float("-inf")).where(size.compare("==", 0.0), logarithm)


def _exp_of_product(size: Numbers, y: Numbers) -> Numbers:
    """exp(y log(size)), to somewhat less than the precision of double: enough for a result in float32."""
    return _exp(y * _with_limits(_log_of_positive(size), size))


def _exp_of_long_product(size: Numbers, y: Numbers) -> Numbers:
    """exp(y log(size)) with the logarithm and the product in two parts each."""
    high, low = _long_log(size)
    product, rest = _exact_product(y, _with_limits(high, size))
    rest = y.times_plus(low, rest)
    return _exp(product, rest.where(abs(product).compare("<", 1024.0), 0.0))


def _long_log(x: Numbers) -> tuple[Numbers, Numbers]:
    """log(x) of a finite positive number in two parts, to a relative 2^-64 or so.

    log m = 2 artanh(z) = 2z + 2/3 z^3 + z^5 T(z^2), z = (m - 1)/(m + 1): the first two terms in two parts each.
    """
    f = x.format
    m, e = _split(x)
    g = m - 1.0
    above = g + 2.0
    above_low = g - (above - 2.0)
    inverse = 1.0 / above
    z = g * inverse
    exact, rest = _exact_product(z, above)
    z_low = (((g - exact) - rest) - z * above_low) * inverse
    square, square_low = _exact_product(z, z)
    square_low = square_low + (z + z) * z_low
    cube, cube_low = _exact_product(z, square)
    cube_low = cube_low + z_low * square + z * square_low
    third, third_low = _exact_product(cube, x.constant(f.two_thirds_high))
    third_low = third_low + cube * f.two_thirds_low + cube_low * f.two_thirds_high
    tail = cube * square * square.polynomial(f.long_log)
    high, low = _fast_sum(e * f.log_2_high, z + z)  # the first product is exact
    high, more = _fast_sum(high, third)
    low = low + more + (tail + (third_low + (z_low + z_low) + e * f.log_2_low))
    return _fast_sum(high, low)


def _fast_sum(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
    """a + b exactly, in two parts, for |a| >= |b| or a = 0 (Dekker 1971)."""
    total = a + b
    return total, b - (total - a)


def _exact_product(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
    """a * b exactly, in two parts."""
    product = a * b
    if a.fma:
        return product, a.times_plus(b, -product)
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Numbers) -> tuple[Numbers, Numbers]:
    """a in two parts with half of the digits each (Veltkamp 1968, in Dekker 1971)."""
    scaled = a * (2.0**27 + 1)
    high = scaled - (scaled - a)
    return high, a - high


# --- the other ops of numbers --------------------------------------------------------------------------------------------


def _maximum(a: Numbers, b: Numbers) -> Numbers:
    """NaN where either is NaN; b where both are equal, which shows for zeros of different signs only."""
    return a.where(a.is_nan(), a.where(a.compare(">", b), b))


def _minimum(a: Numbers, b: Numbers) -> Numbers:
    return a.where(a.is_nan(), a.where(a.compare("<", b), b))


def _sign(x: Numbers) -> Numbers:
    result = x.constant(1.0).where(x.compare(">", 0.0), x)
    result = x.constant(-1.0).where(x.compare("<", 0.0), result)
    return x.constant(0.0).where(x.compare("==", 0.0), result)  # of -0 too; what is left is NaN


def _relu(x: Numbers) -> Numbers:
    return x.constant(0.0).where(x.compare("<=", 0.0), x)  # 0 of -0; NaN stays


def _floor(x: Numbers) -> Numbers:
    size = abs(x)
    all_whole = 2.0**x.format.fraction_bits  # from here on there are no fractions
    nearest = ((size + all_whole) - all_whole).where(size.compare("<", all_whole), size).with_signs(x.signs())
    return (nearest - 1.0).where(nearest.compare(">", x), nearest)


def _remainder(a: Numbers, b: Numbers) -> Numbers:
    """a - floor(a / b) b, where the product and the difference are exact; in double for float32."""
    if a.format is F32:
        return _narrowed(_remainder_in_double(_widened(a), _widened(b), exact=True), a)
    return _remainder_in_double(a, b, exact=a.fma)


def _remainder_in_double(a: Numbers, b: Numbers, *, exact: bool) -> Numbers:
    builder = a.builder
    quotient = _floor(a / b)
    if exact:
        left = a.minus_times(quotient, b)
    else:
        # the halves of a product must neither overflow nor vanish: divisors are brought nearer to 1 by powers of two
        scale = b.constant(2.0**110).where(abs(b).compare("<", 2.0**-800), 1.0)
        scale = b.constant(2.0**-110).where(abs(b).compare(">", 2.0**800), scale)
        product, rest = _exact_product(quotient, b * scale)
        left = ((a * scale - product) - rest) / scale
    left = a.where(quotient.compare("==", 0.0), left)  # by infinity too
    none = left.compare("==", 0.0)
    # the quotient may have been rounded up to a whole number: then what is left has the other sign
    left = (left + b).where(_apart(left, b), left)
    none = builder.or_(none, builder.or_(_apart(left, b), abs(left).compare(">", abs(b))))
    far = builder.and_(abs(quotient).compare(">=", 2.0**53), abs(a).compare("<", float("inf")))
    none = builder.or_(none, builder.and_(far, abs(b).compare(">", 0.0)))
    return left.constant(0.0).with_signs(b.signs()).where(none, left)


def _apart(a: Numbers, b: Numbers) -> llvm.Value:
    """Whether one is above 0 and the other below."""
    builder = a.builder
    one = builder.and_(a.compare("<", 0.0), b.compare(">", 0.0))
    return builder.or_(one, builder.and_(a.compare(">", 0.0), b.compare("<", 0.0)))


NUMBERS: dict[str, Callable[..., Numbers]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": _power,
    "negative": lambda x: -x,
    "maximum": _maximum,
    "minimum": _minimum,
    "abs": abs,
    "sign": _sign,
    "floor": _floor,
    "remainder": _remainder,
    "exp": _exp,
    "log": _log,
    "sqrt": Numbers.sqrt,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "relu": _relu,
    "softplus": _softplus,
    "stop_gradient": lambda x: x,
}
RELATIONS = {"less": "<", "less_equal": "<=", "equal": "=="}
TRUTH_VALUES: dict[str, Callable[..., llvm.Value]] = {
    "logical_and": lambda builder, a, b: builder.and_(a, b),
    "logical_or": lambda builder, a, b: builder.or_(a, b),
    "logical_not": lambda builder, a: builder.not_(a),
    "where": lambda builder, condition, a, b: builder.select(condition, a, b),
}
KNOWN = (*NUMBERS, *RELATIONS, *TRUTH_VALUES)


def emit(builder: llvm.IRBuilder, op: str, *operands: llvm.Value, fma: bool = True) -> llvm.Value:
    """The code of one elementwise op.

    Args:
        builder: where the code goes.
        op: the name of a record of `ops.OPS` that is elementwise.
        operands: `<n x float>` or `<n x double>`, or `float` or `double`; truth values `<n x i1>` or `i1`. All of one call have
            the same number of lanes.
        fma: whether the target has a fused multiply-add. It changes the last bits of exp and what comes from it.

    Raises:
        InternalError: an op that is not elementwise.
    """
    if op in TRUTH_VALUES:
        return TRUTH_VALUES[op](builder, *operands)
    lanes = [_lanes(builder, operand, fma) for operand in operands]
    if op in RELATIONS:
        return lanes[0].compare(RELATIONS[op], lanes[1])
    if op not in NUMBERS:
        known = known_names(op, KNOWN, "elementwise ops")
        raise InternalError(
            lay_out(f"this is a bug of Ostinato, in the stage `lower`; please report it\n  no vector code for `{op}`; {known}")
        )
    return NUMBERS[op](*lanes).value


def _lanes(builder: llvm.IRBuilder, operand: Any, fma: bool) -> Numbers:
    kind = operand.type
    scalar = kind.element if isinstance(kind, llvm.VectorType) else kind
    return Numbers(operand, builder, F32 if scalar is llvm.F32 else F64, fma)
