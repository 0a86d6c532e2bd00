"""The model's tokenizer, and the errors that tokenizers raise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffnscope.store.errors import UserError

if TYPE_CHECKING:
    from ffnscope.core.model.source import ModelSource

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model",
)  # fmt: skip


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

    from ffnscope.core.model.hub import has_any

    folder = Path(source.location)
    if source.gguf_file is not None:
        there = True
    elif folder.is_dir():
        there = any((folder / name).is_file() for name in TOKENIZER_FILES)
    else:
        there = has_any(source.name, TOKENIZER_FILES, source.offline)
    if not there:
        return None
    with tokenizer_failures(f"{source.name}: its tokenizer cannot be read"):
        return AutoTokenizer.from_pretrained(source.location, **source.options)
