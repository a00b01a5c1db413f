"""Sequences of tasks on one kind of model, and the table that runs every method through them.

pictures.py      tier 0: split and permuted MNIST, beside published values
domains.py       tier 1a: five texts of other kinds, a byte-level GPT, bits per byte
labels.py        tier 1b: five classifications, the same GPT pre-trained, label likelihood
instructions.py  tier 2: a published model with LoRA, answers in words
own.py           anybody's JSONL files
growth.py        what one task more costs when 5, 10 or 20 have come before
table.py         one cell: (tier, order, method, seed), kept as soon as it is measured
report.py        cells -> the table
"""
