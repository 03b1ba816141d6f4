"""MSPF: a global branch with stripes (modified OSFA) fused with patch levels, over OSNet bodies.

Source: MSPF, Journal of Intelligent & Fuzzy Systems, doi 10.3233/JIFS-237113; the part it builds on is OSFA,
Li et al. 2021, doi 10.1016/j.knosys.2021.107281; the patch hierarchy is DMPHN, arXiv 1904.03468.
"""

from typing import Annotated, Literal, NamedTuple, cast

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from mspf.attention import Attention, AttentionKind
from mspf.osnet import Body, OSNet, scaled_channels
from mspf.ranges import Count

FEATURE = 512  # channels of f_G and of the Smooth Aggregation Module, at every width
STRIPES = 4

Patches = Literal["none", "2", "2-4", "2-4-8"]


class Grid(NamedTuple):
    """How one level cuts the image."""

    rows: int
    columns: int


class MSPFConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every choice the network leaves open.

    Attributes:
        width: channels of the bodies as a multiple of OSNet x1.0; f_G and the stripes keep 512 channels.
        patches: patch levels (the paper's Table 5).
        four_patch_grid: how the level with 4 patches cuts the image (the paper does not say).
        attention: kind and order (Table 6).
        attention_after: the stage that is attended; "second block" in the paper, so conv3.
        aggregate_attended: the stripes see conv3 after its attention, not before.
        aggregate_scales: maps that are cut into stripes: conv2 and conv3, with 3 also conv5.
        pool_first: average the stripes before the 1x1 convolution; the same value for fewer operations.
        add: the levels meet as pooled vectors, or as maps under one global max pool.
        shared_bodies: one OSNet serves the image and all patches.
        instance_norm: IBN bodies, for cameras never seen.
        whole: what sees the whole image: the modified OSFA, or to compare with, OSNet as published or nothing at all.
        pool: how f_G and the patch levels pool their maps; GeM learns where between mean and maximum to stand
            (Radenovic et al., TPAMI 2019, arXiv 1711.02512).
        unit_branches: the descriptor has f_G and f_M at unit length each, not g as a whole as in the paper; in a narrow
            network f_M is shorter than f_G and would be drowned by it (measured: docs/mspf.md).
        compact: length of the projection that ends the network at run time; 0 leaves it out.
    """

    width: Annotated[float, msgspec.Meta(ge=0.25, le=4)] = 1.0
    patches: Patches = "2-4"
    four_patch_grid: Literal["quadrants", "stripes"] = "quadrants"
    attention: AttentionKind = "channel-spatial"
    attention_after: Literal["conv2", "conv3", "both"] = "conv3"
    aggregate_attended: bool = True
    aggregate_scales: Literal[2, 3] = 2
    pool_first: bool = False
    add: Literal["vector", "map"] = "vector"
    shared_bodies: bool = False
    instance_norm: bool = False
    whole: Literal["osfa", "osnet", "none"] = "osfa"
    pool: Literal["max", "gem"] = "max"
    unit_branches: bool = True
    compact: Count = 512

    def __post_init__(self) -> None:
        """Refuse a network that sees nothing."""
        if self.whole == "none" and self.patches == "none":
            raise ValueError("whole: none with patches: none leaves nothing; give one of them")
        if self.whole == "none" and self.shared_bodies:
            raise ValueError("shared_bodies: true shares the body of the whole image, which whole: none leaves out")

    def check_size(self, size_hw: tuple[int, int]) -> None:
        """
        Raises:
            ValueError: images of this size cannot be cut as the network cuts them.
        """
        if self.whole == "osnet" and not self.grids:
            return
        rows = max([grid.rows for grid in self.grids] + [STRIPES if self.whole == "osfa" else 1])
        columns = max([grid.columns for grid in self.grids], default=1)
        height, width = size_hw
        if height % (16 * rows) or width % (16 * columns) or min(size_hw) <= 0:
            raise ValueError(
                f"{height} x {width}: the height has to be a multiple of {16 * rows}, the width of {16 * columns}"
            )

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The cut of every patch level, coarse to fine."""
        four = Grid(2, 2) if self.four_patch_grid == "quadrants" else Grid(4, 1)
        levels = {"2": Grid(2, 1), "4": four, "8": Grid(4, 2)}
        return tuple(levels[name] for name in self.patches.split("-") if name != "none")

    @property
    def fused_length(self) -> int:
        """Length of g = [f_G, f_M]."""
        return self.global_length + (scaled_channels(self.width)[-1] if self.grids else 0)

    @property
    def global_length(self) -> int:
        """Length of f_G."""
        return 0 if self.whole == "none" else FEATURE

    @property
    def local_length(self) -> int:
        """Length of f_L."""
        return self.aggregate_scales * STRIPES * FEATURE if self.whole == "osfa" else 0


class Features(NamedTuple):
    """What the losses see, before the necks: fused (B, 512 + 512 x width) and local (B, scales x 2048 or 0)."""

    fused: Tensor
    local: Tensor


def cut(images: Tensor, grid: Grid) -> Tensor:
    """Patches of a batch as a larger batch: (B, C, H, W) -> (B x rows x columns, C, H/rows, W/columns)."""
    channels, height, width = map(int, images.shape[1:])
    tiles = images.reshape(-1, channels, grid.rows, height // grid.rows, grid.columns, width // grid.columns)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, height // grid.rows, width // grid.columns)


def tile(patches: Tensor, grid: Grid) -> Tensor:
    """The inverse of `cut`: (B x rows x columns, C, h, w) -> (B, C, rows x h, columns x w)."""
    channels, height, width = map(int, patches.shape[1:])
    tiles = patches.reshape(-1, grid.rows, grid.columns, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(-1, channels, grid.rows * height, grid.columns * width)


class MaxPool(nn.Module):
    """The maximum of every channel: (B, C, H, W) -> (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.amax((2, 3))


class GeMPool(nn.Module):
    """The generalised mean of every channel, its exponent learnt from 3: (B, C, H, W) -> (B, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        """See the class; in float32, where powers keep their precision."""
        return x.float().clamp(min=1e-6).pow(self.exponent).mean((2, 3)).pow(1 / self.exponent)


def pooling(config: MSPFConfig) -> nn.Module:
    """The pooling that a configuration names."""
    return GeMPool() if config.pool == "gem" else MaxPool()


class GlobalBranch(nn.Module):
    """Rows 1-7: f_G from the whole image, and f_L from stripes of its middle maps (Smooth Aggregation Module)."""

    def __init__(self, config: MSPFConfig) -> None:
        super().__init__()
        self.config = config
        _, second, third, fourth = scaled_channels(config.width)
        self.body = Body(config.width, config.instance_norm)
        self.attend2 = self._attention(second, "conv2")
        self.attend3 = self._attention(third, "conv3")
        self.pool = pooling(config)
        self.linear = nn.Linear(fourth, FEATURE)
        scales = (second, third, fourth)[: config.aggregate_scales]
        self.smooth = nn.ModuleList(nn.Conv2d(channels, FEATURE, 1, bias=False) for channels in scales)

    def _attention(self, channels: int, stage: str) -> nn.Module:
        if self.config.attention_after in (stage, "both"):
            return Attention(channels, self.config.attention)
        return nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> f_G (B, 512), f_L (B, scales x 2048)."""
        raw2 = self.body.conv2(self.body.stem(images))
        x2 = self.attend2(raw2)
        raw3 = self.body.conv3(x2)
        x3 = self.attend3(raw3)
        x5 = self.body.conv5(self.body.conv4(x3))
        maps = (x2, x3, x5) if self.config.aggregate_attended else (raw2, raw3, x5)
        local = [self._stripes(smooth, x) for smooth, x in zip(self.smooth, maps, strict=False)]
        return self.linear(self.pool(x5)), torch.cat(local, 1)

    def _stripes(self, smooth: nn.Module, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 x 512)."""
        pooled = smooth(stripe_means(x)) if self.config.pool_first else stripe_means(smooth(x))
        return cast(Tensor, pooled).flatten(1)


def stripe_means(x: Tensor) -> Tensor:
    """Averages of the horizontal stripes: (B, C, H, W) -> (B, C, 4, 1).

    Raises:
        ValueError: H is no multiple of 4.
    """
    height, width = map(int, x.shape[2:])
    if height % STRIPES:
        raise ValueError(f"a map of {height} rows cannot be cut into {STRIPES}; give images of a height of 64, 128 ...")
    return functional.avg_pool2d(x, (height // STRIPES, width))


class PlainBranch(nn.Module):
    """OSNet as published in place of the global branch."""

    def __init__(self, config: MSPFConfig) -> None:
        super().__init__()
        osnet = OSNet(config.width, config.instance_norm, FEATURE)
        self.body, self.head = osnet.body, osnet.head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> f_G (B, 512), an empty f_L (B, 0)."""
        f_global = self.head(self.body(images).mean((2, 3)))
        return f_global, f_global[:, :0]


class NoBranch(nn.Module):
    """Nothing of the whole image: empty f_G and f_L, (B, 0)."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        nothing = images.new_zeros(len(images), 0)
        return nothing, nothing


def whole_branch(config: MSPFConfig) -> GlobalBranch | PlainBranch | NoBranch:
    """What sees the whole image: (B, 3, H, W) -> f_G, f_L."""
    if config.whole == "none":
        return NoBranch()
    return GlobalBranch(config) if config.whole == "osfa" else PlainBranch(config)


def neck(length: int) -> nn.Module:
    """BNNeck (Luo et al. 2019): BatchNorm whose shift stays 0; nothing for nothing."""
    if not length:
        return nn.Identity()
    norm = nn.BatchNorm1d(length)
    norm.bias.requires_grad_(False)
    return norm


class MSPF(nn.Module):
    """The whole network; classifiers live with the losses.

    Image height must be a multiple of 64, image width of 32 (16 x the columns of the finest patch level): `check_size`.
    """

    def __init__(self, config: MSPFConfig) -> None:
        super().__init__()
        self.config = config
        self.whole = whole_branch(config)
        bodies = 0 if config.shared_bodies else len(config.grids)
        self.patch_bodies = nn.ModuleList(Body(config.width, config.instance_norm) for _ in range(bodies))
        self.patch_pool = pooling(config) if config.grids else nn.Identity()
        self.fused_neck = neck(config.fused_length)
        self.local_neck = neck(config.local_length)
        length = config.fused_length + config.local_length
        self.compact = nn.Linear(length, config.compact, bias=False) if config.compact else None

    def features(self, images: Tensor) -> Features:
        """(B, 3, H, W) normalised RGB -> what the losses see."""
        f_global, f_local = self.whole(images)
        levels = [self._level(images, *level) for level in zip(self.config.grids, self.level_bodies(), strict=True)]
        if not levels:
            return Features(f_global, f_local)
        f_patches = torch.stack(levels).sum(0)
        if self.config.add == "map":
            f_patches = self.patch_pool(f_patches)
        return Features(torch.cat((f_global, f_patches), 1), f_local)

    def level_bodies(self) -> list[nn.Module]:
        """The body of every patch level, coarse to fine."""
        if self.config.shared_bodies and not isinstance(self.whole, NoBranch):
            return [self.whole.body] * len(self.config.grids)
        return list(self.patch_bodies)

    def _level(self, images: Tensor, grid: Grid, body: nn.Module) -> Tensor:
        """One patch level as pooled vectors (B, C) or, under add="map", as maps (B, C, H/16, W/16)."""
        maps = tile(body(cut(images, grid)), grid)
        return cast(Tensor, self.patch_pool(maps)) if self.config.add == "vector" else maps

    def describe(self, images: Tensor) -> Tensor:
        """The full descriptor, f_G, f_M and f_L behind their necks: (B, 3, H, W) -> (B, 5120 at width 1.0).

        Each at unit length, or without `unit_branches` g = [f_G, f_M] as a whole.
        """
        fused, local = self.features(images)
        parts = [self.fused_neck(fused), self.local_neck(local)]
        if self.config.unit_branches:
            lengths = self.config.global_length, self.config.fused_length - self.config.global_length
            parts[:1] = parts[0].split([length for length in lengths if length], dim=1)
        return torch.cat([functional.normalize(part, dim=1) for part in parts], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Unit rows of the run-time length: (B, 3, H, W) -> (B, compact), or the full length without a head."""
        full = self.describe(images)
        return functional.normalize(self.compact(full) if self.compact else full, dim=1)

    def seed_patch_bodies(self) -> None:
        """Copy the global branch's body into every patch body: a warm start; without one, nothing changes."""
        if not isinstance(self.whole, NoBranch):
            for body in self.patch_bodies:
                body.load_state_dict(self.whole.body.state_dict())
