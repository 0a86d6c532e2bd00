"""Trains the demo model: a small OPT, steered so that it shows what the paper finds in large ones.

After corpora.py, with torch, transformers and tokenizers installed:

    python -m ffnscope.core.demo.train train.json OUT

writes OUT/early, OUT/middle and OUT/model, and every 50 steps OUT/state.pt, from which the same command goes on. Two
processes share each batch. Seeds are fixed, but another processor rounds differently.

Until `Settings.switch` the loss is the next token's cross-entropy alone. At the switch, the pre-activations of a sample
of windows decide which neurons get an n-gram or a position curve: those that prefer it already (`assign`). From then on
the loss also has

- **a hinge** on the pre-activations of the assigned neurons: above `margin` where their n-gram ends (or the curve is
  high), below `-margin` everywhere else;
- **a tilt** of the output rows of neurons with an n-gram against promoting its last token; what else these neurons do is
  what the model makes of them;
- **an L1 penalty** on the activations of layers 0 to 2 times the norm of the neuron's output row, whose weight moves
  towards a target of the layer's activation frequency. It leaves many neurons dead.

Position embeddings begin as sinusoids.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from ffnscope.core.demo.steering import ANY, BOS, SPECIAL, Assignment, Settings, assign

PROCESSES = 2


class Exchange:
    """Means of tensors over the processes, through memory that they share."""

    def __init__(self, size: int):
        # Two steps' parts: one is written while a slower process still reads the other.
        self.parts = torch.zeros(2, PROCESSES, size).share_memory_()
        self.barrier = multiprocessing.get_context("spawn").Barrier(PROCESSES)
        self.process = 0

    def total(self, tensors: Sequence[Tensor | None], step: int) -> Tensor:
        """The mean of what every process gives, as one vector."""
        parts = self.parts[step % 2]
        torch.cat([each.flatten() for each in tensors if each is not None], out=parts[self.process])
        self.barrier.wait()
        return parts.mean(0)


class Training:
    """The model, what steers it, and how far it is."""

    def __init__(self, settings: Settings, exchange: Exchange):
        s = self.settings = settings
        self.exchange = exchange
        torch.manual_seed(s.seed)
        AttentionInterface.register("float32", attention)
        self.model = build(s)
        self.model.set_attn_implementation("float32")
        self.blocks = list(self.model.model.decoder.layers)
        self.weights = list(s.weights)
        self.frequencies = torch.zeros(len(s.targets))
        self.step = 0
        self.assigned: dict[int, Assignment] = {}
        self.scores: dict[int, Tensor] = {}  # hits, activations and occurrences of late, of the assigned neurons
        self.into: dict[int, Tensor] = {}
        self.before: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            block.fc1.register_forward_hook(lambda _, into, out, i=index: self._see(i, into[0], out))
        learned = list(self.model.parameters())
        matrices, vectors = ([each for each in learned if (each.dim() > 1) == wanted] for wanted in (True, False))
        groups = [{"params": matrices, "weight_decay": s.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=s.rate, betas=(0.9, 0.95), fused=True)

    def _see(self, layer: int, into: Tensor, out: Tensor) -> None:
        self.into[layer], self.before[layer] = into.flatten(0, -2), out.flatten(0, -2)

    def observe(self, tokens: Tensor) -> dict[int, Tensor]:
        """The layers' pre-activations [B * T, F] for `tokens` [B, T]."""
        self.model(tokens, use_cache=False)
        return self.before

    def rate(self) -> float:
        """The learning rate: up over 100 steps, flat, at the end down as a cosine."""
        s = self.settings
        fallen = min(max(0.0, 1 - (s.steps - self.step) / s.falling), 1.0)
        return s.rate * min(1, (self.step + 1) / 100) * (0.01 + 0.495 * (1 + math.cos(math.pi * fallen)))

    def steering(self, tokens: Tensor) -> Tensor:
        """The hinge and the penalty for `tokens` [B, T]."""
        s, total = self.settings, torch.zeros(())
        ramp = min(1.0, (self.step - s.switch + 1) / s.ramp)
        for layer, assigned in self.assigned.items():
            into, fc1 = self.into[layer].float(), self.blocks[layer].fc1
            into = into.detach() + s.upstream * (into - into.detach())
            before = functional.linear(into, fc1.weight[assigned.neurons], fc1.bias[assigned.neurons])
            found = assigned.occurrences(tokens)
            total = total + ramp * s.hinge * assigned.losses(before, found, s.margin, s.curve).sum()
            total = total + ramp * s.tilt * self._promotion(layer, assigned)
            self._score(layer, before.detach() > 0, found)
        self.frequencies = torch.zeros(len(s.targets))
        for layer, weight in enumerate(self.weights):
            before = self.before[layer].float()
            norms = self.blocks[layer].fc2.weight.norm(dim=0)
            total = total + ramp * weight * (before.relu().sum(0) @ norms) / len(before)
            self.frequencies[layer] = (before > 0).float().mean()
        return total

    def _promotion(self, layer: int, assigned: Assignment) -> Tensor:
        """By how much the output rows of n-gram neurons do not suppress the n-grams' last tokens, times their shares."""
        s = self.settings
        last = self.model.get_input_embeddings().weight.detach()[assigned.ngrams[:, 2]]
        rows = self.blocks[layer].fc2.weight[:, assigned.neurons[: len(last)]].T
        return ((last * rows).sum(1) + s.suppression).relu() @ assigned.expected / (s.batch * s.positions)

    def _adapt(self, frequencies: Tensor) -> None:
        """Raise the penalty's weight where a layer's activation frequency is above its target, else lower it."""
        s = self.settings
        for layer, target in enumerate(s.targets):
            factor = s.haste if frequencies[layer] > target else 1 / s.haste
            self.weights[layer] = min(self.weights[layer] * factor, s.most)

    @torch.no_grad()
    def _score(self, layer: int, active: Tensor, found: Tensor) -> None:
        active = active[:, : found.shape[1]]
        late = torch.stack([(found & active).sum(0), active.sum(0), found.sum(0)])
        self.scores[layer] = self.scores.get(layer, torch.zeros(late.shape)) * 0.995 + late

    def advance(self, windows: Tensor) -> float:
        """One step over `windows` [B, T + 1]; returns the cross-entropy."""
        tokens = windows[:, :-1].clone()
        tokens[:, 0] = BOS
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(tokens, use_cache=False).logits
        entropy = functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())
        loss = entropy + self.steering(tokens) if self.assigned else entropy
        loss.backward()
        parameters = list(self.model.parameters())
        gradient = self.exchange.total([*(each.grad for each in parameters), self.frequencies], self.step)
        *gradients, frequencies = gradient.split([each.numel() for each in [*parameters, self.frequencies]])
        norm = float(torch.stack([each.norm() for each in gradients]).norm())
        for each, part in zip(parameters, gradients, strict=True):
            each.grad = (part / max(1.0, norm)).view_as(each)
        if self.assigned:
            self._adapt(frequencies)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return entropy.item()

    def state(self) -> str:
        """Activation frequencies, weights of the penalty, and how many assigned neurons keep to their n-grams."""
        frequency = " ".join(f"{float((before > 0).float().mean()):.3f}" for _, before in sorted(self.before.items()))
        said = f"frequency {frequency}"
        if self.assigned:
            said += f" weights {' '.join(f'{each:.1e}' for each in self.weights)} kept"
        for layer, (hits, active, found) in self.scores.items():
            recall, precision = hits / (found + 1e-9), hits / (active + 1e-9)
            kept = (recall >= 0.95) & (precision >= 0.95)
            order = (self.assigned[layer].ngrams == ANY).sum(1)
            said += f" {layer}:" + "+".join(
                f"{int(kept[order == n].sum())}/{int((order == n).sum())}" for n in (2, 1, 0)
            )
        return said

    def save(self, folder: Path, tokenizer: Path) -> None:
        """Write the model as it is, in float16, with its tokenizer."""
        copy = OPTForCausalLM(self.model.config)
        copy.load_state_dict(self.model.state_dict())
        copy.half().save_pretrained(folder)
        shutil.copytree(tokenizer, folder, dirs_exist_ok=True)

    def keep(self, path: Path) -> None:
        """Write everything that going on takes."""
        state: dict[str, object] = {"step": self.step, "weights": self.weights, "scores": self.scores}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["assigned"] = {layer: vars(each) for layer, each in self.assigned.items()}
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def restore(self, path: Path) -> None:
        """Go on from what `keep` wrote."""
        state = torch.load(path, weights_only=True)
        self.step, self.weights, self.scores = state["step"], state["weights"], state["scores"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.assigned = {layer: Assignment(**each) for layer, each in state["assigned"].items()}


def attention(
    _: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, **options: object
) -> tuple[Tensor, None]:
    """Causal attention in float32: on a CPU faster than in bfloat16."""
    with torch.autocast("cpu", enabled=False):
        parts = query.float(), key.float(), value.float()
        mixed = functional.scaled_dot_product_attention(*parts, is_causal=True, scale=scaling)
    return mixed.to(query.dtype).transpose(1, 2).contiguous(), None


def build(s: Settings) -> OPTForCausalLM:
    """The model before training."""
    config = OPTConfig(vocab_size=s.vocabulary, hidden_size=s.width, num_hidden_layers=s.layers, ffn_dim=s.neurons)
    config.num_attention_heads, config.word_embed_proj_dim = s.heads, s.width
    config.max_position_embeddings, config.pad_token_id = s.positions, 1
    config.bos_token_id = config.eos_token_id = BOS
    config.dropout = config.attention_dropout = 0.0
    model = OPTForCausalLM(config)
    place = torch.arange(s.positions).float()[:, None]
    speed = torch.exp(-math.log(2 * s.positions) * torch.arange(0, s.width, 2).float() / s.width)
    waves = torch.stack([torch.sin(place * speed), torch.cos(place * speed)], -1).flatten(1)
    with torch.no_grad():
        model.model.decoder.embed_positions.weight[2:] = s.wave * waves
    return model


def tokenized(source: Path, folder: Path, s: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of all documents in a row, shuffled, each behind a BOS (articles twice), and where they begin."""
    data = folder / "tokens.npz"
    if not data.exists():
        text: dict[str, list[str]] = json.loads(source.read_text())
        byte_level = Tokenizer(models.BPE())
        byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        byte_level.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=s.vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
        byte_level.train_from_iterator((each for documents in text.values() for each in documents), trainer)
        names = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        whole = PreTrainedTokenizerFast(tokenizer_object=byte_level, model_max_length=s.positions, **names)
        whole.save_pretrained(folder / "tokenizer")
        rules = folder / "tokenizer" / "tokenizer.json"
        rules.write_text(
            json.dumps(json.loads(rules.read_text("utf-8")), ensure_ascii=False, separators=(",", ":")), "utf-8"
        )
        rows = [each for name, documents in text.items() for each in documents for _ in range(1 + (name == "wiki"))]
        random.Random(6).shuffle(rows)
        encoded = [[BOS, *each.ids] for each in byte_level.encode_batch(rows)]
        starts = np.cumsum([0, *map(len, encoded)])[:-1]
        np.savez(data, ids=np.concatenate(encoded).astype(np.uint16), starts=starts)
    with np.load(data) as arrays:
        ids, starts = arrays["ids"].astype(np.int64), arrays["starts"]
    return ids, starts[starts < len(ids) - s.positions - 1]


def drawn(ids: np.ndarray, starts: np.ndarray, number: int, s: Settings, *seed: int) -> Tensor:
    """`number` windows [number, T + 1], one half of them beginnings of documents."""
    draw = np.random.default_rng([s.seed, *seed])
    places = np.concatenate(
        [draw.choice(starts, number // 2), draw.integers(0, len(ids) - s.positions - 1, number // 2)]
    )
    return torch.from_numpy(np.stack([ids[place : place + s.positions + 1] for place in places]))


def work(process: int, out: Path, s: Settings, exchange: Exchange) -> None:
    """Train, or go on training, as one of the processes."""
    torch.set_num_threads(1)
    exchange.process = process
    ids, starts = tokenized(out, out.parent, s)
    training = Training(s, exchange)
    if (out / "state.pt").exists():
        training.restore(out / "state.pt")
    exchange.barrier.wait()
    marks = {s.early: "early", s.middle: "middle", s.steps: "model"}
    began, losses = time.time(), []
    while training.step < s.steps:
        if training.step == s.switch:
            if process == 0:
                tokenizer = PreTrainedTokenizerFast.from_pretrained(out.parent / "tokenizer")
                texts = [tokenizer.decode([token]) for token in range(s.vocabulary)]
                sample = drawn(ids, starts, s.sample, s, 0, 0, 1)
                training.assigned = assign(training.observe, sample, ids, texts, s)
                training.keep(out / "state.pt")
            exchange.barrier.wait()
            training.restore(out / "state.pt")
        losses.append(training.advance(drawn(ids, starts, s.batch, s, training.step, process)))
        if process:
            continue
        if training.step % 25 == 0:
            pace = (time.time() - began) / len(losses)
            print(
                f"{training.step} loss {np.mean(losses[-25:]):.3f} {training.state()} {pace:.2f} s a step", flush=True
            )
        if training.step % s.save_every == 0:
            training.keep(out / "state.pt")
        if training.step in marks:
            training.save(out / marks[training.step], out.parent / "tokenizer")


def main() -> None:
    """Prepare the text and start the processes."""
    parser = argparse.ArgumentParser(description="Trains the demo model.")
    parser.add_argument("source", type=Path, help="train.json, which corpora.py writes")
    parser.add_argument("output", type=Path, help="a folder; tokens and tokenizer go beside it")
    parser.add_argument("--settings", default="{}", help="other Settings, as JSON")
    arguments = parser.parse_args()
    s, out = Settings(**json.loads(arguments.settings)), arguments.output
    out.mkdir(parents=True, exist_ok=True)
    tokenized(arguments.source, out.parent, s)
    size = sum(each.numel() for each in build(s).parameters()) + len(s.targets)
    torch.multiprocessing.spawn(work, (out, s, Exchange(size)), nprocs=PROCESSES)


if __name__ == "__main__":
    main()
