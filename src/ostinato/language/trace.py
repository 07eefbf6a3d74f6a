"""Cells: a function of one step, run once on symbols, becomes a Graph.

    @cell
    def recurrent(x=Input("n_inputs"), y=State("n_neurons"), W_x=Weight("n_inputs", "n_neurons"), ...):
        return tanh(x @ W_x + y @ W_y + b)

Declarations are default values. The names of the graph's values are the author's own variables wherever there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import CellError, ShapeError, Source, lay_out
from ..ir.graph import VARIES, Graph, Port, Result, Value, declared_parameters, rename
from ..ir.op import kind, sizes_known
from ..ir.shapes import Dim, Type
from ..ir.verify import verify
from ..structure.base import Constants
from .declarations import Declaration, Output
from .structured import Structured, refuse
from .tracer import Symbol, Tracer, tracer_of, value_of


def trace(
    name: str,
    function: Callable[..., Any],
    declarations: Mapping[str, Declaration],
    options: Mapping[str, Any],
    sizes: Mapping[str, int],
    dtype: str,
    training: bool,
) -> Graph:
    """The graph of a cell: its function is run on symbols.

    Raises:
        CellError: the cell says something that has no meaning.
    """
    tracer = Tracer(name, dtype, sizes, training)
    tracer.code = function.__code__
    constants = Constants(tracer.number, tracer.wish)
    symbols: dict[str, Symbol] = {}
    for key, declaration in declarations.items():
        type_ = Type(dtype, declaration.dims_with(sizes), VARIES[declaration.role])
        placement = declaration.placement(name, key, sizes)
        if placement is not None:
            stored = Type(dtype, tuple(map(Dim.number, placement.stored_shape)), type_.varies)
            port = Port(Value(key, stored), declaration.role)
            stored_symbol = tracer.port(port, f"{placement.structure} weight")
            symbols[key] = Structured(tracer, Value(key, type_), stored_symbol, placement, constants)
            continue
        port = Port(Value(key, type_), declaration.role, initial=declaration.initial)
        symbols[key] = tracer.port(port)
    with sizes_known(sizes):
        returned = function(**symbols, **options)
        results = list(_results(tracer, returned, declarations))
    tracer.closed = True
    graph = Graph(name, dtype, tuple(sizes.items()), tuple(tracer.ports), tuple(tracer.nodes), tuple(results))
    names = _names(tracer, results)
    meanings = {names.get(k, k): (f, tuple(names.get(a, a) for a in args)) for k, (f, args) in tracer.meanings.items()}
    graph = rename(graph, names)
    parameters = declared_parameters(graph.ports)
    graph = replace(graph, doc=function.__doc__ or "", parameters=parameters, meanings=meanings)
    return verify(graph, "trace")  # type: ignore[no-any-return]


def _names(tracer: Tracer, results: Sequence[Result]) -> dict[str, str]:
    """The author's variable names for the values; `h_new` for the new value of state `h`."""
    taken = {p.name for p in tracer.ports} | {n.value.name for n in tracer.nodes}
    names: dict[str, str] = {}

    def give(value: Value, name: str) -> None:
        if value.name in tracer.declared or value.name in names:
            return
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        names[value.name] = unique

    for result in results:
        if result.role == "state":
            give(result.value, f"{result.name}_new")
    for name, local in (tracer.frame.f_locals if tracer.frame else {}).items():
        if isinstance(local, Symbol) and tracer_of(local) is tracer and name.isidentifier() and name.isascii():
            give(value_of(local), name)
    made = {n.value.name: n.value for n in tracer.nodes}
    for name, wished in tracer.wished.items():
        give(made[name], wished)
    return names


def _results(tracer: Tracer, returned: Any, declarations: Mapping[str, Declaration]) -> Iterator[Result]:
    items = list(returned) if isinstance(returned, tuple | list) else [returned]
    states = [name for name, d in declarations.items() if d.role == "state"]
    marked = [item for item in items if isinstance(item, Output)]
    new_states = [item for item in items if not isinstance(item, Output)]
    wanted = ", ".join(states)
    source = _return_source(tracer)
    if not states and not marked and len(new_states) == 1:
        marked, new_states = [Output(new_states[0])], []
    if len(new_states) != len(states):
        declared = f"{len(states)} state{'s'[: len(states) != 1]} ({wanted})" if states else "no state"
        headline = f"{tracer.name}: it declares {declared}, and returns {len(new_states)} value{'s'[: len(new_states) != 1]}"
        headline += " beside its outputs" if marked else ""
        hint = "mark what is no state: `return Output(p), h`" if len(new_states) > len(states) else f"return {wanted}"
        hint = hint if states else "give outputs names: `return Output(p, q=q)`"
        raise CellError(lay_out(headline, source=source, hint=hint))
    for state, item in zip(states, new_states, strict=True):
        yield Result(state, _returned(tracer, item, f"the new value of state `{state}`", declarations[state]), "state")
    outputs: dict[str, Any] = {}
    for output in marked:
        for key, item in output.named().items():
            if key in outputs:
                raise CellError(lay_out(f"{tracer.name}: two outputs have the name `{key}`", source=source))
            outputs[key] = item
    if not marked:
        outputs["output"] = new_states[0]
    for key, item in outputs.items():
        yield Result(key, _returned(tracer, item, f"the output `{key}`", None), "output")


def _return_source(tracer: Tracer) -> Any:
    if tracer.frame is None:  # it has made no value at all
        return Source(tracer.code.co_filename, tracer.code.co_firstlineno, tracer.code.co_name)
    return replace(Source.of_frame(tracer.frame), column=None, end_column=None)


def _returned(tracer: Tracer, item: Any, what: str, declaration: Declaration | None) -> Value:
    if not isinstance(item, Symbol) and not isinstance(item, int | float):
        headline = f"{tracer.name}: {what} is {kind(item)}, not a value of the cell"
        raise CellError(lay_out(headline, source=_return_source(tracer)))
    if isinstance(item, Structured):
        refuse(item, what)
    symbol = item if isinstance(item, Symbol) else Symbol(tracer, tracer.value_of(item, "constant"))
    value = tracer.value_of(symbol, "stop_gradient")
    if declaration is None:
        return value
    wanted = Type(tracer.dtype, declaration.dims_with(tracer.sizes))
    if not value.type.fits(wanted):
        headline = f"{tracer.name}: {what} is {value.type.one_instance}, and was declared {wanted.one_instance}"
        raise ShapeError(lay_out(headline, source=_return_source(tracer), values=[tracer.row(value)]))
    return value
