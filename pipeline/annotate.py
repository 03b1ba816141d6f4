"""Pictures of what the pipeline believes: boxes with identities, all cameras side by side."""

import colorsys
import math
from collections.abc import Mapping

import cv2
import numpy as np

from pipeline.datatypes import U8, CameraIdentities, Frame, View
from pipeline.pictures import resized

_GOLDEN = 0.618033988749895  # successive hues lie far apart
_UNKNOWN_BGR = (160, 160, 160)
_LARGEST_WH = (1920, 1080)
_CELL_WH = (640, 360)


def colour_bgr(identity_id: int | None) -> tuple[int, int, int]:
    """The same colour for an identity in every camera and run; grey for nobody."""
    if identity_id is None:
        return _UNKNOWN_BGR
    red, green, blue = colorsys.hsv_to_rgb(identity_id * _GOLDEN % 1.0, 0.75, 1.0)
    return int(blue * 255), int(green * 255), int(red * 255)


def draw(image_bgr: U8, seen: CameraIdentities | None, title: str, size_wh: tuple[int, int], shrunk: float = 1.0) -> U8:
    """A copy scaled into size_wh, with everybody seen and the camera's name.

    Args:
        shrunk: size of this picture by that of the frame the boxes belong to.
    """
    height, width = image_bgr.shape[:2]
    scale = min(size_wh[0] / width, size_wh[1] / height)
    inner = resized(image_bgr, (round(width * scale), round(height * scale)))
    canvas: U8 = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    left, top = (size_wh[0] - inner.shape[1]) // 2, (size_wh[1] - inner.shape[0]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    for track in seen.tracks if seen else ():
        x1, y1, x2, y2 = (track.box_xyxy * (shrunk * scale) + (left, top, left, top)).round().astype(int).tolist()
        colour = colour_bgr(track.identity_id)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2)
        _label(canvas, "?" if track.identity_id is None else f"{track.identity_id}", (x1, y1), colour)
    _label(canvas, title, (4, 20), (255, 255, 255))
    return canvas


def _label(canvas: U8, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    x, y = at[0], max(at[1], height + 4)
    cv2.rectangle(canvas, (x, y - height - 4), (x + width + 4, y), colour, -1)
    cv2.putText(canvas, text, (x + 2, y - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)


def darken(cell: U8, title: str, told: str) -> None:
    """Makes what a cell shows dark, in place, and writes the camera's name and why."""
    cell //= 4
    (width, height), _ = cv2.getTextSize(told, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    _label(cell, told, ((cell.shape[1] - width - 4) // 2, (cell.shape[0] + height + 4) // 2), _UNKNOWN_BGR)
    _label(cell, title, (4, 20), _UNKNOWN_BGR)


def view(frame: Frame) -> View:
    """The frame as a JPEG no larger than a cell of the mosaic."""
    height, width = frame.image_bgr.shape[:2]
    scale = min(1.0, _CELL_WH[0] / width, _CELL_WH[1] / height)
    small = resized(frame.image_bgr, (round(width * scale), round(height * scale))) if scale < 1 else frame.image_bgr
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return View(frame.camera_id, frame.index, frame.captured_at, scale, jpeg.tobytes())


class Mosaic:
    """The newest picture of every camera in one grid; dark where a camera shows none.

    Args:
        max_age_s: by camera, in reading order: how long its picture is taken for one of now.
    """

    def __init__(self, max_age_s: Mapping[str, float]) -> None:
        camera_ids = [*max_age_s]
        columns = math.ceil(math.sqrt(len(camera_ids)))
        rows = math.ceil(len(camera_ids) / columns)
        shrink = min(1.0, _LARGEST_WH[0] / (columns * _CELL_WH[0]), _LARGEST_WH[1] / (rows * _CELL_WH[1]))
        self._cell_wh = (int(_CELL_WH[0] * shrink) // 2 * 2, int(_CELL_WH[1] * shrink) // 2 * 2)
        self._cells = {one: divmod(position, columns) for position, one in enumerate(camera_ids)}
        self.image_bgr: U8 = np.zeros((rows * self._cell_wh[1], columns * self._cell_wh[0], 3), np.uint8)
        self._max_age_s = max_age_s
        self._shown_at = dict.fromkeys(camera_ids, 0.0)  # of those that are not dark
        for one in camera_ids:
            self.lose(one)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Pixels of the whole grid."""
        return self.image_bgr.shape[1], self.image_bgr.shape[0]

    def show(
        self, camera_id: str, image_bgr: U8, seen: CameraIdentities | None, at: float, shrunk: float = 1.0
    ) -> None:
        """Replaces one camera's cell by its picture of a moment."""
        self._shown_at[camera_id] = at
        self._cell(camera_id)[:] = draw(image_bgr, seen, camera_id, self._cell_wh, shrunk)

    def lose(self, camera_id: str, *, ended: bool = False) -> bool:
        """Darkens the cell of a camera that has ended, or gives no picture, until it shows one; False if it is."""
        if self._shown_at.pop(camera_id, None) is None:  # a camera is tried again and again
            return False
        darken(self._cell(camera_id), camera_id, "ended" if ended else "no picture")
        return True

    def fade(self, now: float) -> None:
        """Darkens the cells of cameras that have not shown a picture for long."""
        for camera_id in [one for one, at in self._shown_at.items() if now - at > self._max_age_s[one]]:
            self.lose(camera_id)

    def _cell(self, camera_id: str) -> U8:
        """(H, W, 3) of the grid itself."""
        row, column = self._cells[camera_id]
        width, height = self._cell_wh
        return self.image_bgr[row * height : (row + 1) * height, column * width : (column + 1) * width]
