"""Week 10: scaling, from an optimizer's one equation to a run on several machines."""
