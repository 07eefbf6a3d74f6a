"""LLVM's language, written as text while it is built: types, values, functions, and a builder of instructions.

llvmlite has such a builder too. It keeps every instruction as an object and makes text of all of them in the end, which took
longer than anything else that Python does in a compilation. Here an instruction is a line as soon as it is asked for; what
LLVM thinks of it shows when LLVM reads it (native/jit.py). The names and their meaning are those of llvmlite's builder, as far
as they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from ctypes import c_float
from struct import Struct
from typing import Any

# Whether a constant with one number in every lane is written `splat (float 1.0)`, which LLVM reads since version 19. Before,
# every lane has to be written; native/jit.py, which knows the LLVM at hand, says so here.
SHORT_SPLAT = True

# --- types --------------------------------------------------------------------------------------------------------------------


class Type:
    """A type, as LLVM writes it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class Number(Type):
    """Whole numbers or floating-point ones of so many bits."""

    def __init__(self, text: str, bits: int) -> None:
        super().__init__(text)
        self.bits = bits


class VectorType(Type):
    """So many elements of a kind side by side."""

    def __init__(self, element: Type, count: int) -> None:
        super().__init__(f"<{count} x {element.text}>")
        self.element, self.count = element, count


def vector(element: Type, count: int) -> Type:
    """So many elements side by side; one alone is no vector."""
    return element if count == 1 else VectorType(element, count)


class FunctionType(Type):
    """What a function is given, and what it gives."""

    def __init__(self, result: Type, arguments: Sequence[Type]) -> None:
        super().__init__(f"{result.text} ({', '.join(a.text for a in arguments)})")
        self.result, self.arguments = result, tuple(arguments)


I1, I8, I32, I64 = (Number(f"i{bits}", bits) for bits in (1, 8, 32, 64))
F32, F64 = Number("float", 32), Number("double", 64)
PTR, VOID = Type("ptr"), Type("void")
WHOLE = {1: I1, 8: I8, 32: I32, 64: I64}
DOUBLE, BITS = Struct("<d"), Struct("<Q")

# --- values -------------------------------------------------------------------------------------------------------------------


class Value:
    """What an instruction gives, or an argument; `text` is how it is referred to."""

    __slots__ = ("text", "type")

    def __init__(self, kind: Type, text: str) -> None:
        self.type, self.text = kind, text


class Constant(Value):
    """A number, the same one in every lane; or a number for each lane."""

    __slots__ = ("constant",)

    def __init__(self, kind: Type, value: float | Sequence[float]) -> None:
        super().__init__(kind, _constant(kind, value))
        self.constant: Any = value


class Word(Value):
    """A constant that LLVM has a word for: `poison`, `zeroinitializer`."""

    __slots__ = ()


def _constant(kind: Type, value: float | Sequence[float]) -> str:
    if not isinstance(kind, VectorType):
        assert isinstance(value, int | float)
        assert isinstance(kind, Number)
        return _number(kind, value)
    element = kind.element
    assert isinstance(element, Number)
    if isinstance(value, int | float):
        if SHORT_SPLAT:
            return f"splat ({element.text} {_number(element, value)})"
        value = [value] * kind.count
    return f"<{', '.join(f'{element.text} {_number(element, v)}' for v in value)}>"


def _number(kind: Number, value: float) -> str:
    if kind is I1:
        return "true" if value else "false"
    if kind is F32 or kind is F64:
        return _floating(float(value), kind.bits)
    return str(int(value))


def _floating(value: float, bits: int) -> str:
    """The bits of the number as double precision holds it, which is how LLVM writes float too."""
    held = c_float(value).value if bits == 32 else value
    return f"0x{BITS.unpack(DOUBLE.pack(held))[0]:016x}"


class Phi(Value):
    """A value that depends on where control comes from; `add_incoming` says from where."""

    __slots__ = ("incomings",)

    def __init__(self, kind: Type, text: str) -> None:
        super().__init__(kind, text)
        self.incomings: list[tuple[Value, Block]] = []

    def add_incoming(self, value: Value, block: Block) -> None:
        self.incomings.append((value, block))

    def __str__(self) -> str:
        ways = ", ".join(f"[{value.text}, %{block.name}]" for value, block in self.incomings)
        return f"{self.text} = phi {self.type.text} {ways}"


# --- functions ----------------------------------------------------------------------------------------------------------------


class Module:
    """Functions under their names."""

    def __init__(self, triple: str = "") -> None:
        self.triple = triple
        self.globals: dict[str, Function] = {}

    def __str__(self) -> str:
        head = [f'target triple = "{self.triple}"'] if self.triple else []
        return "\n".join([*head, *map(str, self.globals.values())]) + "\n"

    def declare(self, name: str, result: Type, arguments: Sequence[Type]) -> Function:
        """The function of this name; declared when it is first asked for."""
        return self.globals.get(name) or Function(self, FunctionType(result, arguments), name)


