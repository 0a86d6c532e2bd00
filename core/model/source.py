"""Where a model comes from: a folder, a hub id or a `.gguf` file; its configuration, files and fingerprint."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers.dynamic_module_utils import get_relative_import_files

from ffnscope.core.model.checkpoint import weight_files
from ffnscope.core.model.files.contents import check_files, check_weights, missing_config, names_in
from ffnscope.core.model.hub import cached_id, fetch, fetch_weights, hub_files, is_offline, snapshot
from ffnscope.core.model.variants.adapter import CONFIG, WEIGHTS, Adapter, read_adapter
from ffnscope.store.errors import UserError

PART_BYTES = 1 << 20  # read at a time


@dataclass(frozen=True)
class ModelSource:
    """A model on disk or on the hub, before its weights are read.

    ``name`` is what the user gave; ``gguf_file`` the file's name where that is a ``.gguf`` file; ``offline`` says
    that a hub model is to be taken from the cache alone; ``revision`` is the branch, tag or commit of a hub model.
    With an ``adapter``, all of these are its base model's; title and path are the adapter's.
    """

    name: str
    config: Any
    text_config: Any
    trust_remote_code: bool
    gguf_file: str | None = None
    offline: bool = False
    revision: str | None = None
    adapter: Adapter | None = None

    @property
    def location(self) -> str:
        """The folder or hub id that Hugging Face's loaders take."""
        return self.name if self.gguf_file is None else str(Path(self.name).parent)

    @property
    def experts_implementation(self) -> str | None:
        """How the configuration asks for the experts to be computed; None where it does not say, or has none."""
        return getattr(self.text_config, "_experts_implementation", None)

    @property
    def options(self) -> dict[str, Any]:
        """What Hugging Face's loaders need beside the location."""
        return _options(self.trust_remote_code, self.gguf_file, self.offline, self.revision)

    @property
    def title(self) -> str:
        """The name to show: a folder's or file's own, without the folders above it, or the hub id; with its revision where
        one was asked for. A folder of the hub's cache is called by its hub id."""
        given = self.name if self.adapter is None else self.adapter.name
        if not Path(given).exists():
            return self.path
        folder = Path(given).resolve()
        cached = cached_id(folder)
        return folder.name if cached is None else cached[0]

    @property
    def path(self) -> str:
        """Where it is: an absolute path, or the hub id, as in ``owner/name@revision``."""
        given = self.name if self.adapter is None else self.adapter.name
        if Path(given).exists():
            return str(Path(given).resolve())
        if self.adapter is not None:
            return given
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    @property
    def commit(self) -> str | None:
        """The commit of a model from the hub; None where it is not in the hub's cache."""
        folder = _files_folder(self)
        cached = None if folder is None else cached_id(folder.resolve())
        return None if cached is None else cached[1]

    @property
    def positions(self) -> int | None:
        """The model's own limit of positions, None where it has none."""
        # MPT has a name of its own.
        values = (getattr(self.text_config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
        return next((int(value) for value in values if isinstance(value, int) and value > 0), None)

    @property
    def vocabulary(self) -> int:
        """V, rows of the embedding."""
        return int(self.text_config.vocab_size)


def open_model(name: str, trust_remote_code: bool = False, revision: str | None = None) -> ModelSource:
    """Read the configuration of a local folder, a ``.gguf`` file or a hub model, which may be ``owner/name@revision``.

    An adapter's source is that of its base model, with the adapter. Raises UserError for what is not there, for a broken
    or unknown configuration, for folders without weights, and for adapters that cannot be merged.
    """
    if not name:
        raise UserError("MODEL is empty: give a local model folder, a hub id or a .gguf file")
    if name.startswith("~"):
        try:
            name = str(Path(name).expanduser())
        except RuntimeError as error:
            raise UserError(f"{name}: no such folder ({error}); give its full path") from error
    name, revision = _revision(name, revision)
    path = Path(name)
    gguf_file = path.name if path.suffix.lower() == ".gguf" else None
    offline, files = _look(name, path, gguf_file, revision)
    _quiet()
    if CONFIG in files:
        return _open_adapter(name, _adapter_folder(name, path, offline, revision), files, trust_remote_code)
    location = name if gguf_file is None else str(path.parent)
    try:
        config = AutoConfig.from_pretrained(location, **_options(trust_remote_code, gguf_file, offline, revision))
    except Exception as error:
        raise UserError(f"{name}: {load_failure(error, gguf_file is not None)}") from error
    text = config.get_text_config()
    for field in ("vocab_size", "hidden_size", "num_hidden_layers"):
        value = getattr(text, field, None)
        if not isinstance(value, int) or value <= 0:
            raise UserError(f"{name}: its config.json has no usable {field} (it says {value!r})")
    if files:
        check_weights(name, files)
    if path.is_dir():
        check_files(path)
    return ModelSource(name, config, text, trust_remote_code, gguf_file, offline, revision)


def _revision(name: str, revision: str | None) -> tuple[str, str | None]:
    """(the name alone, the revision) of ``name``, which may end in ``@revision``. Raises UserError for a folder's or a
    file's revision, and for two that differ."""
    local = _exists(name)
    if "@" in name and not local:
        bare, _, given = name.rpartition("@")
        if not bare or not given or revision not in (None, given):
            raise UserError(f"{name}: give one revision, as owner/name@revision or by --revision")
        name, revision, local = bare, given, _exists(bare)
    if revision is not None and local:
        raise UserError(f"{name}: is on this disk; only models of the hub have the revision {revision!r}")
    return name, revision


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _look(name: str, path: Path, gguf_file: str | None, revision: str | None) -> tuple[bool, list[str]]:
    """(whether ``name`` is a hub model to be taken from the cache alone, the names of its files as far as known). Raises
    UserError where there is nothing that can be read."""
    try:
        if path.is_file():
            if gguf_file is None:
                raise UserError(f"{name}: is a file; give the folder that holds config.json and the weights")
            if importlib.util.find_spec("gguf") is None:
                raise UserError(f"{name}: reading .gguf files needs a package: pip install 'ffnscope[gguf]'")
            return False, []
        if path.is_dir():
            files = names_in(path)
            if CONFIG not in files and not (path / "config.json").is_file():
                raise missing_config(name, files)
            return False, files
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror})") from error
    if gguf_file is not None:
        raise UserError(f"{name}: no such file")
    offline = is_offline(name, revision)
    return offline, hub_files(name, offline, revision)


