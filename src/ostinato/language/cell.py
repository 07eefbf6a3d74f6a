"""`@cell`: a function of one step with its declarations.

A cell is still a function: called on NumPy arrays it computes one step of one instance, line by line, so that it can be stepped
through with a debugger; called inside another cell it becomes part of it.
"""

from __future__ import annotations

import copyreg
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import numpy as np

from ..calls import answering
from ..checks import is_whole
from ..errors import (
    CellError,
    DataError,
    DimensionError,
    OptionError,
    OstinatoError,
    ShapeError,
    first_line,
    known_names,
    lay_out,
    raised_by_the_text,
    source_of,
    user_source,
)
from ..ir.dtypes import dtype_of
from ..ir.graph import Graph
from ..ir.op import Symbolic, sizes_known, type_of
from ..ir.shapes import Dim, Type, names_in, parse_dim
from ..process.pickling import by_value, leads_to, pickler_of_functions, refuse
from ..structure.base import Placement, Structure, structures_of
from .declarations import Declaration, Output
from .functions import ACTIVATIONS
from .trace import trace

RESERVED = (
    "backend", "batch_first", "cell", "dtype", "init", "lengths", "n_instances", "n_steps", "plan", "reset", "reverse", "rng",
    "seed", "self", "state", "structure", "training", "weight_format",
)  # fmt: skip