class Function(Value):
    """A function of a module: declared as long as it has no block.

    Attributes:
        internal: nobody calls it from outside; and it stays a function of its own.
    """

    __slots__ = ("args", "blocks", "count", "internal", "kind", "module", "name")

    def __init__(self, module: Module, kind: FunctionType, name: str) -> None:
        super().__init__(PTR, f"@{name}")
        assert name not in module.globals, f"two functions of the name {name}"
        module.globals[name] = self
        self.module, self.kind, self.name = module, kind, name
        self.args = tuple(Value(a, f"%a{i}") for i, a in enumerate(kind.arguments))
        self.blocks: list[Block] = []
        self.count = 0  # of the names that were given
        self.internal = False

    def append_basic_block(self, name: str = "block") -> Block:
        self.count += 1
        block = Block(self, f"{name}.{self.count}")
        self.blocks.append(block)
        return block

    def __str__(self) -> str:
        result = self.kind.result.text
        if not self.blocks:
            return f"declare {result} @{self.name}({', '.join(a.text for a in self.kind.arguments)})"
        arguments = ", ".join(f"{a.type.text} {a.text}" for a in self.args)
        lines = [f"define {'internal ' if self.internal else ''}{result} @{self.name}({arguments})"]
        lines[0] += " noinline {" if self.internal else " {"
        for block in self.blocks:
            lines.append(f"{block.name}:")
            lines += map(str, block.lines)
        return "\n".join([*lines, "}"])


class Block:
    """Instructions that follow each other; the last one says where control goes."""

    __slots__ = ("function", "is_terminated", "lines", "name")

    def __init__(self, function: Function, name: str) -> None:
        self.function, self.name = function, name
        self.lines: list[str | Phi] = []
        self.is_terminated = False


# --- instructions -------------------------------------------------------------------------------------------------------------

SIGNED = {"<": "slt", "<=": "sle", ">": "sgt", ">=": "sge", "==": "eq", "!=": "ne"}
UNSIGNED = {"<": "ult", "<=": "ule", ">": "ugt", ">=": "uge", "==": "eq", "!=": "ne"}
ORDERED = {"<": "olt", "<=": "ole", ">": "ogt", ">=": "oge", "==": "oeq", "!=": "one"}


