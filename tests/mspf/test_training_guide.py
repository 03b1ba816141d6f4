"""The commands of docs/training.md name scripts, options and recipes that there are."""

import re
from pathlib import Path

import pytest

from mspf.recipe import read_recipe

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "training.md").read_text()
COMMANDS = re.findall(r"^(?:torchrun .*|python )(scripts/\w+\.py)(.*)$", GUIDE, re.M)


@pytest.mark.parametrize(("script", "words"), COMMANDS)
def test_every_option_of_a_command_is_one_of_its_script(script: str, words: str) -> None:
    source = (ROOT / script).read_text()
    assert [option for option in re.findall(r"--[\w-]+", words) if f'"{option}"' not in source] == []


def test_every_change_of_a_recipe_is_a_key_of_it() -> None:
    changes = dict(re.findall(r"--set ([\w.]+)=([\w.]+)", GUIDE))

    assert len(changes) >= 5
    read_recipe(ROOT / "configs" / "train" / "best.yaml", changes)


def test_every_recipe_is_explained() -> None:
    named = re.findall(r"`([\w*-]+\.yaml)`", GUIDE)
    shipped = {path.name for path in (ROOT / "configs" / "train").glob("*.yaml")}

    assert shipped == {path.name for name in named for path in (ROOT / "configs" / "train").glob(name)}
