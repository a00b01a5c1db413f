"""K-means, and the points that speak for all: those nearest the centre of each cluster, clusters by their size.

Huang et al. 2024 (SSR, section 3) choose rows so, by the embedding of what is asked; of each cluster its share.
Left out: several starts of which the best is kept; a worse clustering costs little where only representatives count.
"""

import torch

ROUNDS = 20  # of Lloyd's algorithm; labels that do not change any more end it earlier


def kmeans(points, k, generator):
    """(N, C) points -> labels (N,) and centres (k, C): Lloyd's algorithm from k of the points, drawn at random.

    A cluster that loses all its points keeps its centre. k must not be above N.
    """
    centres = points[torch.randperm(len(points), generator=generator)[:k]].clone()
    labels = None
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, centres).argmin(dim=1)  # (N,)
        if labels is not None and torch.equal(nearest, labels):
            break
        labels = nearest
        for cluster in labels.unique().tolist():
            centres[cluster] = points[labels == cluster].mean(dim=0)
    return labels, centres


def by_nearness(points, k, generator):
    """A key in (0, 1) for each of (N, C) points: the n smallest keys are the n that represent all best.

    In a cluster of m points the keys are 0.5 / m, 1.5 / m, ... from the nearest to the centre outwards. So any number
    of smallest keys takes about its share of every cluster. Points count by their direction alone: they are normalised.
    """
    points = torch.nn.functional.normalize(points.double(), dim=1)
    labels, centres = kmeans(points, min(k, len(points)), generator)
    distance = (points - centres[labels]).norm(dim=1)  # (N,)
    keys = torch.empty(len(points), dtype=torch.float64)
    for cluster in labels.unique().tolist():
        own = (labels == cluster).nonzero().flatten()
        own = own[distance[own].argsort(stable=True)]
        keys[own] = (torch.arange(len(own), dtype=torch.float64) + 0.5) / len(own)
    return keys