class IRBuilder:
    """Writes instructions, each behind the last one of a block."""

    def __init__(self, block: Block) -> None:
        self.function = block.function
        self.position_at_end(block)

    @property
    def module(self) -> Module:
        return self.function.module

    def position_at_end(self, block: Block) -> None:
        self.block, self._lines = block, block.lines

    def append_basic_block(self, name: str) -> Block:
        return self.function.append_basic_block(name)

    def _new(self, kind: Type, text: str) -> Value:
        function = self.function
        function.count += 1
        name = f"%v{function.count}"
        self._lines.append(f"{name} = {text}")
        return Value(kind, name)

    def _end(self, text: str) -> None:
        self._lines.append(text)
        self.block.is_terminated = True

    # --- arithmetic

    def _binary(self, op: str, a: Value, b: Value) -> Value:
        return self._new(a.type, f"{op} {a.type.text} {a.text}, {b.text}")

    def add(self, a: Value, b: Value) -> Value:
        return self._binary("add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self._binary("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self._binary("mul", a, b)

    def udiv(self, a: Value, b: Value) -> Value:
        return self._binary("udiv", a, b)

    def and_(self, a: Value, b: Value) -> Value:
        return self._binary("and", a, b)

    def or_(self, a: Value, b: Value) -> Value:
        return self._binary("or", a, b)

    def xor(self, a: Value, b: Value) -> Value:
        return self._binary("xor", a, b)

    def shl(self, a: Value, b: Value) -> Value:
        return self._binary("shl", a, b)

    def lshr(self, a: Value, b: Value) -> Value:
        return self._binary("lshr", a, b)

    def ashr(self, a: Value, b: Value) -> Value:
        return self._binary("ashr", a, b)

    def fadd(self, a: Value, b: Value) -> Value:
        return self._binary("fadd", a, b)

    def fsub(self, a: Value, b: Value) -> Value:
        return self._binary("fsub", a, b)

    def fmul(self, a: Value, b: Value) -> Value:
        return self._binary("fmul", a, b)

    def fdiv(self, a: Value, b: Value) -> Value:
        return self._binary("fdiv", a, b)

    def fneg(self, a: Value) -> Value:
        return self._new(a.type, f"fneg {a.type.text} {a.text}")

    def not_(self, a: Value) -> Value:
        return self._binary("xor", a, Constant(a.type, -1))

    # --- comparisons and conversions

    def _compare(self, words: str, a: Value, b: Value) -> Value:
        kind = VectorType(I1, a.type.count) if isinstance(a.type, VectorType) else I1
        return self._new(kind, f"{words} {a.type.text} {a.text}, {b.text}")

    def icmp_signed(self, relation: str, a: Value, b: Value) -> Value:
        return self._compare(f"icmp {SIGNED[relation]}", a, b)

    def icmp_unsigned(self, relation: str, a: Value, b: Value) -> Value:
        return self._compare(f"icmp {UNSIGNED[relation]}", a, b)

    def fcmp_ordered(self, relation: str, a: Value, b: Value) -> Value:
        return self._compare(f"fcmp {ORDERED[relation]}", a, b)

    def is_nan(self, a: Value) -> Value:
        return self._compare("fcmp uno", a, a)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        kind = a.type.text
        return self._new(a.type, f"select {condition.type.text} {condition.text}, {kind} {a.text}, {kind} {b.text}")

    def _convert(self, how: str, a: Value, kind: Type) -> Value:
        return self._new(kind, f"{how} {a.type.text} {a.text} to {kind.text}")

    def bitcast(self, a: Value, kind: Type) -> Value:
        return self._convert("bitcast", a, kind)

    def trunc(self, a: Value, kind: Type) -> Value:
        return self._convert("trunc", a, kind)

    def zext(self, a: Value, kind: Type) -> Value:
        return self._convert("zext", a, kind)

    def fptrunc(self, a: Value, kind: Type) -> Value:
        return self._convert("fptrunc", a, kind)

    def fpext(self, a: Value, kind: Type) -> Value:
        return self._convert("fpext", a, kind)

    def inttoptr(self, a: Value, kind: Type) -> Value:
        return self._convert("inttoptr", a, kind)

    # --- vectors

    def insert_element(self, vector: Value, element: Value, index: Value) -> Value:
        words = ", ".join(f"{v.type.text} {v.text}" for v in (vector, element, index))
        return self._new(vector.type, f"insertelement {words}")

    def extract_element(self, vector: Value, index: Value) -> Value:
        assert isinstance(vector.type, VectorType)
        words = ", ".join(f"{v.type.text} {v.text}" for v in (vector, index))
        return self._new(vector.type.element, f"extractelement {words}")

    def shuffle_vector(self, a: Value, b: Value, mask: Value) -> Value:
        assert isinstance(a.type, VectorType)
        assert isinstance(mask.type, VectorType)
        words = ", ".join(f"{v.type.text} {v.text}" for v in (a, b, mask))
        return self._new(VectorType(a.type.element, mask.type.count), f"shufflevector {words}")

    # --- memory

    def gep(self, pointer: Value, indices: Sequence[Value], source_etype: Type) -> Value:
        words = ", ".join([f"{v.type.text} {v.text}" for v in (pointer, *indices)])
        return self._new(pointer.type, f"getelementptr {source_etype.text}, {words}")

    def load(self, pointer: Value, typ: Type, align: int | None = None) -> Value:
        behind = f", align {align}" if align else ""
        return self._new(typ, f"load {typ.text}, ptr {pointer.text}{behind}")

    def store(self, value: Value, pointer: Value, align: int | None = None) -> None:
        behind = f", align {align}" if align else ""
        self._lines.append(f"store {value.type.text} {value.text}, ptr {pointer.text}{behind}")

    def alloca(self, kind: Type, count: Value, align: int) -> Value:
        return self._new(PTR, f"alloca {kind.text}, {count.type.text} {count.text}, align {align}")

    def load_atomic(self, pointer: Value, ordering: str, align: int, typ: Type) -> Value:
        return self._new(typ, f"load atomic {typ.text}, ptr {pointer.text} {ordering}, align {align}")

    def atomic_rmw(self, op: str, pointer: Value, value: Value, ordering: str) -> Value:
        return self._new(value.type, f"atomicrmw {op} ptr {pointer.text}, {value.type.text} {value.text} {ordering}")

    # --- control

    def call(self, function: Value, arguments: Sequence[Value], kind: FunctionType | None = None) -> Value:
        """`kind`: of what a pointer leads to."""
        if kind is None:
            assert isinstance(function, Function)
            kind = function.kind
        given = ", ".join([f"{a.type.text} {a.text}" for a in arguments])
        text = f"call {kind.result.text} {function.text}({given})"
        if kind.result is not VOID:
            return self._new(kind.result, text)
        self._lines.append(text)
        return Value(VOID, "")

    def phi(self, kind: Type) -> Phi:
        self.function.count += 1
        made = Phi(kind, f"%v{self.function.count}")
        self._lines.append(made)
        return made

    def branch(self, target: Block) -> None:
        self._end(f"br label %{target.name}")

    def cbranch(self, condition: Value, yes: Block, no: Block) -> None:
        self._end(f"br i1 {condition.text}, label %{yes.name}, label %{no.name}")

    def ret_void(self) -> None:
        self._end("ret void")

    @contextmanager
    def if_then(self, condition: Value) -> Iterator[None]:
        """What is written inside runs where the condition is true."""
        inside, after = self.append_basic_block("then"), self.append_basic_block("after")
        self.cbranch(condition, inside, after)
        with self._branching(inside, after):
            yield
        self.position_at_end(after)

    @contextmanager
    def if_else(self, condition: Value) -> Iterator[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two places to write in, for where it is true and for where it is not."""
        yes, no, after = (self.append_basic_block(name) for name in ("then", "else", "after"))
        self.cbranch(condition, yes, no)
        yield self._branching(yes, after), self._branching(no, after)
        self.position_at_end(after)

    @contextmanager
    def _branching(self, block: Block, after: Block) -> Iterator[None]:
        self.position_at_end(block)
        yield
        if not self.block.is_terminated:
            self.branch(after)
