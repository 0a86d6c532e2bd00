"""Tokenised windows kept between runs, found again by what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ffnscope.core.corpus.documents import corpus_files
from ffnscope.core.corpus.fields import DEFAULT_FIELD
from ffnscope.core.corpus.text import ReadNotes
from ffnscope.core.corpus.windows import CutText, fingerprint_windows
from ffnscope.store.errors import UserError

_VERSION = 6  # of what is cached and of how documents are read and cut


def fingerprint_tokenizer(tokenizer: Any) -> str:
    """sha256, hex, of everything that decides which ids a text becomes."""
    try:
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        # encoding resets these two in the tokenizer itself
        rules.pop("truncation", None)
        rules.pop("padding", None)
        text = json.dumps([rules, bool(getattr(tokenizer, "split_special_tokens", False))], sort_keys=True)
    except Exception:  # a slow tokenizer has no backend; one with Python parts refuses to be written down
        text = json.dumps([tokenizer.get_vocab(), getattr(tokenizer, "init_kwargs", {})], sort_keys=True, default=str)
    return hashlib.sha256(f"{type(tokenizer).__name__}:{text}".encode("utf-8", "surrogatepass")).hexdigest()


def cache_key(
    path: Path, tokenizer: Any, seq_len: int, max_tokens: int | None, bos_id: int | None, field: str = DEFAULT_FIELD
) -> str:
    """sha256, hex, of the settings and of the name, path, size and modification time of every file under `path`."""
    files = []
    for file in corpus_files(path).files:
        status = file.stat()
        # By its own name, which may be a link's, a file is read as text or as a table.
        files.append([file.name, str(file.resolve()), status.st_size, status.st_mtime_ns])
    made_by = [version(library) for library in ("tokenizers", "transformers")]
    made_from = [_VERSION, made_by, files, fingerprint_tokenizer(tokenizer), seq_len, max_tokens, bos_id]
    made_from += [field, str(getattr(tokenizer, "chat_template", None))]
    return hashlib.sha256(json.dumps(made_from).encode("utf-8", "surrogatepass")).hexdigest()


def load_cut_text(folder: Path, key: str) -> CutText | None:
    """What `save_cut_text` wrote under this key; None where there is nothing, or it is damaged."""
    ids, facts = _entry(folder, key)
    try:
        entry = json.loads(facts.read_bytes())
        windows = np.load(ids, allow_pickle=False)
        if windows.dtype != np.int32 or windows.ndim != 2 or fingerprint_windows(windows) != entry["fingerprint"]:
            return None
        labels = {str(label): np.array(places, np.int64) for label, places in entry["labels"].items()}
        if any(len(places) and not 0 <= places.min() <= places.max() < windows.size for places in labels.values()):
            return None
        notes = ReadNotes(**entry["notes"])
        return CutText(windows, int(entry["dropped_tokens"]), int(entry["documents"]), notes, labels)
    except (OSError, ValueError, EOFError, SyntaxError, KeyError, TypeError, AttributeError):
        return None


def save_cut_text(folder: Path, key: str, cut: CutText) -> None:
    """Both files appear under their names only when complete, the `.json` last. Raises UserError where writing fails."""
    ids, facts = _entry(folder, key)
    entry = {
        "fingerprint": fingerprint_windows(cut.windows),
        "dropped_tokens": cut.dropped_tokens,
        "documents": cut.documents,
        "notes": asdict(cut.notes),
        "labels": {label: places.tolist() for label, places in cut.labels.items()},
    }
    temporary = folder / f"{ids.stem}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as handle:
                np.save(handle, cut.windows, allow_pickle=False)
            temporary.replace(ids)
            temporary.write_text(json.dumps(entry), encoding="utf-8")
            temporary.replace(facts)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: tokenised windows cannot be written there ({error.strerror or error}); name another folder with "
            "--scratch, or for the store"
        ) from error


def _entry(folder: Path, key: str) -> tuple[Path, Path]:
    return folder / f"windows-{key[:24]}.npy", folder / f"windows-{key[:24]}.json"
