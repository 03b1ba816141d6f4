"""Files as sources: every frame in order, and one clear error for a file that is damaged, after what could be read."""

import os
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import av
import numpy as np
import pytest

from pipeline import sources
from pipeline.config import CameraConfig
from pipeline.datatypes import Position
from pipeline.errors import SourceError
from pipeline.sources import FileReplay, LiveCapture, read_video
from tests.fakes import picture
from tests.pipeline.clips import noise, scramble, truncate, write_clip


def camera(path, **options):
    return CameraConfig("hall", str(path), **options)


def read(path):
    """Seconds of every frame, and the error that ended them."""
    seconds = []
    try:
        for timed in read_video(camera(path)):
            assert timed.picture.bgr().shape == (48, 64, 3)
            seconds.append(timed.seconds)
    except SourceError as error:
        return seconds, str(error)
    return seconds, None


def copied(source, target, shift_s=0.0, **options):
    """The same packets in another container, moved in time."""
    with av.open(str(source)) as read_from, av.open(str(target), "w", options=options) as write_to:
        stream = read_from.streams.video[0]
        out = write_to.add_stream_from_template(stream)
        for packet in read_from.demux(stream):
            if packet.dts is not None:
                packet.pts += round(shift_s / packet.time_base)
                packet.dts += round(shift_s / packet.time_base)
                packet.stream = out
                write_to.mux(packet)
    return target


def until(condition, changed):
    """Waits for what a capture's thread brings about."""
    while not condition():
        assert changed.wait(30)
        changed.clear()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "whole.mp4", noise(40))


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv"])
def test_every_frame_of_a_file_comes_with_its_time(tmp_path, clip, name):
    seconds, error = read(copied(clip, tmp_path / name))
    assert seconds == pytest.approx([one / 10 for one in range(40)])
    assert error is None


def test_a_picture_is_bgr(tmp_path):
    blue = write_clip(tmp_path / "blue.mp4", [picture((0, 0, 160, 120, (255, 0, 0)))])
    (timed,) = read_video(camera(blue))
    assert timed.picture.bgr()[60, 80].tolist() == pytest.approx([255, 0, 0], abs=8)


@pytest.mark.parametrize("name", ["late.mp4", "late.ts"])
def test_the_time_of_a_file_starts_with_its_first_frame(tmp_path, clip, name):
    seconds, error = read(copied(clip, tmp_path / name, shift_s=7.0))
    assert (seconds[0], seconds[-1], error) == (0.0, pytest.approx(3.9), None)


def test_time_goes_on_where_clips_were_joined_whose_times_begin_anew(tmp_path, clip):
    part = copied(clip, tmp_path / "part.ts").read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    seconds, _ = read(tmp_path / "joined.ts")
    assert seconds == pytest.approx([one / 10 for one in range(80)])


def test_a_file_that_was_cut_at_the_front_without_recoding_is_whole(tmp_path, clip):
    seconds, error = read(copied(clip, tmp_path / "edited.mp4", shift_s=-1.5))
    assert (len(seconds), error) == (25, None)


def test_a_file_that_ends_too_early_delivers_what_is_there_and_says_so(tmp_path, clip):
    path = truncate(copied(clip, tmp_path / "a.mp4", movflags="faststart"), 0.6)
    seconds, error = read(path)
    assert seconds == pytest.approx([one / 10 for one in range(len(seconds))])
    assert 15 < len(seconds) < 30
    assert error == (
        f"hall: {path}: {len(seconds)} frames could be read, the last at {seconds[-1]:.1f} of 4.0 s; "
        "the file is truncated or damaged, copy it again"
    )


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_file_damaged_in_the_middle_delivers_both_ends_and_says_so(tmp_path, clip, name):
    seconds, error = read(scramble(copied(clip, tmp_path / name), 0.3, 0.5))
    assert seconds[:5] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert seconds[-1] == pytest.approx(3.9)
    assert len(seconds) < 40
    assert f"hall: {tmp_path / name}: {len(seconds)} frames could be read" in error


