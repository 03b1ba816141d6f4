"""Arrays on the GPU that speak DLPack alone: where they lie, read from the structure that all such libraries share.

The layout is that of `DLTensor` in dlpack.h, https://dmlc.github.io/dlpack/latest/c_api.html.
"""

import ctypes
from typing import Any

import numpy as np

from engines.cuda import DeviceArray
from engines.engine import EngineError

ON_CUDA = 2  # kDLCUDA
DEFAULT_STREAM = 1
KINDS = {0: "i", 1: "u", 2: "f"}  # DLDataTypeCode


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("axes", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def on_cuda(array: Any) -> bool:
    """Whether this is an array on a GPU that hands itself over by DLPack alone."""
    if hasattr(array, "__cuda_array_interface__") or not hasattr(array, "__dlpack__"):
        return False
    return int(array.__dlpack_device__()[0]) == ON_CUDA


def place(array: Any) -> DeviceArray:
    """Where an array of `on_cuda` lies; its maker's work comes before what is queued in the default stream next."""
    return read(array.__dlpack__(stream=DEFAULT_STREAM))


def read(capsule: object) -> DeviceArray:
    """What a capsule tells; it is not consumed, so its maker frees the array when nobody holds either.

    Raises:
        EngineError: its elements are of a kind that no network takes, or do not lie one after the other.
    """
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[: tensor.axes])
    if tensor.code not in KINDS or tensor.lanes != 1:
        raise EngineError(f"an array on the GPU is of DLPack's type {tensor.code}; pass integers or floats")
    packed = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(tensor.axes))
    steps = zip(shape, tensor.strides[: tensor.axes], packed, strict=True) if tensor.strides else ()
    if any(side > 1 and step != wanted for side, step, wanted in steps):
        raise EngineError("an array on the GPU has gaps or another order; pass a contiguous one")
    dtype = np.dtype(f"{KINDS[tensor.code]}{tensor.bits // 8}")
    return DeviceArray(int(tensor.data or 0) + tensor.byte_offset, shape, dtype, DEFAULT_STREAM)
