"""Sequences that lie anywhere, scaled and brought side by side, in one walk over memory: what an estimator gives its network.

    ostinato_scaled(table)     (value - mean) / deviation in float64, rounded once, of every feature of every step of n samples,
                               to X[step, sample, feature]; and whether any of it is not finite, or beyond a limit
    ostinato_objects(table)    where the data of a list of NumPy's arrays lie, and the strides of their two axes: what Python
                               would have to ask of one array after another

Both take a table of 8-byte fields (SampleField, ObjectField). Every number is read once and written once. The results are those
of `Scale.apply`, bit for bit: subtraction, division and rounding are those of IEEE 754, and nothing is reordered.
native/samples.py fills tables in and runs them.
"""

from __future__ import annotations

from ..ir import ops
from . import llvm_text as llvm
from .array_objects import DATA_WORD, HEADER, STRIDES_WORD
from .kernel import FLOATS, I8, I64, PTR, TABLE, Lanes, Writer, i64
from .llvm_text import F64
from .target import Target
from .vector_math import emit

SIDE_BY_SIDE = 16  # samples whose steps are written by turns: whole cache lines of X, and few enough streams to read from
WIDTH = 4  # numbers at a time, at most: a division of eight float64 takes twice as long as one of four


class SampleField:
    """Indices into the table of `ostinato_scaled`."""

    N_SAMPLES, N_FEATURES, N_STEPS = 0, 1, 2
    ADDRESSES, STRIDES, LENGTHS = 3, 4, 5  # pointers: of each sample its first row, the bytes from row to row, its rows
    MEAN, DEVIATION = 6, 7  # pointers: of each feature, float64
    RESULT = 8  # pointer: X
    LIMIT = 9  # a float64: the largest size of a number of X
    WRONG = 10  # written: not 0 where a number of X is larger, or is none


class ObjectField:
    """Indices into the table of `ostinato_objects`."""

    N_ARRAYS = 0
    ARRAYS = 1  # pointer: to the objects
    DATA, ROWS, COLUMNS = 2, 3, 4  # pointers: to where the addresses go, and the strides of both axes, in bytes


def samples_module(target: Target, given: str, wanted: str) -> llvm.Module:
    """Both functions, for samples of one dtype and X of another, "f32" or "f64" each."""
    module = llvm.Module(target.triple)
    _Scaled(module, target, given, wanted).write()
    _write_objects(Writer(module, target, "ostinato_objects", TABLE, exported=True))
    return module


def _write_objects(k: Writer) -> None:
    b = k.b
    arrays, *results = (
        k.field(place, PTR) for place in (ObjectField.ARRAYS, ObjectField.DATA, ObjectField.ROWS, ObjectField.COLUMNS)
    )

    def word(table: llvm.Value, index: llvm.Value, kind: llvm.Type = I64) -> llvm.Value:
        return b.load(b.gep(table, [index], source_etype=I64), typ=kind)

    with k.loop(i64(0), k.field(ObjectField.N_ARRAYS)) as index:
        fields = b.gep(word(arrays, index, PTR), [i64(HEADER)], source_etype=I8)
        strides = word(fields, i64(STRIDES_WORD), PTR)
        for result, value in zip(
            results, (word(fields, i64(DATA_WORD)), word(strides, i64(0)), word(strides, i64(1))), strict=True
        ):
            b.store(value, b.gep(result, [index], source_etype=I64))
    k.finish()


