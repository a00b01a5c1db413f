"""A trainer for long runs: whatever ends it, the same command goes on, to the weights of an undisturbed run.

disk.py        everything that is done to the disk, in one class that a test can let fail
state.py       whatever has a state_dict -> tensors and JSON, and back
checkpoint.py  one folder a checkpoint: whole or absent, its checksums verified when it is read
keep.py        which checkpoints stay: the last two, the best, and every k-th as far as the disk budget reaches
plan.py        what a run is told, what it knows of itself, and what it says
log.py         metrics as JSON lines, no step twice; TensorBoard as an extra
spikes.py      is this loss out of line with the last ones?
signals.py     Ctrl-C and SIGTERM become a wish to stop
loop.py        the run itself, as a stream of events
follow.py      a run in a terminal: bar, sentences, exit status
rehearsal.py   a small run with all of it, for the tests and for torture.py
"""
