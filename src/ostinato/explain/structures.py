"""What an explanation says of structured weights: what is stored, what it saves, and how a product is computed."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..ir.graph import Port
from ..structure.base import Parts, Placement
from ..structure.circulant import BlockCirculant
from .document import Block, Formulas, Sentence, Table
from .subject import Subject


def role_of(subject: Subject, port: Port, role: str) -> str:
    """What a port is; of a structured weight, its kind."""
    placement = subject.structures.get(port.name)
    return role if placement is None else f"{role}, {placement.structure}"


def product_rows(subject: Subject) -> list[tuple[str, str, str]]:
    """The products with structured weights, as rows of the table of products."""
    rows: list[tuple[str, str, str]] = []
    for name, weight in subject.structured_products.items():
        placement = subject.structures[weight]
        value = subject.notation.made[name].value
        m, n = placement.shape
        lead = ", ".join(["m", *map(str, value.type.sizes[:-1])])
        text = f"({lead}, {m}) @ ({m}, {n}) -> ({lead}, {n})\n{placement.structure}"
        vectors = value.type.n_elements // n
        rows.append((subject.notation.right(name), text, f"{vectors * placement.multiply_adds:,}"))
    return rows


def structured_section(subject: Subject) -> Iterator[Block]:
    """For every structured weight its sizes; for every kind of structure its equation."""
    if not subject.structures:
        return
    rows = []
    for name, placement in subject.structures.items():
        dense = prod(placement.shape)
        rows.append((
            name, str(placement.structure), _shape(placement.shape), _shape(placement.stored_shape),
            f"{placement.n_parameters:,} of {dense:,}", f"{placement.multiply_adds:,} of {dense:,}",
        ))  # fmt: skip
    headings = ("weight", "structure", "dense matrix", "stored", "parameters", "multiply-adds of a product")
    yield Table(headings, tuple(rows), (4, 5), (0,))
    yield Formulas(tuple(dict.fromkeys(_equation(p) for p in subject.structures.values())))
    yield from (Sentence(text) for text in dict.fromkeys(t for p in subject.structures.values() for t in _sentences(p)))


def _shape(sizes: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"


def _equation(placement: Placement) -> tuple[str, str]:
    left, _, right = placement.structure.equation.partition(" = ")
    return left, right


def _sentences(placement: Placement) -> Iterator[str]:
    structure = placement.structure
    if not isinstance(structure, BlockCirculant):
        return
    k = structure.block
    yield f"x[p, r] is element {k} p + r of the operand, y[q, a] element {k} q + a of the product; k = {k}."
    for what, parts in (("rows", placement.rows), ("columns", placement.columns)):
        if any(n % k for n in parts):
            yield f"{what.capitalize()} that {k} does not divide are padded with zeros: {_padded(structure, parts)}."
    if structure.chosen(placement.rows, placement.columns) == "fft":
        yield (
            f"It is computed by the real Fourier transform of every {k} numbers: `fourier_x` transforms the operand, "
            "`fourier_W` the weights (once per assignment), `fourier_y` goes back. Between them stands one product for each "
            "frequency."
        )
    else:
        yield f"It is computed from the {k} windows of the doubled operand, which all meet the same stored weights."


def _padded(structure: BlockCirculant, parts: Parts) -> str:
    sizes = [f"{n} -> {structure.block * count}" for n, count in zip(parts, structure.blocks(parts), strict=True)]
    return " and ".join(dict.fromkeys(sizes))
