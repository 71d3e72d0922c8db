"""Prompts in clusters, such as several questions about one passage: the clusters are what is independent.

A mean over prompts is the ratio of two sums over G clusters, of values Y_g and of sizes M_g. By linearisation it varies
like the mean of z_g = R + (Y_g - R M_g) / M, with R the ratio and M the mean size; z has the mean R. So every interval
over prompts becomes one over clusters when it is given z; of clusters of one size z_g is the mean of a cluster.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, floats, integers


def cluster_values(values: ArrayLike, clusters: ArrayLike) -> Array:
    """One value for each cluster, whose mean is the mean over prompts and whose spread gives its interval.

    Args:
        values: of every prompt ``[P]`` or ``[P, K]``.
        clusters: a number for the cluster of every prompt ``[P]``.

    Returns:
        ``[G]`` or ``[G, K]``.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> cluster_values([0.0, 1.0, 1.0], [5, 5, 7]).round(3).tolist()  # the mean of all is 2/3
    [0.444, 0.889]
    """
    array, number = floats("values", values), integers("clusters", clusters)
    if number.ndim != 1 or len(number) == 0 or array.shape[:1] != number.shape:
        raise ValueError(
            f"clusters: expected one for each of {list(array.shape[:1])} prompts, got {list(number.shape)}"
        )
    _, which = np.unique(number, return_inverse=True)
    sizes = np.bincount(which).astype(np.float64)
    sums = np.zeros((len(sizes), *array.shape[1:]))
    np.add.at(sums, which, array)
    ratio = array.mean(axis=0)
    shape = (len(sizes), *(1,) * (array.ndim - 1))
    return np.asarray(ratio + (sums - ratio * sizes.reshape(shape)) / sizes.mean())


def cluster_columns(values: ArrayLike, clusters: ArrayLike) -> Array:
    """As :func:`cluster_values`, where prompts may lack figures: column by column of those that have one.

    Args:
        values: ``[P, K]``, NaN for none.
        clusters: a number for the cluster of every prompt ``[P]``.

    Returns:
        ``[G, K]``, NaN where no prompt of a cluster has a figure.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    array, number = floats("values", values), integers("clusters", clusters)
    _, which = np.unique(number, return_inverse=True)
    result = np.full((int(which.max(initial=-1)) + 1, array.shape[1]), np.nan)
    for k, column in enumerate(array.T):
        has = ~np.isnan(column)
        if has.any():
            result[np.unique(which[has]), k] = cluster_values(column[has], which[has])
    return result
