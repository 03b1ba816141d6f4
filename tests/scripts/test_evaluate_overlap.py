"""Who is who between two cameras that see the same ground: geometry, scores, and the whole path on the demo's clips."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import msgspec
import numpy as np
import pytest

from pipeline.simulator.camera import site_cameras

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "configs" / "demo"
WEIGHTS = ROOT / "pipeline" / "weights" / "mspf_x0_25.onnx"


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("evaluate_overlap")


@pytest.fixture
def evaluate(run: Callable[..., None]) -> Callable[..., None]:
    def evaluate(*clips: Path, calibration: Path = DEMO / "calibration.json") -> None:
        scored = ("--weights", WEIGHTS, "--clips", *clips, "--calibration", calibration)
        run("evaluate_overlap", *scored, "--every", 100, "--threads", 1)

    return evaluate


@pytest.mark.parametrize("distortion", [(0.0, 0.0, 0.0, 0.0), (-0.23, 0.16, 0.0, 0.0)])
def test_feet_are_put_on_the_ground_where_they_stand(script, distortion):
    camera = site_cameras(1, (640, 360), seed=1)[0]
    turn, shift = camera.rotation, camera.translation
    lens = msgspec.convert(
        {"K": camera.intrinsics.tolist(), "R": turn.tolist(), "t": shift.tolist(), "distortion": distortion},
        script.Lens,
    )
    ground = np.random.default_rng(0).uniform(-4, 4, (20, 2))
    points = np.column_stack([ground, np.zeros(20)])
    bends = np.array(distortion)
    pixels = cv2.projectPoints(points, cv2.Rodrigues(turn)[0], shift, camera.intrinsics, bends)[0].reshape(-1, 2)
    np.testing.assert_allclose(lens.ground(pixels), ground, atol=0.01)
    assert lens.ground(np.zeros((0, 2))).shape == (0, 2)
    assert np.isnan(lens.ground(np.array([[320.0, -900.0]]))).all()  # in the sky


def test_people_are_the_same_where_nobody_else_stands(script):
    first = np.array([[0, 0], [5, 5], [5.4, 5], [-3, 0], [9, 0]], np.float64)
    second = np.array([[9.6, 0], [5.2, 5], [-3, 0.2], [0.1, 0.1]], np.float64)  # the first is too far from its like
    assert script.same_people(first, second, near=0.5, clear=1.0).tolist() == [[0, 3], [3, 2]]
    assert script.same_people(second, first, near=0.5, clear=1.0).tolist() == [[2, 3], [3, 0]]
    assert script.same_people(first, np.zeros((0, 2)), near=0.5, clear=1.0).shape == (0, 2)


def test_scores_are_of_both_directions_and_of_pairs_of_one_moment(script):
    table = np.array([[0.9, 0.2, 0.3], [0.8, 0.5, 0.1]], np.float32)  # the first finds its like, the second does not
    scores = script.score([table], [np.array([[0, 0], [1, 1]])], false_match_rate=0.25)
    assert scores.queries == 4
    assert scores.candidates == 2.5
    assert scores.by_chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert scores.rank_1 == 0.75
    assert scores.mean_reciprocal_rank == pytest.approx(3.5 / 4)
    assert scores.strangers == 4
    assert scores.threshold == pytest.approx(0.3)  # of .8 .3 .2 .1
    assert scores.recognised == 1.0


def test_people_who_were_always_alone_are_not_scored(script):
    with pytest.raises(ValueError, match="was alone"):
        script.score([np.ones((1, 1), np.float32)], [np.array([[0, 0]])], false_match_rate=0.1)


def test_equal_similarities_count_as_wrong(script):
    scores = script.score([np.zeros((2, 2), np.float32)], [np.array([[0, 0]])], false_match_rate=0.1)
    assert scores.rank_1 == 0.0


def test_the_shipped_network_knows_the_people_of_the_demo(evaluate, capsys):
    evaluate(DEMO / "cam1.mp4", DEMO / "cam2.mp4")
    rank_1 = float(capsys.readouterr().out.split("rank-1 ")[1].split("%")[0])
    assert rank_1 > 90  # by chance 27


def told(folder: Path, identities: dict[str, list[int]]) -> None:
    """A run directory: in their first picture both cameras show two people of the demo, by these identities."""
    calibration = msgspec.json.decode((DEMO / "calibration.json").read_bytes())
    (folder / "tracks").mkdir()
    for camera, names in identities.items():
        intrinsics, turn, shift = (np.array(calibration[camera][key]) for key in "KRt")
        people = np.array([(-1.0, 0.0, 0.0), (1.5, 0.5, 0.0)]).T
        feet = (intrinsics @ (turn @ people + shift[:, None])).T
        boxes = [(u / w - 10, v / w - 60, 20, 60) for u, v, w in feet]
        lines = [f"1,{who},{x:.2f},{y:.2f},{w},{h},1,1,0.9\n" for who, (x, y, w, h) in zip(names, boxes, strict=True)]
        (folder / "tracks" / f"{camera}.txt").write_text("".join(lines))


@pytest.mark.parametrize(
    ("second", "agreed", "mistaken"),
    [([4, 7], "100.0%", "0.0%"), ([7, 4], "0.0%", "100.0%"), ([4, 4], "50.0%", "50.0%"), ([8, 9], "0.0%", "0.0%")],
)
def test_a_run_is_scored_by_who_stands_where(run, tmp_path, capsys, second, agreed, mistaken):
    told(tmp_path, {"cam1": [4, 7], "cam2": second})
    clips = (DEMO / "cam1.mp4", DEMO / "cam2.mp4")
    run("evaluate_overlap", "--run", tmp_path, "--clips", *clips, "--calibration", DEMO / "calibration.json")
    out = capsys.readouterr().out
    shares = f"{agreed} of 2 pairs of one person have one identity, {mistaken} of 2 of two people"
    assert f"strictly online: {shares}  ({len({4, 7, *second})} identities)" in out


def test_merges_of_a_run_count_after_them(run, tmp_path, capsys):
    told(tmp_path, {"cam1": [4, 7], "cam2": [9, 7]})
    (tmp_path / "events.jsonl").write_text('{"event": "merge", "replaces": 9, "identity": 4}\n')
    clips = (DEMO / "cam1.mp4", DEMO / "cam2.mp4")
    run("evaluate_overlap", "--run", tmp_path, "--clips", *clips, "--calibration", DEMO / "calibration.json")
    before, after = capsys.readouterr().out.splitlines()
    assert "online: 50.0% of 2" in before
    assert "after merges: 100.0% of 2" in after


def test_boxes_that_the_frame_cuts_are_nobodys(run, tmp_path, capsys):
    told(tmp_path, {"cam1": [4, 7], "cam2": [4, 7]})
    boxes = tmp_path / "tracks" / "cam1.txt"
    first, second = boxes.read_text().splitlines()
    cells = second.split(",")
    cells[3], cells[5] = "-1.0", str(float(cells[3]) + float(cells[5]) + 1.0)  # the same feet, the head above the frame
    boxes.write_text("\n".join([first, ",".join(cells)]))
    clips = (DEMO / "cam1.mp4", DEMO / "cam2.mp4")
    run("evaluate_overlap", "--run", tmp_path, "--clips", *clips, "--calibration", DEMO / "calibration.json")
    assert "100.0% of 1 pairs of one person have one identity, 0.0% of 1 of two" in capsys.readouterr().out


def test_options_of_networks_are_not_taken_for_those_of_runs(run, tmp_path, capsys):
    clips = (DEMO / "cam1.mp4", DEMO / "cam2.mp4", "--calibration", DEMO / "calibration.json")
    with pytest.raises(SystemExit):
        run("evaluate_overlap", "--run", tmp_path, "--clips", *clips, "--remove-camera-bias")
    assert "--remove-camera-bias" in capsys.readouterr().err


def test_a_run_of_other_cameras_is_one_line(run, tmp_path):
    (tmp_path / "tracks").mkdir()
    clips = (DEMO / "cam1.mp4", DEMO / "cam2.mp4")
    with pytest.raises(SystemExit, match=r"^evaluate_overlap: .*cam1.txt: cannot read boxes"):
        run("evaluate_overlap", "--run", tmp_path, "--clips", *clips, "--calibration", DEMO / "calibration.json")


def test_what_cannot_be_scored_is_said_in_one_line(evaluate, tmp_path):
    broken, none, noise = tmp_path / "broken.json", tmp_path / "none.json", tmp_path / "cam2.mp4"
    broken.write_text('{"cam1": {"K": 1}}')
    noise.write_bytes(b"no video")
    cam1, cam2 = DEMO / "cam1.mp4", DEMO / "cam2.mp4"
    for words, clips, calibration in (
        ("are the clips of one moment and place", (DEMO / "cam3.mp4", DEMO / "cam4.mp4"), DEMO / "calibration.json"),
        ("broken.json: Expected `array`", (cam1, cam2), broken),
        ("none.json", (cam1, cam2), none),
        ("two clips of one camera, 'cam1'", (cam1, tmp_path / "cam1.mp4"), DEMO / "calibration.json"),
        ("cam2.mp4: no picture can be read", (cam1, noise), DEMO / "calibration.json"),
        (
            "no camera 'cam9', which is the clip's name; it has cam1",
            (cam1, Path("cam9.mp4")),
            DEMO / "calibration.json",
        ),
    ):
        with pytest.raises(SystemExit, match=f"^evaluate_overlap: .*{words}"):
            evaluate(*clips, calibration=calibration)
