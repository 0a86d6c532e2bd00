"""Commands, reports and the browser.

cli holds the commands of commands/ (__main__ starts it). app is the browser: browser/ is its main screen; overview/, prompt/,
ask/ and screens/ open over it; keymap has the keys of all. state/ is what they look at, neuron/ one neuron's page, reports/ the
paper's figures. drawing/ makes styled lines, terminal/ sends them.
"""
