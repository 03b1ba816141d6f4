"""Crops to unit rows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import cuda
from engines.engine import EngineError, TensorSpec
from pipeline.config import ReidConfig
from pipeline.embedder import Crop, Embedder
from pipeline.errors import ConfigError, EngineFailure
from tests.engines import fake_gpu
from tests.fakes import F32_TYPE, FakeEngine, colour_describer, picture, picture_spec, unit

BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def crop(image, *box_xyxy):
    return Crop(image, np.array(box_xyxy, np.float32))


def reid(*, height=16, length=3, kind="reid", function=None):
    embeddings = TensorSpec("embeddings", (None, length), F32_TYPE)
    return FakeEngine((picture_spec(height, 8),), (embeddings,), {"kind": kind}, function)


def test_each_crop_becomes_a_unit_row_of_rgb():
    image = picture((0, 0, 20, 40, RED), (40, 0, 20, 40, BLUE))
    got = Embedder(colour_describer(), "f").embed([crop(image, 0, 0, 20, 40), crop(image, 40, 0, 60, 40)])
    assert got.dtype == np.float32
    assert got == pytest.approx(np.array([[1, 0, 0], [0, 0, 1]]), abs=1e-6)


def test_crops_of_any_size_go_through_the_network_in_one_batch():
    engine, image = colour_describer(), picture((0, 0, 160, 120, GREEN))
    got = Embedder(engine, "f").embed([crop(image, 0, 0, side, 2 * side) for side in (1, 7, 60)])
    assert engine.batch_sizes == [3]
    assert got == pytest.approx(np.tile(unit(0, 1, 0), (3, 1)))


def test_no_crops_are_no_rows_and_no_call():
    engine = colour_describer()
    assert Embedder(engine, "f").embed([]).shape == (0, 3)
    assert engine.batch_sizes == []


def test_a_black_crop_is_a_row_of_zeros_and_not_nan():
    assert Embedder(colour_describer(), "f").embed([crop(picture(), 0, 0, 9, 9)]).tolist() == [[0, 0, 0]]


class OnGpu(FakeEngine):
    """Takes its pictures from the GPU, and only from there."""

    def __call__(self, *batch):
        place = cuda.on_device(batch[0])
        assert place is not None
        return super().__call__(cuda.on_host(place))


def gpu_describer():
    like = colour_describer()
    return OnGpu(like.inputs, like.outputs, like.metadata, like.function, backend="tensorrt")


def test_a_network_on_a_gpu_gets_crops_that_were_cut_there(monkeypatch):
    fake_gpu.installed(monkeypatch)
    monkeypatch.setattr(cuda, "gpu", lambda: cuda.Gpu("Toy", "9.0", "1"))
    images = [picture((0, 0, 20, 40, RED), (40, 0, 20, 40, BLUE)), picture((0, 0, 160, 120, GREEN))]
    crops = [crop(images[0], 0, 0, 20, 40), crop(images[1], 9, 9, 30, 60), crop(images[0], 40, 0, 60, 40)]
    assert Embedder(gpu_describer(), "f").embed(crops) == pytest.approx(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))


def test_where_the_gpu_does_not_cut_right_the_cpu_does_and_says_so(monkeypatch, caplog):
    fake_gpu.installed(monkeypatch)
    monkeypatch.setattr(cuda, "gpu", lambda: cuda.Gpu("Toy", "9.0", "1"))
    monkeypatch.setattr(fake_gpu, "cut", lambda frame, boxes, size_hw: np.zeros((len(boxes), 3, *size_hw), np.float32))
    like = colour_describer()
    engine = FakeEngine(like.inputs, like.outputs, like.metadata, like.function, backend="tensorrt")
    image = picture((0, 0, 20, 40, RED))
    assert Embedder(engine, "f").embed([crop(image, 0, 0, 20, 40)]) == pytest.approx(unit(1, 0, 0)[None])
    assert "crops are cut on the CPU: the GPU's are off by" in caplog.text


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="there is an NVIDIA driver")
def test_where_the_kernel_cannot_be_had_the_cpu_cuts_and_says_so(caplog):
    like = colour_describer()
    engine = FakeEngine(like.inputs, like.outputs, like.metadata, like.function, backend="tensorrt")
    Embedder(engine, "f")
    assert "crops are cut on the CPU: no NVIDIA driver here" in caplog.text


anywhere = st.floats(-8192, 8192, width=32)


@given(st.integers(1, 50), st.integers(1, 50), st.tuples(*[anywhere] * 4))
def test_a_crop_of_any_box_lies_in_the_frame_and_has_a_pixel(width, height, box):
    image = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    pixels = crop(image, *box).pixels()
    assert 1 <= pixels.shape[0] <= height
    assert 1 <= pixels.shape[1] <= width
    assert np.shares_memory(pixels, image)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60), st.integers(1, 60))
def test_a_crop_of_whole_pixels_is_exactly_them(x, y, w, h):
    image = np.random.default_rng(7).integers(0, 255, (50, 50, 3), np.uint8)
    assert np.array_equal(crop(image, x, y, x + w, y + h).pixels(), image[y : y + h, x : x + w])


@pytest.mark.parametrize("wrong", [reid(kind="detector"), reid(height=None), reid(length=None)])
def test_another_kind_of_network_is_refused(wrong):
    with pytest.raises(EngineFailure, match=r"x\.onnx: not a re-ID network .*; give an \.onnx exported by"):
        Embedder(wrong, "x.onnx")


def test_a_network_of_fixed_batch_is_refused():
    images = TensorSpec("images", (8, 3, 16, 8), F32_TYPE)
    fixed = FakeEngine((images,), colour_describer().outputs, {"kind": "reid"}, colour_describer().function)
    with pytest.raises(EngineFailure, match=r"x\.onnx: takes 8 crops in a call .*; export it with an open batch"):
        Embedder(fixed, "x.onnx")


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(EngineFailure, match=r"none\.onnx"):
        Embedder.load(ReidConfig(model=str(tmp_path / "none.onnx")))


@pytest.mark.parametrize("name", ["mspf_x0_25_render", "mspf_x0.25"])
def test_a_misspelt_name_is_told_which_networks_ship(name):
    with pytest.raises(ConfigError, match=rf"'{name}' is neither default, .*mspf_x0_25_rendered.* nor an \.onnx"):
        Embedder.load(ReidConfig(model=name))


@pytest.mark.parametrize("name", ["last.pt", "runs/x.safetensors"])
def test_weights_are_told_how_to_become_a_network(name):
    with pytest.raises(ConfigError, match=rf"'{name}' holds weights, .*; scripts/export.py makes an \.onnx of it"):
        Embedder.load(ReidConfig(model=name))


def test_a_network_that_fails_is_an_engine_failure():
    def fail(batch):
        raise EngineError("net: out of memory")

    with pytest.raises(EngineFailure, match="net: out of memory"):
        Embedder(reid(function=fail), "f").embed([crop(picture(), 0, 0, 9, 9)])
