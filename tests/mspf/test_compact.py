"""The compact head keeps similarities."""

import pytest
import torch

from mspf.compact import principal_axes, with_compact_head
from mspf.network import MSPF, MSPFConfig


def test_axes_are_orthonormal_and_keep_inner_products_of_rows_they_can_hold() -> None:
    rows = torch.randn(20, 3) @ torch.randn(3, 10)
    axes = principal_axes(rows, 3)

    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows @ axes.T @ axes @ rows.T, rows @ rows.T, atol=1e-3, rtol=1e-3)


def test_a_compact_network_ranks_like_the_full_one() -> None:
    full = MSPF(MSPFConfig(width=0.25, patches="none", compact=0)).eval()
    images = torch.rand(24, 3, 128, 64)
    compact = with_compact_head(full, [images[:12], images[12:]], length=24)

    with torch.inference_mode():
        torch.testing.assert_close(
            compact(images) @ compact(images).T, full(images) @ full(images).T, atol=1e-3, rtol=0
        )


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="give more images"):
        with_compact_head(MSPF(MSPFConfig(width=0.25, patches="none")), [torch.rand(2, 3, 128, 64)])