def test_a_file_without_its_index_cannot_be_opened(tmp_path, clip):
    path = truncate(copied(clip, tmp_path / "a.mp4"), 0.6)
    assert read(path) == (
        [],
        f"hall: cannot open {path}: not a video that can be read; if it is one, it may be truncated, copy it again",
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.mp4", None, "no such file; check the url, relative paths start at cams.yaml"),
        ("no 'such' @ file.mp4", None, "no such file"),
        ("empty.mp4", b"", "not a video that can be read"),
        ("zeros.mp4", bytes(5000), "not a video that can be read"),
        ("text.mp4", b"hello\n" * 100, "not a video that can be read"),
        ("notes.txt", b"hello\n" * 100, "holds no video; give a video file or stream"),
    ],
)
def test_what_is_no_video_is_one_clear_error(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    seconds, error = read(tmp_path / name)
    assert seconds == []
    assert error.startswith("hall: ")
    assert f"{tmp_path / name}" in error
    assert says in error
    assert "\n" not in error


def test_a_folder_is_one_clear_error(tmp_path):
    assert read(tmp_path) == ([], f"hall: cannot open {tmp_path}: a folder; give a video file")


def test_a_pipe_is_one_clear_error_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert read(tmp_path / "pipe") == ([], f"hall: cannot open {tmp_path / 'pipe'}: a pipe; give a video file")


def test_a_file_with_sound_only_holds_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame(format="s16", layout="mono", samples=800)
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    assert "holds no video" in read(tmp_path / "sound.wav")[1]


@pytest.mark.parametrize(
    "url",
    [
        "foo://me:hunter2@h/1",
        "foo://me:hun@ter2@h/1",
        "foo://me:a b%40hunter2@h/1?token=hunter2",
        "foo://h/1?access_token=hunter2",
        "rtsp://me:hunter2@127.0.0.1:1/1",
        "http://me:hunter2@127.0.0.1:1/1?pwd=hunter2",
    ],
)
def test_no_secret_is_in_the_error_of_a_stream_that_cannot_be_opened(url):
    _, error = read(url)
    assert "hunter2" not in error
    assert "***" in error


def test_a_host_that_cannot_be_reached_is_one_clear_error(monkeypatch):
    def unreachable(url, **_):  # as for a name that nobody knows
        raise av.error.OSError(5, "Input/output error", url)

    monkeypatch.setattr(av, "open", unreachable)
    url = "rtsp://nohost.invalid/x"
    says = f"hall: cannot open {url}: Input/output error; check the host's name and the network"
    assert read(url) == ([], says)


@pytest.mark.parametrize(("url", "says"), [("webcam:front", "write webcam:0"), ("webcam:", "names no")])
def test_a_webcam_is_named_by_its_number(url, says):
    with pytest.raises(SourceError, match=says):
        next(read_video(CameraConfig("a", url)))


def test_a_webcam_that_is_not_there_is_one_clear_error(capfd):
    with pytest.raises(SourceError, match="webcam 63 cannot be opened; is it plugged in and not in use"):
        next(read_video(CameraConfig("a", "webcam:63")))
    assert capfd.readouterr() == ("", "")


def test_a_replay_delivers_every_frame_with_its_place_and_time(clip):
    with FileReplay(camera(clip, started_at=1000.0)) as replay:
        frames = []
        while frame := replay.next():
            frames.append(frame)
    assert [frame.index for frame in frames] == list(range(40))
    assert [frame.captured_at for frame in frames] == pytest.approx([1000 + one / 10 for one in range(40)])
    assert {frame.camera_id for frame in frames} == {"hall"}
    assert frames[0].image_bgr.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("max_fps", "taken"),
    [
        (5, range(0, 40, 2)),
        (1, [0, 8, 18, 28, 38]),
        (4, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30, 32, 35, 37]),
        (10, range(40)),
        (9.9, [*range(26), *range(27, 40)]),
        (30, range(40)),
    ],
)
def test_a_replay_of_fewer_frames_a_second_passes_over_the_others_evenly(clip, max_fps, taken):
    with FileReplay(camera(clip, max_fps=max_fps)) as replay:
        frames = []
        while frame := replay.next():
            frames.append(frame)
    assert [frame.captured_at for frame in frames] == pytest.approx([frame.index / 10 for frame in frames])
    assert [frame.index for frame in frames] == [*taken]


