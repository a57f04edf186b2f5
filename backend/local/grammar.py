"""What an answer may look like, token by token: JSON that keeps to a schema, or a call of a tool. On llguidance, whose grammars are Lark's.

Knows no model: it is asked which tokens may come next, and told which one came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer

from backend.errors import BadInput
from backend.tool_calls import CLOSE, OPEN
from backend.types import AnswerFormat, Tools

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# as models and json.dumps write it; free white space lets a weak model write line breaks for ever
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_HEAD = r"head: /\n{0,2}/"  # models write line breaks between a trace and the answer


class Grammar:
    """The grammar of one answer. Raises `BadInput` where a schema asks for what cannot be enforced."""

    def __init__(self, tokenizer: LLTokenizer, lark: str, device: torch.device, vocabulary: int) -> None:
        problem = LLMatcher.validate_grammar(lark, tokenizer)
        if problem:
            raise BadInput(
                f"This JSON schema cannot be enforced while the answer is written: {_first_line(problem)}",
                hint="Leave that keyword out of the schema.",
            )
        self._matcher = LLMatcher(tokenizer, lark)
        self._device, self._vocabulary = device, vocabulary

    @property
    def ended(self) -> bool:
        """Whether the answer is complete and nothing may follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self) -> torch.Tensor:
        """Which tokens may come next: bool [vocabulary]."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        mask = torch.zeros(self._vocabulary, dtype=torch.bool)
        known = min(self._vocabulary, len(bits))
        mask[:known] = torch.from_numpy(bits[:known].astype(bool))
        return mask.to(self._device)

    def take(self, token: int) -> None:
        """`token` came next."""
        self._matcher.consume_token(token)


def grammar_tokenizer(tokenizer: PreTrainedTokenizerBase, end_ids: frozenset[int], vocabulary: int) -> LLTokenizer:
    """About a second for a vocabulary of 150,000: once a model."""
    backend: Any = tokenizer
    size = max(vocabulary, len(tokenizer))
    return LLTokenizer(backend.backend_tokenizer.to_str(), n_vocab=size, eos_token=sorted(end_ids) or [tokenizer.eos_token_id])


def of_format(wanted: AnswerFormat) -> str:
    """The grammar of a JSON answer: any object where no schema is given."""
    schema = {"type": "object"} if wanted.schema is None else wanted.schema
    return f"start: head body\n{_HEAD}\nbody: {_json(schema)}"


def of_calls(tokenizer: PreTrainedTokenizerBase, tools: Tools) -> str:
    """The grammar of one call, or of several where they may come in parallel, of the tool that is named or of any."""
    offered = [tool for tool in tools.offered if tools.choice != "named" or tool.name == tools.name]
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": _closed(tool.parameters)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in offered
    ]
    rules = "".join(f"\ncall{n}: {_json(call)}" for n, call in enumerate(calls))
    more = r' ("\n" block)*' if tools.parallel else ""
    block = rf'block: {_tag(tokenizer, OPEN)} "\n" ({" | ".join(f"call{n}" for n in range(len(calls)))}) "\n" {_tag(tokenizer, CLOSE)}'
    return f"start: head block{more}\n{_HEAD}\n{block}{rules}"


def _closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that a tool does not name are of no use to it, and a weak model would go on inventing them."""
    closing = {"additionalProperties": False} if "properties" in parameters and "$ref" not in parameters else {}
    return {"type": "object", **closing, **parameters}


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {json.dumps({**schema, 'x-guidance': _SPACING}, ensure_ascii=False)}"


def _tag(tokenizer: PreTrainedTokenizerBase, tag: str) -> str:
    """Qwen's tags are single tokens, which llguidance takes by number only; elsewhere they are text."""
    ids = tokenizer.encode(tag, add_special_tokens=False)
    return f"<[{ids[0]}]>" if len(ids) == 1 else json.dumps(tag)


def _first_line(problem: str) -> str:
    return problem.strip().splitlines()[0].partition("failed to compile JSON schema: ")[2] or problem.strip().splitlines()[0]
