"""Small H.264 clips, and ways to damage them."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from pipeline.datatypes import U8


def write_clip(path: Path, images_bgr: Iterable[U8], fps: int = 10, *, first_pts: int = 0) -> Path:
    """An H.264 file of pictures of even size; the container follows the name."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "18", "g": "10"})
        stream.pix_fmt = "yuv420p"
        for index, image in enumerate(images_bgr):
            if index == 0:
                stream.height, stream.width = image.shape[:2]
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            frame.pts = first_pts + index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def noise(count: int, size_wh: tuple[int, int] = (64, 48)) -> list[U8]:
    """Pictures that compress badly, so that every frame has bytes to damage."""
    random = np.random.default_rng(7)
    return [random.integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8) for _ in range(count)]


def truncate(path: Path, share: float) -> Path:
    """Keeps the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def scramble(path: Path, start: float, end: float) -> Path:
    """Replaces a part of a file, as shares of its length, by noise."""
    content = bytearray(path.read_bytes())
    first, last = (int(len(content) * share) for share in (start, end))
    content[first:last] = np.random.default_rng(7).integers(0, 256, last - first, np.uint8).tobytes()
    path.write_bytes(content)
    return path
