"""Explanations: what a cell computes, with which shapes, at what cost, and what the compiler made of it.

`explain(layer)` or `explain(cell, n_inputs=3, n_neurons=5)` gives an `Explanation`: text, colour, pictures, a page.
`explain(layer, X)` shows the numbers of `X` on their way through the network. `explain_product("A[m,n] @ B[n,p]")` explains a
product without a cell. Everything is read from the graphs and programs; nothing is written down twice.
"""

from .cost import Counts
from .equations import Equation
from .explanation import Explanation, explain
from .product.explanation import ProductExplanation, explain_product

__all__ = ["Counts", "Equation", "Explanation", "ProductExplanation", "explain", "explain_product"]
