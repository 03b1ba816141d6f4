"""Crops cut on the GPU: the kernel, compiled for GPUs and for this CPU, and the rest on a stand-in for CUDA."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engines.cuda import Gpu, on_device
from engines.cuda_crops import KERNEL, CropCutter, compiled, cut
from pipeline.pictures import resized
from tests.engines.fake_gpu import FakeCuda, installed

FRAME = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
BOXES = np.array([[0, 0, 70, 90], [3, 5, 4, 6], [10, 20, 42, 84], [60, 80, 70, 90], [0, 40, 33, 41]], np.int32)
LARGE = np.random.default_rng(1).integers(0, 256, (300, 150, 3), np.uint8)  # to be halved twice, once, and not at all
LARGE_BOXES = np.array([[0, 0, 150, 300], [1, 2, 34, 68], [0, 0, 150, 63]], np.int32)
SIZE_HW = (32, 16)


def by_opencv(frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    crops = [resized(frame[y1:y2, x1:x2], SIZE_HW[::-1]) for x1, y1, x2, y2 in boxes]
    return np.stack(crops)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize(("frame", "boxes"), [(FRAME, BOXES), (LARGE, LARGE_BOXES)])
def test_cutting_is_opencvs_bilinear_to_one_grey_level(frame: np.ndarray, boxes: np.ndarray) -> None:
    assert np.abs(cut(frame, boxes, SIZE_HW) - by_opencv(frame, boxes)).max() <= 1


ON_A_CPU = """
#include <cmath>
#define __global__
#define __device__
struct Three { int x, y, z; };
static Three blockIdx, threadIdx, blockDim = {1, 1, 1};
%s
extern "C" void cut_all(const unsigned char *frame, int frame_width, const int *boxes, int count, float *out,
                        int height, int width)
{
    for (blockIdx.z = 0; blockIdx.z < count; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < height; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < width; blockIdx.x++)
                cut(frame, frame_width, boxes, out, height, width);
}
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
@pytest.mark.parametrize(("frame", "boxes"), [(FRAME, BOXES), (LARGE, LARGE_BOXES)])
def test_the_kernel_run_on_a_cpu_computes_what_its_twin_does(
    tmp_path: Path, frame: np.ndarray, boxes: np.ndarray
) -> None:
    (tmp_path / "kernel.cpp").write_text(ON_A_CPU % KERNEL)
    library = tmp_path / "kernel.so"
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "-o", library, tmp_path / "kernel.cpp"], check=True)
    order = np.array([4, 0, 3, 1, 2] if len(boxes) == 5 else [2, 0, 1], np.int32)
    placed = np.ascontiguousarray(np.column_stack([boxes, order]))
    crops = np.full((len(boxes), 3, *SIZE_HW), np.nan, np.float32)
    pixels, places, out = (array.ctypes.data_as(ctypes.c_void_p) for array in (frame, placed, crops))
    ctypes.CDLL(str(library)).cut_all(pixels, frame.shape[1], places, len(boxes), out, *SIZE_HW)
    assert np.abs(crops[order] - cut(frame, boxes, SIZE_HW)).max() <= 1  # a half may be rounded either way
    assert np.abs(crops[order] - by_opencv(frame, boxes)).max() <= 1


@pytest.mark.parametrize("sm", ["8.6", "9.0", "12.0"])
def test_the_kernel_compiles_for_gpus_without_one(sm: str) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    assert compiled(sm).startswith(b"\x7fELF")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return installed(monkeypatch)


def test_crops_of_several_frames_lie_in_the_order_asked_for(cuda: FakeCuda) -> None:
    cutter = CropCutter(SIZE_HW, Gpu("Toy", "9.0", "1"))
    frames = [FRAME, FRAME[::-1, :60]]
    boxes = [np.array([[*BOXES[2], 1], [*BOXES[1], 2]]), np.array([[0, 0, 60, 90, 0]])]
    for _ in range(2):
        found = on_device(cutter(frames, boxes))
        assert found is not None
        assert (found.shape, found.stream) == ((3, 3, *SIZE_HW), 77)
        content = np.frombuffer(ctypes.string_at(found.address, found.nbytes), np.float32).reshape(found.shape)
        np.testing.assert_array_equal(content[0], cut(frames[1], boxes[1][:, :4], SIZE_HW)[0])
        np.testing.assert_array_equal(content[1:], cut(FRAME, BOXES[[2, 1]], SIZE_HW))


def test_no_memory_is_taken_for_frames_and_crops_that_were_held_before(cuda: FakeCuda) -> None:
    cutter = CropCutter(SIZE_HW, Gpu("Toy", "9.0", "1"))
    cutter([FRAME], [np.column_stack([BOXES, range(len(BOXES))])])
    before = cuda.allocations
    for count in (1, 5, 3):
        cutter([FRAME[: 40 + count]], [np.array([[0, 0, 9, 9, place] for place in range(count)])])
    assert cuda.allocations == before


def test_all_memory_is_given_back(cuda: FakeCuda) -> None:
    cutter = CropCutter(SIZE_HW, Gpu("Toy", "9.0", "1"))
    cutter([FRAME], [np.array([[0, 0, 9, 9, 0]])])
    del cutter
    assert not cuda.memory
