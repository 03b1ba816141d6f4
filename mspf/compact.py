"""The compact head: the projection of the full descriptor that keeps most of its inner products."""

from collections.abc import Iterable

import msgspec
import torch
from torch import Tensor

from mspf.network import MSPF


def principal_axes(rows: Tensor, length: int) -> Tensor:
    """Orthonormal axes of the largest second moments, not centred: (N, D) -> (length, D).

    Not centred and not whitened, so that similarities change as little as a projection can (Eckart and Young 1936).
    """
    axes: Tensor = torch.linalg.svd(rows, full_matrices=False).Vh[:length]
    return axes.contiguous()


@torch.inference_mode()
def with_compact_head(network: MSPF, batches: Iterable[Tensor], length: int = 512) -> MSPF:
    """A copy of the network that ends in `length` numbers, fitted to these normalised images (B, 3, H, W).

    Raises:
        ValueError: fewer images than `length`.
    """
    rows = torch.cat([network.eval().describe(images) for images in batches])
    if len(rows) < length:
        raise ValueError(f"{len(rows)} images cannot fit {length} axes; give more images or a shorter head")
    config = msgspec.structs.replace(network.config, compact=length)
    compact = MSPF(config).eval().requires_grad_(False)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("compact")}
    compact.load_state_dict(state | {"compact.weight": principal_axes(rows, length)})
    return compact
