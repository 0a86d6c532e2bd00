"""How fast is collecting, against the bare forward pass? Ratios within one run, on an OPT-125m shape.

    python tests/bench/speed.py [--seq-len 512] [--tokens 32768] [--layers 12]
    python tests/bench/speed.py --tokens 1048576 --passes collect     (its peak memory)
    python tests/bench/speed.py --experts 16 --layers 4               (a mixture of experts, 2 of 16 per token)
    python tests/bench/speed.py --experts 64 --chosen 8 --width 2048 --expert-width 1024 --layers 1     (OLMoE's layer)

`collect` (everything on: three n, projections, contexts, store) is timed from its first batch to its finished store.
Each pass runs in a process of its own, and they take turns of some seconds, the others stopped: a machine that becomes
slower becomes so for all of them. On a busy one trust the ratio of CPU seconds. What looks at weights (vocabulary
projection, cosines of output rows) costs the same for any number of tokens: the last lines say what the ratio becomes
for 1M tokens when everything else grows with the tokens.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, OPTConfig, OPTForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

TURN = 15.0  # seconds that a pass runs while the others are stopped


def clock(stopped: Path) -> float:
    """Seconds, those not counted that the file ``stopped`` says this process was stopped."""
    return time.perf_counter() - float(stopped.read_text())


def take_turns(commands: dict[str, list[str]], folder: Path) -> dict[str, dict]:
    """Run processes in turns and return what each printed last, as JSON; the file stopped-NAME in ``folder`` tells each
    how long it was stopped."""
    running, since, stopped = {}, {}, dict.fromkeys(commands, 0.0)
    for name, command in commands.items():
        (folder / f"stopped-{name}").write_text("0")
        running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running[name].send_signal(signal.SIGSTOP)
        since[name] = time.perf_counter()
    out: dict[str, dict] = {}
    try:
        while running:
            for name, process in list(running.items()):
                stopped[name] += time.perf_counter() - since[name]
                (folder / "part").write_text(str(stopped[name]))
                (folder / "part").replace(folder / f"stopped-{name}")
                process.send_signal(signal.SIGCONT)
                try:
                    process.wait(TURN if len(running) > 1 else None)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGSTOP)
                    since[name] = time.perf_counter()
                    continue
                said = running.pop(name).communicate()[0]
                if process.returncode:
                    sys.exit(f"{name} failed")
                out[name] = json.loads(said.splitlines()[-1])
    finally:
        for process in running.values():
            process.kill()
    return {name: out[name] for name in commands}


def make_model(folder: Path, layers: int, positions: int) -> None:
    """An OPT-125m shape with random weights; the bias of fc1 leaves about 5% of the neurons activated."""
    config = OPTConfig(num_hidden_layers=layers, max_position_embeddings=positions)
    torch.manual_seed(0)
    model = OPTForCausalLM(config).eval()
    tokens = torch.randint(3, config.vocab_size, (2, 256))
    with torch.no_grad():
        for layer in model.model.decoder.layers:
            layer.fc1.weight.normal_(std=0.04)
            seen: list[torch.Tensor] = []
            handle = layer.fc1.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out.flatten(0, -2)))
            model.model(tokens)
            handle.remove()
            layer.fc1.bias.copy_(-seen[0].quantile(0.95, dim=0))
    model.save_pretrained(folder)


def make_mixture(folder: Path, positions: int, arguments: argparse.Namespace) -> None:
    """A mixture of experts with random weights; gates are open for half of the positions, as in most gated models."""
    config = Qwen3MoeConfig(
        vocab_size=8192,
        hidden_size=arguments.width,
        intermediate_size=arguments.expert_width,
        moe_intermediate_size=arguments.expert_width,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.width // 64,
        num_key_value_heads=4,
        head_dim=64,
        num_experts=arguments.experts,
        num_experts_per_tok=arguments.chosen,
        max_position_embeddings=positions,
    )
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(config).eval().save_pretrained(folder)


def make_windows(path: Path, windows: int, seq_len: int, vocabulary: int) -> np.ndarray:
    """Windows of Zipf-distributed tokens behind a BOS."""
    rng = np.random.default_rng(0)
    tokens = 3 + (rng.zipf(1.2, (windows, seq_len)) - 1) % (vocabulary - 3)
    tokens[:, 0] = 2
    np.save(path, tokens.astype(np.int32))
    return tokens


def bare_seconds(folder: Path, tokens: np.ndarray, batch: int, logits: bool, stopped: Path) -> tuple[float, float]:
    """Seconds, and CPU seconds, that Hugging Face's forward pass takes over all windows, with or without the unembedding."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    run = model if logits else model.model
    with torch.inference_mode():
        run(torch.from_numpy(tokens[:batch]), use_cache=False)
        begun = clock(stopped), time.process_time()
        for first in range(0, len(tokens), batch):
            run(torch.from_numpy(tokens[first : first + batch]), use_cache=False)
        return clock(stopped) - begun[0], time.process_time() - begun[1]


