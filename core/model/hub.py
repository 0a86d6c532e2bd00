"""Models of the Hugging Face hub: whether one exists there or in the local cache, and downloading its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub as hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from ffnscope.core.model.checkpoint import INDEX_ENDING, WEIGHT_FILES, read_index
from ffnscope.store.errors import UserError

PATIENCE = 5.0  # seconds until the hub counts as out of reach


def is_offline(name: str, revision: str | None = None) -> bool:
    """Whether the model ``name``, which is not a local folder, must be taken from the cache alone.

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
            hub.HfApi().model_info(name, timeout=PATIENCE, **_at(revision))
            return False
        except GatedRepoError:
            why = "the hub gives it out only after `hf auth login` with an account that has access"
        except RevisionNotFoundError:
            why = f"the hub has no revision {revision!r} of it"
        except RepositoryNotFoundError:
            why = "the hub does not have it either, or keeps it private"
        except HfHubHTTPError as error:
            why = f"the hub answers {error.response.status_code}"
        except Exception as error:  # whatever the network layer raises
            why = f"the hub is out of reach ({type(error).__name__})"
    if snapshot(name, revision) is None:
        full_name = name if revision is None else f"{name}@{revision}"
        raise UserError(
            f"{full_name}: no such folder; nor is it in the hub cache, and {why}; give a local folder, or a model that "
            "`hf download` fetched"
        )
    return True


def snapshot(name: str, revision: str | None = None) -> Path | None:
    """The folder in the local cache that holds a hub model's files, None where it is not there."""
    config = hub.try_to_load_from_cache(name, "config.json", **_at(revision))
    return Path(config).parent if isinstance(config, str) else None


def cached_id(folder: Path) -> tuple[str, str] | None:
    """(hub id, commit) of a folder of the hub's cache, ``models--OWNER--NAME/snapshots/COMMIT``; None for any other."""
    repo, snapshots = folder.parent.parent.name, folder.parent.name
    if snapshots != "snapshots" or not repo.startswith("models--"):
        return None
    return repo.removeprefix("models--").replace("--", "/"), folder.name


def hub_files(name: str, offline: bool, revision: str | None = None) -> list[str]:
    """The names of a hub model's files, of those in the cache where ``offline``; none where the hub does not tell."""
    if offline:
        folder = snapshot(name, revision)
        return [] if folder is None else sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))
    try:
        return hub.HfApi().list_repo_files(name, **_at(revision))
    except Exception:  # whatever the network layer raises; fetching says what is wrong
        return []


def fetch_weights(name: str, offline: bool, revision: str | None = None) -> Path:
    """Download a hub model's weights where the cache lacks them; the folder they are in. Raises UserError."""
    for wanted in WEIGHT_FILES:
        path = fetch(name, wanted, offline, revision)
        if path is None:
            continue
        for shard in sorted(set(read_index(path).values())) if wanted.endswith(INDEX_ENDING) else ():
            if fetch(name, shard, offline, revision) is None:
                raise UserError(f"{name}: {shard} of its checkpoint is not {'in the cache' if offline else 'there'}")
        return path.parent
    where = "in the hub cache" if offline else "on the hub"
    raise UserError(f"{name}: no weights {where}; looked for {', '.join(WEIGHT_FILES)}")


def has_any(name: str, files: Sequence[str], offline: bool, revision: str | None = None) -> bool:
    """Whether a hub model has one of ``files``, which is then in the cache. Raises UserError."""
    return any(fetch(name, file, offline, revision) is not None for file in files)


def fetch(name: str, file: str, offline: bool, revision: str | None = None) -> Path | None:
    """A file of a hub model, downloaded where the cache lacks it; None where the model has no such file. Raises
    UserError."""
    try:
        return Path(hub.hf_hub_download(name, file, local_files_only=offline, **_at(revision)))
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"{name}: {file} cannot be downloaded ({' '.join(str(error).split())[:160]})") from error


def _at(revision: str | None) -> dict[str, Any]:
    return {} if revision is None else {"revision": revision}