def _adapter_folder(name: str, path: Path, offline: bool, revision: str | None) -> Path:
    """The folder of an adapter's files; those of the hub are downloaded."""
    if path.is_dir():
        return path
    files = [fetch(name, file, offline, revision) for file in (CONFIG, *WEIGHTS)]
    return next((file.parent for file in files if file is not None), path)


def _open_adapter(name: str, folder: Path, files: list[str], trust_remote_code: bool) -> ModelSource:
    """The source of an adapter's base model, with the adapter."""
    adapter = read_adapter(name, folder, files)
    base = Path(adapter.base)
    if _exists(adapter.base) and (base / CONFIG).is_file():
        raise UserError(f"{name}: an adapter of an adapter ({base}); merge that one first with peft's merge_and_unload")
    try:
        source = open_model(adapter.base, trust_remote_code, adapter.revision)
    except UserError as error:
        raise UserError(f"{name}: an adapter whose base model cannot be opened: {error}") from error
    if source.adapter is not None:
        raise UserError(f"{name}: an adapter of an adapter ({base}); merge that one first with peft's merge_and_unload")
    return replace(source, adapter=adapter)


def _options(
    trust_remote_code: bool, gguf_file: str | None, offline: bool, revision: str | None = None
) -> dict[str, Any]:
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": offline}
    if revision is not None:
        options["revision"] = revision
    return options if gguf_file is None else options | {"gguf_file": gguf_file}


def weights_folder(source: ModelSource) -> Path:
    """The folder with the weights; those of a hub model are downloaded first. Raises UserError where there are none."""
    folder = Path(source.location)
    return folder if folder.is_dir() else fetch_weights(source.name, source.offline, source.revision)


def fingerprint(source: ModelSource) -> str:
    """sha256 (hex) over configuration and weights, every byte of them: an edit may touch a single row of one matrix.

    And over the code in the model's folder, where ``--trust-remote-code`` lets that run.
    """
    digest = hashlib.sha256()
    config = source.config.to_dict()
    for noise in ("_name_or_path", "transformers_version"):
        config.pop(noise, None)
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    if source.adapter is not None:
        digest.update(source.adapter.identity.encode())
    for file in [*model_files(source), *_own_code(source)]:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            # The end counts twice, as in the stores that there are.
            for offset in [*range(0, size, PART_BYTES), max(size - PART_BYTES, 0)]:
                stream.seek(offset)
                digest.update(stream.read(PART_BYTES))
    return digest.hexdigest()


def model_files(source: ModelSource) -> list[Path]:
    """The files that hold the model's weights."""
    own = [] if source.adapter is None else source.adapter.files
    if source.gguf_file is not None:
        return [Path(source.name), *own]
    folder = _files_folder(source)
    return [*(weight_files(folder) if folder is not None else []), *own]


def _own_code(source: ModelSource) -> list[Path]:
    """Of the model's folder: the modules that its configuration names, and those that they import from there."""
    folder, named = _files_folder(source), getattr(source.config, "auto_map", None)
    if not source.trust_remote_code or not named or folder is None:
        return []
    files: set[str] = set()
    for value in itertools.chain.from_iterable(
        entry if isinstance(entry, list | tuple) else [entry] for entry in named.values()
    ):
        home, _, name = str(value or "").rpartition("--")
        module = folder / f"{name.split('.')[0]}.py"
        if home in ("", source.name) and module.is_file():
            files |= {str(module), *get_relative_import_files(str(module))}
    return sorted(map(Path, files))


def _files_folder(source: ModelSource) -> Path | None:
    return Path(source.location) if Path(source.location).is_dir() else snapshot(source.name, source.revision)


def _quiet() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)


def load_failure(error: Exception, gguf: bool = False) -> str:
    """Why Hugging Face does not load a model, in one line without its name; ``gguf``: from a ``.gguf`` file."""
    line = _first_line(error)
    if gguf and isinstance(error, ValueError | EOFError | IndexError) and _ends_early(line):
        return f"cannot be read, is perhaps cut short ({line}); fetch it again"
    if "for this kind of AutoModel" in str(error):
        return "is not a causal LM, the only kind of model that ffnscope reads"
    if "model type" in str(error) and "not recogni" in str(error).lower():
        return f"its architecture is unknown to this version of transformers ({line})"
    if "trust_remote_code" in str(error):
        return "needs custom code; --trust-remote-code runs it, if you trust it"
    if isinstance(error, json.JSONDecodeError) or "valid JSON" in str(error):
        return f"its config.json is not JSON ({line})"
    return f"cannot be loaded ({line})"


def _ends_early(line: str) -> bool:
    """Whether numpy says in ``line`` that a file has fewer bytes than a tensor needs."""
    return any(sign in line for sign in ("reshape", "out of bounds", "out of range", "mmap length", "buffer"))


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return " ".join(text.split())[:240]
