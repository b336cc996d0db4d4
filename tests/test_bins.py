"""Dividing prior rows into bins."""

from __future__ import annotations

import numpy as np
import pytest

from ftbench.config.errors import FtbenchError
from ftbench.data.bins import partition, quantile_edges

LOSSES = np.random.default_rng(0).permutation(1000) / 1000


def test_loss_bins_are_equally_large_and_ordered() -> None:
    found = partition("loss", LOSSES)
    assert np.bincount(found.index).tolist() == [100] * 10
    assert (np.diff([LOSSES[found.index == k].max() for k in range(10)]) > 0).all()
    assert sorted(np.concatenate(found.members())) == list(range(1000))


def test_equal_losses_share_a_bin() -> None:
    assert len(quantile_edges(np.zeros(50), 10)) == 1
    assert len(partition("loss", np.zeros(50))) == 1


def test_one_bin_for_every_value_and_no_bin_is_empty() -> None:
    found = partition("aux", LOSSES[:4], ["b", "a", "b", "c"])
    assert found.names == ("a", "b", "c")
    assert found.index.tolist() == [1, 0, 1, 2]
    assert partition("none", LOSSES).names == ("all",)
    assert partition("cluster", LOSSES[:3], clusters=[7, 2, 7]).names == ("cluster 2", "cluster 7")


def test_small_cells_of_the_product_join_the_next_loss_bin_of_their_value() -> None:
    # value `x` has 200 rows in each of five loss bins but only 10 in the first
    aux = ["y" if loss < 0.19 else "x" for loss in LOSSES]
    found = partition("loss_x_aux", LOSSES, aux, smallest=50)
    assert found.names == ("x, loss 01", "x, loss 02", "x, loss 03", "x, loss 04", "y, loss 00")
    assert np.bincount(found.index).tolist() == [210, 200, 200, 200, 190]
    last = partition("loss_x_aux", LOSSES, ["y" if loss > 0.81 else "x" for loss in LOSSES], smallest=50)
    assert np.bincount(last.index).tolist() == [200, 200, 200, 211, 189]


def test_a_scheme_without_what_it_needs_is_refused_with_the_key() -> None:
    with pytest.raises(FtbenchError, match=r"prior\.clusters"):
        partition("cluster", LOSSES)
    with pytest.raises(FtbenchError, match="`aux`"):
        partition("loss_x_aux", LOSSES)
