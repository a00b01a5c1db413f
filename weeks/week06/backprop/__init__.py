"""Week 6: every layer of week 5 walked back by hand, then a network shaped like a tree."""
