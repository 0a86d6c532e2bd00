"""Checks `collect` on this machine's GPU, one line per check: `python tests/bench/check_gpu.py [CHECK ...]`.

On a pretended GPU the same is tested without one (tests/core/activations/test_emulated_gpu.py), but for time and the
rounding of kernels. Takes some minutes on a GPU; with `--device cpu --small` it shows that the checks work. Exits 1 where
one fails.
"""

from __future__ import annotations

import argparse
import copy
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.extend(map(str, (Path(__file__).resolve().parents[1] / "support").iterdir()))

import exact
import numpy as np
import reference_forward
import tiny_models as tm
import torch
from same_store import differing
from transformers import OPTConfig, OPTForCausalLM

from ffnscope.core.collect import collect
from ffnscope.core.model.device import choose_device, device_name
from ffnscope.core.run.request import CollectRequest, choose_batch_size
from ffnscope.store.reader import Store

FAMILIES = ("opt", "opt350", "gpt2", "llama", "gemma2", "falcon", "bloom", "gptj", "mistral")
WAYS: dict[str, dict[str, Any]] = {
    "again": {},
    "one group": {"group_layers": 99},
    "hidden states on the disk": {"hidden": "disk", "group_layers": 2},
    "hidden states in memory": {"hidden": "memory"},
    "offloaded": {"offload": True},
    "offloaded in twos": {"offload": True, "group_layers": 2, "hidden": "disk"},
    "counted by the host": {"count_on": "host"},
    "counted by the device": {"count_on": "device"},
}


