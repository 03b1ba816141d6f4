"""A page with the pictures of everybody: who was where and when, to judge by eye."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.portraits import folder, portrait_path
from pipeline.sinks import write_whole
from pipeline.visits import Visit, read_visits, utc_date

_AWAY_S = 10.0  # as `mspf-pipeline visits` has it

_PAGE = """<!doctype html>
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
<p>{count} people, in the order in which they came. A row is one person, with the best picture of each track of each
visit to a camera.</p>
{people}
</body></html>
"""


def write_page(run: Path) -> Path:
    """Writes RUN/people.html, which shows the pictures beside it, and returns its path.

    Raises:
        ConfigError: no events or no pictures there.
        StoreError: it cannot be written.
    """
    visits = read_visits(run, _AWAY_S)
    if not any(folder(run).glob("*/*.jpg")):
        raise ConfigError(f"{folder(run)}: holds no pictures; run again with --pictures")
    by_person: dict[int, list[Visit]] = defaultdict(list)
    for one in visits:
        by_person[one.identity_id].append(one)
    people = "\n".join(_person(run, who, own) for who, own in by_person.items())
    page = run / "people.html"
    write_whole(page, _PAGE.format(run=escape(run.resolve().name), count=len(by_person), people=people).encode())
    return page


def _person(run: Path, identity_id: int, visits: Sequence[Visit]) -> str:
    cameras = len({one.camera_id for one in visits})
    told = f"{cameras} camera{'s' if cameras > 1 else ''}"
    figures = "\n".join(_visit(run, one) for one in visits)
    return f'<section id="{identity_id}"><h2>{identity_id}<small>{told}</small></h2><div>\n{figures}\n</div></section>'


def _visit(run: Path, visit: Visit) -> str:
    paths = [portrait_path(run, track) for track in visit.tracks]
    pictures = "".join(
        f'<img loading="lazy" src="{escape(path.relative_to(run).as_posix())}" alt="">'
        for path in paths
        if path.is_file()
    )
    date = utc_date(visit.since)
    came = f"{date[:10]} {date[11:19]} UTC" if date else f"{visit.since:.1f} s"
    caption = f"<b>{escape(visit.camera_id)}</b> {came}, for {visit.seconds:.1f} s"
    return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"
