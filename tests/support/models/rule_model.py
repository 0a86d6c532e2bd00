"""Hand-built OPT checkpoints whose neurons fire by a known rule on token, previous tokens and position.

The residual stream is four blocks of one-hot codes: the token, the position, the previous token, the token before
that. Embeddings write the first two; two heads of layer 0, whose queries and keys depend on the position only, copy
the token one and two positions back into the others. Every vector that reaches a norm thus has the same number of
ones, so LayerNorm is one affine map, which its weight and bias undo: each FFN reads the codes themselves and a
neuron is a threshold on a sum of indicators.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tiny_tokenizers import BOS_ID, EOS_ID, tiny_tokenizer, words
from transformers import OPTConfig, OPTForCausalLM

SLOPE = 0.2
"""How much larger an activation gets from the first position to the end of the window."""


@dataclass(frozen=True)
class Rule:
    """Fires where every condition holds; None is no condition.

    `token`, `previous`, `before`: the tokens allowed at the position, one and two before it (so positions 0 or 0 and
    1 never fire where these are set). `positions`: the positions allowed. `suppress`: the output row lowers the
    projection of the trigger tokens, else it raises it.
    """

    token: frozenset[int] | None = None
    previous: frozenset[int] | None = None
    before: frozenset[int] | None = None
    positions: frozenset[int] | None = None
    suppress: bool = True

    def at(self, positions: Iterable[int]) -> Rule:
        return replace(self, positions=frozenset(positions))

    def fires(self, tokens: np.ndarray) -> np.ndarray:
        """bool [S, T] for `tokens` [S, T]."""
        S, T = tokens.shape
        result = np.ones((S, T), dtype=bool)
        for window in range(S):
            for p in range(T):
                for back, allowed in ((0, self.token), (1, self.previous), (2, self.before)):
                    if allowed is not None and (p < back or int(tokens[window, p - back]) not in allowed):
                        result[window, p] = False
                if self.positions is not None and p not in self.positions:
                    result[window, p] = False
        return result


def tokens(*ids: int) -> Rule:
    return Rule(token=frozenset(ids))


def all_but(vocab: int, *ids: int) -> Rule:
    return Rule(token=frozenset(range(vocab)) - set(ids))


def bigram(previous: int | Iterable[int], token: int | Iterable[int]) -> Rule:
    """A bigram, or every pair of two sets."""
    return Rule(token=_set(token), previous=_set(previous))


def trigram(before: int | Iterable[int], previous: int | Iterable[int], token: int | Iterable[int]) -> Rule:
    """A trigram, or every triple of three sets."""
    return Rule(token=_set(token), previous=_set(previous), before=_set(before))


def ranges(*spans: tuple[int, int]) -> Rule:
    """Positions first .. last - 1 of every span."""
    return Rule(positions=frozenset(p for first, last in spans for p in range(first, last)))


def never() -> Rule:
    return Rule(token=frozenset())


def always() -> Rule:
    return Rule()


def _set(ids: int | Iterable[int]) -> frozenset[int]:
    return frozenset([ids] if isinstance(ids, int) else ids)


def default_rules(vocab: int, seq_len: int, bos_id: int | None = BOS_ID) -> list[Rule]:
    """One rule of every sort, for vocabularies of at least 16 tokens and windows of at least 8."""
    half, quarter = seq_len // 2, seq_len // 4
    edge = seq_len // 8
    return [
        tokens(3),
        tokens(4, 5),
        replace(tokens(6, 7, 8), suppress=False),
        tokens(*range(3, 8)),
        tokens(*range(3, 9)),
        bigram(3, 4),
        bigram((3, 5), (4, 6)),
        bigram(4, range(vocab)),
        trigram(3, 4, 5),
        trigram((3, 4), (3, 4), (3, 4)),
        ranges((0, half)),
        ranges((half, seq_len)),
        ranges((0, edge), (2 * edge, 3 * edge), (4 * edge, 5 * edge), (6 * edge, 7 * edge)),
        ranges((0, 1)),
        ranges((seq_len - 1, seq_len)),
        never(),
        always(),
        all_but(vocab, 3),
        all_but(vocab, *([] if bos_id is None else [bos_id])),
        tokens(*([vocab - 1] if bos_id is None else [bos_id])),
        tokens(3, 4, 5, 6).at(range(quarter, seq_len)),
        tokens(9).at(range(0, half)),
        bigram(3, 4).at(range(half, seq_len)),
        Rule(before=frozenset({3})),
    ]


def rule_model(
    directory: Path,
    vocab: int,
    seq_len: int,
    rules: Sequence[Rule] | Sequence[Sequence[Rule]],
    tokenizer: bool = False,
) -> tuple[Path, list[list[Rule]]]:
    """Saves the checkpoint into `directory`; returns it and the rules of every layer, in the order of its neurons.

    `rules`: a list of rules a layer, all of one length; or one list, which then makes two layers, the second with
    the same rules in reverse order. ReLU, float32. Where it fires, a neuron's activation is about
    0.5 + SLOPE * position / seq_len; where not, its input is at most -0.3.
    """
    one_list = isinstance(rules[0], Rule)
    layers: list[list[Rule]] = [list(r) for r in ([rules, rules[::-1]] if one_list else rules)]  # type: ignore[arg-type]
    F = len(layers[0])
    head = max(vocab, seq_len, -(-(3 * vocab + seq_len) // 2))
    width = 2 * head
    token, position = slice(0, vocab), slice(vocab, vocab + seq_len)
    copied = [slice(vocab + seq_len, 2 * vocab + seq_len), slice(2 * vocab + seq_len, 3 * vocab + seq_len)]

    config = OPTConfig(
        vocab_size=vocab, hidden_size=width, word_embed_proj_dim=width, num_hidden_layers=len(layers), ffn_dim=F,
        num_attention_heads=2, max_position_embeddings=seq_len, activation_function="relu", dropout=0.0,
        bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=None,
    )  # fmt: skip
    model = OPTForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(0)
    decoder = model.model.decoder
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        decoder.embed_tokens.weight[:, token] = torch.eye(vocab)
        decoder.embed_positions.weight[decoder.embed_positions.offset :, position] = torch.eye(seq_len)

        attention = decoder.layers[0].self_attn
        # Logits of 200 at the wanted position and 0 elsewhere: the others' share underflows to exactly 0.
        gain = (200.0 * head**0.5) ** 0.5
        for number, back in enumerate((1, 2)):
            first = number * head
            for p in range(seq_len):
                attention.q_proj.weight[first + max(p - back, 0), vocab + p] = gain
                attention.k_proj.weight[first + p, vocab + p] = gain
            attention.v_proj.weight[first : first + vocab, token] = torch.eye(vocab)
            attention.out_proj.weight[copied[number], first : first + vocab] = torch.eye(vocab)

        for number, (layer, layer_rules) in enumerate(zip(decoder.layers, layers, strict=True)):
            _undo_norm(layer.self_attn_layer_norm, 2 if number == 0 else 4)
            _undo_norm(layer.final_layer_norm, 4)
            for i, rule in enumerate(layer_rules):
                row, bias = layer.fc1.weight[i], layer.fc1.bias
                conditions = 0
                for block, allowed, back in (
                    (token, rule.token, 0),
                    (copied[0], rule.previous, 1),
                    (copied[1], rule.before, 2),
                ):
                    if allowed is None:
                        continue
                    conditions += 1
                    row[block][sorted(allowed)] = 1.0
                    # At the window's start a head can only copy token 0: no such n-gram exists there.
                    row[position][:back] -= 4.0
                if rule.positions is not None:
                    conditions += 1
                    row[position][sorted(rule.positions)] += 1.0
                row[position] += torch.linspace(0.0, SLOPE, seq_len + 1)[:-1]
                bias[i] = 0.5 - conditions

            # So small that all of them together leave the next layer's sums far from their thresholds.
            small = 0.01 / F
            layer.fc2.weight.copy_(small * 0.2 * torch.randn(width, F, generator=generator))
            for i, rule in enumerate(layer_rules):
                if rule.token is not None and len(rule.token) < vocab // 2:
                    layer.fc2.weight[sorted(rule.token), i] += -small if rule.suppress else small

    model.save_pretrained(directory)
    if tokenizer:
        tiny_tokenizer(directory, vocab=words(vocab - 3))
    return directory, layers


def expected_active(layer_rules: Sequence[Rule], tokens: np.ndarray) -> np.ndarray:
    """bool [S, T, F] of one layer's rules, from `tokens` [S, T] alone."""
    return np.stack([rule.fires(tokens) for rule in layer_rules], axis=2)


def _undo_norm(norm: torch.nn.LayerNorm, ones: int) -> None:
    """Makes the norm the identity on vectors of `ones` ones among zeros."""
    mean = ones / norm.normalized_shape[0]
    norm.weight.fill_((mean - mean**2 + norm.eps) ** 0.5)
    norm.bias.fill_(mean)