class Checks:
    """The checks, by name; each returns what it found, or raises AssertionError."""

    def __init__(self, folder: Path, device: str, small: bool):
        self.folder, self.name, self.small = folder, device, small
        self.device = torch.device(device)

    def collect(self, model: Path, sources: Any, name: str, **options: Any) -> Path:
        """A run on the device."""
        given = {"device": self.name, "bos_id": 0, "batch_size": 8, "min_occurrences": 2} | options
        collect(CollectRequest(str(model), sources, self.folder / name, **given))
        return self.folder / name

    def opt(self, name: str, layers: int, width: int, vocabulary: int, positions: int) -> Path:
        """An OPT of random weights whose neurons are activated at some 5% of the positions."""
        torch.manual_seed(0)
        config = OPTConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            ffn_dim=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 64),
            word_embed_proj_dim=width,
            max_position_embeddings=positions,
        )
        with self.device:
            model = OPTForCausalLM(config)
        with torch.no_grad():
            for layer in model.model.decoder.layers:
                layer.fc1.bias.fill_(-0.9)
        model.to(torch.float16 if self.device.type == "cuda" else torch.float32).to("cpu").save_pretrained(
            self.folder / name
        )
        return self.folder / name

    def windows(self, name: str, count: int, length: int, vocabulary: int) -> Any:
        """A domain of random windows."""
        tokens = tm.random_windows(np.random.default_rng(1), count, length, vocabulary, 0)
        return exact.sources_of(self.folder / name, {"a": tokens, "b": tokens[: count // 4, ::-1].copy()}, ["b"])

    def reference(self) -> str:
        """Every number in float32 is that of plain numpy over Hugging Face's forward pass on the device."""
        forward_all, moved = reference_forward.forward_all, {}

        def on_device(model: Any, tokens: np.ndarray) -> Any:
            if moved.get("of") is not model:
                moved.update(of=model, there=copy.deepcopy(model).to(self.device))
            return forward_all(moved["there"], tokens)

        reference_forward.forward_all = on_device
        neurons = 0
        rng = np.random.default_rng(5)
        tokens = [tm.random_windows(rng, count, 16, tm.VOCAB, tm.BOS_ID) for count in (9, 6, 4)]
        sources = exact.sources_of(self.folder / "reference", dict(zip("abc", tokens, strict=True)), ["c"])
        try:
            for number, family in enumerate(FAMILIES[:2] if self.small else FAMILIES):
                model = tm.tiny(family, self.folder)
                options = {"bos_id": tm.BOS_ID, "batch_size": 4, "dtype": "float32", "offload": bool(number % 2)}
                store = self.collect(model, sources, f"reference-{family}.ffn", **options)
                neurons += exact.compare(store, model, np.concatenate(tokens)).kinds.total()
        finally:
            reference_forward.forward_all = forward_all
        return f"{neurons} neurons are as in tests/support/references/reference.py"

    def ways(self) -> str:
        """Whatever the way, the store is the same."""
        model = self.opt("ways", 5, 128, 1000, 128)
        sources = self.windows("ways-data", 16 if self.small else 60, 128, 1000)
        plain = self.collect(model, sources, "ways-plain.ffn")
        for number, (name, options) in enumerate(WAYS.items()):
            wrong = differing(plain, self.collect(model, sources, f"ways-{number}.ffn", **options))
            assert not wrong, f"{name}: {len(wrong)} entries differ, first {wrong[0]}"
        return f"the same store in {len(WAYS)} ways: {', '.join(WAYS)}"

    def processes(self) -> str:
        """Killed and resumed, and under torchrun, the store is that of one process."""
        model, sources = self.opt("processes", 4, 64, 4000, 256), self.windows("processes-data", 60, 256, 4000)
        plain = self.collect(model, sources, "processes-plain.ffn")
        command = ["collect", str(model), "--bos-id", "0", "--batch-size", "8", "--min-occurrences", "2", "--device",
                   self.name, "--data", f"a={sources[0].path}", "--count-only", f"b={sources[1].path}"]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}

        def run(*arguments: str, store: str) -> None:
            whole = [sys.executable, *arguments, "-m", "ffnscope.tui", *command, "--store", str(self.folder / store)]
            ran = subprocess.run([*whole, "--resume"], capture_output=True, text=True, env=environment)
            assert ran.returncode == 0, ran.stderr[-300:]
            wrong = differing(plain, self.folder / store)
            assert not wrong, f"{store}: {len(wrong)} entries differ, first {wrong[0]}"

        killed = subprocess.Popen(
            [sys.executable, "-m", "ffnscope.tui", *command, "--store", str(self.folder / "killed.ffn")], env=environment,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while killed.poll() is None and not list((self.folder / "killed.ffn").glob("scratch/run-*/bits-00002")):
            time.sleep(0.002)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        run(store="killed.ffn")
        for number in (1, 2):
            launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number))
            run(*launcher, store=f"torchrun-{number}.ffn")
        if self.device.type == "cuda":
            environment["TORCH_CUDA_SANITIZER"] = "1"
            run(store="sanitized.ffn")
        return "the same store after a kill, under torchrun with 1 and 2 processes" + (
            ", and under TORCH_CUDA_SANITIZER=1" if self.device.type == "cuda" else ""
        )

    def speed(self) -> str:
        """Tokens per second, against the bare forward pass; nothing is asserted."""
        width, layers, vocabulary, length, count = (64, 3, 500, 128, 24) if self.small else (768, 12, 50272, 2048, 512)
        path, sources = (
            self.opt("speed", layers, width, vocabulary, length),
            self.windows("s", count, length, vocabulary),
        )
        batch = choose_batch_size(None, length, self.device)
        model = exact.load(path, "float16" if self.device.type == "cuda" else "float32").to(self.device)
        tokens = torch.from_numpy(np.load(sources[0].path))

        def bare(model: Any, windows: torch.Tensor) -> float:
            started = time.perf_counter()
            with torch.inference_mode():
                for first in range(0, len(windows), batch):
                    hidden = model.model(windows[first : first + batch].to(self.device), use_cache=False)[0]
            hidden.sum().item()  # waits
            return windows.numel() / (time.perf_counter() - started)

        bare(model, tokens[:batch])
        plain = bare(model, tokens)
        del model
        self.collect(path, sources, "warm.ffn", batch_size=None, max_tokens=2 * length)
        marks: list[float] = []
        request = CollectRequest(str(path), sources, self.folder / "speed.ffn", device=self.name, bos_id=0)
        collect(request, lambda event: marks.append(time.perf_counter()))
        with Store.open(self.folder / "speed.ffn") as store:
            counting = sum(float(store.layer_info(layer)["seconds_counting"]) for layer in store.layers())
        whole = marks[-1] - marks[0]
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
        return (
            f"bare {plain:,.0f} tokens/s, collect {1.25 * tokens.numel() / whole:,.0f} in {whole:.1f} s, of it layers counted "
            f"and projected {counting:.1f} s (beside the model on a GPU); GPU peak {peak:.1f} GiB"
        )


def main() -> int:
    """Run the checks that are named, or all."""
    names = ("reference", "ways", "processes", "speed")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small shapes")
    given = parser.parse_args()
    device = choose_device(given.device)
    print(f"{device}: {device_name(device) or 'no GPU'}; torch {torch.__version__}")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(Path(folder), str(device), given.small)
        for name in given.checks or names:
            started, check = time.monotonic(), getattr(checks, name)
            verdict, found = verdict_of(check)
            failed += verdict != "PASS"
            print(f"{verdict} {name} ({time.monotonic() - started:.0f} s): {found}", flush=True)
    return 1 if failed else 0


def verdict_of(check: Callable[[], str]) -> tuple[str, str]:
    """PASS or FAIL, and what was found."""
    try:
        return "PASS", check()
    except Exception as error:
        traceback.print_exc()
        return "FAIL", " ".join(str(error).split())[:300]


if __name__ == "__main__":
    raise SystemExit(main())