class Cell:
    """One step of a recurrence, as its author wrote it. Made by `@cell`.

    Attributes:
        name: the name of the function.
        declarations: parameter name -> Declaration, in the order they were written.
        options: keyword-only option -> default value.
        doc: the docstring.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__.strip("<>")  # a lambda has a name too
        self.doc = inspect.getdoc(function) or ""
        self.declarations: dict[str, Declaration] = {}
        self.options: dict[str, Any] = {}
        self._read_signature()
        self.__doc__, self.__name__, self.__module__ = function.__doc__, function.__name__, function.__module__
        self.__qualname__ = function.__qualname__
        self.__wrapped__ = function
        self.base: Cell = self  # as it was decorated
        self.chosen: dict[str, Structure | None] = {}  # structures other than those that were declared

    def _read_signature(self) -> None:
        for parameter in inspect.signature(self.function).parameters.values():
            name, default = parameter.name, parameter.default
            if name in RESERVED:
                raise CellError(lay_out(f"{self.name}: `{name}` is a word of the layer; call the parameter something else"))
            if parameter.kind is parameter.KEYWORD_ONLY:
                if default is parameter.empty:
                    raise CellError(lay_out(f"{self.name}: the option `{name}` has no default value"))
                if isinstance(default, Declaration):
                    headline = f"{self.name}: `{name}` stands after `*`, among the options, and is declared as a {default.role}"
                    raise CellError(lay_out(headline, hint="put declared parameters before `*`"))
                self.options[name] = default
            elif not isinstance(default, Declaration):
                headline = f"{self.name}: the parameter `{name}` is not declared"
                hint = "give it a declaration as default value, such as Input('n_inputs'), or put options after `*`"
                raise CellError(lay_out(headline, hint=hint))
            else:
                self.declarations[name] = default
        for name in self.dimensions:
            if name in RESERVED or name in self.options:
                whose = "a word of the layer" if name in RESERVED else "an option of the cell"
                raise CellError(lay_out(f"{self.name}: `{name}` is {whose}; call the dimension something else"))
        if not self.with_role("input"):
            raise CellError(lay_out(f"{self.name}: it declares no Input", hint="x=Input('n_inputs')"))

    def with_role(self, *roles: str) -> list[str]:
        return [name for name, d in self.declarations.items() if d.role in roles]

    @property
    def dimensions(self) -> list[str]:
        """The names of its dimensions, in order of appearance."""
        return list({name: None for d in self.declarations.values() for name in d.names})

    def __repr__(self) -> str:
        """Its name and dimensions; `print(cell)` and `str(cell)` show every parameter."""
        return f"<cell {self.name}({', '.join(self.dimensions)})>"

    def __str__(self) -> str:
        parts = []
        for role in ("input", "context", "state", "weight", "bias"):
            names = self.with_role(role)
            parts += [f"{name}: {role}[{', '.join(map(str, self.declarations[name].dims))}]" for name in names]
        return f"<cell {self.name}({', '.join(parts)})>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A cell goes where its function goes: by the name that leads to it, or by value where the pickler can do that.

        Raises:
            PicklingError: no name leads to it, and the pickler knows functions by their names alone.
        """
        pickler = pickler_of_functions(sys._getframe(1))  # noqa: SLF001 - see there
        module, name = self.__module__, self.__qualname__
        if leads_to(module, name) is self and not (pickler is not None and by_value(pickler, module)):
            return name
        new = copyreg.__newobj__  # type: ignore[attr-defined]  # what pickles call for objects of ordinary classes
        if self.base is not self:
            return new, (Cell,), {"base": self.base, "chosen": self.chosen}
        if pickler is None:
            refuse(f"the cell {self.name}", module, name)
        return new, (Cell,), dict(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # the function may not be whole yet, where it speaks of its own cell: nothing is read from it
        whole = state if "function" in state else vars(state["base"].with_structure(state["chosen"]))
        vars(self).update(whole)

    def __copy__(self) -> Cell:
        return self  # as a function

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        return self

    def with_structure(self, structure: Any) -> Cell:
        """The same cell with structured weights.

        Args:
            structure: one structure for all matrices (every Weight of two dimensions), or a dictionary: weight name ->
                structure, or None for dense. Other weights stay as they are.

        Raises:
            OptionError: something else, or a name that is no matrix of the cell.
        """
        weights = self.with_role("weight")
        matrices = [name for name in weights if len(self.declarations[name].dims) == 2]
        chosen = structures_of(self.name, structure, matrices, weights)
        made = Cell.__new__(Cell)
        vars(made).update(vars(self), chosen={**self.chosen, **chosen})
        declared = made.declarations
        made.declarations = {
            name: replace(d, structure=made.chosen[name]) if name in made.chosen else d for name, d in declared.items()
        }
        return made

    def placements(self, sizes: Mapping[str, int]) -> dict[str, Placement]:
        """The structures of its weights at the given sizes; dense ones are not among them.

        Raises:
            OptionError: a weight of these sizes cannot have its structure.
        """
        found = {name: d.placement(self.name, name, sizes) for name, d in self.declarations.items()}
        return {name: placement for name, placement in found.items() if placement is not None}

    def settle(self, given: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
        """Sort keyword arguments into sizes of dimensions and options.

        Raises:
            DimensionError: a dimension without a size, or of a size that is no whole number from 1 up.
            OptionError: a name that is neither.
        """
        dimensions = self.dimensions
        for name in given:
            if name not in dimensions and name not in self.options:
                known = known_names(name, [*dimensions, *self.options], "dimensions and options")
                raise OptionError(lay_out(f"{self.name}: there is no dimension or option `{name}`; {known}"))
        sizes: dict[str, int] = {}
        for name in dimensions:
            if name not in given:
                missing = ", ".join(f"`{n}`" for n in dimensions if n not in given)
                given_ = ", ".join(f"{n}={given[n]}" for n in dimensions if n in given) or "none"
                raise DimensionError(lay_out(f"{self.name}: no size is given for {missing}; given: {given_}"))
            size = given[name]
            if not is_whole(size, 1):
                raise DimensionError(lay_out(f"{self.name}: `{name}` must be a whole number from 1 up, and is {size!r}"))
            sizes[name] = int(size)
        for name, declaration in self.declarations.items():
            for dim in declaration.dims_with(sizes):
                if dim.size < 1:
                    headline = f"{self.name}: the dimension `{dim.expression}` of `{name}` would be {dim.size}"
                    raise DimensionError(lay_out(headline + _sum_of(dim, sizes)))
        return sizes, {name: self._option(name, given.get(name, default)) for name, default in self.options.items()}

    def _option(self, name: str, given: Any) -> Any:
        """The value of an option: a function where the default is one."""
        if callable(self.options[name]) and not callable(given):
            headline = f"{self.name}: the option `{name}` is a function, and {given!r} is none"
            known = isinstance(given, str) and given in ACTIVATIONS
            raise OptionError(lay_out(headline, hint=f"`{name}=ostinato.{given}`" if known else ""))
        return given

    def trace(self, *, dtype: str = "f32", training: bool = False, **sizes_and_options: Any) -> Graph:
        """The graph of one step at the given sizes, as it was written: no pass has touched it."""
        sizes, options = self.settle(sizes_and_options)
        return trace(self.name, self.function, self.declarations, options, sizes, dtype, training)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One step of one instance, computed with NumPy.

        Args: the arrays in declared order, each with the dimensions it was declared with; options by keyword.

        Returns: what the cell returns, outputs unmarked.

        Raises:
            CellError: an argument is missing or unknown.
            ShapeError: shapes that do not fit the declarations.
        """
        arrays, options = self._bound(args, kwargs)
        if any(isinstance(a, Symbolic) for a in arrays.values()):
            return self._inside(arrays, options)
        arrays = {name: self._array(name, a) for name, a in arrays.items()}
        sizes = self._sizes_of(arrays)
        with sizes_known(sizes):
            try:
                returned = self.function(**arrays, **options)
            except OstinatoError:
                raise
            except Exception as error:
                self.trace(dtype="f64", **{**sizes, **options})  # if it is the cell, in our own words
                if raised_by_the_text(error):
                    raise
                headline = f"{self.name}: a layer can be made of it, but NumPy can not compute this step: {first_line(error)}"
                raise CellError(lay_out(headline, source=source_of(error))) from error
        return _unmarked(returned)

    def _inside(self, values: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """Called by another cell: its dimension names mean what the symbols bring along."""
        known: dict[str, Dim] = {}
        symbols = {name: value for name, value in values.items() if isinstance(value, Symbolic)}
        for name, symbol in symbols.items():
            for dim, meant in zip(self.declarations[name].dims, type_of(symbol).dims, strict=False):
                if isinstance(dim, str) and names_in(dim) == [dim.strip()]:
                    known.setdefault(dim.strip(), meant)
        for name, symbol in symbols.items():
            declared = self.declarations[name].dims
            fits = len(declared) == len(type_of(symbol).dims)
            for dim, meant in zip(declared, type_of(symbol).dims, strict=False):
                fits = fits and (not set(names_in(dim)) <= set(known) or parse_dim(dim, known).agrees(meant))
            if not fits:
                found = type_of(symbol).one_instance
                headline = f"{self.name}: `{name}` is {found}, and was declared [{', '.join(map(str, declared))}]"
                meanings = {n: (d.size, f"`{d.expression}`") for n, d in known.items()}
                raise ShapeError(lay_out(headline, source=user_source(), sizes=meanings))
        with sizes_known(known):
            return _unmarked(self.function(**values, **options))

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        names = list(self.declarations)
        if len(args) > len(names):
            raise CellError(lay_out(f"{self.name}: it takes {len(names)} values, and was called with {len(args)}"))
        values = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in values:
                raise CellError(lay_out(f"{self.name}: `{name}` is given twice"))
            if name not in names and name not in self.options:
                known = known_names(name, [*names, *self.options], "parameters")
                raise CellError(lay_out(f"{self.name}: there is no parameter `{name}`; {known}"))
            values[name] = value
        missing = [f"`{name}`" for name in names if name not in values]
        if missing:
            raise CellError(lay_out(f"{self.name}: no value is given for {', '.join(missing)}"))
        options = {name: values.pop(name, default) for name, default in self.options.items()}
        return values, options

    def _array(self, name: str, value: Any) -> Any:
        try:
            array = np.asarray(value)
        except ValueError:
            raise DataError(lay_out(f"{self.name}: `{name}` is no array: its rows have different lengths")) from None
        if array.dtype.kind not in "fiub":
            raise DataError(lay_out(f"{self.name}: `{name}` holds no real numbers: its dtype is {array.dtype}"))
        dtype = array.dtype if array.dtype in (np.float32, np.float64) else np.float64
        return np.array(array, dtype)  # a copy: `h += x` in the cell changes it, as `h = h + x` does on symbols

    def _sizes_of(self, arrays: Mapping[str, Any]) -> dict[str, int]:
        """The sizes of the dimensions, each fixed by the first argument that has it alone; all arguments are checked."""
        sizes: dict[str, int] = {}
        owners: dict[str, str] = {}
        for name, array in arrays.items():
            declared = self.declarations[name].dims
            if array.ndim != len(declared):
                wanted = ", ".join(map(str, declared))
                headline = f"{self.name}: `{name}` has shape {array.shape}, and was declared [{wanted}]"
                hint = "a cell is one step of one instance; ostinato.Layer adds the batch and the steps"
                raise ShapeError(lay_out(headline, source=user_source(), hint=hint if array.ndim > len(declared) else ""))
            for dim, size in zip(declared, array.shape, strict=True):
                if isinstance(dim, str) and names_in(dim) == [dim.strip()]:
                    sizes.setdefault(dim.strip(), size)
                    owners.setdefault(dim.strip(), name)
        for name in self.dimensions:
            if name not in sizes:
                raise DimensionError(lay_out(f"{self.name}: no argument has `{name}` as a dimension of its own"))
        for name, array in arrays.items():
            for dim, size in zip(self.declarations[name].dims, array.shape, strict=True):
                expected = parse_dim(dim, sizes)
                if expected.size != size:
                    self._refuse(name, expected, size, owners, arrays, sizes)
        return sizes

    def _refuse(self, name: str, dim: Dim, size: int, owners: Mapping[str, str], arrays: Any, sizes: Any) -> None:
        simple = dim.expression in owners
        owner = owners.get(dim.expression, "")
        first = f"is {dim.size} in `{owner}`" if simple else f"is {dim.size}" + _sum_of(dim, sizes)
        headline = f"{self.name}: `{dim.expression}` {first} but {size} in `{name}`"
        if dim.is_number:
            wanted = ", ".join(map(str, self.declarations[name].dims))
            headline = f"{self.name}: `{name}` has shape {arrays[name].shape}, and was declared [{wanted}]"
        rows = []
        for key in dict.fromkeys([*([owner] if simple else []), name]):
            declaration = self.declarations[key]
            array = arrays[key]
            shown = (_given(d, n) for d, n in zip(declaration.dims, array.shape, strict=True))
            dtype = dtype_of(array)
            rows.append((key, f"{dtype}[{', '.join(shown)}]", f"{declaration.role} `{key}` of {self.name}"))
        known = {n: (sizes[n], f"`{owners[n]}`") for n in sizes}
        raise ShapeError(lay_out(headline, source=user_source(), values=rows, sizes=known))

    def declared_types(self, sizes: Mapping[str, int], dtype: str) -> dict[str, Type]:
        """The type of each parameter at the given sizes, for one instance."""
        return {name: Type(dtype, d.dims_with(sizes)) for name, d in self.declarations.items()}


def _with_structure(base: Cell, chosen: Mapping[str, Structure | None]) -> Cell:
    """What pickles of version 0.1 call."""
    return base.with_structure(chosen)


def fitting(brought: Any, graph: Graph) -> Cell | None:
    """What came with the state of a layer, if it is a cell that declares the parameters of the graph; else None.

    A name may lead to nothing where the layer has come to, or to another cell.
    """
    names = [port.name for port in graph.ports if port.role != "mask"]
    return brought if isinstance(brought, Cell) and list(brought.declarations) == names else None


def _given(dim: str | int, size: int) -> str:
    return str(size) if isinstance(dim, int) else f"{dim}={size}"


def _sum_of(dim: Dim, sizes: Mapping[str, int]) -> str:
    parts = [f"{n}={sizes[n]}" for n in names_in(dim.expression)]
    return f" ({', '.join(parts)})" if parts else ""


def _unmarked(returned: Any) -> Any:
    """What the cell returned, without the marks of outputs."""
    items = returned if isinstance(returned, tuple) else (returned,)
    flat: list[Any] = []
    for item in items:
        flat += list(item.named().values()) if isinstance(item, Output) else [item]
    return flat[0] if len(flat) == 1 else tuple(flat)


LIBRARY = "..cells"  # the room of ready cells stands above this one, and is asked for their names alone


def refuse_no_cell(given: Any) -> NoReturn:
    """Say what a layer is made of, to whoever gave something else: the name of a cell, a class, a plain function."""
    headline = f"Layer: the first argument is a cell, not {given!r}" if isinstance(given, str) else ""
    headline = headline or f"Layer: the first argument is a cell, not {type(given).__name__}"
    hint = "decorate the function of one step with @cell"
    if isinstance(given, str):
        library = import_module(LIBRARY, __package__)
        known = [name for name in library.__all__ if isinstance(getattr(library, name), Cell)]
        name = given.strip().lower()
        close = [name] if name in known else get_close_matches(name, known, n=1)
        hint = f"`ostinato.cells.{close[0]}`" if close else "the cells of the library are in `ostinato.cells`"
    elif isinstance(given, type):
        hint = "a cell is a function of one step with @cell; those of the library are in `ostinato.cells`"
    raise OptionError(lay_out(headline, hint=hint))


@answering
def cell(function: Callable[..., Any]) -> Cell:
    """Make a cell of a function of one step; see the module and the language in the documentation.

    Raises:
        CellError: a parameter without a declaration, an option without a default, a reserved name, no Input.
        DimensionError: a declared dimension that is no sum of names and whole numbers.

    >>> import numpy as np
    >>> from ostinato import Input, State, Weight, cell, tanh
    >>> @cell
    ... def neuron(x=Input("n_inputs"), y=State(), w_x=Weight("n_inputs"), w_y=Weight()):
    ...     return tanh(x @ w_x + y * w_y)
    >>> float(neuron(np.ones(3), np.float64(0), np.zeros(3), np.float64(1)))
    0.0
    """
    if not inspect.isfunction(function):
        raise CellError(lay_out(f"cell: it decorates a function of one step, and was given {function!r}"))
    if function.__code__.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        headline = (
            f"{function.__name__}: it is asynchronous or yields, and a cell is a plain function that returns its new states"
        )
        raise CellError(lay_out(headline))
    return Cell(function)
