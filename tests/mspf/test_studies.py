"""Every row of every table is a network that can be built, and the table says what its seeds came to."""

import importlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mspf.errors import RecipeError
from mspf.network import MSPF
from mspf.recipe import read_recipe
from mspf.studies import STUDIES, Study, Variant, changes_of, chosen_rows, markdown, run_name, tabulate
from mspf.validation import Score
from tests.mspf.people import market

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "configs" / "train" / "small.yaml"


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_is_a_network_of_its_own(name: str) -> None:
    configs = [read_recipe(SMALL, variant.changes) for variant in STUDIES[name].variants]

    assert len({msgspec.json.encode(config) for config in configs}) == len(configs)
    for config in configs:
        MSPF(config.network)


def test_tables_share_the_runs_that_they_both_need() -> None:
    base = read_recipe(SMALL)
    runs = {
        name: [run_name(base, read_recipe(SMALL, variant.changes)) for variant in STUDIES[name].variants]
        for name in STUDIES
    }

    assert runs["table5"] == ["patches-none", "patches-2", "as_given", "patches-2-4-8"]
    assert runs["parts"] == ["patches-none", "patches-none_whole-osnet", "whole-none", "as_given"]
    assert runs["table7"] == ["patches-none", "patches-none_whole-osnet", "as_given"]
    assert runs["table6"][-1] == runs["open-choices"][0] == "as_given"


def test_a_change_of_the_recipe_names_a_folder_of_its_own() -> None:
    base = read_recipe(SMALL)
    names = [run_name(base, read_recipe(SMALL, variant.changes)) for variant in STUDIES["recipe"].variants]
    assert len(set(names)) == len(names)
    assert names[2] == "losses-classifier-cosine_classifier_lr-1.0"
    assert run_name(base, read_recipe(SMALL, {"seed": "3", "validate_every": "2"})) == "as_given"


def test_rows_that_a_recipe_makes_the_same_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    reproduce = importlib.import_module("reproduce")
    left = reproduce.without_repeats(STUDIES["recipe"], ROOT / "configs" / "train" / "best.yaml", {})
    names = [variant.name for variant in STUDIES["recipe"].variants if variant not in left.variants]
    assert names == ["GeM pooling", "cosine classifier"]
    for recipe in (ROOT / "configs" / "train").glob("*.yaml"):
        reproduce.without_repeats(STUDIES["recipe"], recipe, {})


@pytest.mark.parametrize("key", ["seed", "validation_ids", "validate_every", "network.patches"])
def test_what_a_table_sets_itself_cannot_be_set(key: str) -> None:
    with pytest.raises(RecipeError, match=f"--set {key}=7: "):
        changes_of(STUDIES["table5"], {"lr": "0.1", key: "7"})
    assert changes_of(STUDIES["table7"], {"network.patches": "2"}) == {"network.patches": "2"}


def test_rows_are_chosen_by_name_beside_the_first() -> None:
    table = STUDIES["table5"]

    assert [variant.name for variant in chosen_rows(table, ["2-4"]).variants] == ["none", "2-4"]
    assert chosen_rows(table, []) == table
    with pytest.raises(RecipeError, match=r"--row 3: Table 5: patch levels has none, 2, 2-4, 2-4-8"):
        chosen_rows(table, ["3"])


def test_the_table_shows_mean_deviation_and_the_gain_over_its_first_row() -> None:
    study = Study("t", (Variant("plain", {}), Variant("better", {}, "+1.2/+0.9"), Variant("missing", {})))
    scores = {
        "plain": [[Score("m", 0.50, 0.30, 8)], [Score("m", 0.52, 0.32, 8)]],
        "better": [[Score("m", 0.61, 0.35, 8)]],
    }

    rows = tabulate(study, scores)
    assert rows[0] == ["variant", "seeds", "m rank-1", "mAP", "gain", "the paper's gain"]
    assert rows[1] == ["plain", "2", "51.0 ± 1.4", "31.0 ± 1.4", "+0.0/+0.0", "–"]
    assert rows[2] == ["better", "1", "61.0", "35.0", "+10.0/+4.0", "+1.2/+0.9"]
    assert rows[3] == ["missing", "0", "–", "–", "–", "–"]
    assert markdown(rows[:2]).splitlines()[1] == "|---|---|---|---|---|---|"


def test_a_table_is_run_seed_after_seed_and_not_again_when_it_is_there(tmp_path: Path) -> None:
    options = [
        "--table",
        "7",
        "--recipe",
        str(SMALL),
        "--data",
        f"shop={market(tmp_path / 'shop', people=6)}",
        "--seeds",
        "1",
        "--first-seed",
        "2",
    ]
    tiny = ["people=2", "images_per_person=2", "epochs=0.3", "size_hw=[64, 32]", 'network.patches="2"']
    changes = [word for change in (*tiny, "precision=float32") for word in ("--set", change)]
    script = [sys.executable, str(ROOT / "scripts" / "reproduce.py"), "--out", str(tmp_path)]
    command = [*script, *options, "--validation-ids", "2", *changes]
    runs = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in "ab"]

    assert runs[0].returncode == 0, runs[0].stderr[-2000:]
    assert "MSPF" in runs[0].stdout
    assert runs[1].stderr.count("finished already") == 3
    assert [run.name for run in tmp_path.glob("*_seed*")] == [run.name for run in tmp_path.glob("*_seed2")] != []
    table = (tmp_path / "table7.md").read_text()
    assert table.count("| 1 |") == 3
    assert "; seeds 2 and on" in table
