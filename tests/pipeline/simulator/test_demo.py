"""The shipped demo is small and complete."""

from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.config import load_site

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_demo_is_at_most_twelve_megabytes() -> None:
    assert sum(path.stat().st_size for path in (CONFIGS / "demo").rglob("*") if path.is_file()) < 12e6


@pytest.mark.parametrize("number", range(4))
def test_every_demo_clip_has_truth_for_frames_that_it_holds(number: int) -> None:
    site = load_site(CONFIGS / "demo.yaml")
    camera = site.cameras[number]
    truth = np.loadtxt(Path(site.truth or "") / f"{camera.id}.txt", delimiter=",")
    with av.open(camera.url) as container:
        frames = sum(1 for packet in container.demux(video=0) if packet.size)

    assert frames == 500
    assert truth[:, 0].min() >= 1 and truth[:, 0].max() <= frames
    assert len(np.unique(truth[:, 1])) >= 5
