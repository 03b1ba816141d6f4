"""Run a network file, fast, on whatever this machine has: `engine = load("net.onnx"); outputs = engine(batch)`."""

from engines.engine import Array, Engine, EngineError, TensorSpec
from engines.loading import load

__all__ = ["Array", "Engine", "EngineError", "TensorSpec", "load"]
