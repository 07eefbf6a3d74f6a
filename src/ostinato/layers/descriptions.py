"""What the description of a saved layer says, read and checked. Nothing in it is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import files
from ..errors import FileError, lay_out
from ..ir.graph import Graph
from ..ir.parse import read_step
from ..structure.base import Placement


def described_graphs(description: Mapping[str, Any]) -> dict[bool, Graph]:
    """The graphs of one step: outside training (False) and in training (True), the same object where they are the same.

    Raises:
        FileError: one is missing or can not be read, or they are of two different cells.
    """
    doc = files.field(description, "doc", str)
    texts = {t: files.field(description, key, str) for t, key in ((False, "graph"), (True, "training_graph"))}
    graphs = {t: replace(read_step(text, training=t), doc=doc) for t, text in texts.items()}
    if texts[True] == texts[False]:
        graphs[True] = graphs[False]
    if _interface(graphs[True]) != _interface(graphs[False]):
        raise FileError(lay_out("the graph and the training graph in the file are of two different cells"))
    return graphs


def _interface(graph: Graph) -> tuple[Any, ...]:
    """What a step is from outside."""
    ports = tuple(port for port in graph.ports if port.role != "mask")
    results = [(r.name, r.role, r.value.type.dtype, r.value.type.dims) for r in graph.results]
    return graph.name, graph.dtype, graph.sizes, ports, results


def described_structures(description: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Placement]:
    """The structures of weights that a description names; a file of an older version has none.

    Args:
        description: as it was read.
        shapes: of the weights, as they are stored.

    Raises:
        FileError: they do not fit the weights.
    """
    saved = files.field({"structures": {}, **description}, "structures", dict)
    found = {name: Placement.from_description(name, one) for name, one in saved.items()}
    for name, placement in found.items():
        if shapes.get(name) != placement.stored_shape:
            headline = f"the file says that `{name}` is a {placement.structure} matrix, and its shape is another"
            raise FileError(lay_out(headline))
    return found
