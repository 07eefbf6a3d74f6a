"""From Program to Plan: stages over buffers, for a machine; and what each plan costs."""

from typing import TYPE_CHECKING

from ..renamed import names_of

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)  # `ostinato.plan` of version 0.1
