"""The commands of the command line, a file each; shared is what they have in common, progress what they print while they run,
background_run a run beside the browser."""
