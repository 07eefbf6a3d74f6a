"""Structured weights: matrices that are stored as fewer numbers than they have, and multiplied with less work."""

from typing import TYPE_CHECKING

from ..renamed import names_of
from .base import Structure
from .circulant import BlockCirculant
from .diagonal import BlockDiagonal, Diagonal

__all__ = ["BlockCirculant", "BlockDiagonal", "Diagonal", "Structure"]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)  # `ostinato.structure` of version 0.1
