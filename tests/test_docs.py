"""The documents say what is there: every file, command and setting, and the example's values are the defaults."""

from pathlib import Path

import msgspec
import pytest

from pipeline import config
from pipeline.cli import app

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


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    for part in document.read_text().split("](")[1:]:
        target = part.split(")")[0].split("#")[0]
        assert not target or "://" in target or (document.parent / target).exists(), target


def test_every_picture_and_link_of_the_readme_is_there() -> None:
    for part in README.split("](")[1:]:
        target = part.split(")")[0].split("#")[0]
        assert "://" in target or (ROOT / target).exists(), target
