"""The page of everybody's pictures, from events written by hand."""

import json
import re

import pytest

from pipeline.datatypes import TrackKey
from pipeline.errors import ConfigError, StoreError
from pipeline.people import write_everybody
from pipeline.portraits import portrait_path
from tests.pipeline.disk import full_disk
from tests.pipeline.test_visits import assigned, confirmed, ended, merge


def page(run, events, pictures):
    """The page of a run with pictures of these (camera, track)."""
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    for camera, track in pictures:
        path = portrait_path(run, TrackKey(camera, 1, track))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    write_everybody(run, run / "people.html", 10.0)
    return (run / "people.html").read_text()


def shown(text):
    """Each person's number and pictures, in order."""
    people = re.findall(r'<section id="(\d+)">(.*?)</section>', text, re.DOTALL)
    return [(int(who), re.findall(r'<img [^>]*src="([^"]+)"', row)) for who, row in people]


def test_a_row_shows_the_pictures_of_one_person_in_all_cameras(tmp_path):
    events = [
        assigned(1.0, 1, 7), ended(1, 7, 1.0, 4.0), assigned(2.0, 1, 5, "b"), ended(1, 5, 2.0, 3.0, "b"),
        assigned(9.0, 2, 8, "b"), ended(2, 8, 9.0, 12.0, "b"), merge(7, 8), *confirmed(5, 7),
    ]  # fmt: skip
    text = page(tmp_path, events, [("a", 1), ("b", 1), ("b", 2)])
    assert shown(text) == [(7, ["pictures/a/1-1.jpg", "pictures/b/1-2.jpg"]), (5, ["pictures/b/1-1.jpg"])]
    assert "people: 2," in text
    assert "7<small>2 cameras</small>" in text
    assert "5<small>1 camera</small>" in text
    assert "<b>b</b> at 9.0 s, for 3.0 s" in text
    assert 'alt="b, track 2"' in text


def test_times_of_a_live_run_are_dates(tmp_path):
    now = 1_790_000_000.0
    text = page(tmp_path, [assigned(now, 1, 7), ended(1, 7, now, now + 4), *confirmed(7)], [("a", 1)])
    assert "<b>a</b> at 2026-09-21 14:13:20 UTC, for 4.0 s" in text


def test_a_track_that_turned_out_to_be_somebody_else_is_shown_as_them_alone(tmp_path):
    events = [assigned(1.0, 1, 7), assigned(3.0, 1, 8), *confirmed(7, 8), ended(1, 8, 1.0, 4.0)]
    text = page(tmp_path, events, [("a", 1)])
    assert shown(text) == [(7, []), (8, ["pictures/a/1-1.jpg"])]
    assert text.count("no picture here") == 1


def test_who_has_no_picture_and_pictures_of_nobody_do_no_harm(tmp_path):
    events = [assigned(1.0, 1, 7), *confirmed(7), ended(1, 7, 1.0, 4.0)]
    assert shown(page(tmp_path, events, [("a", 9)])) == [(7, [])]


def test_a_run_without_pictures_is_told_how_to_get_some(tmp_path):
    with pytest.raises(ConfigError, match=r"pictures: holds no pictures, or none yet; `run --pictures` keeps them"):
        page(tmp_path, [assigned(1.0, 1, 7)], [])


ONE = [assigned(1.0, 1, 7), *confirmed(7), ended(1, 7, 1.0, 4.0)]


def test_a_page_elsewhere_finds_the_pictures(tmp_path):
    run, elsewhere = tmp_path / "shop & <b>100 %", tmp_path / "pages"
    run.mkdir()
    elsewhere.mkdir()
    page(run, ONE, [("a", 1)])
    write_everybody(run, elsewhere / "people.html", 10.0)
    text = (elsewhere / "people.html").read_text()
    assert shown(text) == [(7, ["../shop%20%26%20%3Cb%3E100%20%25/pictures/a/1-1.jpg"])]
    assert "<title>People of shop &amp; &lt;b&gt;100 %</title>" in text


def test_visits_are_joined_as_asked(tmp_path):
    events = [*ONE, assigned(9.0, 2, 7, new=False), ended(2, 7, 9.0, 12.0)]
    assert page(tmp_path, events, [("a", 1)]).count("<figure>") == 1
    write_everybody(tmp_path, tmp_path / "people.html", 4.0)
    assert (tmp_path / "people.html").read_text().count("<figure>") == 2


def test_no_other_file_is_replaced_by_the_page(tmp_path):
    (tmp_path / "people.html").write_text("<!doctype html>mine")
    with pytest.raises(ConfigError, match=r"people\.html: is no page of people, .*; give another --out"):
        page(tmp_path, ONE, [("a", 1)])


def test_a_full_disk_leaves_the_former_page(tmp_path):
    before = page(tmp_path, ONE, [("a", 1)])
    with full_disk(10), pytest.raises(StoreError, match=r"people\.html: cannot write"):
        write_everybody(tmp_path, tmp_path / "people.html", 10.0)
    assert (tmp_path / "people.html").read_text() == before
