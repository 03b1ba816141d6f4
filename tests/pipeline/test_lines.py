"""A file of lines: complete and in order, through full disks, crashes, and when it is moved away."""

import shutil

import pytest

from pipeline.errors import StoreError
from pipeline.lines import AppendFile
from tests.pipeline.disk import full_disk


def test_text_is_appended_after_what_is_there_or_starts_anew(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    for fresh, expected in [(False, "x\n"), (False, "x\nx\n"), (True, "x\n")]:
        with AppendFile(path, fresh=fresh) as file:
            file.write("x\n")
        assert path.read_text() == expected


def test_a_full_disk_delays_lines_and_loses_none(tmp_path, caplog):
    path = tmp_path / "a.txt"
    lines = [f"line {number}\n" for number in range(100)]
    with AppendFile(path, fresh=True) as file:
        for line in lines[:10]:
            file.write(line)
        with full_disk(100):
            for line in lines[10:]:
                file.write(line)
            assert path.stat().st_size == 100
        file.flush()
        assert path.read_text() == "".join(lines)
        assert file.lost_bytes == 0
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "File too large; lines are kept until there is space" in caplog.messages[0]


def test_lines_that_could_never_be_written_are_told_at_the_end(tmp_path, caplog):
    with full_disk(4), AppendFile(tmp_path / "a.txt", fresh=True) as file:
        file.write("123456\n")
    assert caplog.messages[-1] == f"{tmp_path / 'a.txt'}: 3 bytes could not be written and are lost"
    assert file.lost_bytes == 3


def test_what_exceeds_the_memory_for_unwritten_lines_is_dropped_by_whole_lines_and_told(tmp_path, caplog):
    path = tmp_path / "a.txt"
    with AppendFile(path, fresh=True, pending_limit=20) as file:
        with full_disk(3):
            file.write("12345\n")
            for _ in range(3):
                file.write("abcdefghi\n")
        file.write("end\n")
    assert path.read_text() == "12345\nabcdefghi\nend\n"
    assert file.lost_bytes == 20
    assert f"{path}: more cannot be kept; from here on lines are lost" in caplog.messages
    assert caplog.messages[-2:] == [
        f"{path}: writing again, 20 bytes are missing",
        f"{path}: 20 bytes could not be written and are lost",
    ]


def test_half_a_line_that_a_crash_left_is_cut_off(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text('{"whole": 1}\n{"ha')
    with AppendFile(path, fresh=False) as file:
        file.write("next\n")
    assert path.read_text() == '{"whole": 1}\nnext\n'


def test_a_folder_in_the_place_of_a_file_is_one_clear_error(tmp_path):
    with (
        pytest.raises(StoreError, match="cannot write: Is a directory; give another --out"),
        AppendFile(tmp_path, fresh=True),
    ):
        pass


@pytest.mark.parametrize("away", ["moved", "deleted", "replaced"])
def test_a_file_that_is_gone_begins_anew(tmp_path, away):
    path, archive = tmp_path / "a.txt", tmp_path / "yesterday.txt"
    with AppendFile(path, fresh=True) as file:
        file.write("one\n")
        file.write("two\n")
        path.rename(archive)
        if away == "deleted":
            archive.unlink()
        if away == "replaced":
            path.write_text("not ours\n")
        file.write("three\n")
        file.write("four\n")
    assert path.read_text() == ("not ours\n" if away == "replaced" else "") + "three\nfour\n"
    assert away == "deleted" or archive.read_text() == "one\ntwo\n"


def test_a_file_that_is_moved_away_from_a_full_disk_loses_no_line(tmp_path):
    path, archive = tmp_path / "a.txt", tmp_path / "yesterday.txt"
    with AppendFile(path, fresh=True) as file:
        file.write("one\n")
        with full_disk(6):
            file.write("second\n")
            file.write("third\n")
            assert path.read_text() == "one\nse"
        path.rename(archive)
        file.write("fourth\n")
    assert path.read_text() == "second\nthird\nfourth\n"
    assert archive.read_text() == "one\n"


def test_in_a_folder_that_is_moved_away_a_file_goes_on(tmp_path):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with AppendFile(folder / "a.txt", fresh=True) as file:
        file.write("one\n")
        shutil.move(folder, elsewhere)
        file.write("two\n")
    assert (elsewhere / "a.txt").read_text() == "one\ntwo\n"
    assert not folder.exists()


def test_a_folder_that_is_deleted_is_made_again(tmp_path):
    path = tmp_path / "tracks" / "a.txt"
    with AppendFile(path, fresh=True) as file:
        file.write("one\n")
        shutil.rmtree(path.parent)
        file.write("two\n")
    assert path.read_text() == "two\n"


def test_where_no_new_file_can_be_made_lines_wait(tmp_path, caplog):
    path = tmp_path / "a.txt"
    with AppendFile(path, fresh=True) as file:
        path.unlink()
        path.mkdir()
        file.write("one\n")
        path.rmdir()
        file.write("two\n")
    assert path.read_text() == "one\ntwo\n"
    assert "cannot write: Is a directory; lines are kept" in caplog.messages[0]
