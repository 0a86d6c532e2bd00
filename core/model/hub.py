"""Models of the Hugging Face hub: whether one exists there or in the local cache, and downloading its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from ffnscope.core.model.checkpoint import INDEX_ENDING, WEIGHT_FILES, read_index
from ffnscope.store.errors import UserError

PATIENCE = 5.0  # seconds until the hub counts as out of reach


def is_offline(name: str) -> bool:
    """Whether the model ``name``, which is no local folder, must be taken from the cache alone.

    Asks the hub once, so that a machine without network hears so at once and not after every file's retries.
    Raises UserError where the model is neither on the hub nor in the cache.
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UserError(f"{name}: no such folder; give a local model folder, a hub id or a .gguf file") from None
    why = "HF_HUB_OFFLINE is set"
    if not hub.is_offline_mode():
        try:
            hub.HfApi().model_info(name, timeout=PATIENCE)
            return False
        except GatedRepoError:
            why = "the hub gives it out only after `hf auth login` with an account that has access"
        except RepositoryNotFoundError:
            why = "the hub does not have it either, or keeps it private"
        except HfHubHTTPError as error:
            why = f"the hub answers {error.response.status_code}"
        except Exception as error:  # whatever the network layer raises
            why = f"the hub is out of reach ({type(error).__name__})"
    if snapshot(name) is None:
        raise UserError(
            f"{name}: no such folder; nor is it in the hub cache, and {why}; give a local folder, or a model that "
            "`hf download` fetched"
        )
    return True


def snapshot(name: str) -> Path | None:
    """The folder in the local cache that holds a hub model's files, None where it is not there."""
    config = hub.try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def fetch_weights(name: str, offline: bool) -> Path:
    """Download a hub model's weights where the cache lacks them; the folder they are in. Raises UserError."""
    for wanted in WEIGHT_FILES:
        found = _fetch(name, wanted, offline)
        if found is None:
            continue
        for shard in sorted(set(read_index(found).values())) if wanted.endswith(INDEX_ENDING) else ():
            if _fetch(name, shard, offline) is None:
                raise UserError(f"{name}: {shard} of its checkpoint is not {'in the cache' if offline else 'there'}")
        return found.parent
    where = "in the hub cache" if offline else "on the hub"
    raise UserError(f"{name}: no weights {where}; looked for {', '.join(WEIGHT_FILES)}")


def has_any(name: str, files: Sequence[str], offline: bool) -> bool:
    """Whether a hub model has one of ``files``, which is then in the cache. Raises UserError."""
    return any(_fetch(name, file, offline) is not None for file in files)


def _fetch(name: str, file: str, offline: bool) -> Path | None:
    try:
        return Path(hub.hf_hub_download(name, file, local_files_only=offline))
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"{name}: {file} cannot be downloaded ({' '.join(str(error).split())[:160]})") from error
