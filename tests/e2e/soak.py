"""A long live run: python -m tests.e2e.soak --minutes 10

Serves the demo clips, repeated, as RTSP streams, follows people in them, and prints latency and memory of each minute
as the supervisor logged them. Fails when the 95th percentile is above 300 ms or grows, or memory does.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.sites import demo_clips, free_port, remux, rtsp_server, write_site

_MINUTE = re.compile(r"minute: p50 (\d+) ms, p95 (\d+) ms, p99 (\d+) ms, (\d+) MB, (\d+) frames, (\d+) dropped")
_LIMIT_MS = 300
_GROWTH = 1.25  # of the later half over the earlier half, both without the first minute


def main() -> int:
    """Exit status 1 when a limit was not kept."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=10)
    minutes = arguments.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        rows = _run(Path(folder), minutes * 60)
    print("minute  p50 ms  p95 ms  p99 ms  MB  frames  dropped")
    for number, row in enumerate(rows, 1):
        print(f"{number:6}  " + "  ".join(f"{value:6}" for value in row))
    return _judge(rows)


def _run(folder: Path, seconds: float) -> list[list[int]]:
    clips = [remux(clip, folder / f"cam{n}.mp4", seconds + 60) for n, clip in enumerate(demo_clips(), 1)]
    with rtsp_server(free_port(), clips) as urls:
        site = write_site(folder, urls)
        command = [Path(sys.executable).parent / "mspf-pipeline", "run", "--cams", site, "--out", folder / "out"]
        subprocess.run([*command, "--seconds", str(seconds + 1)], check=True)
    log = (folder / "out" / "pipeline.log").read_text()
    return [[int(value) for value in found.groups()] for found in _MINUTE.finditer(log)]


def _judge(rows: list[list[int]]) -> int:
    settled = rows[1:] or rows
    half = max(1, len(settled) // 2)
    early, late = settled[:half], settled[-half:]
    failures = []
    if max(row[1] for row in settled) > _LIMIT_MS:
        failures.append(f"p95 above {_LIMIT_MS} ms")
    for name, column in (("p95", 1), ("memory", 3)):
        if sum(row[column] for row in late) > _GROWTH * sum(row[column] for row in early):
            failures.append(f"{name} grows")
    print("; ".join(failures) or f"kept: p95 ≤ {_LIMIT_MS} ms, neither latency nor memory grows")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
