"""Boxes cut out of frames on the GPU: a frame is uploaded once, and its crops never travel.

One CUDA kernel, compiled by NVRTC for the GPU that is there. `cut` says in numpy what it computes.
"""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.cuda import Buffer, DeviceArray, DeviceMemory, Gpu, Stream, call
from engines.engine import Array, EngineError, NotInstalledError

BLOCK = 16  # threads along each side of a block

KERNEL = """
// The mean of a square of pixels, in one colour.
static __device__ float mean(const unsigned char *frame, int frame_width, int x, int y, int side, int bgr)
{
    int sum = 0;
    for (int row = y; row < y + side; row++)
        for (int column = x; column < x + side; column++)
            sum += frame[3 * ((size_t)row * frame_width + column) + bgr];
    return (float)sum / (side * side);
}

// One thread a pixel of a crop. boxes: x1, y1, x2, y2 and the crop's place in out; out: (N, 3, height, width), RGB.
// A box is halved as often as it stays as large as the crop: then its pixels are means of squares.
extern "C" __global__ void cut(
    const unsigned char *frame, int frame_width, const int *boxes, float *out, int height, int width)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const int *box = boxes + 5 * blockIdx.z;
    int box_width = box[2] - box[0], box_height = box[3] - box[1], side = 1;
    for (; box_width >= 2 * width && box_height >= 2 * height; side *= 2) {
        box_width /= 2;
        box_height /= 2;
    }
    float at_x = fminf(fmaxf((x + 0.5f) * box_width / width - 0.5f, 0.0f), box_width - 1.0f);
    float at_y = fminf(fmaxf((y + 0.5f) * box_height / height - 0.5f, 0.0f), box_height - 1.0f);
    int left = (int)at_x, top = (int)at_y;
    int right = left + 1 < box_width ? left + 1 : left, below = top + 1 < box_height ? top + 1 : top;
    float to_right = at_x - left, down = at_y - top;
    int x1 = box[0] + side * left, x2 = box[0] + side * right, y1 = box[1] + side * top, y2 = box[1] + side * below;
    for (int bgr = 0; bgr < 3; bgr++) {
        float first = mean(frame, frame_width, x1, y1, side, bgr) * (1 - to_right)
            + mean(frame, frame_width, x2, y1, side, bgr) * to_right;
        float second = mean(frame, frame_width, x1, y2, side, bgr) * (1 - to_right)
            + mean(frame, frame_width, x2, y2, side, bgr) * to_right;
        size_t plane = 3 * (size_t)box[4] + 2 - bgr;
        out[(plane * height + y) * width + x] = rintf(first * (1 - down) + second * down);
    }
}
"""


