"""The compact head keeps similarities, and learns to tell people apart."""

import numpy as np
import pytest
import torch

from mspf.compact import HeadConfig, People, fit_head, principal_axes, with_compact_head
from mspf.errors import RecipeError
from mspf.metrics import Described, score
from mspf.network import MSPF, MSPFConfig


def people(count: int, first: int, seed: int) -> People:
    """Six images each; four of 32 numbers tell who it is, the other 28 are louder."""
    draw = torch.Generator().manual_seed(seed)
    labels = np.repeat(np.arange(first, first + count), 6)
    own = torch.randn(count, 4, generator=draw).repeat_interleave(6, 0)
    rows = torch.cat((own, 1.5 * torch.randn(len(labels), 28, generator=draw)), 1)
    return People(torch.nn.functional.normalize(rows), labels)


def mean_ap(rows: torch.Tensor, labels: np.ndarray) -> float:
    unit = torch.nn.functional.normalize(rows).numpy()
    described = Described(unit, labels, np.zeros(len(labels), np.int64))
    return score(described, described, ignore_cameras=True).mean_ap


def test_axes_are_orthonormal_and_keep_inner_products_of_rows_they_can_hold() -> None:
    rows = torch.randn(20, 3) @ torch.randn(3, 10)
    axes = principal_axes(rows, 3)

    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows @ axes.T @ axes @ rows.T, rows @ rows.T, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(principal_axes(rows, 3), axes, atol=0, rtol=0)


def test_a_projection_alone_ranks_like_the_full_descriptor() -> None:
    full = MSPF(MSPFConfig(width=0.25, patches="none", compact=0)).eval()
    images = torch.rand(24, 3, 128, 64)
    with torch.inference_mode():
        described = People(full.describe(images), np.repeat(np.arange(12), 2))
    compact = with_compact_head(full, fit_head([described], HeadConfig(length=24, steps=0)))

    with torch.inference_mode():
        torch.testing.assert_close(
            compact(images) @ compact(images).T, full(images) @ full(images).T, atol=1e-3, rtol=0
        )


def test_a_learnt_head_tells_strangers_apart_better_than_the_full_descriptor() -> None:
    strangers = people(20, 0, seed=9)
    sets = [people(40, 0, seed=1), people(40, 40, seed=2)]

    config = HeadConfig(length=16, steps=200, lr=1e-2, enough_people=80)
    weight = fit_head(sets, config)
    assert mean_ap(strangers.rows @ weight.T, strangers.labels) > mean_ap(strangers.rows, strangers.labels) + 0.1
    torch.testing.assert_close(fit_head(sets, config), weight, atol=0, rtol=0)


def test_few_people_give_the_projection_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    few = people(20, 0, seed=1)

    torch.testing.assert_close(fit_head([few], HeadConfig(length=8)), principal_axes(few.rows, 8), atol=0, rtol=0)
    assert "20 people are too few" in caplog.text


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(RecipeError, match="12 images cannot fit 32 axes; give more, or --length 12"):
        fit_head([people(2, 0, seed=0)], HeadConfig(length=32))
    with pytest.raises(RecipeError, match="one person"):
        fit_head([people(1, 0, seed=0)], HeadConfig(length=4))
