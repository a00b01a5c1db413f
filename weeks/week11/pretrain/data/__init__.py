"""From folders of text to batches: read, clean, drop duplicates, tokenise into shards, sample.

Read in this order: readers, clean, dedup, planted, shards, pipeline, sampler. None of it needs torch.
"""
