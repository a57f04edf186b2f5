"""Checkpoints from the Hugging Face hub, through its own client and cache; its own environment variables keep their meaning."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from backend.errors import BackendError, ModelLoadError, UnknownModel
from backend.local.progress import Report, bar, unheard

SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
WEIGHTS = ("*.safetensors",)


def fetch(model_id: str, patterns: tuple[str, ...], report: Report) -> Path:
    """The folder that holds the files, from the cache where they are there.

    Raises `UnknownModel` where the hub knows no such model or does not show it to this user, `ModelLoadError` where it cannot
    be reached or written down. `report` is told shares of bytes.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(  # nosec B615: whoever names a model wants its newest revision; code in it never runs
                model_id,
                allow_patterns=list(patterns),
                tqdm_class=bar(lambda share: report("fetching", share), unit="B"),
            )
        )
    except BackendError:
        raise  # the load was given up through `report`
    except Exception as error:
        raise _mapped(model_id, error) from error


def check_room(model_id: str, folder: Path) -> None:
    """Raises `ModelLoadError` where the disk of `folder` has no room for the weights that are still to be fetched.

    Which those are the client knows: a file that is in its cache under another revision is only linked.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    try:
        files = snapshot_download(  # nosec B615: a dry run: sizes only
            model_id, allow_patterns=list(WEIGHTS), dry_run=True, tqdm_class=bar(lambda share: unheard("fetching", share), unit="B")
        )
    except DryRunError:  # the hub cannot be asked, so nothing can be fetched either
        return
    except Exception as error:
        raise _mapped(model_id, error) from error
    missing = sum(file.file_size or 0 for file in files if file.will_download)
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise ModelLoadError(
            f"{missing / 1e9:,.1f} GB of {model_id} are still to be fetched; the disk has {free / 1e9:,.1f} GB free.",
            hint="Free some space, or move HF_HOME.",
        )


def cached_folder(model_id: str) -> Path | None:
    """Where the model's small files lie already, without asking the network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model_id, "config.json")
    except HFValidationError:  # no name that a model can have, which fetching is going to say
        return None
    return Path(found).parent if isinstance(found, str) else None


def _mapped(model_id: str, error: Exception) -> BackendError:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return UnknownModel(
            f"{model_id} is open only to people who accepted its terms.",
            hint="Accept them on the model's page and set HF_TOKEN to a token of yours.",
        )
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return UnknownModel(
            f"The Hugging Face hub has no model {model_id}, or does not show it to this user.",
            hint="Check the name; a private model asks for HF_TOKEN.",
        )
    if constants.HF_HUB_OFFLINE:
        return ModelLoadError(
            f"{model_id} is not on this machine, and HF_HUB_OFFLINE forbids fetching it.",
            hint="Unset HF_HUB_OFFLINE, or copy the checkpoint here and name its folder.",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelLoadError(f"The disk is full: {model_id} could not be stored.", hint="Free some space, or move HF_HOME.")
    if isinstance(error, LocalEntryNotFoundError):
        return ModelLoadError(
            f"{model_id} is not on this machine, and the Hugging Face hub cannot be reached.",
            hint="Check the network and try again, or copy the checkpoint here and name its folder.",
        )
    return ModelLoadError(
        f"{model_id} could not be fetched from the Hugging Face hub ({type(error).__name__}).",
        hint="Try again; the log says more.",
    )
