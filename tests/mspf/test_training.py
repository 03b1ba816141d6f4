"""A run learns, stops anywhere, goes on to the same weights, and hands them to the next recipe."""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mspf import training
from mspf.checkpoint import initialise, read_checkpoint, write_checkpoint
from mspf.errors import CheckpointError, RecipeError, RunError
from mspf.losses import LossConfig, MSPFLoss
from mspf.network import MSPF, MSPFConfig
from mspf.photographs import Feed, Share, load_collection
from mspf.recipe import SourceConfig, TrainConfig, read_recipe
from mspf.run import Place, train
from mspf.run_directory import RunDirectory, git_revision
from mspf.training import Trainer
from mspf.weights import file_sha256, load_weights, read_facts, save_weights
from tests.mspf.people import market, write
from tests.pipeline.disk import full_disk

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
HERE = Place(CPU)
CONFIG = TrainConfig(
    network=MSPFConfig(width=0.25, patches="none", compact=0),
    losses=LossConfig(triplet_on="necked"),
    size_hw=(64, 32),
    people=4,
    images_per_person=2,
    epochs=2,
    warmup_epochs=0.5,
    ema=0.9,
    validation_ids=2,
    validate_every=1,
    precision="float32",
)  # 6 people of 4 images to train on: 3 steps an epoch


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"shop": market(tmp_path_factory.mktemp("shop"), people=8)}


