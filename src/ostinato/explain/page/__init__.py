"""An explanation as one HTML file."""

from typing import TYPE_CHECKING

from ...renamed import names_of

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)  # `ostinato.explain.page` of version 0.1
