"""From text to statistics: everything that `ffnscope collect` does.

corpus/       text -> windows of token ids
model/        a causal LM, run one layer at a time
activations/  windows through the model -> activation bits on disk
statistics/   bits -> every number of a neuron
run/          what surrounds a run: request, identity, store, progress, signals

A run, from the request to the store:
1. run/request.py holds and checks what was asked for.
2. run/prepare.py makes one Prepared of it: source, tokenizer, corpus, model, identity, tables, plan.
3. collect.py opens the store (run/store.py) and takes one group of layers after another:
4. activations/forward.py runs the group over all windows and leaves each layer's bits on disk;
5. statistics/counts.py counts a layer's bits, statistics/arrays.py makes its arrays, and the store's writer commits them.

demo/ is the bundled model and corpus; prompt.py runs a store's model on the user's own text; effects/ takes neurons away;
check_projections.py compares a store with its model. processes.py joins several processes, jit.py compiles loops,
bit_words.py counts bits, pinned_memory.py is memory that a GPU copies from, git_lfs.py tells files that were never fetched.
"""
