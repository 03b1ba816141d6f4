"""The TensorRT back ends on a real GPU, with the shipped networks; skipped where there is none."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import engines
from engines import cuda, cuda_crops
from engines.engine import Engine
from engines.tensorrt_builder import FLAVOURS

WEIGHTS = Path(__file__).parents[2] / "pipeline" / "weights"
INSTALLED = [name for name, module in FLAVOURS.items() if importlib.util.find_spec(module)]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not Path("/proc/driver/nvidia").exists(), reason="needs an NVIDIA GPU"),
]


@pytest.fixture(scope="module", params=INSTALLED)
def engine(request: pytest.FixtureRequest) -> Engine:
    """The shipped re-ID network, proven by its reference."""
    return engines.load(WEIGHTS / "mspf_x0_25.onnx", request.param)


def crops(engine: Engine, batch: int) -> engines.Array:
    sides = [int(side or 0) for side in engine.inputs[0].shape[1:]]
    return np.random.default_rng(batch).uniform(0, 255, (batch, *sides)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 3, 8, 9, 64, 65, 200])
def test_every_batch_size_gives_what_the_cpu_gives(engine: Engine, batch: int) -> None:
    pictures = crops(engine, batch)
    expected = engines.load(WEIGHTS / "mspf_x0_25.onnx", "onnxruntime")(pictures)[0]
    assert (engine(pictures)[0] * expected).sum(1).min() >= 0.999


def test_outputs_belong_to_the_caller_also_once_launches_are_graphs(engine: Engine) -> None:
    some, others = crops(engine, 4), crops(engine, 5)[:4]
    (first,) = engine(some)
    kept = first.copy()
    for _ in range(6):
        (again,) = engine(others)
    assert np.array_equal(first, kept)
    np.testing.assert_allclose(engine(some)[0], kept, atol=1e-3)
    assert not np.allclose(again, kept, atol=1e-3)


def test_threads_do_not_mix_up_their_pictures(engine: Engine) -> None:
    batches = [crops(engine, batch) for batch in (1, 2, 7, 12)] * 4
    expected = [engine(batch)[0] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for (rows,), right in zip(pool.map(engine, batches), expected, strict=True):
            np.testing.assert_allclose(rows, right, atol=1e-3)


def test_pictures_that_lie_on_the_gpu_are_taken_from_there(engine: Engine) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    pictures = crops(engine, 70)
    (rows,) = engine(torch.from_numpy(pictures).cuda())
    np.testing.assert_allclose(rows, engine(pictures)[0], atol=1e-3)


def test_the_kernel_cuts_what_its_twin_in_numpy_does() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    boxes = np.array([[0, 0, 1920, 1080], [700, 300, 720, 350], [1919, 1079, 1920, 1080]], np.int32)
    cutter = cuda_crops.CropCutter((128, 64), cuda.gpu())
    for _ in range(3):
        found = cuda.on_host(cutter([frame], [np.column_stack([boxes, [2, 0, 1]])]))
        assert np.abs(found[[2, 0, 1]] - cuda_crops.cut(frame, boxes, (128, 64))).max() <= 1


def test_crops_that_were_cut_on_the_gpu_give_the_rows_of_those_from_the_host(engine: Engine) -> None:
    height, width = (int(side or 0) for side in engine.inputs[0].shape[2:])
    frame = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    boxes = np.array([[place, 10, place + 50, 120, place] for place in range(12)], np.int32)
    cutter = cuda_crops.CropCutter((height, width), cuda.gpu())
    (rows,) = engine(cutter([frame], [boxes]))
    assert (rows * engine(cuda_crops.cut(frame, boxes[:, :4], (height, width)))[0]).sum(1).min() >= 0.999


@pytest.mark.parametrize("flavour", INSTALLED)
def test_the_detector_passes_its_gate_and_takes_pictures_of_any_side(flavour: str) -> None:
    detector = engines.load(WEIGHTS / "person_detector.onnx", flavour)
    for height, width in ((288, 480), (480, 288), (64, 480), (480, 480)):
        assert detector(np.zeros((2, 3, height, width), np.float32))[0].shape == (2, 300, 6)
    with pytest.raises(engines.EngineError, match="give sides that it was built for"):
        detector(np.zeros((1, 3, 512, 480), np.float32))
