"""From text to statistics: everything that `ffnscope collect` does.

corpus/       text -> windows of token ids
model/        a causal LM, run one layer at a time
activations/  windows through the model -> activation bits on disk
statistics/   bits -> every number of a neuron
run/          what surrounds a run: request, identity, store, progress, signals

collect.py is the whole run from top to bottom; demo/ is the bundled model and corpus.
"""
