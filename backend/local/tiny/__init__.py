"""`local:qwen3-next-tiny`: the problems it was trained on, its tokenizer, its training, its exam. Its weights are in the repository."""

from __future__ import annotations

from backend.catalogue import ASSETS

NAME = "qwen3-next-tiny"
FOLDER = ASSETS / NAME
