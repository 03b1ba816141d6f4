"""Small real sites for the end-to-end tests: shortened or repeated demo clips, and a server that streams them."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import msgspec

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
SYSTEM_PYTHON = Path("/usr/bin/python3")


def demo_clips() -> list[Path]:
    """The shipped clips."""
    cameras = msgspec.yaml.decode(DEMO.read_bytes())["cameras"]
    return [DEMO.parent / camera["url"] for camera in cameras]


def remux(clip: Path, out: Path, seconds: float) -> Path:
    """The clip's first seconds, repeated from the start where it is shorter; nothing is encoded anew."""
    with av.open(str(out), "w") as target:
        written, offset = None, 0.0
        while offset < seconds:
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                if written is None:
                    written = target.add_stream_from_template(video)
                length = float(video.duration * video.time_base)
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue
                    if offset + packet.pts * packet.time_base >= seconds:
                        break
                    shift = round(Fraction(offset) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = written
                    target.mux(packet)
            offset += length
    return out


def write_site(folder: Path, urls: Sequence[str], extra: str = "") -> Path:
    """A cams.yaml of these sources, named cam1, cam2, …"""
    lines = [f"  - {{id: cam{number}, url: {url!r}, max_age_s: 2}}\n" for number, url in enumerate(urls, 1)]
    path = folder / "cams.yaml"
    path.write_text("cameras:\n" + "".join(lines) + extra)
    return path


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def rtsp_server(port: int, clips: Sequence[Path]) -> Iterator[list[str]]:
    """A GStreamer server of the clips; yields their URLs, kills it at the end."""
    command = [SYSTEM_PYTHON, Path(__file__).parent / "rtsp_server.py", str(port), *clips]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield [f"rtsp://127.0.0.1:{port}/{number}" for number in range(len(clips))]
        finally:
            server.kill()


def has_rtsp_server() -> bool:
    """Whether the system's Python has the GStreamer RTSP server."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not SYSTEM_PYTHON.exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0