@pytest.fixture(scope="module")
def straight(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "straight"
    assert train(CONFIG, folders, out, HERE)
    return out


def after(steps: int) -> Callable[[], bool]:
    """A stop that is asked for when so many steps are done."""
    counts = iter(range(1, 1_000))
    return lambda: next(counts) >= steps


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = (read_checkpoint(folder / "last.pt") for folder in (first, second))
    for part in ("network", "averaged", "losses"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), f"{part}.{name}"


def test_a_run_leaves_recipe_data_metrics_curves_and_weights(straight: Path) -> None:
    directory = RunDirectory(straight)
    lines = directory.metrics()

    assert [(line.epoch, line.step) for line in lines] == [(1.0, 3), (2.0, 6)]
    assert lines[-1].scores[0].queries == 8
    parts = lines[-1].loss_parts
    assert set(parts) == {f"{head}/{part}" for head in ("g", "f_L") for part in ("cross_entropy", "triplet", "centre")}
    assert sum(parts.values()) / 2 == pytest.approx(lines[-1].loss, rel=1e-5)
    assert msgspec.yaml.decode((straight / "config.yaml").read_bytes(), type=TrainConfig) == CONFIG
    facts = msgspec.json.decode((straight / "run.json").read_bytes())
    assert (facts["data"][0]["training_people"], facts["data"][0]["held_out_images"]) == (6, 8)
    assert len(facts["data"][0]["sha256"]) == 64
    assert facts["torch_version"] == torch.__version__
    assert (facts["python_version"], facts["git_revision"]) == (platform.python_version(), git_revision(ROOT))
    assert (straight / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((straight / "tensorboard").iterdir())) == 1
    tags = EventAccumulator(str(straight / "tensorboard")).Reload().Tags()["scalars"]
    assert {"loss", "loss_of_g/cross_entropy", "lr", "rank1/shop", "mAP/shop"} <= set(tags)


@pytest.mark.parametrize("steps", [3, 4], ids=["after an epoch", "within an epoch"])
def test_a_run_that_is_stopped_and_goes_on_ends_at_the_very_same_weights(
    folders: dict[str, Path], straight: Path, tmp_path: Path, steps: int
) -> None:
    assert not train(CONFIG, folders, tmp_path, HERE, stopped=after(steps))
    assert read_checkpoint(tmp_path / "last.pt")["steps"] == steps
    assert train(CONFIG, folders, tmp_path, HERE)

    assert_same_weights(straight, tmp_path)
    first, second = (RunDirectory(folder).metrics() for folder in (straight, tmp_path))
    assert [(line.step, line.loss, line.loss_parts, line.scores) for line in first] == [
        (line.step, line.loss, line.loss_parts, line.scores) for line in second
    ]


def test_a_checkpoint_without_parts_of_the_loss_goes_on_without_them_until_the_next_line(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    assert not train(CONFIG, folders, tmp_path, HERE, stopped=after(4))
    state = read_checkpoint(tmp_path / "last.pt")
    del state["part_sums"]
    write_checkpoint(tmp_path / "last.pt", state)
    assert train(CONFIG, folders, tmp_path, HERE)

    first, last = RunDirectory(tmp_path).metrics()
    assert first.loss_parts
    assert not last.loss_parts


def test_another_seed_gives_other_weights(folders: dict[str, Path], straight: Path, tmp_path: Path) -> None:
    train(msgspec.structs.replace(CONFIG, seed=1), folders, tmp_path, HERE)
    with pytest.raises(AssertionError, match="network"):
        assert_same_weights(straight, tmp_path)


def test_a_run_goes_on_with_its_own_recipe_and_data_alone(
    folders: dict[str, Path], straight: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"another recipe \(lr\); give the same, or another --out"):
        train(msgspec.structs.replace(CONFIG, lr=0.1), folders, straight, HERE)
    other = {"shop": market(tmp_path, people=9)}
    with pytest.raises(RunError, match="other images of shop"):
        train(CONFIG, other, straight, HERE)
    with pytest.raises(RunError, match="was trained on shop, not shop, mall"):
        train(CONFIG, folders | {"mall": other["shop"]}, straight, HERE)
    with pytest.raises(RunError, match=r"started from none, not from .*last\.pt; give the same"):
        train(CONFIG, folders, straight, HERE, init=straight / "last.pt")


@pytest.mark.parametrize(
    ("name", "content"), [("config.yaml", b"- a"), ("run.json", b"{"), ("metrics.jsonl", b'{"a": 1}')]
)
def test_a_damaged_run_is_named(
    folders: dict[str, Path], straight: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    shutil.copytree(straight, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"run/{re.escape(name)}: .*give another --out"):
        train(CONFIG, folders, tmp_path / "run", HERE)


def test_a_run_from_weights_says_what_these_were_trained_on(
    folders: dict[str, Path], straight: Path, tmp_path: Path
) -> None:
    other = {"mall": market(tmp_path / "mall", people=6)}
    train(CONFIG, other, tmp_path / "run", HERE, init=straight / "last.pt")
    facts = msgspec.json.decode((tmp_path / "run" / "run.json").read_bytes())
    assert facts["initial_sha256"] == file_sha256(straight / "last.pt")
    learnt = read_facts(tmp_path / "run" / "last.pt")
    assert learnt["training_data"] == "mall (4 people, 16 images), shop (6 people, 24 images)"
    assert learnt["held_out_ids"] == "2"

    everybody = msgspec.structs.replace(CONFIG, validation_ids=0, epochs=0.3)
    train(everybody, other, tmp_path / "everybody", HERE)
    train(CONFIG, folders, tmp_path / "again", HERE, init=tmp_path / "everybody" / "last.pt")
    assert read_facts(tmp_path / "again" / "last.pt")["held_out_ids"] == "0"


@pytest.mark.parametrize("old", [False, True], ids=["with a digest", "as runs were before there were digests"])
def test_a_run_from_weights_goes_on_from_the_same_alone(
    folders: dict[str, Path], straight: Path, tmp_path: Path, old: bool
) -> None:
    start, out = tmp_path / "start.pt", tmp_path / "run"
    shutil.copy(straight / "last.pt", start)
    assert not train(CONFIG, folders, out, HERE, init=start, stopped=after(2))
    if old:
        facts = msgspec.json.decode((out / "run.json").read_bytes())
        new = {"initial_sha256", "initial_data", "initial_held_out_ids", "torch_version", "python_version"}
        (out / "run.json").write_bytes(msgspec.json.encode({key: facts[key] for key in facts.keys() - new}))
    with pytest.raises(RunError, match=r"started from .*start\.pt.*, not from none"):
        train(CONFIG, folders, out, HERE)
    assert train(CONFIG, folders, out, HERE, init=start)
    if not old:
        write_checkpoint(start, read_checkpoint(start) | {"steps": 0})
        with pytest.raises(RunError, match=r"start\.pt as it was then, not from .*start\.pt as it is now"):
            train(CONFIG, folders, out, HERE, init=start)


def test_a_finished_run_stays_as_it_is(
    folders: dict[str, Path], straight: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight.rglob("*")}
    with caplog.at_level("INFO"):
        assert train(CONFIG, folders, straight, HERE)
    assert "finished already" in caplog.text
    assert before == {path: path.stat().st_mtime_ns for path in straight.rglob("*")}


def test_what_is_wrong_with_weights_is_said_before_images_are_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: No such file"):
        train(CONFIG, {"shop": tmp_path / "no data"}, tmp_path / "run", HERE, init=tmp_path / "nowhere.pt")
    with pytest.raises(CheckpointError, match=r"net\.onnx: an exported network is no weights any more"):
        train(CONFIG, {"shop": tmp_path / "no data"}, tmp_path / "run", HERE, init=tmp_path / "net.onnx")


def test_people_held_out_who_are_in_one_camera_each_cannot_be_scored(tmp_path: Path) -> None:
    write(tmp_path, [f"{who:04d}_c{1 + who % 2}_{shot}.png" for who in range(1, 9) for shot in (1, 2)])
    with pytest.raises(RecipeError, match=r"shop: none of the people held out is in two cameras.*one_camera: true"):
        load_collection(CONFIG, {"shop": tmp_path}, CPU)


def test_a_damaged_checkpoint_of_a_run_is_named(folders: dict[str, Path], straight: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "run.json"):
        (tmp_path / name).write_bytes((straight / name).read_bytes())
    (tmp_path / "last.pt").write_bytes((straight / "last.pt").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"last\.pt: damaged.*delete it to start again"):
        train(CONFIG, folders, tmp_path, HERE)


def test_a_full_disk_ends_a_run_with_one_clear_line(folders: dict[str, Path], tmp_path: Path) -> None:
    with full_disk(200_000), pytest.raises(RunError, match="free"):
        train(CONFIG, folders, tmp_path, HERE)


def test_a_loss_that_is_no_number_ends_a_run_and_is_not_saved(folders: dict[str, Path], tmp_path: Path) -> None:
    wild = msgspec.structs.replace(CONFIG, optimiser="sgd", lr=1e12, clip=0, warmup_epochs=0)
    with pytest.raises(RunError, match="lower lr"):
        train(wild, folders, tmp_path, HERE)
    assert not (tmp_path / "last.pt").exists()


def test_weights_that_a_gradient_spoiled_are_not_saved() -> None:
    trainer = Trainer(CONFIG, 4, HERE.device)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(torch.nan)

    with pytest.raises(RunError, match="no numbers; lower lr"):
        trainer.check()


@pytest.mark.parametrize(
    "changes",
    [{"optimiser": "sgd"}, {"optimiser": "adam", "decay_vectors": True}, {"precision": "bfloat16"}, {"ema": 0.0}],
    ids=str,
)
def test_every_kind_of_training_lowers_the_loss(folders: dict[str, Path], changes: dict[str, object]) -> None:
    config = msgspec.structs.replace(CONFIG, warmup_epochs=0, lr=0.01, epochs=100, **changes)
    collection = load_collection(config, folders, CPU)
    trainer, feed = Trainer(config, collection.classes, CPU), Feed(config, collection.pools, Share())
    losses = [float(trainer.step(feed.batch(step), 0.0)) for step in range(10)]

    assert sum(losses[-3:]) < sum(losses[:3])
    kept, last = (part.state_dict()["whole.linear.weight"] for part in (trainer.averaged, trainer.network))
    assert torch.equal(kept, last) == (config.ema == 0)


@pytest.mark.parametrize(
    ("precision", "device", "has", "dtype"),
    [
        ("bfloat16", "cpu", True, torch.bfloat16),
        ("bfloat16", "cpu", False, torch.float32),
        ("bfloat16", "cuda", False, torch.bfloat16),
        ("float32", "cpu", True, torch.float32),
    ],
)
def test_a_cpu_without_bfloat16_trains_in_float32_and_says_so(
    precision: str,
    device: str,
    has: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert training._cpu_has_bfloat16() in (True, False)
    monkeypatch.setattr(training, "_cpu_has_bfloat16", lambda: has)
    assert training.activations(msgspec.structs.replace(CONFIG, precision=precision), torch.device(device)) == dtype
    assert ("no bfloat16" in caplog.text) is (dtype == torch.float32 and precision == "bfloat16")


@pytest.mark.parametrize("name", ["best", "generalise", "paper", "paper-literal", "scratch", "small"])
def test_every_recipe_takes_finite_steps(folders: dict[str, Path], name: str) -> None:
    smaller = {"network.width": "0.25", "size_hw": "[64, 32]", "people": "4"}
    config = read_recipe(Path(__file__).parents[2] / "configs" / "train" / f"{name}.yaml", smaller)
    collection = load_collection(config, folders, CPU)
    trainer, feed = Trainer(config, collection.classes, CPU), Feed(config, collection.pools, Share())
    for step in range(2):
        trainer.step(feed.batch(step), config.warmup_epochs)

    mean, parts = trainer.take_mean_loss()
    assert sum(parts.values()) / len(trainer.losses.heads) == pytest.approx(mean, rel=1e-5)
    assert f"g/{config.losses.metric}" in parts


def test_centres_move_with_their_own_rate(folders: dict[str, Path]) -> None:
    collection = load_collection(CONFIG, folders, CPU)
    trainer, feed = Trainer(CONFIG, collection.classes, CPU), Feed(CONFIG, collection.pools, Share())
    batch = feed.batch(0)
    features = trainer.network.train().features(batch.images).fused.detach()
    trainer.step(batch, 0.0)

    rows = batch.labels == batch.labels[0]
    expected = 0.5 * 2 / len(batch.labels) * features[rows].sum(0)
    torch.testing.assert_close(
        trainer.losses.fused.centre.centres[batch.labels[0]].detach(), expected, rtol=1e-3, atol=1e-4
    )


def test_float16_is_for_cuda() -> None:
    with pytest.raises(RunError, match="float16 trains on CUDA alone, this is cpu"):
        Trainer(msgspec.structs.replace(CONFIG, precision="float16"), 6, CPU)


def test_every_batch_holds_the_asked_share_of_every_source(folders: dict[str, Path], tmp_path: Path) -> None:
    write(tmp_path, ["anna/1.jpg", "ben/1.jpg", "ben/2.jpg"])
    sources = (SourceConfig("shop", people=2), SourceConfig("own", people=1, stored_hw=(128, 64)))
    config = msgspec.structs.replace(CONFIG, sources=sources, validation_ids=0)
    collection = load_collection(config, folders | {"own": tmp_path}, CPU)
    batch = Feed(config, collection.pools, Share()).batch(0)

    assert collection.classes == 10
    assert batch.images.shape == (6, 3, 64, 32)
    assert (batch.labels < 8).tolist() == [True, True, True, True, False, False]


def test_joined_data_sets_keep_their_people_apart(folders: dict[str, Path]) -> None:
    twice = {"first": folders["shop"], "second": folders["shop"]}
    collection = load_collection(CONFIG, twice, CPU)

    assert (collection.classes, len(collection.pools)) == (12, 1)
    assert [part.name for part in collection.held_out] == ["first", "second"]


def test_processes_share_the_people_of_a_batch(folders: dict[str, Path]) -> None:
    collection = load_collection(CONFIG, folders, CPU)
    whole = Feed(CONFIG, collection.pools, Share()).batch(0).labels
    parts = [Feed(CONFIG, collection.pools, Share(rank, 2)).batch(0).labels for rank in (0, 1)]

    assert sorted(torch.cat(parts).tolist()) == sorted(whole.tolist())
    assert not set(parts[0].tolist()) & set(parts[1].tolist())
    with pytest.raises(RecipeError, match="4 people of a batch cannot be shared by 3 processes"):
        Feed(CONFIG, collection.pools, Share(0, 3))


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({"sources": (SourceConfig("street", 2),)}, "shop", "data sets are street=DIR; given are shop"),
        ({"validation_ids": 8}, "shop", "shop: validation_ids: 8 holds out everybody"),
    ],
)
def test_a_recipe_that_the_data_cannot_fill_is_refused(
    folders: dict[str, Path], changes: dict[str, object], given: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        load_collection(msgspec.structs.replace(CONFIG, **changes), {given: folders["shop"]}, CPU)


def test_a_set_of_one_camera_is_scored_without_the_rule_of_cameras(tmp_path: Path) -> None:
    write(tmp_path, [f"{who}/{n}.jpg" for who in ("anna", "ben", "cleo", "dan", "eva", "finn") for n in (1, 2)])
    collection = load_collection(CONFIG, {"own": tmp_path}, CPU)

    assert collection.held_out[0].one_camera
    assert len(collection.held_out[0].pids) == 4


def test_new_patch_levels_start_as_the_global_body_and_new_people_after_the_old(straight: Path) -> None:
    grown = Trainer(msgspec.structs.replace(CONFIG, network=MSPFConfig(width=0.25, compact=0)), 9, CPU)
    initialise(grown.network, grown.losses, straight / "last.pt")

    state = read_checkpoint(straight / "last.pt")
    expected = state["averaged"]["whole.body.conv5.0.0.weight"]
    for body in grown.network.patch_bodies:
        torch.testing.assert_close(body.state_dict()["conv5.0.0.weight"], expected)
    assert grown.losses.local is not None
    torch.testing.assert_close(
        grown.losses.local.classifier.weight[:6].detach(), state["losses"]["local.classifier.weight"]
    )


def test_every_head_takes_new_people_after_the_old(tmp_path: Path) -> None:
    network, config = MSPF(MSPFConfig(width=0.25, compact=0)), LossConfig(patch_head=True, global_head=True)
    old, new = (MSPFLoss(network, classes, config) for classes in (3, 5))
    write_checkpoint(tmp_path / "last.pt", {"averaged": network.state_dict(), "losses": old.state_dict()})
    initialise(network, new, tmp_path / "last.pt")

    assert len(new.heads) == 4
    for before, after in zip(old.heads, new.heads, strict=True):
        torch.testing.assert_close(after.classifier.weight[:3], before.classifier.weight)


def test_patch_bodies_can_be_seeded_again(tmp_path: Path, folders: dict[str, Path]) -> None:
    whole = msgspec.structs.replace(CONFIG, network=MSPFConfig(width=0.25, compact=0), epochs=0.3, size_hw=(64, 32))
    train(whole, folders, tmp_path, HERE)
    trainer = Trainer(whole, 6, CPU)
    initialise(trainer.network, trainer.losses, tmp_path / "last.pt", reseed_patches=True)

    expected = trainer.network.state_dict()["whole.body.conv5.0.0.weight"]
    torch.testing.assert_close(trainer.network.state_dict()["patch_bodies.1.conv5.0.0.weight"], expected)


def test_a_run_starts_from_a_safetensors_file(straight: Path, tmp_path: Path) -> None:
    shipped = load_weights(straight / "last.pt")
    save_weights(shipped, tmp_path / "w.safetensors", {}, half=False)
    trainer = Trainer(CONFIG, 4, CPU)
    initialise(trainer.network, trainer.losses, tmp_path / "w.safetensors")

    torch.testing.assert_close(trainer.network.state_dict(), dict(shipped.state_dict()))
    with pytest.raises(CheckpointError, match="export it again"):
        initialise(trainer.network, trainer.losses, tmp_path / "missing.safetensors")


SCRIPT = [str(Path(__file__).parents[2] / "scripts" / "train.py")]


def write_recipe(folder: Path) -> Path:
    (folder / "tiny.yaml").write_bytes(msgspec.yaml.encode(CONFIG))
    return folder / "tiny.yaml"


def test_an_interrupted_command_saves_and_says_how_to_go_on(
    folders: dict[str, Path], straight: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = ["--recipe", str(write_recipe(tmp_path)), "--data", f"shop={folders['shop']}", "--out", str(out)]
    slow = [sys.executable, *SCRIPT, *options, "--set", "epochs=1000", "--threads", "1"]
    with subprocess.Popen(slow, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 1.0" in line:
                process.terminate()
                break
        told = process.stderr.read()

    assert process.returncode == 128 + 15
    assert "the same command goes on" in " ".join(told.split())
    assert read_checkpoint(out / "last.pt")["steps"] >= 3


def test_two_processes_train_one_network_and_the_first_writes(
    folders: dict[str, Path], straight: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--recipe", str(recipe), "--data", f"shop={folders['shop']}", "--out", str(tmp_path / "run")]
    options += ["--set", "network.pool=gem"]  # DDP refuses parameters that a network does not use
    options += ["--init", str(straight / "last.pt"), "--set", "alike=1"]
    finished = subprocess.run(
        [*launch, *SCRIPT, *options, "--threads", "1"], capture_output=True, text=True, check=False
    )

    assert finished.returncode == 0, finished.stderr[-2000:]
    last = read_checkpoint(tmp_path / "run" / "last.pt")
    assert (last["steps"], tuple(last["alike"][0].shape)) == (6, (6, 3))
    assert [line.step for line in RunDirectory(tmp_path / "run").metrics()] == [3, 6]
    assert msgspec.json.decode((tmp_path / "run" / "run.json").read_bytes())["processes"] == 2