@pytest.mark.parametrize(("fps", "max_fps", "least"), [(25, 10, 99), (30, 30, 290), (12, 10, 97), (15, 30, 149)])
def test_uneven_frames_are_taken_as_often_as_they_may_be(fps, max_fps, least):
    late = np.random.default_rng(0).uniform(0, 0.4, 10 * fps)
    pace = sources._Pace(max_fps)
    taken = [at for at in (np.arange(10 * fps) + late) / fps if pace.takes(at)]
    assert least <= len(taken) <= 10 * max_fps + 1


def test_frames_that_did_not_come_are_not_made_up_for():
    pace = sources._Pace(5)
    seconds = np.concatenate([np.arange(0, 2, 0.04), np.arange(60, 62, 0.04)])
    taken = [at for at in seconds if pace.takes(at)]
    assert len(taken) == 22
    assert np.diff(taken).min() > 0.15


def test_a_live_camera_of_fewer_frames_a_second_passes_over_the_others_and_drops_none(tmp_path):
    changed, frames = threading.Event(), []
    path = write_clip(tmp_path / "a.mp4", noise(24), fps=12)
    with LiveCapture(camera(path, max_fps=3), changed.set) as capture:
        while not capture.state.ended:
            assert changed.wait(30)
            changed.clear()
            frames += [frame for frame in [capture.take()] if frame]
    wanted = [0, 3, 7, 11, 15, 19, 23]
    assert set(wanted) >= {frame.index for frame in frames} >= {23}
    assert (capture.state.captured, capture.state.overwritten + len(frames)) == (24, len(wanted))


def test_of_a_stream_whose_clock_stands_still_frames_are_taken_by_their_arrival(monkeypatch):
    def stream(_):
        for _ in range(20):
            time.sleep(0.02)
            yield sources.Timed(0.0, sources._Grabbed(np.zeros((2, 2, 3), np.uint8)))
        stopping.set()
        time.sleep(5.0)

    taken, stopping = [], threading.Event()
    monkeypatch.setattr(sources, "read_video", stream)
    with LiveCapture(CameraConfig("hall", "rtsp://192.0.2.1/", max_fps=10), lambda: taken.append(1)):
        assert stopping.wait(30)
    assert 3 <= len(taken) - 1 < 20  # the first word is that the camera is up


def test_a_replay_of_a_damaged_file_ends_with_the_error_after_its_frames(tmp_path, clip):
    path = truncate(copied(clip, tmp_path / "a.mp4", movflags="faststart"), 0.6)
    count = 0
    with FileReplay(camera(path)) as replay, pytest.raises(SourceError, match="truncated or damaged"):
        while replay.next():
            count += 1
    assert count > 15


def test_a_replay_that_is_left_early_stops_its_thread(clip):
    with FileReplay(camera(clip)) as replay:
        assert replay.next().index == 0
    assert not [one for one in threading.enumerate() if one.name == "replay-hall"]


def test_a_live_file_is_played_to_its_end_and_the_newest_picture_is_kept(tmp_path):
    changed = threading.Event()
    with LiveCapture(camera(write_clip(tmp_path / "a.mp4", noise(6), fps=60)), changed.set) as capture:
        until(lambda: capture.state.ended, changed)
        newest = capture.take()
        assert newest.index == 5
        assert capture.take() is None
    state = capture.state
    assert (state.up, state.reason, state.captured, state.reconnects) == (False, "end of file", 6, 0)
    assert state.overwritten == 5
    assert state.changes == 2


