"""What a language model is worth: bits per byte, multiple choice, cloze, and the quality of what it writes.

    subject.py      who is examined: a model and its tokenizer, wherever they come from
    scorer.py       log p(continuation | context), the number below all others
    compression.py  bits per byte of any text
    choice.py       multiple choice and cloze, and HellaSwag's format
    tasks/          five exams from the project's own data
    generation.py   variety, repetition, perplexity under a judge
    copying.py      the longest run that was copied from the training text
    interval.py     how far a score can be trusted

A week that comes later is never imported. SmolLM2-135M, the judge, is a folder on a disk that transformers opens, or a
file that another installed package opens by the name that is typed (`subject.opened`).
"""
