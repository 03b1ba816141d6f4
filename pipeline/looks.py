"""Looks that compare across cameras: what a camera adds taken off, what varies weighed down. Pure."""

from collections.abc import Iterable, Sequence

from pipeline.camera_bias import CameraBias, CameraMean
from pipeline.config import MatcherConfig
from pipeline.datatypes import F32
from pipeline.track_variation import TrackVariation, Variation


class Looks:
    """Descriptors as the gallery compares them, by what was learnt of a site's cameras and tracks.

    Args:
        dimension: D, length of an embedding.
        means, variation: known from before.
    """

    def __init__(
        self,
        config: MatcherConfig,
        dimension: int,
        means: Iterable[CameraMean] = (),
        variation: Variation | None = None,
    ) -> None:
        self._removes, self._weighs = config.remove_camera_bias, config.weigh_variation
        self._bias = CameraBias(means)
        self._variation = TrackVariation(dimension, variation)

    def of(self, camera_id: str, descriptors: F32) -> F32:
        """Unit rows (N, D), comparable with one another, of those (N, D) that a camera shows."""
        unbiased = self._bias.take_off(camera_id, descriptors) if self._removes else descriptors
        return self._variation.weigh(unbiased)

    def kept(self, rows: F32) -> F32:
        """Unit rows (N, D) of the gallery as they are to be stored: before weighing."""
        return self._variation.undo(rows)

    def meet(self, camera_id: str, descriptor: F32) -> None:
        """Learns what a camera adds, from a unit descriptor (D,) of somebody whom it has not seen before."""
        self._bias.note(camera_id, descriptor)

    def learn(self, ended: Iterable[F32]) -> None:
        """Learns what varies, from the views (K, D) of each track that is over."""
        if self._weighs:
            for views in ended:
                self._variation.note(views)

    def renew(self, still_open: Sequence[F32] = ()) -> F32 | None:
        """(D, D), times which the gallery's rows are as if weighed now; None where nothing has changed.

        Args:
            still_open: views (K, D) of each track that has not ended.
        """
        return self._variation.renew(still_open) if self._weighs else None

    def take_new_means(self) -> tuple[CameraMean, ...]:
        """What became known of cameras since the last call."""
        return self._bias.take_new()

    def take_new_variation(self) -> Variation | None:
        """What is known of what varies, where enough was learnt since the last call that gave it."""
        return self._variation.take_new()

    def finish(self) -> Variation | None:
        """The same, however little was learnt."""
        return self._variation.take_new(1)
