"""The constants of the vector code: one `Format` for float32, one for float64.

The polynomials are our own minimax fits: least squares in 45 digits at Chebyshev nodes, reweighted until the error is level
(Lawson 1961), for the relative error of the function. Coefficients are rounded to the format one by one, from the lowest, and
the rest is fitted again after each (so the stated errors are those of the rounded coefficients). What an error is relative to
is the whole function, not the part that the polynomial stands for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A floating point format and the constants of the functions in it.

    Attributes:
        bits: of the representation.
        fraction_bits: of the fraction, without the leading 1.
        bias: what the exponent field adds to the exponent.
        one_bits: the representation of 1.
        root_half_bits: the representation of sqrt(1/2).
        least_exponent: exp of it is less than half of the least subnormal number.
        greatest_exponent: exp of it is infinite.
        log_2_high: log 2 with so few digits that its product with any exponent is exact.
        log_2_low: the rest of log 2.
        exp_wide: (exp(r) - 1 - r) / r^2 for |r| <= log 2.
        exp_minus: (exp(-r) - 1 + r) / r^2 for |r| <= log(2) / 2.
        sigmoid_one: sigmoid of it is 1.
        sigmoid_scale, softplus_scale: powers of two that keep exp(-x) a normal number.
        log_by_division: whether logarithms are those of 2 artanh(s): one division, half of the coefficients.
        log: (log(1 + g) - g + g^2/2) / g^3; by division, (log((1 + s)/(1 - s)) - 2s) / s^3 as a polynomial in s^2; for
            sqrt(1/2) <= 1 + g <= sqrt(2), s = g / (2 + g).
        log_one_plus: (log(1 + e) - e) / e^2 for 0 <= e <= 1; by division as in `log`.
        tanh_one: tanh of it is 1.
        tanh: (1 - exp(-2r) - 2r) / r^2 for |r| <= log(2) / 4.
        two_thirds_high, two_thirds_low: 2/3 in two parts.
        long_log: (log((1 + s)/(1 - s)) - 2s - 2/3 s^3) / s^5 as a polynomial in s^2.
    """

    bits: int
    fraction_bits: int
    bias: int
    one_bits: int
    root_half_bits: int
    least_exponent: float
    greatest_exponent: float
    log_2_high: float
    log_2_low: float
    exp_wide: tuple[float, ...]
    exp_minus: tuple[float, ...]
    sigmoid_one: float
    sigmoid_scale: int
    softplus_scale: int
    log_by_division: bool
    log: tuple[float, ...]
    log_one_plus: tuple[float, ...]
    tanh_one: float
    tanh: tuple[float, ...]
    two_thirds_high: float = 0.6666666666666666
    two_thirds_low: float = 3.700743415417188e-17
    long_log: tuple[float, ...] = ()

    @property
    def magic(self) -> float:
        """1.5 * 2^p: a number added to it is rounded to a whole one, and stands in the lowest bits."""
        return 1.5 * 2.0**self.fraction_bits

    @property
    def whole_bits(self) -> int:
        """The representation of 2^p: a small whole number stands in its lowest bits."""
        return (self.bias + self.fraction_bits) << self.fraction_bits

    @property
    def least_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    @property
    def log2_e(self) -> float:
        return 1.4426950408889634


F32 = Format(
    bits=32,
    fraction_bits=23,
    bias=127,
    one_bits=0x3F800000,
    root_half_bits=0x3F3504F3,
    least_exponent=-104.0,
    greatest_exponent=89.0,
    log_2_high=355 / 512,
    log_2_low=-2.1219444e-4,
    # 1.6e-8
    exp_wide=(
        0.5000003576278687, 0.166666179895401, 0.04166122153401375, 0.008335920982062817, 0.00141049362719059,
        0.00019634018826764077,
    ),
    # 1.1e-7
    exp_minus=(0.499992311000824, -0.1666710376739502, 0.04189017042517662, -0.008314131759107113),
    sigmoid_one=30.0,
    sigmoid_scale=-75,
    softplus_scale=64,
    log_by_division=False,
    # 3.5e-8
    log=(
        0.333339124917984, -0.25001296401023865, 0.19963011145591736, -0.1657874435186386, 0.14916184544563293,
        -0.14258670806884766, 0.08685623854398727,
    ),
    # 5.3e-9
    log_one_plus=(
        -0.4999993145465851, 0.3333047032356262, -0.24958136677742004, 0.19692999124526978, -0.15348339080810547,
        0.10668502748012543, -0.0575452521443367, 0.020141275599598885, -0.0033044961746782064,
    ),
    tanh_one=9.1,
    # 1.4e-8
    tanh=(-2.0, 1.33332359790802, -0.6666626930236816, 0.2677239179611206, -0.08921178430318832),
)  # fmt: skip

F64 = Format(
    bits=64,
    fraction_bits=52,
    bias=1023,
    one_bits=0x3FF0000000000000,
    root_half_bits=0x3FE6A09E667F3BCD,
    least_exponent=-746.0,
    greatest_exponent=710.0,
    log_2_high=0x2C5C85FDF47 / 2**42,  # 42 digits
    log_2_low=5.497923018708371e-14,
    # 1.1e-17
    exp_wide=(
        0.4999999999999993, 0.16666666666666935, 0.04166666666670212, 0.00833333333327037, 0.0013888888883576162,
        0.00019841269892445311, 2.4801590829267105e-05, 2.7557300757813287e-06, 2.7556158321970974e-07, 2.505501723727094e-08,
        2.1062304259461596e-09, 1.59365526408255e-10,
    ),
    # 3.8e-18
    exp_minus=(
        0.5000000000000011, -0.16666666666666463, 0.041666666666528476, -0.008333333333471287, 0.0013888888943817126,
        -0.0001984126954436626, 2.480149303109101e-05, -2.755755987358084e-06, 2.763025021158671e-07, -2.50068892422371e-08,
    ),
    sigmoid_one=60.0,
    sigmoid_scale=-540,
    softplus_scale=540,
    log_by_division=True,
    # 1.3e-18
    log=(
        0.6666666666666734, 0.3999999999941683, 0.2857142874195201, 0.22222198616011524, 0.18183562135622613,
        0.1531410643380935, 0.14795388706722265,
    ),
    # 1.6e-18
    log_one_plus=(
        0.6666666666666631, 0.4000000000015622, 0.2857142854795842, 0.22222223964074633, 0.1818174410582211,
        0.15386556341204022, 0.13301017891551045, 0.12105753386488337, 0.08341490122718892, 0.17016109000161547,
    ),
    tanh_one=20.0,
    # 2.3e-17
    tanh=(
        -2.000000000000002, 1.3333333333333348, -0.6666666666651767, 0.2666666666660865, -0.08888888916740446,
        0.025396825473837037, -0.0063491851317445565, 0.0014109301565080315, -0.0002828936323606824, 5.1432893030284295e-05,
    ),
    # 8.0e-23
    long_log=(
        0.3999999999999998, 0.28571428571443847, 0.22222222217787438, 0.18181818844354142, 0.1538455840069188,
        0.1333626563048068, 0.11675757400380324, 0.11981945857193158,
    ),
)  # fmt: skip
