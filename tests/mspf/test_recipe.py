"""Recipes are read strictly, and every shipped one can be trained."""

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
        ("epochs: 0", "epochs: 0.* must be above 0"),
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
