"""What happens before the first frame where networks have to be built."""

from pathlib import Path

import pytest

from pipeline.build import load_networks, prepare, site_networks
from pipeline.config import CameraConfig, DetectorConfig, ReidConfig, Site
from pipeline.embedder import DEFAULT_REID
from pipeline.errors import EngineFailure
from tests.pipeline.networks import write_detector, write_reid


def site(detector: Path | str, reid: Path | str, backend: str = "onnxruntime") -> Site:
    return Site(
        cameras=(CameraConfig("a", "a.mp4"),),
        detector=DetectorConfig(model=str(detector), backend=backend),
        reid=ReidConfig(model=str(reid), backend=backend),
    )


def test_the_networks_of_a_site_are_its_detector_and_its_reid(tmp_path: Path) -> None:
    assert site_networks(site("net.onnx", "default")) == (Path("net.onnx"), DEFAULT_REID)


def test_networks_are_loaded_or_the_wrong_one_is_named(tmp_path: Path) -> None:
    detector, reid = write_detector(tmp_path / "detector.onnx"), write_reid(tmp_path / "reid.onnx")
    load_networks(site(detector, reid))
    with pytest.raises(EngineFailure, match="not a re-ID network"):
        load_networks(site(detector, detector))


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="there is an NVIDIA driver")
def test_without_a_gpu_there_is_nothing_to_prepare() -> None:
    prepare(site("none.onnx", "none.onnx", "auto"))  # would fail on the missing files
