"""The TensorRT engine but for the launch itself, on a GPU made of host memory."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import engines
from engines import cache, plans, tensorrt_backend
from engines.cuda import Gpu
from engines.plans import Plan, PlanKey
from engines.tensorrt_backend import GRAPH_AFTER, MOST_GRAPHS, TensorRtEngine
from tests.engines.fake_gpu import SHAPE, FakeCuda, FakeTensorRt, network


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """In place of cuda.bindings.runtime."""
    fake, bindings = FakeCuda(), ModuleType("cuda.bindings")
    bindings.runtime = fake
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    return fake


def make_plan(folder: Path, flavour: str, max_batch: int = 64, content: bytes = b"plan") -> Plan:
    key = PlanKey("a1", flavour, "99.0", "f16", Gpu("Toy", "9.0", "1"), max_batch)
    place = plans.plan_path("net", key, folder)
    plan = Plan(place, key, cache.sha256_of(content), 3, 1.0, len(content), {"kind": "toy"})
    plans.write(plan, content)
    return plan


@pytest.fixture
def trt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    """In place of tensorrt."""
    fake = FakeTensorRt(cuda, [(1, 8), (9, 64)])
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


@pytest.fixture
def engine(trt: FakeTensorRt, tmp_path: Path) -> TensorRtEngine:
    return tensorrt_backend.start("net.onnx", make_plan(tmp_path, "tensorrt"))


def images(batch: int, seed: int = 0) -> engines.Array:
    return np.random.default_rng([batch, seed]).random((batch, *SHAPE), np.float32)


def test_it_says_what_it_is(engine: TensorRtEngine) -> None:
    assert (engine.name, engine.backend, engine.precision) == ("net.onnx", "tensorrt", "f16")
    assert engine.inputs == (engines.TensorSpec("images", (None, *SHAPE), np.dtype(np.float32)),)
    assert engine.outputs == (engines.TensorSpec("means", (None, 4), np.dtype(np.float32)),)
    assert engine.metadata["kind"] == "toy"


@pytest.mark.parametrize("batch", [0, 1, 8, 9, 64, 65, 200])
def test_any_batch_runs_and_large_ones_in_parts(engine: TensorRtEngine, batch: int) -> None:
    (means,) = engine(images(batch))
    assert means.shape == (batch, 4)
    np.testing.assert_array_equal(means, network(images(batch)) if batch else means)


def test_no_call_allocates_on_the_gpu_and_outputs_belong_to_the_caller(engine: TensorRtEngine, cuda: FakeCuda) -> None:
    allocations = cuda.allocations
    (first,) = engine(images(3))
    kept = first.copy()
    for seed in range(9):
        engine(images(3, seed))
        engine(images(40, seed))
    np.testing.assert_array_equal(first, kept)
    assert cuda.allocations == allocations


def test_frequent_shapes_become_graphs_that_other_shapes_do_not_spoil(engine: TensorRtEngine, cuda: FakeCuda) -> None:
    for _ in range(GRAPH_AFTER):
        engine(images(5))
        engine(images(6))
    assert cuda.captured == 2
    for seed in range(3):
        for batch in (5, 7, 6):
            np.testing.assert_array_equal(engine(images(batch, seed))[0], network(images(batch, seed)))
    assert cuda.launched > 6


def test_there_are_never_more_than_so_many_graphs(engine: TensorRtEngine, cuda: FakeCuda) -> None:
    for batch in range(1, 41):
        for _ in range(GRAPH_AFTER):
            engine(images(batch))
    assert cuda.captured == MOST_GRAPHS


def test_threads_do_not_mix_up_their_pictures(engine: TensorRtEngine) -> None:
    batches = [images(batch, seed) for seed in range(8) for batch in (1, 2, 12)]
    with ThreadPoolExecutor(4) as pool:
        for (means,), batch in zip(pool.map(engine, batches), batches, strict=True):
            np.testing.assert_array_equal(means, network(batch))


def test_pictures_on_the_gpu_are_copied_there_after_what_their_maker_queued(
    engine: TensorRtEngine, cuda: FakeCuda
) -> None:
    _, address = cuda.cudaMalloc(70 * 4 * int(np.prod(SHAPE)))
    cuda.memory[address][:] = images(70).view(np.uint8).ravel()

    class Tensor:
        __cuda_array_interface__ = {  # noqa: RUF012
            "shape": (70, *SHAPE), "typestr": "<f4", "data": (address, False), "version": 3, "stream": 9,
        }  # fmt: skip

    np.testing.assert_array_equal(engine(Tensor())[0], network(images(70)))
    assert cuda.followed == [9, 9]


def test_sides_that_the_plan_was_not_built_for_are_named(engine: TensorRtEngine) -> None:
    with pytest.raises(engines.EngineError, match=r"got float32 \(2, 3, 4, 6\); pass its input images"):
        engine(np.zeros((2, 3, 4, 6), np.float32))


def test_all_memory_is_given_back(trt: FakeTensorRt, cuda: FakeCuda, tmp_path: Path) -> None:
    engine = tensorrt_backend.start("net.onnx", make_plan(tmp_path, "tensorrt"))
    assert cuda.memory
    del engine
    assert not cuda.memory


def test_a_plan_that_tensorrt_does_not_load_says_so_in_one_line(trt: FakeTensorRt, tmp_path: Path) -> None:
    with pytest.raises(engines.EngineError, match=r"net\.onnx: tensorrt cannot load .*: magic tag does not match; set"):
        tensorrt_backend.start("net.onnx", make_plan(tmp_path, "tensorrt", content=b"other"))


def test_rtx_captures_by_itself_and_its_kernels_are_kept(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = FakeTensorRt(cuda, [(1, 4)], own_graphs=True)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake)
    plan = make_plan(tmp_path, "tensorrt-rtx", max_batch=4)
    engine = tensorrt_backend.start("net.onnx", plan)
    for _ in range(5):
        np.testing.assert_array_equal(engine(images(10))[0], network(images(10)))
    assert cuda.captured == 0
    assert tensorrt_backend.kernels_path(plan).read_bytes() == b"kernels"
