"""scripts/evaluate.py from files to files: scores, stamp, pictures, and one line where something is wrong."""

import importlib
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import msgspec
import numpy as np
import pytest
import torch

from mspf.network import MSPF, MSPFConfig
from mspf.scoring import Result
from mspf.weights import file_sha256, save_weights


@pytest.fixture(scope="module")
def evaluate() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
        yield importlib.import_module("evaluate")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    facts = {"input_height": "64", "input_width": "32", "seed": "3", "training_data": "nobody"}
    save_weights(MSPF(MSPFConfig(width=0.25, patches="none", compact=8)), path, facts)
    return path


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("market"), np.random.default_rng(0)
    for folder, camera in (("query", 1), ("bounding_box_test", 2)):
        (root / folder).mkdir()
        for pid in (1, 2, 3):
            picture = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(root / folder / f"{pid:04d}_c{camera}_1.png"), picture)
    return root


def test_every_result_is_printed_stamped_and_drawn(
    evaluate: ModuleType,
    weights: Path,
    market: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = [
        "--flip",
        "--rerank",
        "--fmr",
        "0.5",
        "--json",
        str(tmp_path / "r.json"),
        "--figures",
        str(tmp_path / "f"),
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--weights", str(weights), "--data", str(market), *wanted])
    evaluate.main()

    compact, full = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=list[Result])
    assert [(r.descriptor, r.descriptor_length) for r in (compact, full)] == [("compact", 8), ("full", 4608)]
    assert (full.query_images, full.gallery_images, full.people, full.queries) == (3, 3, 3, 3)
    assert (full.stamp.trained_on, full.stamp.seed, full.stamp.data) == ("nobody", "3", str(market))
    assert full.stamp.sha256 == file_sha256(weights)
    assert full.settings.size_hw == (64, 32)
    assert f"mAP {full.mean_ap:.1f}" in capsys.readouterr().out
    assert len(list((tmp_path / "f").glob("*.png"))) == 3


def test_several_networks_and_sets_are_scored_and_printed_where_stdout_leads(
    weights: Path, market: Path, tmp_path: Path
) -> None:
    script = Path(__file__).parents[2] / "scripts" / "evaluate.py"
    call = [sys.executable, script, "--weights", weights, weights, "--data", market, market]
    _, terminal = pty.openpty()
    with (tmp_path / "scores.txt").open("wb") as file:
        subprocess.run(call, stdout=file, stderr=terminal, check=True)
    lines = (tmp_path / "scores.txt").read_text().splitlines()
    assert len(lines) == 8
    assert all(line.endswith("gallery images)") for line in lines)


def test_a_wrong_folder_is_one_clear_line(
    evaluate: ModuleType, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--weights", str(weights), "--data", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"evaluate: .*nowhere"):
        evaluate.main()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "100", "50"], "100 x 50: the height has to be a multiple of 64"),
        (["--split", "held-out", "--ids", "9"], "9 people to hold out; there are 3"),
        (["--figures", "{weights}"], "File exists"),
        (["--json", "{weights}/x.json"], "Not a directory|File exists"),
    ],
)
def test_options_that_cannot_be_met_are_one_clear_line(
    evaluate: ModuleType,
    weights: Path,
    market: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    given = [option.format(weights=weights) for option in options]
    folder = market / "query" if "--split" in options else market
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--weights", str(weights), "--data", str(folder), *given])
    with pytest.raises(SystemExit, match=rf"^evaluate: .*({message})"):
        evaluate.main()


@pytest.mark.parametrize(
    "option", ["--fmr=2", "--fmr=0", "--fmr=x", "--ids=0", "--ids=-2", "--threads=-1", "--size=0 8"]
)
def test_numbers_out_of_range_are_refused_before_anything_is_read(
    evaluate: ModuleType, monkeypatch: pytest.MonkeyPatch, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = option.replace("=", " ").split()
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--weights", "w.pt", "--data", "d", *words])
    with pytest.raises(SystemExit):
        evaluate.main()
    told = capsys.readouterr().err
    assert option.split("=", maxsplit=1)[0] in told
    assert "give a" in told


def test_a_score_of_people_who_were_trained_on_is_said_to_flatter(
    evaluate: ModuleType,
    market: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = {"input_height": "64", "input_width": "32", "held_out_ids": "1"}
    save_weights(MSPF(MSPFConfig(width=0.25, patches="none", compact=0)), tmp_path / "w.safetensors", facts)
    for folder in ("query", "bounding_box_test"):
        for path in (market / folder).iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    call = ["evaluate.py", "--weights", str(tmp_path / "w.safetensors"), "--data", str(tmp_path), "--split", "held-out"]
    for ids, warned in (("2", 1), ("1", 0)):
        monkeypatch.setattr(sys, "argv", [*call, "--ids", ids])
        evaluate.main()
        assert capsys.readouterr().err.count("the score flatters") == warned


def test_re_ranked_answers_are_drawn_as_they_are_scored(
    evaluate: ModuleType, weights: Path, market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[float]] = []
    monkeypatch.setattr(
        evaluate,
        "draw_rankings",
        lambda path, split, query, gallery, distances, **_: drawn.append(distances[0].tolist()),
    )
    for flags in ([], ["--rerank"]):
        call = [
            "evaluate.py",
            "--weights",
            str(weights),
            "--data",
            str(market),
            "--figures",
            str(tmp_path / "f"),
            *flags,
        ]
        monkeypatch.setattr(sys, "argv", call)
        evaluate.main()
    assert drawn[0] != drawn[2]


def test_a_clip_that_cannot_be_read_is_named(
    evaluate: ModuleType, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "truth.txt").write_text("1,1,0,0,50,100,1\n")
    call = ["evaluate.py", "--weights", str(weights), "--clip", str(tmp_path / "no.mp4"), str(tmp_path / "truth.txt")]
    monkeypatch.setattr(sys, "argv", call)
    with pytest.raises(SystemExit, match=r"no\.mp4: frame 1 of 1 cannot be read"):
        evaluate.main()


def test_what_is_given_twice_is_scored_twice(
    evaluate: ModuleType, weights: Path, market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = ["--weights", str(weights), "--data", str(market)] * 2
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *twice, "--json", str(tmp_path / "r.json")])
    evaluate.main()
    results = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=list[Result])
    assert len(results) == 2 * 2 * 2  # of each a compact and a full descriptor


def test_every_clip_is_scored_by_its_own_people(
    evaluate: ModuleType, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["evaluate.py", "--weights", str(weights), "--json", str(tmp_path / "r.json")]
    for name, people in (("many", 3), ("few", 2)):
        clip = cv2.VideoWriter(str(tmp_path / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
        for frame in range(12):
            clip.write(np.full((240, 320, 3), 20 * frame, np.uint8))
        clip.release()
        rows = [f"{frame},{who},{60 * who},20,50,100,1" for frame in range(1, 13) for who in range(1, people + 1)]
        (tmp_path / f"{name}.txt").write_text("\n".join(rows))
        call += ["--clip", str(tmp_path / f"{name}.mp4"), str(tmp_path / f"{name}.txt")]
    monkeypatch.setattr(sys, "argv", call)
    evaluate.main()
    results = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=list[Result])
    assert [(Path(r.stamp.data).stem, r.people) for r in results] == [
        ("many", 3), ("many", 3), ("few", 2), ("few", 2)
    ]  # fmt: skip


def test_a_detector_is_no_network_to_score(evaluate: ModuleType, market: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Path(__file__).parents[2] / "pipeline" / "weights" / "person_detector.onnx"
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--weights", str(detector), "--data", str(market)])
    with pytest.raises(SystemExit, match="is a detector, no network that describes people"):
        evaluate.main()
