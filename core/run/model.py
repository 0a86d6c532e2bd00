"""The model that a store was collected from: found, checked by its fingerprint, loaded."""

from __future__ import annotations

from pathlib import Path

import torch

from ffnscope.core.model.device import choose_device
from ffnscope.core.model.hub import snapshot
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.load import load_model
from ffnscope.core.model.source import ModelSource, fingerprint, open_model
from ffnscope.store.errors import UserError
from ffnscope.store.records import RunInfo


def open_run_model(run: RunInfo, name: str | None = None, trust_remote_code: bool = False) -> ModelSource:
    """The model of a run: ``name`` (folder, hub id or .gguf file), or from where it was collected or the hub's cache;
    then nothing is downloaded.

    Raises UserError where it is not on this machine, or is another one by its fingerprint.
    """
    source = _find(run) if name is None else open_model(name, trust_remote_code)
    if fingerprint(source) != run.model.fingerprint:
        if getattr(source.config, "auto_map", None) and not trust_remote_code:
            raise UserError(f"{source.name}: has custom code, which is not run here")
        raise UserError(
            f"{source.name}: is not the model that this store was collected from ({run.model.name}, fingerprint "
            f"{run.model.fingerprint[:16]}); put the original model there"
        )
    return source


def load_run_model(
    run: RunInfo, name: str | None = None, device: str = "cpu", trust_remote_code: bool = False
) -> LayeredModel:
    """The model of a run in float32 on a device (``auto``, ``cpu``, ``cuda:1``), ready to run layer by layer. Raises
    UserError as ``open_run_model``, and where it cannot be loaded or run."""
    torch.set_float32_matmul_precision("highest")
    chosen = choose_device(device)
    source = open_run_model(run, name, trust_remote_code)
    model = load_model(source, chosen, torch.float32)
    if model.layer_neurons != tuple(map(run.model.neurons_of, range(run.model.layers))):
        raise UserError(f"{source.name}: has {model.count} layers of {model.neurons} neurons, unlike the store")
    model.prepare(torch.zeros(1, 2, dtype=torch.int64, device=chosen))
    return model


def _find(run: RunInfo) -> ModelSource:
    path = str(run.settings.get("model_path", ""))
    if not path:
        raise UserError(f"this store does not record where its model {run.model.name} was; name the model")
    folder = path
    try:
        exists = Path(path).exists()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not exists:
        name, at, revision = path.rpartition("@")
        cached = None if Path(path).is_absolute() else snapshot(name if at else path, revision if at else None)
        if cached is None:
            raise UserError(f"{path}: the model of this store is not on this machine; it is needed there")
        folder = str(cached)
    return open_model(folder)
