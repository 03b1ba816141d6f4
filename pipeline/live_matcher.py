"""The loop of the matcher process: updates of all workers in, decisions stored, identities out."""

import logging
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack

import zmq

from pipeline.datatypes import CameraState, CameraUpdate, Message
from pipeline.errors import DiskError
from pipeline.job import HIGH_WATER, IDLE_S, REPORT_S, Job, Life, rss_mb
from pipeline.match_service import MatchService
from pipeline.matcher import Matcher
from pipeline.sinks import RunWriter
from pipeline.store import Store
from pipeline.telemetry import Latencies, MatcherReport
from pipeline.wire import Context, Receiver, Sender

log = logging.getLogger(__name__)


def run(job: Job) -> None:
    """Decides identities for all workers and tells everybody."""
    life, context = Life(), Context()
    with ExitStack() as stack:
        tracklets = stack.enter_context(Receiver(context, zmq.PULL, job.addresses.tracklets, 16 * HIGH_WATER))
        identities = stack.enter_context(Sender(context, zmq.PUB, job.addresses.identities, HIGH_WATER))
        telemetry = stack.enter_context(Sender(context, zmq.PUSH, job.addresses.telemetry, HIGH_WATER))
        ids = [camera.id for camera in job.cameras]
        writer = stack.enter_context(RunWriter(job.out, ids, fresh=False, tracklets=job.tracklets))
        desk = MatcherDesk(job, writer, identities, stack)
        reported = 0.0
        while life.goes_on:
            desk.serve(tracklets)
            if time.monotonic() - reported >= REPORT_S:
                reported = time.monotonic()
                telemetry.send(desk.report(tracklets))
        desk.take(tracklets.receive(0.0, at_most=10_000))
        telemetry.send(desk.report(tracklets))
        desk.finish()


class MatcherDesk:
    """Answers messages. The service starts with the first tracklet, which tells the length of an embedding.

    Args:
        stack: closes the identity store, which is opened then.
    """

    def __init__(self, job: Job, writer: RunWriter, identities: Sender, stack: ExitStack) -> None:
        self._job = job
        self._writer = writer
        self._identities = identities
        self._stack = stack
        self._latencies = Latencies()
        self._service: MatchService | None = None
        self._dimension = 0
        self._held: list[CameraUpdate] = []

    def serve(self, tracklets: Receiver) -> None:
        """Handles what has come; while messages wait for the disk no more are received, so that senders drop theirs."""
        if self._held:
            time.sleep(REPORT_S)
        self.take([] if self._held else tracklets.receive(IDLE_S))

    def take(self, messages: Sequence[Message]) -> None:
        """Handles messages in their order, after those that wait."""
        for message in messages:
            if isinstance(message, CameraState):
                self._writer.camera(message)
        updates = [*self._held, *(one for one in messages if isinstance(one, CameraUpdate))]
        try:
            updates = [one for one in updates if self._understands(one)]
        except DiskError as error:
            if not self._held:
                log.error("%s; until then nobody is identified, and frames are dropped", error)
            self._held = updates
            return
        if self._held:
            log.warning("identity store: could be opened, going on")
            self._held = []
        if updates and self._service:
            for answer in self._service.step(updates):
                self._identities.send(answer)
                self._latencies.add(answer.decided_at - answer.arrived_at)

    def report(self, tracklets: Receiver) -> MatcherReport:
        """State and counters, after another try to save what could not be saved."""
        if tracklets.last_error:
            log.warning("matcher: %s (%d so far)", tracklets.last_error, tracklets.unreadable)
            tracklets.last_error = ""
        if self._service:
            self._service.save()
        return MatcherReport(
            pid=os.getpid(),
            rss_mb=rss_mb(),
            identities=self._service.identities if self._service else 0,
            known=self._service.known if self._service else 0,
            latency_counts=self._latencies.counts.tolist(),
            unreadable=tracklets.unreadable,
            unsaved=self._service.unsaved if self._service else 0,
        )

    def finish(self) -> None:
        """Saves, for the last time, what could not be saved; what cannot be is told."""
        if self._service:
            self._service.finish()
        if self._held:
            log.error("matcher: %d frames came before the identity store could be opened and are lost", len(self._held))

    def _understands(self, update: CameraUpdate) -> bool:
        lengths = {tracklet.embeddings.shape[1] for tracklet in update.tracklets}
        if lengths and self._service is None:
            self._dimension = lengths.pop()
            self._service = self._start(self._dimension)
        elif lengths - {self._dimension}:
            log.error(
                "%s: embeddings of %s numbers, expected %d, refused; all workers must use one re-ID model",
                update.camera_id,
                lengths,
                self._dimension,
            )
            return False
        return self._service is not None

    def _start(self, dimension: int) -> MatchService:
        config, path = self._job.site.matcher, self._job.out / "identities.db"
        store = Store(path, dimension, bias_removed=config.remove_camera_bias, network=self._job.network)
        self._stack.enter_context(store)
        state = store.load()
        service = MatchService(Matcher(config, dimension, state), store, self._writer)
        since = self._job.utc + time.monotonic() - config.forget_after_s
        old = sum(one.last_seen < since for one, _ in state.identities)
        told = f", {old} of them last seen more than forget_after_s ago" if old else ""
        log.info("matcher: %d identities known%s", service.known, told)
        return service
