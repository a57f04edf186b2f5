"""Fields that a strict server does not know. OpenAI's protocol has no `top_k`, `min_p` and the like: vLLM and SGLang take them,
most others pass them over, but some refuse the whole request for them, and name what they dislike.

[observed] `transformers serve` 5.24: 422, "Unexpected fields in the request: {'min_p', 'top_k'}". OpenAI: 400, "Unrecognized
request argument supplied: top_k", one at a time. Pydantic servers: 422 with `extra_forbidden` and the field's place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

BEYOND_OPENAI = frozenset(
    {"top_k", "min_p", "repetition_penalty", "presence_penalty", "seed", "thinking_budget", "chat_template_kwargs", "stream_options"}
)
_DOES_NOT_KNOW = re.compile(r"unexpected|unrecogni[sz]ed|unknown|unsupported|not supported|not permitted|extra_forbidden", re.IGNORECASE)


def unknown_fields(status: int, said: str, body: Mapping[str, Any]) -> frozenset[str]:
    """Which fields of `body` the server says it does not know; none where it refused for any other reason."""
    if status not in (400, 422) or not _DOES_NOT_KNOW.search(said):
        return frozenset()
    return frozenset(name for name in BEYOND_OPENAI & body.keys() if re.search(rf"\b{name}\b", said))