class _Scaled(Writer):
    """The function that scales."""

    def __init__(self, module: llvm.Module, target: Target, given: str, wanted: str) -> None:
        super().__init__(module, target, "ostinato_scaled", TABLE, exported=True)
        self.given, self.wanted = FLOATS[given], FLOATS[wanted]
        self.width = min(WIDTH, target.lanes("f64"))
        # for as many numbers as are computed at once, in each lane 1 where a number was wrong
        self.wrong = {n: self.alloca(llvm.vector(I64, n)) for n in (self.width, 1)}
        self.n, self.n_features = self.field(SampleField.N_SAMPLES), self.field(SampleField.N_FEATURES)
        self.mean, self.deviation = self.field(SampleField.MEAN, PTR), self.field(SampleField.DEVIATION, PTR)
        self.limit = self.field(SampleField.LIMIT, F64)

    def write(self) -> None:
        """Some samples at a time; of these each step in turn, so that X is written from its beginning to its end."""
        b = self.b
        tables = [self.field(place, PTR) for place in (SampleField.LENGTHS, SampleField.ADDRESSES, SampleField.STRIDES)]
        n_steps, X = self.field(SampleField.N_STEPS), self.field(SampleField.RESULT, PTR)  # noqa: N806 - as in equations
        for n, lanes in self.wrong.items():
            b.store(llvm.Constant(llvm.vector(I64, n), 0), lanes)
        with self.loop(i64(0), self.n, SIDE_BY_SIDE) as first:
            last = b.add(first, i64(SIDE_BY_SIDE))
            last = b.select(b.icmp_signed("<", last, self.n), last, self.n)
            with self.loop(i64(0), n_steps) as step, self.loop(first, last) as sample:
                length, address, stride = (
                    b.load(b.gep(table, [sample], source_etype=I64), typ=kind)
                    for table, kind in zip(tables, (I64, PTR, I64), strict=True)
                )
                with b.if_then(b.icmp_signed("<", step, length)):
                    row = b.gep(address, [b.mul(step, stride)], source_etype=I8)
                    index = b.mul(b.add(b.mul(step, self.n), sample), self.n_features)
                    self.row(row, b.gep(X, [index], source_etype=self.wanted))
        wrong = b.load(self.wrong[1], typ=I64)
        if self.width > 1:
            lanes = b.load(self.wrong[self.width], typ=llvm.vector(I64, self.width))
            wrong = b.or_(wrong, self.call_intrinsic(f"llvm.vector.reduce.or.v{self.width}i64", I64, [lanes]))
        b.store(wrong, b.gep(self.context, [i64(SampleField.WRONG)], source_etype=I64))
        self.finish()

    def row(self, given: llvm.Value, wanted: llvm.Value) -> None:
        """All features of a step."""
        whole = self.b.and_(self.n_features, i64(-self.width))
        with self.loop(i64(0), whole, self.width) as feature:
            self.numbers(given, wanted, feature, self.width)
        if self.width > 1:
            with self.loop(whole, self.n_features) as feature:
                self.numbers(given, wanted, feature, 1)

    def numbers(self, given: llvm.Value, wanted: llvm.Value, feature: llvm.Value, n: int) -> None:
        """n features of a step, from one on."""
        b, wide, many = self.b, llvm.vector(F64, n), Lanes(n)
        value = b.load(b.gep(given, [feature], source_etype=self.given), typ=llvm.vector(self.given, n), align=1)
        value = value if self.given is F64 else b.fpext(value, wide)
        mean, deviation = (
            self.load(b.gep(table, [feature], source_etype=F64), F64, 1, many) for table in (self.mean, self.deviation)
        )
        value = b.fdiv(b.fsub(value, mean), deviation)
        rounded = value if self.wanted is F64 else b.fptrunc(value, llvm.vector(self.wanted, n))
        self.store(rounded, b.gep(wanted, [feature], source_etype=self.wanted), self.wanted, 1, many)
        size = emit(b, ops.abs_.name, rounded if self.wanted is F64 else b.fpext(rounded, wide), fma=self.target.fma)
        fits = b.fcmp_ordered("<=", size, self.splat(self.limit, n))  # as NaN does not
        wrong = b.zext(b.not_(fits), llvm.vector(I64, n))
        b.store(b.or_(b.load(self.wrong[n], typ=llvm.vector(I64, n)), wrong), self.wrong[n])
