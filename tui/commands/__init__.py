"""The commands of the command line, each in the file of its name: ask, collect, compare, contexts, demo, doctor, export, info,
report, search, verify, view; those that run the model again are in effects/. shared is what they have in common, progress what
they print while they run, background_run a run beside the browser.
"""
