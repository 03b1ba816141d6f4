"""OSNet has the published size."""

import pytest
import torch

from mspf.complexity import count_macs, count_parameters
from mspf.osnet import ChannelGate, OSNet


def test_osnet_has_the_published_number_of_parameters() -> None:
    assert count_parameters(OSNet()) == 2_169_508


@pytest.mark.parametrize(
    ("height", "width", "macs"),
    [(256, 128, 978_878_352), (128, 128, 489_586_576), (128, 64, 244_940_688)],
    ids=["whole", "half", "quarter"],
)
def test_osnet_takes_the_published_number_of_operations(height: int, width: int, macs: int) -> None:
    assert count_macs(OSNet(), torch.zeros(1, 3, height, width)) == macs


@pytest.mark.parametrize("instance_norm", [False, True])
def test_osnet_maps_a_batch_to_512_numbers_at_any_width(instance_norm: bool) -> None:
    assert OSNet(0.25, instance_norm).eval()(torch.zeros(2, 3, 64, 32)).shape == (2, 512)


def test_a_gate_weighs_every_map_by_its_own_average_and_adds_them() -> None:
    torch.manual_seed(0)
    gate = ChannelGate(32)
    maps = [torch.randn(3, 32, 5, 4) for _ in range(4)]

    alone = [x * torch.sigmoid(gate.excite(gate.squeeze(x.mean((2, 3), keepdim=True)).relu())) for x in maps]

    torch.testing.assert_close(gate(maps), sum(alone), rtol=1e-5, atol=1e-6)