def cut(frame_bgr: NDArray[np.uint8], boxes: NDArray[np.int32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """(N, 3, h, w) RGB 0..255: what the kernel computes; large boxes are halved first, the rest is bilinear.

    But for rounding, both are as OpenCV's INTER_LINEAR.

    Args:
        boxes: (N, 4) x1, y1, x2, y2, whole pixels inside the frame; at least one.
    """
    crops = np.empty((len(boxes), 3, *size_hw), np.float32)
    for crop, (x1, y1, x2, y2) in zip(crops, boxes, strict=True):
        pixels = frame_bgr[y1:y2, x1:x2].astype(np.float32)
        while all(side >= 2 * wanted for side, wanted in zip(pixels.shape[:2], size_hw, strict=True)):
            height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
            pixels = pixels[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean((1, 3))
        (top, below, down), (left, right, to_right) = map(_neighbours, pixels.shape[:2], size_hw)
        down, to_right = down[:, None, None], to_right[None, :, None]
        first = pixels[top][:, left] * (1 - to_right) + pixels[top][:, right] * to_right
        second = pixels[below][:, left] * (1 - to_right) + pixels[below][:, right] * to_right
        crop[...] = np.rint(first * (1 - down) + second * down)[..., ::-1].transpose(2, 0, 1)
    return crops


def _neighbours(side: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of the wanted pixels: the two that it lies between, and how far it is on the way."""
    at = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * np.float32(side) / np.float32(wanted)
    at = np.clip(at - np.float32(0.5), 0, side - 1).astype(np.float32)
    low = at.astype(np.intp)
    return low, np.minimum(low + 1, side - 1), at - low


class CropCutter:
    """Cuts on the GPU. What it returns is good until the next call; one thread at a time.

    Args:
        size_hw: of every crop.

    Raises:
        NotInstalledError: NVRTC is not.
        EngineError: the kernel does not compile or load.
    """

    def __init__(self, size_hw: tuple[int, int], gpu: Gpu) -> None:
        from cuda.bindings import driver

        self._driver, self._size_hw = driver, size_hw
        self._stream = Stream()  # first, since it makes the GPU's context the current one
        self._module = call(driver.cuModuleLoadData, compiled(gpu.sm))
        self._kernel = call(driver.cuModuleGetFunction, self._module, b"cut")
        self._out = DeviceMemory(0)
        self._held: dict[tuple[int, int], Buffer] = {}  # by frame, and by its pixels or boxes

    def __call__(self, frames_bgr: Sequence[Array], boxes: Sequence[Array]) -> DeviceArray:
        """(N, 3, h, w) float32 RGB 0..255 on the GPU.

        Args:
            frames_bgr: (H, W, 3) uint8 each.
            boxes: of each frame (M, 5) int32: x1, y1, x2, y2, whole pixels inside it, and the crop's place among all N.
        """
        height, width = self._size_hw
        shape = (sum(map(len, boxes)), 3, height, width)
        self._stream.wait()
        if self._out.size < 4 * int(np.prod(shape)):
            self._out = DeviceMemory(4 * int(np.prod(shape)))
        for index, (frame, cuts) in enumerate(zip(frames_bgr, boxes, strict=True)):
            if not len(cuts):
                continue
            picture, places = self._uploaded(index, [np.asarray(frame, np.uint8), np.asarray(cuts, np.int32)])
            arguments = (picture, frame.shape[1], places, self._out.address, height, width)
            kinds = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
            grid = (-(-width // BLOCK), -(-height // BLOCK), len(cuts))
            call(
                self._driver.cuLaunchKernel,
                *(self._kernel, *grid, BLOCK, BLOCK, 1, 0, int(self._stream.handle), (arguments, kinds), 0),
            )
        return DeviceArray(self._out.address, shape, np.dtype(np.float32), int(self._stream.handle))

    def _uploaded(self, index: int, arrays: Sequence[Array]) -> list[int]:
        """Where the arrays lie on the GPU once the stream has come so far; buffers grow with what they have to hold."""
        addresses = []
        for place, array in enumerate(arrays):
            held = self._held.get((index, place))
            if held is None or len(held.bytes) < array.nbytes:
                held = self._held[index, place] = Buffer(array.nbytes)
            held.view(array.shape, array.dtype)[...] = array
            self._stream.copy(held.device, held.host, array.nbytes)
            addresses.append(held.device)
        return addresses


def compiled(sm: str) -> bytes:
    """The kernel as machine code for GPUs of this compute capability ("9.0"); needs no GPU.

    Raises:
        NotInstalledError: NVRTC is not installed.
        EngineError: it does not compile for them.
    """
    try:
        from cuda.bindings import nvrtc

        program = call(nvrtc.nvrtcCreateProgram, KERNEL.encode(), b"crops.cu", 0, [], [])
    except (ImportError, RuntimeError) as error:  # RuntimeError: bindings without the library
        raise NotInstalledError(f"NVRTC is not installed ({error}); pip install nvidia-cuda-nvrtc") from error
    options = [f"--gpu-architecture=sm_{sm.replace('.', '')}".encode()]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(status):
        log = bytes(1 + int(call(nvrtc.nvrtcGetProgramLogSize, program)))  # bytes of length 1 are shared by all Python
        call(nvrtc.nvrtcGetProgramLog, program, log)
        why = log.decode().strip(" \0\n") or status.name
        raise EngineError(f"the kernel that cuts crops does not compile for compute capability {sm}: {why}")
    code = b" " * int(call(nvrtc.nvrtcGetCUBINSize, program))
    call(nvrtc.nvrtcGetCUBIN, program, code)
    return code
