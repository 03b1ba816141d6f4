"""Crowds of labelled people through the matcher: how they are drawn, scored, and shown."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.mspf.people import market

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "pipeline" / "weights" / "mspf_x0_25.onnx"


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("evaluate_crowd")


def people(count: int, noise: float) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Each person before two cameras, three views of each: (person, camera), and unit rows."""
    draw = np.random.default_rng(0)
    looks = np.repeat(draw.normal(size=(count, 64)), 6, axis=0) + noise * draw.normal(size=(count * 6, 64))
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    return [(person, camera) for person in range(count) for camera in (1, 2)], looks.astype(np.float32)


def test_scores_are_of_tracks_and_of_pairs(script):
    perfect = script.score(np.array([1, 1, 2, 2]), np.array([7, 7, 9, 9]))
    assert perfect == (1.0, 1.0, 1.0, 2)
    apart = script.score(np.array([1, 1, 2, 2]), np.array([1, 2, 3, 4]))
    assert (apart.idf1, apart.recall, apart.identities) == (0.5, 0.0, 4)
    mixed = script.score(np.array([1, 1, 2, 2]), np.array([5, 5, 5, 5]))
    assert (mixed.idf1, mixed.precision, mixed.recall) == (0.5, pytest.approx(2 / 6), 1.0)


def test_people_who_differ_are_told_apart_and_lookalikes_are_not(script):
    def idf1(noise: float) -> float:
        tracks, rows = people(30, noise)
        passing = [
            script.Passage(person, camera, 5.0 * at, 5.0 * at, (3 * at, 3 * at + 1, 3 * at + 2))
            for at, (person, camera) in enumerate(tracks)
        ]
        config = script.matcher_config(["remove_camera_bias=false"], script.USUAL)
        return script.score(np.array([one.person for one in passing]), script.identities(passing, rows, config)).idf1

    assert idf1(0.1) == 1.0
    assert idf1(3.0) < 0.7


def test_when_people_pass_counts(script):
    """Everybody walks from camera 1 to camera 2 in half a minute, and looks half like the one before."""
    draw = np.random.default_rng(0)
    looks = draw.normal(size=(200, 64))
    looks = looks[1:] + looks[:-1]
    rows = np.repeat(looks, 2, axis=0) + 0.9 * draw.normal(size=(398, 64))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    passing = [
        script.Passage(row // 2, 1 + row % 2, *[40.0 * (row // 2) + 30.0 * (row % 2)] * 2, (row,)) for row in range(398)
    ]

    def idf1(weight: float, decide=script.identities) -> float:
        config = script.matcher_config([f"transition_weight={weight}"], script.USUAL)
        return script.score(np.array([one.person for one in passing]), decide(passing, rows, config)).idf1

    assert idf1(0.15) > idf1(0) + 0.05
    assert idf1(0, script.identities_afterwards) > idf1(0)


def test_a_line_for_each_size_and_what_is_wrong_in_one(run: Callable[..., None], tmp_path, capsys):
    market(tmp_path / "m", people=4)
    scored = ("--weights", WEIGHTS, "--data", tmp_path / "m", "--split", "everyone", "--threads", 1)
    run("evaluate_crowd", *scored, "--people", 2, 3, "--seeds", 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" people")[0].split()[-1] for line in lines] == ["2", "3"]
    run("evaluate_crowd", *scored, "--sequence", 1)
    assert " sequence 1, 4 people, 8 tracks: IDF1 " in capsys.readouterr().out
    run("evaluate_crowd", *scored, "--people", 3, "--afterwards")
    assert " 3 people, " in capsys.readouterr().out
    for wrong, words in (
        (("--sequence", 2), "--sequence 2: .* has nobody of it in this split"),
        (("--people", 99), "--people 99: .* has"),
        (("--people", 2, "--set", "crowd=1"), "--set crowd=1: .*unknown field `crowd`"),
        (("--people", 2, "--set", "crowd_penalty"), "give KEY=VALUE"),
        (("--people", 2, "--set", "crowd_penalty=2"), "crowd_penalty"),
    ):
        with pytest.raises(SystemExit, match=f"^evaluate_crowd: .*{words}"):
            run("evaluate_crowd", *scored, *wrong)


@pytest.mark.parametrize("asked", [(), ("--people", 2, "--sequence", 1)])
def test_either_a_crowd_or_a_sequence_is_asked_for(run: Callable[..., None], asked, capsys):
    with pytest.raises(SystemExit):
        run("evaluate_crowd", "--weights", WEIGHTS, "--data", ".", *asked)
    assert "give either --people or --sequence" in capsys.readouterr().err
