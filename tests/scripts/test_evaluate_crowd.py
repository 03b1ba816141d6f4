"""Crowds of labelled people through the matcher: how they are drawn, scored, and shown."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mspf.datasets import ImageList
from tests.mspf.people import market

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "pipeline" / "weights" / "mspf_x0_25.onnx"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("evaluate_crowd")


def passed(script: ModuleType, people: int, noise: float) -> list:
    """Each person before two cameras."""
    draw = np.random.default_rng(0)
    looks = draw.normal(size=(people, 64))
    found = []
    for person in range(people):
        for camera in (1, 2):
            views = looks[person] + noise * draw.normal(size=(3, 64))
            views /= np.linalg.norm(views, axis=1, keepdims=True)
            found.append(script.Passage(person + 1, camera, views.astype(np.float32)))
    return found


def test_a_track_is_what_one_camera_shows_of_a_person_and_distractors_are_left_out(script):
    pids, camids = np.array([1, 1, 1, 2, 0, 1]), np.array([1, 1, 1, 1, 1, 2])
    images = ImageList(tuple(Path(f"{row}.jpg") for row in range(6)), pids, camids)
    kept = script.shown(images, views=2)
    assert sorted(zip(kept.pids, kept.camids, strict=True)) == [(1, 1), (1, 1), (1, 2), (2, 1)]
    tracks = script.passages(kept, np.arange(4, dtype=np.float32)[:, None])
    assert sorted((one.person, one.camera, len(one.views)) for one in tracks) == [(1, 1, 2), (1, 2, 1), (2, 1, 1)]


def test_a_crowd_is_of_so_many_people_with_all_their_tracks_and_drawn_by_its_seed(script):
    tracks = passed(script, 10, 0.1)
    chosen = [(one.person, one.camera) for one in script.crowd(tracks, 4, seed=0)]
    assert len({person for person, _ in chosen}) == 4
    assert len(chosen) == len(set(chosen)) == 8
    assert chosen == [(one.person, one.camera) for one in script.crowd(tracks, 4, seed=0)]
    assert chosen != [(one.person, one.camera) for one in script.crowd(tracks, 4, seed=1)]


def test_scores_are_of_tracks_and_of_pairs(script):
    perfect = script.score(np.array([1, 1, 2, 2]), np.array([7, 7, 9, 9]))
    assert perfect == (1.0, 1.0, 1.0, 2)
    apart = script.score(np.array([1, 1, 2, 2]), np.array([1, 2, 3, 4]))
    assert (apart.idf1, apart.recall, apart.identities) == (0.5, 0.0, 4)
    mixed = script.score(np.array([1, 1, 2, 2]), np.array([5, 5, 5, 5]))
    assert (mixed.idf1, mixed.precision, mixed.recall) == (0.5, pytest.approx(2 / 6), 1.0)


def test_people_who_differ_are_told_apart_and_lookalikes_are_not(script):
    def idf1(noise: float) -> float:
        crowd = script.crowd(passed(script, 30, noise), 30, seed=0)
        identities = script.identities(crowd, script.matcher_config(["remove_camera_bias=false"]))
        return script.score(np.array([one.person for one in crowd]), identities).idf1

    assert idf1(0.1) == 1.0
    assert idf1(3.0) < 0.7


def test_a_line_for_each_size_and_what_is_wrong_in_one(run: Callable[..., None], tmp_path, capsys):
    market(tmp_path / "m", people=4)
    scored = ("--weights", WEIGHTS, "--data", tmp_path / "m", "--split", "everyone", "--threads", 1)
    run("evaluate_crowd", *scored, "--people", 2, 3, "--seeds", 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" people")[0].split()[-1] for line in lines] == ["2", "3"]
    for wrong, words in (
        (("--people", 99), "--people 99: .* has"),
        (("--people", 2, "--set", "crowd=1"), "--set crowd=1: .*unknown field `crowd`"),
        (("--people", 2, "--set", "crowd_penalty"), "give KEY=VALUE"),
        (("--people", 2, "--set", "crowd_penalty=2"), "crowd_penalty"),
    ):
        with pytest.raises(SystemExit, match=f"^evaluate_crowd: .*{words}"):
            run("evaluate_crowd", *scored, *wrong)
