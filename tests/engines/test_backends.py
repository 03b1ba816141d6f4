from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import engines

both = pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])


def images(batch: int) -> engines.Array:
    return np.random.default_rng(batch).random((batch, 3, 4, 5), np.float32)


def expected(batch: engines.Array) -> engines.Array:
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    return np.asarray(batch.mean((2, 3)) @ weights.T)


@both
def test_the_file_says_names_shapes_types_and_facts(backend: str, network: Path) -> None:
    engine = engines.load(network, backend)
    assert engine.name == "tiny.onnx"
    assert engine.backend == backend
    assert engine.inputs == (engines.TensorSpec("images", (None, 3, 4, 5), np.dtype(np.float32)),)
    assert engine.outputs == (engines.TensorSpec("means", (None, 2), np.dtype(np.float32)),)
    assert engine.metadata == {"kind": "toy"}


@both
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_outputs_are_the_networks(backend: str, batch: int, network: Path) -> None:
    (means,) = engines.load(network, backend, "f32")(images(batch))
    np.testing.assert_allclose(means, expected(images(batch)), rtol=1e-5)


@both
def test_no_images_give_no_rows(backend: str, network: Path) -> None:
    (means,) = engines.load(network, backend)(images(0))
    assert means.shape == (0, 2)
    assert means.dtype == np.float32


@both
def test_a_later_call_leaves_earlier_outputs_alone(backend: str, network: Path) -> None:
    engine = engines.load(network, backend, "f32")
    (first,) = engine(images(4))
    kept = first.copy()
    for seed in range(5):
        engine(np.full((4, 3, 4, 5), seed, np.float32))
    np.testing.assert_array_equal(first, kept)


@both
def test_outputs_may_be_written_to(backend: str, network: Path) -> None:
    engine = engines.load(network, backend, "f32")
    (first,) = engine(images(2))
    first[:] = 0
    np.testing.assert_allclose(engine(images(2))[0], expected(images(2)), rtol=1e-5)


@both
def test_calls_from_many_threads_do_not_mix(backend: str, network: Path) -> None:
    engine = engines.load(network, backend, "f32", threads=1)
    sizes = [1, 2, 3, 5, 8] * 8
    with ThreadPoolExecutor(8) as pool:
        for size, (means,) in zip(sizes, pool.map(lambda n: engine(images(n)), sizes), strict=True):
            np.testing.assert_allclose(means, expected(images(size)), rtol=1e-5)


@both
def test_an_image_that_is_a_view_gives_the_same(backend: str, network: Path) -> None:
    engine = engines.load(network, backend, "f32")
    view = np.ascontiguousarray(images(3).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(engine(view)[0], expected(images(3)), rtol=1e-5)


@both
@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ([], r"got 0 arrays; pass 1: images float32 \(\?, 3, 4, 5\)"),
        ([images(1), images(1)], r"got 2 arrays; pass 1"),
        ([images(1).astype(np.float64)], r"got float64 \(1, 3, 4, 5\); pass its input images float32"),
        ([images(1)[0]], r"got float32 \(3, 4, 5\); pass its input images float32 \(\?, 3, 4, 5\)"),
        ([images(1)[:, :2]], r"got float32 \(1, 2, 4, 5\)"),
    ],
)
def test_wrong_arrays_are_named(backend: str, batch: list[engines.Array], says: str, network: Path) -> None:
    with pytest.raises(engines.EngineError, match=f"tiny.onnx: {says}"):
        engines.load(network, backend)(*batch)


@both
def test_a_fixed_batch_takes_no_other(backend: str, network_of_two: Path) -> None:
    engine = engines.load(network_of_two, backend)
    assert engine(images(2))[0].shape == (2, 2)
    with pytest.raises(engines.EngineError, match=r"got float32 \(3, 3, 4, 5\); pass its input images float32 \(2,"):
        engine(images(3))


@both
@pytest.mark.parametrize("content", [b"", b"no network at all", "half"])
def test_a_broken_file_says_so_in_one_line(backend: str, content: bytes | str, network: Path) -> None:
    broken = network.with_name("broken.onnx")
    broken.write_bytes(network.read_bytes()[: network.stat().st_size // 2] if isinstance(content, str) else content)
    with pytest.raises(engines.EngineError, match=r"broken.onnx: .*export it again") as caught:
        engines.load(broken, backend)
    assert "\n" not in str(caught.value)


@both
def test_a_shape_that_comes_often_gives_the_same_as_one_that_comes_once(backend: str, network: Path) -> None:
    engine = engines.load(network, backend, "f32")
    for batch in [*range(1, 8)] * 4:
        np.testing.assert_allclose(engine(images(batch))[0], expected(images(batch)), rtol=1e-5)


def test_openvino_multiplies_in_the_precision_it_reports(network: Path) -> None:
    assert engines.load(network, "openvino", "f32").precision == "f32"
    assert engines.load(network, "openvino").precision in ("f32", "bf16", "f16")


def test_pixels_are_not_rounded_to_bf16(network: Path) -> None:
    try:
        engine = engines.load(network, "openvino", "bf16")
    except engines.EngineError as error:
        pytest.skip(str(error))

    np.testing.assert_allclose(engine(images(4))[0], expected(images(4)), rtol=1e-5)


def test_a_precision_that_is_not_to_be_had_is_refused(network: Path) -> None:
    with pytest.raises(engines.EngineError, match="ONNX Runtime computes in f32 on a CPU, not bf16"):
        engines.load(network, "onnxruntime", "bf16")
