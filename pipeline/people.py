"""A page with pictures of everybody: who was where and when, to judge by eye."""

import os
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from pipeline.datatypes import TrackKey
from pipeline.errors import ConfigError
from pipeline.portraits import folder, portrait_path
from pipeline.sinks import write_whole
from pipeline.visits import Visit, read_visits, utc_date

PAGE = "people.html"  # of a run directory
_OURS = "<!-- written by mspf-pipeline people -->"
_PAGE = """<!doctype html>
{ours}
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>People of {run}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}
section {{ border-top: 1px solid #ccc; padding: .5rem 0; display: flex }}
div {{ display: flex; flex-wrap: wrap; gap: .5rem 1rem }}
h2 {{ font-size: 1.1rem; flex: 0 0 6rem; margin: 0 }}
h2 small {{ display: block; font-weight: normal; color: #777 }}
figure {{ margin: 0 }}
img {{ height: 7rem; margin-right: 2px }}
figcaption {{ color: #777; font-size: .85rem }}
figcaption b {{ color: #222 }}
@media (prefers-color-scheme: dark) {{ body, figcaption b {{ color: #ddd }} body {{ background: #111 }} }}
</style></head><body>
<h1>People of {run}</h1>
<p>Number of people: {count}, in the order in which they came. A row is one person: their visits to cameras, with a
picture of each track.</p>
{people}
</body></html>
"""


def is_page(path: Path) -> bool:
    """Whether a file is such a page."""
    try:
        with path.open("rb") as file:
            return _OURS.encode() in file.read(200)
    except OSError:
        return False


def write_page(run: Path, page: Path, away_s: float) -> None:
    """Writes a page that shows the pictures of a run where they are.

    Args:
        away_s: who is out of a camera's view for no longer has not left.

    Raises:
        ConfigError: no events or no pictures in the run, or `page` is something else.
        StoreError: it cannot be written; the former page is still there.
    """
    visits = read_visits(run, away_s)
    if not any(folder(run).glob("*/*.jpg")):
        raise ConfigError(f"{folder(run)}: holds no pictures, or none yet; `run --pictures` keeps them")
    if page.exists() and not is_page(page):
        raise ConfigError(f"{page}: is no page of people, and would be replaced by one; give another --out")
    by_person: dict[int, list[Visit]] = defaultdict(list)
    for one in visits:
        by_person[one.identity_id].append(one)
    people = "\n".join(_person(run, page, who, own) for who, own in by_person.items())
    name = escape(run.resolve().name)
    write_whole(page, _PAGE.format(ours=_OURS, run=name, count=len(by_person), people=people).encode())


def _person(run: Path, page: Path, identity_id: int, visits: Sequence[Visit]) -> str:
    cameras = len({one.camera_id for one in visits})
    told = f"{cameras} camera{'s' if cameras > 1 else ''}"
    figures = "\n".join(_visit(run, page, one) for one in visits)
    return f'<section id="{identity_id}"><h2>{identity_id}<small>{told}</small></h2><div>\n{figures}\n</div></section>'


def _visit(run: Path, page: Path, visit: Visit) -> str:
    kept = [track for track in visit.tracks if portrait_path(run, track).is_file()]
    pictures = "".join(_picture(run, page, track) for track in kept) or "<em>no picture here</em>"
    date = utc_date(visit.since)
    came = f"{date[:10]} {date[11:19]} UTC" if date else f"at {visit.since:.1f} s"
    caption = f"<b>{escape(visit.camera_id)}</b> {came}, for {visit.seconds:.1f} s"
    return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


def _picture(run: Path, page: Path, track: TrackKey) -> str:
    path = os.path.relpath(portrait_path(run, track).resolve(), page.parent.resolve())
    return (
        f'<img loading="lazy" src="{quote(os.fsencode(path))}" alt="{escape(track.camera_id)}, track {track.track_id}">'
    )
