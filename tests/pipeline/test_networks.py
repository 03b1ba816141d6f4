"""The networks of a site and how many threads they take."""

import os
from pathlib import Path

import pytest

from pipeline.config import CameraConfig, DetectorConfig, ReidConfig, Site
from pipeline.errors import EngineFailure
from pipeline.networks import core_ms, load_networks, threads_each
from tests.pipeline.networks import write_detector, write_reid


def site(detector: Path, reid: Path) -> Site:
    return Site(
        cameras=(CameraConfig("a", "a.mp4"),),
        detector=DetectorConfig(model=str(detector), backend="onnxruntime"),
        reid=ReidConfig(model=str(reid), backend="onnxruntime"),
    )


def test_networks_are_loaded_and_timed_or_the_wrong_one_is_named(tmp_path: Path) -> None:
    detector, reid = write_detector(tmp_path / "detector.onnx"), write_reid(tmp_path / "reid.onnx")
    networks = load_networks(site(detector, reid))
    assert networks.embedder.dimension == 3
    assert (core_ms(networks.embedder.engine) or 0) > 0
    with pytest.raises(EngineFailure, match="not a re-ID network"):
        load_networks(site(detector, detector))


def test_calls_at_once_share_the_cores_and_none_goes_without() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= threads_each(1) <= len(allowed)
    assert threads_each(1000) == 1
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert threads_each(1) == 1
    finally:
        os.sched_setaffinity(0, allowed)
