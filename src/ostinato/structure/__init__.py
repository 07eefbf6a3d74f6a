"""Structured weights: matrices that are stored as fewer numbers than they have, and multiplied with less work."""

from .base import Structure
from .circulant import BlockCirculant
from .diagonal import BlockDiagonal, Diagonal

__all__ = ["BlockCirculant", "BlockDiagonal", "Diagonal", "Structure"]
