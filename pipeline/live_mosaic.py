"""The loop of the mosaic process: what the workers see and the matcher decides, in one film."""

from collections import deque
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import zmq

from pipeline.annotate import Mosaic, VideoWriter
from pipeline.datatypes import CameraIdentities, View
from pipeline.job import Job, Life
from pipeline.wire import Context, Receiver


def run(job: Job) -> None:
    """Draws what the workers see and the matcher decides into one film."""
    life, context = Life(), Context()
    mosaic = Mosaic([camera.id for camera in job.site.cameras])
    seen: dict[str, CameraIdentities] = {}
    waiting: deque[View] = deque()
    with ExitStack() as stack:
        views = stack.enter_context(Receiver(context, zmq.PULL, job.addresses.views, 64))
        identities = stack.enter_context(Receiver(context, zmq.SUB, job.addresses.identities, 256))
        film = stack.enter_context(VideoWriter(_free_name(job.out / "mosaic.mp4"), mosaic.size_wh))
        start: float | None = None
        while life.goes_on:
            waiting += [one for one in views.receive(0.05) if isinstance(one, View)]
            seen |= {one.camera_id: one for one in identities.receive(0.0) if isinstance(one, CameraIdentities)}
            while waiting and (_settled(waiting[0], seen) or len(waiting) > 8 * len(job.cameras)):
                one = waiting.popleft()
                start = one.captured_at if start is None else start
                picture = np.asarray(cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
                mosaic.show(one.camera_id, picture, seen.get(one.camera_id), one.scale)
                film.write(mosaic.image_bgr, one.captured_at - start)


def _settled(one: View, seen: dict[str, CameraIdentities]) -> bool:
    answer = seen.get(one.camera_id)
    return answer is not None and answer.frame_index >= one.frame_index


def _free_name(path: Path) -> Path:
    """The path, or its first numbered sister that does not exist: a restart keeps the film so far."""
    names = [path, *(path.with_stem(f"{path.stem}-{number}") for number in range(1, 1000))]
    return next(name for name in names if not name.exists())
