"""Recipes are read strictly, and every shipped one can be trained."""

import re
from pathlib import Path

import pytest

from mspf.errors import RecipeError
from mspf.recipe import TrainConfig, learning_rate, parse_changes, read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    assert read_recipe(path).batch_images >= 32


def test_the_paper_s_recipe_is_the_paper_s() -> None:
    config = read_recipe(Path(RECIPES[0]).with_name("paper.yaml"))

    assert (config.losses.smoothing, config.losses.triplet, config.losses.margin) == (0.1, 1.0, 0.3)
    assert (config.losses.centre, config.losses.centre_lr, config.batch_images) == (0.0007, 0.5, 64)
    rates = [learning_rate(config, epoch) for epoch in (0, 20, 40, 132, 134, 174)]
    assert rates == pytest.approx([3.5e-5, 1.925e-4, 3.5e-4, 3.5e-4, 3.5e-5, 3.5e-6])
    literal = read_recipe(Path(RECIPES[0]).with_name("paper-literal.yaml"))
    assert [learning_rate(literal, epoch) for epoch in (0, 199)] == [3.5e-5, 3.5e-5]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losses: {tripplet: 1.0}", r"unknown field `tripplet` - at `\$\.losses`"),
        ("epochs: many", r"Expected `float`, got `str` - at `\$\.epochs`"),
        ("network: {compact: 512}", "compact: 512 is not trained"),
        ("epochs: 0", r"Expected `float` > 0\.0 - at `\$\.epochs`"),
        ("network: 5", r"Expected `object`, got `int` - at `\$\.network`"),
        ("schedule: step", "step falls at milestones"),
        ("size_hw: [100, 64]", "size_hw: 100 x 64: the height has to be a multiple of 64, the width of 32"),
        ("sources: [{name: a, people: 2}, {name: a, people: 3}]", "two of one name"),
        ("milestones: [5, 3]", "milestones.*must rise"),
        ("a: [", r"recipe\.yaml"),
        ("- a", r"recipe\.yaml"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(write(tmp_path, text))


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"best\.yaml: No such file"):
        read_recipe(tmp_path / "best.yaml")


def test_values_can_be_changed_from_outside_and_are_as_strictly_read(tmp_path: Path) -> None:
    path = write(tmp_path, "network: {width: 0.5}")

    config = read_recipe(path, {"network.width": "0.25", "losses.centre": "0", "size_hw": "[128, 64]"})
    assert (config.network.width, config.losses.centre, config.size_hw) == (0.25, 0.0, (128, 64))
    with pytest.raises(RecipeError, match="widht"):
        read_recipe(path, {"network.widht": "0.25"})


@pytest.mark.parametrize(
    "change",
    ["lr=.nan", "lr=0", "epochs=.inf", "seed=-1", "network.width=0.1", "validation_ids=-3", "losses.centre=-1", "ema=2",
     "people=1", "images_per_person=1", "momentum=5", "clip=-1", "augment.flip=5", "losses.smoothing=2",
     "warmup_epochs=-1", "size_hw=128,64", "network=5", "lr.a=3", "network.attention=off", "network.widht=1"],
)  # fmt: skip
def test_a_change_that_makes_no_sense_is_named_as_it_was_given(change: str) -> None:
    with pytest.raises(RecipeError, match=rf"^--set {re.escape(change)}: "):
        read_recipe(RECIPES[0], parse_changes([change]))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["network.patches=2", "lr=no"], "--set lr=no"),
        (["network.width=0.25", "losses.width=3"], "--set losses.width=3"),
        (["losses.metric=circle", "losses.triplet_on=necked", "lr=no"], "--set lr=no"),
        (["losses.metric=circle", "lr=0.1"], "--set losses.metric=circle"),
        (["lr=["], "--set lr=["),
        (["milestones=[5, 3]"], "--set milestones=[5, 3]"),
        (["network.compact=512"], "--set network.compact=512"),
    ],
)
def test_of_several_changes_the_wrong_one_is_named(tmp_path: Path, changes: list[str], named: str) -> None:
    with pytest.raises(RecipeError, match=rf"^{re.escape(named)}: "):
        read_recipe(write(tmp_path, "losses: {triplet_on: raw}"), parse_changes(changes))


def test_changes_that_need_one_another_go_together(tmp_path: Path) -> None:
    path = write(tmp_path, "losses: {triplet_on: raw}")
    changes = ["losses.metric=circle", "losses.triplet_on=necked", "network={width: 0.5}"]
    config = read_recipe(path, parse_changes(changes))
    assert (config.losses.metric, config.network.width, config.network.compact) == ("circle", 0.5, 0)


def test_words_and_numbers_may_be_given_as_people_write_them() -> None:
    config = read_recipe(RECIPES[0], parse_changes(["lr=1e-3", "network.patches=2"]))
    assert (config.lr, config.network.patches) == (1e-3, "2")


def test_the_cosine_climbs_then_falls() -> None:
    config = TrainConfig(epochs=10, warmup_epochs=2)
    rates = [learning_rate(config, epoch) for epoch in (0, 1, 2, 6, 10)]

    assert rates[0] < rates[1] < rates[2] == config.lr > rates[3] > rates[4] == config.final_lr


def test_a_rate_without_warm_up_begins_at_its_height() -> None:
    assert learning_rate(TrainConfig(warmup_epochs=0), 0) == TrainConfig().lr


def test_a_change_is_a_key_and_a_value() -> None:
    assert parse_changes(["a.b=c=d", "e="]) == {"a.b": "c=d", "e": ""}
    with pytest.raises(RecipeError, match="--set epochs: expected KEY=VALUE"):
        parse_changes(["epochs"])