def collect_seconds(
    folder: Path, data: Path, batch: int, store: Path, stopped: Path, keep: str | None
) -> tuple[float, float, dict[str, list[float]]]:
    """Seconds and CPU seconds from the first batch to the finished store, and where they went."""
    from ffnscope.core.collect import CollectRequest, collect
    from ffnscope.core.corpus.sources import DomainSource
    from ffnscope.store.records import Progress

    marks: list[tuple[float, float, str]] = []

    def report(event: Progress | str) -> None:
        if isinstance(event, Progress) and not event.phase.startswith("reading"):
            marks.append((clock(stopped), time.process_time(), event.phase.split(" layer")[0] or "finishing"))

    sources = (DomainSource("zipf", data),)
    collect(CollectRequest(str(folder), sources, store, batch_size=batch, bos_id=2, dtype="float32", keep=keep), report)
    parts: dict[str, list[float]] = {}
    for (before, cpu_before, phase), (after, cpu_after, _) in itertools.pairwise(marks):
        part = parts.setdefault(phase, [0.0, 0.0])
        part[0] += after - before
        part[1] += cpu_after - cpu_before
    return marks[-1][0] - marks[0][0], marks[-1][1] - marks[0][1], parts


def child(arguments: argparse.Namespace) -> None:
    """One measured pass in a process of its own."""
    folder, data = Path(arguments.folder) / "model", Path(arguments.folder) / "windows.npy"
    tokens = np.load(data).astype(np.int64)
    parts: dict[str, list[float]] = {}
    stopped = Path(arguments.folder) / f"stopped-{arguments.child}"
    if arguments.child == "collect":
        seconds, cpu, parts = collect_seconds(
            folder, data, arguments.batch, Path(arguments.folder) / "store", stopped, arguments.keep
        )
    else:
        seconds, cpu = bare_seconds(folder, tokens, arguments.batch, arguments.child == "logits", stopped)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_gib": peak, "parts": parts}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--experts", type=int, default=0, help="a mixture of so many experts instead of OPT")
    parser.add_argument("--chosen", type=int, default=2, help="of them, to which a token is routed")
    parser.add_argument("--width", type=int, default=768, help="of a mixture's residual stream")
    parser.add_argument("--expert-width", type=int, default=1536, help="neurons of an expert")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--keep", help="as of collect: windows whose bits are kept, and described by")
    parser.add_argument("--passes", default="bare,collect,logits", help="which of them to time")
    parser.add_argument("--child", choices=("bare", "logits", "collect"))
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    arguments.batch = arguments.batch or max(1, 4096 // arguments.seq_len)
    if arguments.child:
        child(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        positions = max(2048, arguments.seq_len)
        if arguments.experts:
            make_mixture(Path(folder) / "model", positions, arguments)
        else:
            make_model(Path(folder) / "model", arguments.layers, positions)
        windows = arguments.tokens // arguments.seq_len
        make_windows(Path(folder) / "windows.npy", windows, arguments.seq_len, 8192 if arguments.experts else 50272)
        command = [sys.executable, __file__, "--folder", folder, "--batch", str(arguments.batch)]
        command += [*(["--keep", arguments.keep] if arguments.keep else []), "--child"]
        measured = take_turns({kind: [*command, kind] for kind in arguments.passes.split(",")}, Path(folder))
        weights = (Path(folder) / "model" / "model.safetensors").stat().st_size / 2**30
        show(measured, windows * arguments.seq_len, weights)


def show(measured: dict[str, dict], total: int, weights: float) -> None:
    """Print seconds, peak memory and the ratios that are wanted, ``weights`` in GiB."""
    print(f"{total:,} tokens; weights {weights:.2f} GiB")
    for kind, result in measured.items():
        speed = total / result["seconds"]
        print(f"{kind:8} {result['seconds']:8.2f} s  {speed:8.0f} tokens/s  CPU {result['cpu']:8.2f} s", end="")
        print(f"  peak {result['peak_gib']:.2f} GiB, {result['peak_gib'] - weights:.2f} beside the weights")
    if "collect" not in measured:
        return
    parts = measured["collect"]["parts"]
    for name, (seconds, cpu) in parts.items():
        print(f"  of collect, {name:25} {seconds:8.2f} s  CPU {cpu:8.2f} s")
    fixed = sum(parts[name][1] for name in ("projecting", "comparing output rows of"))
    long_run = (measured["collect"]["cpu"] - fixed) * 1e6 / total + fixed
    for name, other, wanted in (("bare forward", "bare", 0.9), ("forward with logits", "logits", 1.2)):
        if other not in measured:
            continue
        wall = measured[other]["seconds"] / measured["collect"]["seconds"]
        cpu = measured[other]["cpu"] / measured["collect"]["cpu"]
        million = measured[other]["cpu"] * 1e6 / total / long_run
        print(f"speed of collect / {name:20} wall {wall:.3f}  CPU {cpu:.3f}  CPU at 1M tokens {million:.3f}", end="")
        print(f"  (wanted >= {wanted})")


if __name__ == "__main__":
    main()
