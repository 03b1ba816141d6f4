"""The documents say what is there: every file, command and setting, and the example's values are the defaults."""

import re
from pathlib import Path

import msgspec
import pytest

from pipeline import config
from pipeline.cli import app
from pipeline.results import CameraSummary, Evaluation, Summary

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MODULES = sorted(
    path for folder in ("engines", "mspf", "pipeline", "scripts") for path in (ROOT / folder).rglob("*.py")
    if path.name != "__init__.py"
)  # fmt: skip
EXAMPLE = msgspec.yaml.decode((ROOT / "configs" / "cams.example.yaml").read_bytes())
SECTIONS = {
    name: type(getattr(config.Site(cameras=(config.CameraConfig("a", "a.mp4"),)), name))
    for name in ("detector", "tracker", "quality", "reid", "matcher")
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_stands_in_the_tree_of_the_readme(module: Path) -> None:
    assert module.name in README


@pytest.mark.parametrize("command", [one.name or one.callback.__name__ for one in app.registered_commands])
def test_every_command_stands_in_the_readme(command: str) -> None:
    assert f"mspf-pipeline {command}" in README


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_site_shows_every_setting_with_its_default(section: str) -> None:
    assert EXAMPLE[section] == msgspec.to_builtins(SECTIONS[section]())


def test_the_example_site_is_a_valid_one() -> None:
    secrets = {"CAM_USER": "viewer", "CAM_PASSWORD": "secret"}
    site = config.load_site(ROOT / "configs" / "cams.example.yaml", secrets)
    assert [camera.id for camera in site.cameras] == ["entrance", "hall", "desk"]


def anchors(document: Path) -> set[str]:
    """What a link can point to, as GitHub names headings."""
    headings = [line.lstrip("#").strip() for line in document.read_text().splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "pipeline" / "weights").glob("*.md")]


@pytest.mark.parametrize("document", sorted(DOCUMENTS), ids=lambda path: path.name)
def test_every_picture_and_link_of_a_document_leads_somewhere(document: Path) -> None:
    for part in document.read_text().split("](")[1:]:
        name, _, anchor = part.split(")")[0].partition("#")
        if ":/" in name:
            continue
        target = document.parent / name if name else document
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


OUTPUTS = (ROOT / "docs" / "outputs.md").read_text()


@pytest.mark.parametrize("record", [Summary, CameraSummary, Evaluation])
def test_every_field_of_a_summary_is_described(record: type[msgspec.Struct]) -> None:
    fields = [field.name for field in msgspec.structs.fields(record)]
    assert not [name for name in fields if f"`{name}`" not in OUTPUTS and f"<id>.{name}`" not in OUTPUTS]


def test_every_table_of_the_identity_store_is_described() -> None:
    tables = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", (ROOT / "pipeline" / "store.py").read_text())
    assert tables
    assert not [name for name in tables if f"| `{name}` |" not in OUTPUTS]


def test_tuning_names_only_settings_that_exist() -> None:
    named = re.findall(rf"`({'|'.join(SECTIONS)})\.(\w+)", (ROOT / "docs" / "tuning.md").read_text())
    assert named
    assert not [(section, key) for section, key in named if key not in EXAMPLE[section]]
