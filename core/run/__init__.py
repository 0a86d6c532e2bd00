"""What surrounds a run.

request       what was asked for: options, read and checked
prepare       one Prepared of it: source, tokenizer, corpus, model, identity, tables, plan
plan          `collect --plan`: what a run would take, without starting it
identity      the id of a run, and in what two runs differ
corpus        the run's corpus; store: its store, new, overwritten or resumed
keep          how many windows' bits the store keeps; kept_bits: from recorded bits to kept ones
progress      how far the run is: share, speed, time left
overlap       counts a group of layers while the GPU runs the next one
compile_ahead compiles the counting loops while the model and the corpus are read
signals       SIGTERM and SIGHUP stop a run as Ctrl-C does
model         the model that a store was collected from, found again
"""
