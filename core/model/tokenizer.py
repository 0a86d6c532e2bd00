"""The model's tokenizer, and the errors that tokenizers raise."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffnscope.core.git_lfs import refuse_pointer
from ffnscope.store.errors import UserError

if TYPE_CHECKING:
    from ffnscope.core.model.source import ModelSource

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model",
    "sentencepiece.bpe.model",
)  # fmt: skip


_PIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_PROTOBUF = b"\n"  # how a SentencePiece file begins; one of tiktoken begins with base64
_NEEDS = {True: ("sentencepiece", "google.protobuf"), False: ("tiktoken",)}


@contextmanager
def tokenizer_failures(what: str) -> Iterator[None]:
    """Raise UserError, one line that begins with ``what``, for whatever a Hugging Face tokenizer raises: its files can
    say what passes when they are read and fails over a text, in exceptions of no kind, or a panic of its Rust part,
    which is no Exception at all."""
    try:
        yield
    except MemoryError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:240] or type(error).__name__
        raise UserError(
            f"{what} ({reason}); download the tokenizer's files again from where the model comes from"
        ) from error


def chat_renderer(tokenizer: Any) -> Callable[[list[dict[str, Any]]], str] | None:
    """Renders a chat's messages as text by the tokenizer's template; None where it has none.

    A BOS in front is left out: documents are joined with a BOS, and windows begin with one.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    bos = getattr(tokenizer, "bos_token", None) or ""

    def render(messages: list[dict[str, Any]]) -> str:
        return str(tokenizer.apply_chat_template(messages, tokenize=False)).removeprefix(bos)

    return render


def load_tokenizer(source: ModelSource) -> Any | None:
    """The model's tokenizer, None where the folder has none. Raises UserError for a broken one."""
    # Reading a corpus needs tokenizer_failures, not what loading needs.
    from transformers import AutoTokenizer

    from ffnscope.core.model.hub import has_any, snapshot

    if source.adapter is not None and any((source.adapter.folder / name).is_file() for name in TOKENIZER_FILES):
        with tokenizer_failures(f"{source.adapter.name}: its tokenizer cannot be read"):
            return AutoTokenizer.from_pretrained(
                str(source.adapter.folder), trust_remote_code=source.trust_remote_code, local_files_only=True
            )
    folder = Path(source.location)
    if source.gguf_file is not None:
        present = True
    elif folder.is_dir():
        present = any((folder / name).is_file() for name in TOKENIZER_FILES)
    else:
        present = has_any(source.name, TOKENIZER_FILES, source.offline, source.revision)
        folder = snapshot(source.name, source.revision) or folder
    if not present:
        return None
    _check_needs(source, folder)
    with tokenizer_failures(f"{source.name}: its tokenizer cannot be read"):
        return AutoTokenizer.from_pretrained(source.location, **source.options)


def no_tokenizer(source: ModelSource) -> str:
    """Why a model without a tokenizer cannot read text, and what to do."""
    if (Path(source.location) / "tekken.json").is_file():
        return (f"{source.name}: its tekken.json is a tokenizer for the package mistral-common; put the tokenizer.json of "
                "the same model beside it, or give .npy windows of token ids")  # fmt: skip
    return f"{source.name}: MODEL has no tokenizer; give .npy windows of token ids"


def _check_needs(source: ModelSource, folder: Path) -> None:
    """Raise UserError where the tokenizer's own code may not run, or packages for its file are missing."""
    if source.gguf_file is not None or not folder.is_dir() or (folder / "tokenizer.json").is_file():
        return
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        settings = {}
    own = settings.get("auto_map", {}) if isinstance(settings, dict) else {}
    if "AutoTokenizer" in own and not source.trust_remote_code:
        raise UserError(f"{source.name}: its tokenizer is Python code of its own; --trust-remote-code runs it, if you "
                        "trust it")  # fmt: skip
    for name in _PIECE_FILES:
        file = folder / name
        if file.is_file():
            refuse_pointer(file)
            with file.open("rb") as handle:
                pieces = handle.read(1) == _PROTOBUF
            missing = [package for package in _NEEDS[pieces] if not _installed(package)]
            if missing:
                kind = "a SentencePiece" if pieces else "a tiktoken"
                raise UserError(f"{source.name}: its {name} is {kind} file, and reading it needs packages: "
                                "pip install 'ffnscope[sentencepiece]'")  # fmt: skip


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that it is part of
        return False
