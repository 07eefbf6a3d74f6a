"""One product explained, without a cell."""

from typing import TYPE_CHECKING

from ...renamed import names_of

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)  # `ostinato.explain.product` of version 0.1
