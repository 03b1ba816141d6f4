import numpy as np
import pytest

from pipeline.datatypes import EndedTrack, TrackKey
from pipeline.errors import ConfigError
from pipeline.kept_tracks import KeptTracks, read_kept_boxes, read_tracks
from tests.pipeline.disk import full_disk


def ended(track, identity=1, descriptor=(0.6, 0.8), epoch=1, since=1.0, until=2.5):
    return EndedTrack(TrackKey("a", epoch, track), identity, since, until, np.array(descriptor, np.float32))


def keep(folder, *tracks, fresh=False):
    with KeptTracks(folder, "a", fresh=fresh) as kept:
        for one in tracks:
            kept.see(one.track.epoch, 4, [one.track.track_id], ["1.0,2.0,30.0,60.0,0.900"])
            kept.end(one)


def test_tracks_are_read_as_they_were_kept(tmp_path):
    keep(tmp_path, ended(1), ended(2, identity=7, descriptor=(1, 0), since=0.1234))
    first, second = read_tracks(tmp_path)
    assert (first.key, first.identity_id, first.since, first.until) == (TrackKey("a", 1, 1), 1, 1.0, 2.5)
    assert (second.identity_id, second.since) == (7, 0.123)
    np.testing.assert_allclose(first.descriptor, [0.6, 0.8], atol=1e-3)
    boxes = [*read_kept_boxes(tmp_path, "a")]
    assert [(one.key.track_id, one.frame, one.box) for one in boxes] == [
        (1, 4, "1.0,2.0,30.0,60.0,0.900"), (2, 4, "1.0,2.0,30.0,60.0,0.900"),
    ]  # fmt: skip


def test_a_run_goes_on_after_an_earlier_one_or_begins_anew(tmp_path):
    keep(tmp_path, ended(1))
    keep(tmp_path, ended(1, epoch=2))
    assert [one.key.epoch for one in read_tracks(tmp_path)] == [1, 2]
    keep(tmp_path, ended(5), fresh=True)
    assert [one.key.track_id for one in read_tracks(tmp_path)] == [5]


def test_a_track_told_twice_is_as_told_last(tmp_path):
    keep(tmp_path, ended(1, identity=3), ended(1, identity=4))
    assert [one.identity_id for one in read_tracks(tmp_path)] == [4]


def test_a_track_that_was_never_described_is_left_out(tmp_path):
    keep(tmp_path, ended(1), ended(2, descriptor=()))
    assert [one.key.track_id for one in read_tracks(tmp_path)] == [1]


def test_half_a_line_is_left_out(tmp_path, caplog):
    keep(tmp_path, ended(1), ended(2))
    path = tmp_path / "tracklets" / "a.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert [one.key.track_id for one in read_tracks(tmp_path)] == [1]
    assert "line 2 is half" in caplog.text


def test_what_a_full_disk_refuses_is_written_later(tmp_path):
    with KeptTracks(tmp_path, "a", fresh=True) as kept:
        with full_disk(0):
            kept.end(ended(1))
        kept.end(ended(2))
    assert [one.key.track_id for one in read_tracks(tmp_path)] == [1, 2]


def test_a_directory_without_tracks_is_told(tmp_path):
    with pytest.raises(ConfigError, match="run --tracklets"):
        read_tracks(tmp_path)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "line 2 is no track"),
        ('{"epoch":1,"track":2,"identity":0,"since":1,"until":2,"descriptor":"zTxmOg=="}', "identity"),
        ('{"epoch":1,"track":2,"identity":1,"since":3,"until":2,"descriptor":"zTxmOg=="}', "seen from 3.0 to 2.0"),
        ('{"epoch":1,"track":2,"identity":1,"since":1,"until":2,"descriptor":"AAAAAA=="}', "has no length"),
        ('{"epoch":1,"track":2,"identity":1,"since":1,"until":2,"descriptor":"zTw="}', "1 numbers, not 2"),
        ('{"epoch":1,"track":2,"identity":1,"since":1,"until":2,"descriptor":"zQ=="}', "line 2 is no track"),
    ],
)
def test_a_line_that_is_no_track_is_named(tmp_path, line, why):
    keep(tmp_path, ended(1))
    with (tmp_path / "tracklets" / "a.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ConfigError, match=why):
        read_tracks(tmp_path)


def test_a_line_that_is_no_box_is_named(tmp_path):
    keep(tmp_path, ended(1))
    with (tmp_path / "tracklets" / "a.csv").open("a") as file:
        file.write("1,x\n")
    with pytest.raises(ConfigError, match="line 2 is no box"):
        [*read_kept_boxes(tmp_path, "a")]
