"""The networks of a site and how many threads they take."""

import math
import os
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import engines
from pipeline.config import CameraConfig, DetectorConfig, ReidConfig, Site
from pipeline.errors import EngineFailure
from pipeline.networks import core_ms, cores_of_container, load_networks, threads_each, timed_batches
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
    assert (core_ms(networks.embedder.engine, networks.embedder.engine.metadata) or 0) > 0
    with pytest.raises(EngineFailure, match="not a re-ID network"):
        load_networks(site(detector, detector))


def test_the_detector_sees_pictures_of_the_size_that_is_set(tmp_path: Path) -> None:
    one = site(write_detector(tmp_path / "detector.onnx"), write_reid(tmp_path / "reid.onnx"))
    larger = msgspec.structs.replace(one, detector=msgspec.structs.replace(one.detector, size=320))
    sizes = [load_networks(each).detector.metadata["imgsz"] for each in (one, larger)]
    assert sizes == ["[160, 160]", "[320, 320]"]


def write_reid_of_one(path: Path, batch: int | str) -> Path:
    """(batch, 3, 16, 8) -> (1, 3), which it can only make of one picture."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Reshape", ["mean", "row"], ["found"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, (batch, 3, 16, 8))
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, (1, 3))
    row = numpy_helper.from_array(np.array([1, 3]), "row")
    graph = helper.make_graph(nodes, "one", [images], [found], [row])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"kind": "reid"})
    onnx.save(model, path)
    return path


def test_a_network_of_fixed_batch_is_timed_in_that(tmp_path: Path) -> None:
    fixed = engines.load(write_reid_of_one(tmp_path / "fixed.onnx", 1), "onnxruntime", proven=False)
    free = engines.load(write_reid(tmp_path / "reid.onnx"), "onnxruntime", proven=False)
    assert (timed_batches(fixed), timed_batches(free)) == ("1", "3 and 5")
    assert (core_ms(fixed, fixed.metadata) or 0) > 0


def test_a_network_that_fails_while_it_is_timed_is_one_clear_error(tmp_path: Path) -> None:
    engine = engines.load(write_reid_of_one(tmp_path / "reid.onnx", "n"), "onnxruntime", proven=False)
    with pytest.raises(EngineFailure, match=r"reid\.onnx: ONNX Runtime failed on \(3, 3, 16, 8\)"):
        core_ms(engine, engine.metadata)


@pytest.mark.parametrize(("said", "cores"), [("200000 100000\n", 2), ("max 100000\n", math.inf), (None, math.inf)])
def test_a_container_says_how_many_cores_it_may_use(said: str | None, cores: float, tmp_path: Path) -> None:
    if said:
        (tmp_path / "cpu.max").write_text(said)
    assert cores_of_container(tmp_path / "cpu.max") == cores


def test_threads_are_no_more_than_the_cores_of_the_container(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert threads_each(1, tmp_path / "cpu.max") == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds a process to some cores")
def test_calls_at_once_share_the_cores_and_none_goes_without() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= threads_each(1) <= len(allowed)
    assert threads_each(1000) == 1
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert threads_each(1) == 1
    finally:
        os.sched_setaffinity(0, allowed)
