"""Pages with pictures of people, a row each: who was where and when, to judge by eye."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from pipeline.datatypes import TrackKey
from pipeline.errors import ConfigError
from pipeline.portraits import folder, portrait_path
from pipeline.sinks import write_whole
from pipeline.visits import Visit, read_visits, told_time

PAGE = "people.html"  # of a run directory
FOUND = "found.html"  # there, too: who looks like a photograph
_OURS = "<!-- written by mspf-pipeline people -->"
_PAGE = """<!doctype html>
{ours}
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
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
<h1>{title}</h1>
<p>{told} A row is one person: their visits to cameras, with a picture of each track.</p>
{people}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One person of a page: their visits in the order in which they began, and what is told of them in a few words."""

    identity_id: int
    told: str
    visits: Sequence[Visit]


def is_page(path: Path) -> bool:
    """Whether a file is such a page."""
    try:
        with path.open("rb") as file:
            return _OURS.encode() in file.read(200)
    except OSError:
        return False


def check_replaceable(page: Path) -> None:
    """
    Raises:
        ConfigError: something else is there.
    """
    if page.exists() and not is_page(page):
        raise ConfigError(f"{page}: is no page of people, and would be replaced by one; give another --out")


def by_person(run: Path, away_s: float) -> dict[int, list[Visit]]:
    """The visits of everybody, in the order in which people came, of a run that has pictures.

    Args:
        away_s: who is out of a camera's view for no longer has not left.

    Raises:
        ConfigError: no events or no pictures in the run.
    """
    visits = read_visits(run, away_s)
    if not any(folder(run).glob("*/*.jpg")):
        raise ConfigError(f"{folder(run)}: holds no pictures, or none yet; `run --pictures` keeps them")
    people: dict[int, list[Visit]] = defaultdict(list)
    for one in visits:
        people[one.identity_id].append(one)
    return people


def write_everybody(run: Path, page: Path, away_s: float) -> None:
    """Writes a page of everybody.

    Raises:
        ConfigError, StoreError: as `by_person` and `write_page`.
    """
    rows = [Row(who, _cameras(visits), visits) for who, visits in by_person(run, away_s).items()]
    told = f"Number of people: {len(rows)}, in the order in which they came."
    write_page(run, page, f"People of {run.resolve().name}", told, rows)


def write_page(run: Path, page: Path, title: str, told: str, rows: Iterable[Row], head: str = "") -> None:
    """Writes a page that shows the pictures of a run where they are.

    Args:
        told: a sentence or two, as text.
        head: what stands before the rows, as HTML.

    Raises:
        ConfigError: `page` is something else.
        StoreError: it cannot be written; the former page is still there.
    """
    check_replaceable(page)
    people = "\n".join([head, *(_person(run, page, row) for row in rows)])
    write_whole(page, _PAGE.format(ours=_OURS, title=escape(title), told=escape(told), people=people).encode())


def _cameras(visits: Sequence[Visit]) -> str:
    cameras = len({one.camera_id for one in visits})
    return f"{cameras} camera{'s' if cameras > 1 else ''}"


def _person(run: Path, page: Path, row: Row) -> str:
    figures = "\n".join(_visit(run, page, one) for one in row.visits)
    number = f"<h2>{row.identity_id}<small>{escape(row.told)}</small></h2>"
    return f'<section id="{row.identity_id}">{number}<div>\n{figures}\n</div></section>'


def _visit(run: Path, page: Path, visit: Visit) -> str:
    kept = [track for track in visit.tracks if portrait_path(run, track).is_file()]
    pictures = "".join(_picture(run, page, track) for track in kept) or "<em>no picture here</em>"
    caption = f"<b>{escape(visit.camera_id)}</b> at {told_time(visit.since)}, for {visit.seconds:.1f} s"
    return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


def _picture(run: Path, page: Path, track: TrackKey) -> str:
    path = os.path.relpath(portrait_path(run, track).resolve(), page.parent.resolve())
    return (
        f'<img loading="lazy" src="{quote(os.fsencode(path))}" alt="{escape(track.camera_id)}, track {track.track_id}">'
    )
