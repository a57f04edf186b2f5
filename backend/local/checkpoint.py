"""A folder judged before anything large is read from it: is it a chat model that this engine can load, and if not, why."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

INDEX = "model.safetensors.index.json"
DRAFT_PREFIX = "mtp."
_OTHER_WAYS = "Serve it with vLLM, SGLang or llama.cpp and set OPENAI_BASE_URL, or choose another model."


def read_config(name: str, folder: Path) -> PreTrainedConfig:
    """Raises `ModelLoadError` for no folder, no model, a damaged or unknown config, and what is no causal language model."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # type: ignore[attr-defined]

    raw = _raw_config(name, folder)
    model_type = raw.get("model_type")
    if model_type not in CONFIG_MAPPING_NAMES:
        raise ModelLoadError(
            f"{name} has the architecture {model_type!r}, which transformers {transformers.__version__} does not know.",
            hint=_OTHER_WAYS,
        )
    try:
        config: PreTrainedConfig = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)  # nosec B615: a folder here
    except Exception as error:  # each architecture checks its values in its own way
        raise unusable_config(name, error) from error
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelLoadError(f"{name} ({model_type}) is no language model that answers in text.", hint=_OTHER_WAYS)
    return config


def unusable_config(name: str, error: Exception) -> ModelLoadError:
    log.warning("config.json of %s is of no use", name, exc_info=error)
    return ModelLoadError(f"The config.json of {name} describes no model that can be built ({type(error).__name__}).", hint=_OTHER_WAYS)


def check_weights(name: str, folder: Path) -> int:
    """The size of the weights in bytes. Raises `ModelLoadError` where files are missing or in another format."""
    files = list(folder.glob("*.safetensors"))
    missing = sorted(set(_index(name, folder, "weight_map").values()) - {f.name for f in files})
    if missing:
        raise ModelLoadError(
            f"{name} is incomplete: {len(missing)} of its weight files are missing, {missing[0]} first.",
            hint="Fetch the checkpoint again.",
        )
    if not files:
        raise ModelLoadError(f"{name} has no weights in the safetensors format.", hint=_OTHER_WAYS)
    return sum(f.stat().st_size for f in files)


def stored_weights_bytes(name: str, folder: Path) -> int:
    """What all weight files take, from the index where there is one, since not all of them may be here; 0 where nothing tells."""
    told = _index(name, folder, "metadata").get("total_size", 0)
    here = sum(f.stat().st_size for f in folder.glob("*.safetensors") if f.exists())  # the hub's cache links, maybe to what was deleted
    return max(int(told) if isinstance(told, int | float) else 0, here)


def has_draft_weights(name: str, folder: Path) -> bool:
    """Whether there is an MTP head among them, here or not. A packed folder's head lies beside its index."""
    return any(key.startswith(DRAFT_PREFIX) for key in _index(name, folder, "weight_map")) or any(_draft_sizes_bytes(folder))


def draft_weights_bytes(folder: Path) -> int:
    """The size of the MTP head's tensors as they lie in the files; 0 where there is none, or no file yet."""
    return sum(_draft_sizes_bytes(folder))


def _draft_sizes_bytes(folder: Path) -> Iterator[int]:
    from safetensors import SafetensorError, safe_open

    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118
                    if key.startswith(DRAFT_PREFIX):
                        part = file.get_slice(key)
                        yield math.prod(part.get_shape()) * (4 if part.get_dtype() == "F32" else 2)
        except (SafetensorError, OSError):  # the load itself is going to say so
            return


def read_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    """Raises `ModelLoadError` where there is none, or none with a chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)  # nosec B615: a folder here
    except Exception as error:  # missing files, broken JSON, an unknown class: each raises something else
        raise ModelLoadError(f"{name} has no tokenizer that can be read.", hint="Fetch the checkpoint again.") from error
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:  # some classes build an empty one where there are no files
        raise ModelLoadError(f"{name} has no tokenizer that can be read.", hint="Fetch the checkpoint again.")
    if not tokenizer.chat_template:
        raise ModelLoadError(
            f"{name} has no chat template: it is a base model, made to be trained on.",
            hint="Choose its instruct or chat version.",
        )
    return tokenizer


def _raw_config(name: str, folder: Path) -> dict[str, Any]:
    try:
        found = folder.is_dir()
    except OSError as error:
        raise ModelLoadError(f"{name} cannot be looked into ({error.strerror}).", hint="Check the path and its rights.") from error
    if not found:
        raise ModelLoadError(f"There is no folder named {name!r}.", hint="Check the path, or name a model of the Hugging Face hub.")
    if (folder / "config.json").is_file():
        return _json(name, folder / "config.json")
    if any(folder.glob("*.gguf")):
        raise ModelLoadError(f"{name} holds GGUF files; local models are loaded from safetensors.", hint=_OTHER_WAYS)
    raise ModelLoadError(f"{name} holds no model: there is no config.json in it.", hint="Name the folder of one checkpoint.")


def _index(name: str, folder: Path, part: str) -> dict[str, Any]:
    """A part of the index of the weight files; empty where there is none."""
    found = _json(name, folder / INDEX).get(part, {}) if (folder / INDEX).is_file() else {}
    if not isinstance(found, dict):
        raise ModelLoadError(f"{INDEX} of {name} is damaged.", hint="Fetch the checkpoint again.")
    return found


def _json(name: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path.name} of {name} is damaged.", hint="Fetch the checkpoint again.") from error
    if not isinstance(found, dict):
        raise ModelLoadError(f"{path.name} of {name} is damaged.", hint="Fetch the checkpoint again.")
    return found
