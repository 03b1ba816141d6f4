"""MSPF has the published size and shapes, and every option of its configuration builds and runs."""

from typing import Any

import msgspec
import pytest
import torch

from mspf.complexity import count_macs, count_parameters, trace_rows
from mspf.network import MSPF, GeMPool, Grid, MSPFConfig, cut, tile

OPTIONS: list[dict[str, Any]] = [
    *({"patches": patches} for patches in ("none", "2", "2-4", "2-4-8")),
    *({"attention": kind} for kind in ("none", "spatial", "channel", "spatial-channel", "channel-spatial")),
    *({"attention_after": stage} for stage in ("conv2", "conv3", "both")),
    {"four_patch_grid": "stripes"},
    {"aggregate_attended": False},
    {"aggregate_scales": 3},
    {"add": "map"},
    {"shared_bodies": True},
    {"instance_norm": True},
    {"whole": "osnet", "patches": "none"},
    {"whole": "none"},
    {"pool": "gem"},
    {"pool": "gem", "add": "map"},
    {"unit_branches": False},
    {"patches": "none", "pool_first": True},
    {"compact": 0},
    {"width": 0.5},
    {"width": 0.75},
]


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(MSPFConfig(compact=0), 6_337_000), (MSPFConfig(compact=0, shared_bodies=True), 2_525_344)],
    ids=["own bodies", "shared bodies"],
)
def test_mspf_has_the_published_number_of_parameters(config: MSPFConfig, parameters: int) -> None:
    assert count_parameters(MSPF(config)) == parameters


@pytest.mark.parametrize(
    ("config", "macs"),
    [
        (MSPFConfig(compact=0), 3_028_563_232),
        (MSPFConfig(compact=0, shared_bodies=True), 3_028_563_232),
        (MSPFConfig(compact=0, attention="none"), 3_028_513_008),
        (MSPFConfig(compact=0, attention="none", patches="none"), 1_071_153_040),
    ],
    ids=["whole", "shared bodies", "without attention", "without attention and patches"],
)
def test_mspf_takes_the_published_number_of_operations(config: MSPFConfig, macs: int) -> None:
    assert count_macs(MSPF(config), torch.zeros(1, 3, 256, 128)) == macs


def test_mspf_takes_4_54_billion_operations_at_384x128() -> None:
    assert round(count_macs(MSPF(MSPFConfig(compact=0)), torch.zeros(1, 3, 384, 128)) / 1e9, 2) == 4.54


def test_every_named_tensor_has_the_shape_of_the_paper() -> None:
    rows = {row.name: row.shape for row in trace_rows(MSPF(MSPFConfig()), torch.zeros(1, 3, 256, 128))}

    assert rows == {
        "conv2": (256, 32, 16),
        "conv3": (384, 16, 8),
        "conv3 attended": (384, 16, 8),
        "conv5": (512, 16, 8),
        "smooth 2": (512, 32, 16),
        "smooth 3": (512, 16, 8),
        "P1 patches": (3, 128, 128),
        "P1 maps": (512, 16, 8),
        "P2 patches": (3, 128, 64),
        "P2 maps": (512, 16, 8),
        "f_G": (512,),
        "f_L": (4096,),
        "f_M": (512,),
        "g": (1024,),
        "descriptor": (5120,),
        "embedding": (512,),
    }


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_builds_runs_and_learns_at_small_width(options: dict[str, Any]) -> None:
    config = MSPFConfig(**{"width": 0.25, **options})
    network = MSPF(config)
    images = torch.randn(2, 3, 128, 64)
    features = network.features(images)
    (features.fused.sum() + features.local.sum()).backward()

    assert features.fused.shape == (2, config.fused_length)
    assert features.local.shape == (2, config.local_length)
    rows = network.eval()(images)
    assert rows.shape == (2, config.compact or config.fused_length + config.local_length)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


def test_an_image_that_has_no_whole_stripes_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be cut into 4"):
        MSPF(MSPFConfig(width=0.25, patches="none")).eval()(torch.zeros(1, 3, 160, 64))


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="heads"):
        msgspec.convert({"heads": 3}, MSPFConfig)


@pytest.mark.parametrize("options", [{"patches": "none"}, {"shared_bodies": True}], ids=str)
def test_a_network_that_sees_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="whole: none"):
        MSPFConfig(whole="none", **options)


def test_osnet_alone_has_the_size_of_osnet_and_its_neck() -> None:
    plain = MSPFConfig(whole="osnet", patches="none", compact=0)
    assert count_parameters(MSPF(plain)) == 2_169_508 + 2 * 512


def test_generalised_mean_lies_between_mean_and_maximum() -> None:
    maps = torch.rand(2, 3, 4, 2) + 0.1
    pooled = GeMPool()(maps)

    assert (pooled > maps.mean((2, 3))).all()
    assert (pooled < maps.amax((2, 3))).all()


def test_pooling_stripes_before_the_convolution_changes_nothing() -> None:
    late, early = MSPF(MSPFConfig(width=0.25)).eval(), MSPF(MSPFConfig(width=0.25, pool_first=True)).eval()
    early.load_state_dict(late.state_dict())
    images = torch.randn(2, 3, 128, 64)

    torch.testing.assert_close(early(images), late(images))


def test_patches_of_one_image_do_not_mix_with_the_next() -> None:
    images = torch.arange(2.0)[:, None, None, None].expand(2, 3, 8, 4)

    assert cut(images, Grid(2, 2)).mean((1, 2, 3)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("grid", [Grid(2, 1), Grid(2, 2), Grid(4, 1), Grid(4, 2)])
def test_tiling_puts_the_patches_back_where_they_were(grid: Grid) -> None:
    images = torch.randn(3, 2, 8, 4)

    torch.testing.assert_close(tile(cut(images, grid), grid), images)


def test_an_image_is_described_the_same_alone_and_in_a_batch() -> None:
    network = MSPF(MSPFConfig(width=0.25)).eval()
    images = torch.randn(3, 3, 128, 64)

    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


def test_seeded_patch_bodies_equal_the_global_body() -> None:
    network = MSPF(MSPFConfig(width=0.25))
    network.seed_patch_bodies()

    for body in network.patch_bodies:
        for name, tensor in network.whole.body.state_dict().items():
            torch.testing.assert_close(body.state_dict()[name], tensor)


def test_branches_are_brought_to_unit_length_together_or_each() -> None:
    images = torch.rand(2, 3, 64, 32)
    torch.manual_seed(0)
    together = MSPF(MSPFConfig(width=0.25, compact=0, unit_branches=False)).eval()
    each = MSPF(MSPFConfig(width=0.25, compact=0)).eval()
    each.load_state_dict(together.state_dict())

    for network, ends in ((together, (640, 4736)), (each, (512, 640, 4736))):
        parts = network.describe(images).tensor_split(ends[:-1], dim=1)
        for part in parts:
            torch.testing.assert_close(part.norm(dim=1), torch.ones(2))
    assert not torch.equal(together.describe(images), each.describe(images))