def test_the_times_of_a_live_camera_are_of_the_clock_that_its_run_was_given(tmp_path):
    came = threading.Event()
    before = time.monotonic()
    with LiveCapture(camera(write_clip(tmp_path / "a.mp4", noise(6), fps=60)), came.set, utc=1e6) as capture:
        while (frame := capture.take()) is None:
            came.wait(1.0)
    assert 1e6 + before <= frame.captured_at <= 1e6 + time.monotonic()


def test_a_live_file_goes_on_where_it_would_be_by_now(tmp_path):
    changed = threading.Event()
    path = write_clip(tmp_path / "a.mp4", [picture((0, 0, 160, 120, (10 * one, 0, 0))) for one in range(20)], fps=2)
    position = Position(index=110, at=time.monotonic() - 4.0, fps=2.0, first=100)
    with LiveCapture(camera(path), changed.set, position) as capture:
        while not (frame := capture.take()):
            assert changed.wait(30)
            changed.clear()
    assert frame.index in (118, 119)
    assert frame.image_bgr[60, 80, 0] == pytest.approx(10 * (frame.index - 100), abs=8)


def test_a_live_file_that_would_be_over_by_now_ends_at_once(clip):
    changed = threading.Event()
    with LiveCapture(camera(clip), changed.set, Position(index=400)) as capture:
        until(lambda: capture.state.ended, changed)
        assert capture.take() is None
    assert capture.state.reason == "end of file"


def test_a_live_file_that_cannot_be_read_ends_with_its_reason(tmp_path):
    changed = threading.Event()
    with LiveCapture(camera(tmp_path / "none.mp4"), changed.set) as capture:
        until(lambda: capture.state.ended, changed)
    assert not capture.state.up
    assert "no such file" in capture.state.reason


def test_a_live_camera_that_is_stopped_is_not_said_to_have_ended(tmp_path):
    came = threading.Event()
    with LiveCapture(camera(write_clip(tmp_path / "a.mp4", noise(6), fps=1)), came.set) as capture:
        until(lambda: capture.state.captured, came)
    assert (capture.state.up, capture.state.reason) == (True, "")


def test_a_camera_that_fails_after_it_was_stopped_says_nothing(caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/1"
        capture = LiveCapture(CameraConfig("a", url), lambda: None)
        with capture:
            connection, _ = silent.accept()
            capture.stop()
            connection.close()
    assert (capture.state.reason, caplog.records) == ("connecting", [])


def test_cameras_that_never_answer_are_left_together_not_one_after_the_other():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/1"
        captures = [LiveCapture(CameraConfig(f"cam{number}", url), lambda: None) for number in range(4)]
        with ExitStack() as stack:
            for capture in captures:
                stack.enter_context(capture)
                stack.push(lambda *_: left.append(time.monotonic()))
            left = [time.monotonic()]
            for capture in captures:
                capture.stop()
    longest, *others = sorted(np.diff(left), reverse=True)
    assert sum(others) < longest


@contextmanager
def http_camera(answers, changed):
    """An http url, and the times at which it was asked: it gives each of the answers in turn, and then errors."""
    asked, remaining = [], [*answers]

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(time.monotonic())
            changed.set()
            video = remaining.pop(0) if remaining else b""
            self.send_response(200 if video else 404)
            self.end_headers()
            self.wfile.write(video)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/1", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_camera_that_fails_again_and_again_is_tried_less_and_less_often_until_it_delivers(
    tmp_path, clip, monkeypatch
):
    monkeypatch.setattr(sources, "_BACKOFF_S", (0.1, 0.2, 0.3, 60.0))
    video = copied(clip, tmp_path / "a.ts").read_bytes()
    changed = threading.Event()
    with (
        http_camera([b"", b"", b"", video], changed) as (url, asked),
        LiveCapture(CameraConfig("hall", url), changed.set) as capture,
    ):
        until(lambda: len(asked) >= 6, changed)
    assert capture.state.captured == 40
    assert (np.diff(asked[:6]) >= [0.1, 0.2, 0.3, 0.1, 0.2]).all()
