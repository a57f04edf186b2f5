"""The page's blocks, which answer for every event: as many at once as a visitor may have, and one line in the log for what goes wrong.

gradio runs an event's handler, and what it makes of its inputs and outputs, in `process_api`. It prints a traceback of whatever that
raises: anybody could fill the log by sending what no page sends.
"""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr

from backend import BackendError, Slots
from ui.text import WORDS as W
from ui.visitor import Visitors

log = logging.getLogger(__name__)

MAX_EVENTS_PER_VISITOR = 64  # at once, of a public host: answers that are followed are most of them
MAX_EVENTS_PER_ADDRESS = 256


class Blocks(gr.Blocks):
    """`visitors` is set before the first event."""

    visitors: Visitors
    slots: Slots

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **given: Any) -> dict[str, Any]:
        try:
            # an event that streams comes here again for every value: one that has begun goes on
            with self.slots.held(self._limits(given.get("request")), refuse=given.get("iterator") is None):
                return await super().process_api(block_fn, inputs, *args, **given)
        except gr.Error as error:  # a sentence for the visitor
            error.print_exception = False
            raise
        except BackendError as error:
            raise told(error) from error
        except Exception as error:
            name = getattr(block_fn, "name", block_fn)
            log.warning("%s could not be done: %s: %s", name, type(error).__name__, " ".join(str(error)[:200].split()))
            raise gr.Error(W.went_wrong, print_exception=False) from error

    def _limits(self, request: Any) -> dict[Any, int]:
        if not self.visitors.public or not isinstance(request, gr.Request):
            return {}
        owner, address = self.visitors.owner(request), self.visitors.address(request.request)
        return {("visitor", owner): MAX_EVENTS_PER_VISITOR, ("address", address): MAX_EVENTS_PER_ADDRESS}


def told(error: BackendError) -> gr.Error:
    """The sentence of an error that no handler has shown."""
    return gr.Error(f"{error.message} {error.hint}".strip(), print_exception=False)
