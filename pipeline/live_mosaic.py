"""The loop of the mosaic process: what the workers see and the matcher decides, in one film."""

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import zmq

from pipeline.datatypes import END_OF_FILE, CameraIdentities, CameraState, Message, View
from pipeline.film import Film
from pipeline.job import Job, Life
from pipeline.wire import Context, Receiver

_WAITING = 8  # views a camera that wait for their people


def run(job: Job) -> None:
    """Draws what the workers see and the matcher decides into one film."""
    life, context = Life(), Context()
    max_age_s = {camera.id: camera.max_age_s for camera in job.site.cameras}
    with ExitStack() as stack:
        views = stack.enter_context(Receiver(context, zmq.PULL, job.addresses.views, 64))
        identities = stack.enter_context(Receiver(context, zmq.SUB, job.addresses.identities, 256))
        film = stack.enter_context(Film(_free_name(job.out / "mosaic.mp4"), max_age_s))
        editor = Editor(film, len(max_age_s))
        while life.goes_on:
            editor.take([*views.receive(0.05), *identities.receive(0.0)])
        editor.take([*views.receive(0.0), *identities.receive(0.0)])
        editor.finish()


class Editor:
    """Puts views into a film as soon as their people are known, or too many wait; cameras that are down are dark."""

    def __init__(self, film: Film, cameras: int) -> None:
        self._film = film
        self._limit = _WAITING * cameras
        self._seen: dict[str, CameraIdentities] = {}
        self._waiting: deque[View | CameraState] = deque()

    def take(self, messages: Sequence[Message]) -> None:
        """Takes in views, identities and cameras' states, and films the views that are ready.

        Raises:
            StoreError: the film cannot be written.
        """
        self._waiting += [one for one in messages if isinstance(one, View | CameraState)]
        for one in messages:
            if isinstance(one, CameraIdentities) and not self._knows(one):
                self._seen[one.camera_id] = one
        while self._waiting and (len(self._waiting) > self._limit or self._is_settled(self._waiting[0])):
            self._film_next()

    def finish(self) -> None:
        """Films the views that still wait."""
        while self._waiting:
            self._film_next()

    def _film_next(self) -> None:
        one = self._waiting.popleft()
        if isinstance(one, View):
            picture = np.asarray(cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
            self._film.show(one.camera_id, picture, self._seen.get(one.camera_id), one.captured_at, one.scale)
            self._film.write(one.captured_at)
        elif not one.up and self._film.lose(one.camera_id, ended=one.reason == END_OF_FILE):
            self._film.write_again()  # at once: there may be no camera left whose next picture would show it

    def _knows(self, answer: CameraIdentities) -> bool:
        """Whether the answer is another one to the same frame, as where tracks are closed after a camera's last."""
        known = self._seen.get(answer.camera_id)
        return known is not None and (known.epoch, known.frame_index) == (answer.epoch, answer.frame_index)

    def _is_settled(self, one: View | CameraState) -> bool:
        if isinstance(one, CameraState):
            return True
        answer = self._seen.get(one.camera_id)
        return answer is not None and answer.frame_index >= one.frame_index


def _free_name(path: Path) -> Path:
    """The path, or its first numbered sister that does not exist: a restart keeps the film so far."""
    names = [path, *(path.with_stem(f"{path.stem}-{number}") for number in range(1, 1000))]
    return next(name for name in names if not name.exists())
