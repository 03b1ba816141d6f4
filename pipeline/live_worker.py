"""The loop of a worker process: newest frames of its cameras in, updates for the matcher out."""

import os
import threading
import time
from collections import deque
from contextlib import ExitStack

import zmq

from pipeline.annotate import view
from pipeline.datatypes import CameraState, CameraUpdate, Message, Position, View
from pipeline.job import HIGH_WATER, IDLE_S, REPORT_S, Job, Life, rss_mb
from pipeline.networks import load_networks
from pipeline.portraits import Portraits
from pipeline.sources import LiveCapture
from pipeline.telemetry import CameraCounters, WorkerReport
from pipeline.wire import Context, Sender
from pipeline.worker import Worker

_OUTBOX = 256  # closing messages kept while the matcher is away


class Outbox:
    """Messages on their way to another process; one that none after it repeats is kept, up to a limit, until sent."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._kept: deque[Message] = deque()

    def send(self, message: Message) -> bool:
        """Whether the message was queued or kept; False when it was dropped."""
        while self._kept and self._sender.send(self._kept[0]):
            self._kept.popleft()
        if not self._kept and self._sender.send(message):
            return True
        if _is_repeated(message) or len(self._kept) == _OUTBOX:
            return False
        self._kept.append(message)
        return True


def _is_repeated(message: Message) -> bool:
    """Whether the next one of its camera makes up for its loss: pictures, and updates that close no track."""
    if isinstance(message, CameraUpdate):
        return not any(one.closed for one in message.tracklets)
    return isinstance(message, View)


class CameraDesk:
    """One camera of a live worker: its capture, its counters, and what was last told of it.

    `now` is of the monotonic clock.

    Args:
        lost_after_s: a camera that is down closes its tracks after so long without a frame.
    """

    def __init__(self, capture: LiveCapture, lost_after_s: float) -> None:
        self.capture = capture
        self._lost_after_s = lost_after_s
        self.counters = CameraCounters()
        self._told = 0
        self._recent: deque[float] = deque(maxlen=100)

    def state_change(self, now: float) -> CameraState | None:
        """The camera's state when it changed since the last call."""
        state = self.capture.state
        if state.changes == self._told:
            return None
        self._told = state.changes
        return CameraState(self.capture.camera.id, self.capture.utc + now, state.up, state.reason)

    def is_over(self, now: float) -> bool:
        """Whether nothing will go on where the last frame ended: a file is at its end, or a camera down for long."""
        state = self.capture.state
        return state.ended or (not state.up and bool(self._recent) and now - self._recent[-1] > self._lost_after_s)

    def processed(self, update: CameraUpdate, crops: int, *, sent: bool, now: float) -> None:
        """Counts one processed frame."""
        self.counters.frames += 1
        self.counters.crops += crops
        self.counters.visible = sum(not one.closed for one in update.tracklets)
        self.counters.tracks = max([self.counters.tracks, *(one.track_id for one in update.tracklets)])
        if not sent:
            self.drop("matcher busy", 1)
        self._recent.append(now)

    def drop(self, reason: str, count: int) -> None:
        """Counts losses."""
        self.counters.dropped[reason] = self.counters.dropped.get(reason, 0) + count

    def report(self, now: float) -> CameraCounters:
        """The counters, brought up to date."""
        state, counters = self.capture.state, self.counters
        counters.up, counters.reason, counters.ended = state.up, state.reason, state.ended
        counters.captured, counters.reconnects = state.captured, state.reconnects
        if state.overwritten:
            counters.dropped["newer frame came"] = state.overwritten
        recent = [at for at in self._recent if now - at <= 5.0]
        counters.fps = round(len(recent) / 5.0, 1)
        return counters


def run(job: Job) -> None:
    """Serves its cameras: newest frames in, updates out."""
    life, context, wake = Life(), Context(), threading.Event()
    networks = load_networks(job.site)
    portraits = Portraits(job.out) if job.pictures else None
    worker = Worker(job.site, job.epoch, networks.detector, networks.embedder, portraits)
    with ExitStack() as stack:
        captures = [LiveCapture(one, wake.set, job.positions.get(one.id, Position()), job.utc) for one in job.cameras]
        lost_after_s = job.site.tracker.lost_after_s
        desks = {one.camera.id: CameraDesk(stack.enter_context(one), lost_after_s) for one in captures}
        outbox = Outbox(stack.enter_context(Sender(context, zmq.PUSH, job.addresses.tracklets, HIGH_WATER)))
        telemetry = stack.enter_context(Sender(context, zmq.PUSH, job.addresses.telemetry, HIGH_WATER))
        views = Outbox(stack.enter_context(Sender(context, zmq.PUSH, job.addresses.views, 8))) if job.video else None
        reported = 0.0
        while life.goes_on:
            wake.wait(IDLE_S)
            wake.clear()
            serve(worker, desks, outbox, views)
            if time.monotonic() - reported >= REPORT_S:
                reported = time.monotonic()
                telemetry.send(_worker_report(job.number, desks))
        for desk in desks.values():
            desk.capture.stop()
        for update in [update for camera_id in desks for update in worker.finish(camera_id)]:
            outbox.send(update)
        telemetry.send(_worker_report(job.number, desks))


def serve(worker: Worker, desks: dict[str, CameraDesk], outbox: Outbox, views: Outbox | None) -> None:
    """Handles the newest frame of each camera, and closes the tracks of those that are over."""
    now = time.monotonic()
    over = [camera_id for camera_id, desk in desks.items() if desk.is_over(now)]
    changes = [change for desk in desks.values() if (change := desk.state_change(now))]
    for change in changes:
        outbox.send(change)
    frames = [frame for desk in desks.values() if (frame := desk.capture.take())]
    for update, frame in zip(worker.step(frames), frames, strict=True):
        desk = desks[frame.camera_id]
        sent = outbox.send(update)
        desk.processed(update, worker.counts.crops[frame.camera_id], sent=sent, now=now)
        if views:
            views.send(view(frame))
    if views:
        for change in changes:  # after the last picture of a camera that is down
            views.send(change)
    for update in [update for camera_id in over for update in worker.finish(camera_id)]:
        outbox.send(update)


def _worker_report(number: int, desks: dict[str, CameraDesk]) -> WorkerReport:
    now = time.monotonic()
    return WorkerReport(number, os.getpid(), rss_mb(), {one: desk.report(now) for one, desk in desks.items()})
