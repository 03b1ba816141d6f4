"""cams.yaml: what is read, what is refused and how it says so, what never reaches a log."""

from pathlib import Path

import msgspec
import pytest

from engines.loading import BACKENDS, PRECISIONS
from pipeline import config
from pipeline.config import CameraConfig, load_site, redact
from pipeline.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "cams.yaml"
    path.write_text(text)
    return path


def test_a_site_of_two_lines_has_defaults_for_the_rest(tmp_path):
    site = load_site(write(tmp_path, "cameras:\n- {id: hall, url: rtsp://10.0.0.7/1}"))
    assert [camera.id for camera in site.cameras] == ["hall"]
    assert site.truth is None
    assert site.reid.model == site.detector.model == "default"


def test_files_are_relative_to_cams_yaml_and_names_of_models_stay_names(tmp_path):
    (tmp_path / "own.onnx").touch()
    (tmp_path / "truth").mkdir()
    text = "cameras: [{id: a, url: clips/a.mp4}]\ntruth: truth\ndetector: {model: yolo11n.pt}\nreid: {model: own.onnx}"
    site = load_site(write(tmp_path, text))
    assert site.cameras[0].url == str(tmp_path / "clips/a.mp4")
    assert site.truth == str(tmp_path / "truth")
    assert site.detector.model == "yolo11n.pt"
    assert site.reid.model == str(tmp_path / "own.onnx")


def test_a_network_that_is_not_beside_cams_yaml_is_looked_for_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "own.onnx").touch()
    monkeypatch.chdir(tmp_path / "work")
    path = write(tmp_path, f"cameras: [{A}]\ndetector: {{model: own.onnx}}")
    assert load_site(path).detector.model == "own.onnx"


@pytest.mark.parametrize(
    ("rest", "thresholds"),
    [
        ("", (0.55, 0.75, 0.35, 0.8)),
        ("reid: {model: mspf_x0_25}", (0.5, 0.75, 0.3, 0.8)),
        ("reid: {model: mspf_x1_0}", (0.5, 0.7, 0.3, 0.75)),
        ("reid: {model: mspf_x1_0}\nmatcher: {sure_similarity: 0.9, prototypes: 3}", (0.5, 0.9, 0.3, 0.75)),
        ("reid: {model: mspf_x0_25_rendered}\nmatcher: {min_similarity: 0.6}", (0.6, 0.75, 0.35, 0.8)),
    ],
)
def test_thresholds_that_are_not_given_are_those_of_the_network(tmp_path, rest, thresholds):
    matcher = load_site(write(tmp_path, f"cameras: [{A}]\n{rest}")).matcher
    found = (matcher.min_similarity, matcher.sure_similarity, matcher.new_below, matcher.merge_similarity)
    assert found == thresholds
    assert matcher.prototypes == (3 if "prototypes" in rest else 8)


@pytest.mark.parametrize("model", ["default", "mspf_x0_25"])
def test_a_section_of_which_nothing_is_left_means_its_defaults(tmp_path, model):
    given = f"cameras: [{A}]\nreid: {{model: {model}}}\n"
    emptied = load_site(write(tmp_path, f"{given}detector:\ntracker:\nquality:\nmatcher:\n  # min_similarity: 0.5"))
    assert emptied == load_site(write(tmp_path, given))


@pytest.mark.parametrize(
    ("first", "others"),
    [
        ("a.mp4, started_at: 12.5", "b.mp4"),
        ("a.mp4, started_at: 1764500000", "webcam:0"),
        ("a.mp4, started_at: 1764500000", "${CAMERA}"),
        ("a.mp4", "b.mp4"),
    ],
)
def test_files_may_start_apart_by_seconds_and_streams_have_their_own_clock(tmp_path, first, others):
    path = write(tmp_path, f"cameras: [{{id: a, url: {first}}}, {{id: b, url: '{others}'}}]")
    assert load_site(path, {"CAMERA": "rtsp://h/1"})


def test_a_camera_may_be_looked_at_less_often_and_not_everywhere(tmp_path):
    given = "max_fps: 5, ignore: [[[0, 0], [1, 0], [1, .25]], [[0.5, 1], [0.5, 0.5], [1, 0.5], [1, 1]]]"
    (one,) = load_site(write(tmp_path, f"cameras: [{{id: a, url: a.mp4, {given}}}]")).cameras
    assert one.max_fps == 5
    assert one.ignore == (((0, 0), (1, 0), (1, 0.25)), ((0.5, 1), (0.5, 0.5), (1, 0.5), (1, 1)))


def test_settings_that_just_fit_each_other_are_taken(tmp_path):
    few = load_site(write(tmp_path, "cameras: [{id: a, url: a.mp4, max_fps: 0.5}]\ntracker: {lost_after_s: 5}"))
    assert few.cameras[0].max_fps == 0.5
    rest = "reid: {bank: 1}\nmatcher: {min_embeddings: 1, new_below: 0.6, min_similarity: 0.6, sure_similarity: 0.6}"
    assert load_site(write(tmp_path, f"cameras: [{A}]\n{rest}")).reid.bank == 1


@pytest.mark.parametrize(
    ("url", "is_file"),
    [("a.mp4", True), ("/clips/a.mp4", True), ("rtsp://h/1", False), ("http://h/1", False), ("webcam:0", False)],
)
def test_only_paths_are_files(url, is_file):
    assert CameraConfig("a", url).is_file is is_file


def test_secrets_come_from_the_environment(tmp_path):
    path = write(tmp_path, "cameras: [{id: a, url: 'rtsp://${WHO}:${PASS}@h/1'}]")
    assert load_site(path, {"WHO": "me", "PASS": "p@:${WHO}"}).cameras[0].url == "rtsp://me:p@:${WHO}@h/1"


def test_a_secret_that_is_not_set_is_named(tmp_path):
    path = write(tmp_path, "cameras: [{id: a, url: 'rtsp://me:${PASS}@h/1'}]")
    with pytest.raises(ConfigError, match=r"camera a: \$\{PASS\} is not set; export PASS="):
        load_site(path, {})


A = "{id: a, url: a.mp4}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: [{id: a, ulr: a.mp4}]", r"unknown key 'cameras\[0\]\.ulr'; did you mean 'url'\?"),
        (f"cameras: [{A}]\ncamera_per_worker: 2", "unknown key 'camera_per_worker'; did you mean 'cameras_per_worker'"),
        (f"cameras: [{A}]\nmatcher: {{xyzzy: 1}}", "unknown key 'matcher.xyzzy'; known here: min_similarity,"),
        (f"cameras: [{A}]\nmatcher: {{min_similarity: 2}}", "`float` <= 1.*`matcher.min_similarity`"),
        (f"cameras: [{A}]\nmatcher: {{min_similarity: .nan}}", "matcher.min_similarity"),
        (f"cameras: [{A}]\ntracker: {{lost_after_s: .inf}}", "tracker.lost_after_s"),
        (f"cameras: [{A}]\ntracker: {{lost_after_s: 31}}", "<= 30.*tracker.lost_after_s"),
        (f"cameras: [{A}]\nmatcher: {{prototypes: 1}}", ">= 2.*matcher.prototypes"),
        (f"cameras: [{A}]\nreid: {{bank: 2}}", "reid.bank: 2 .*matcher.min_embeddings waits for 3; keep 3 or more"),
        (f"cameras: [{A}]\nmatcher: {{min_embeddings: 5}}", "reid.bank: 4 .* waits for 5; keep 5 or more"),
        (
            f"cameras: [{A}]\nmatcher: {{min_similarity: 0.8}}",
            r"matcher.min_similarity: 0\.8 is above sure_similarity, which is 0\.75 here; lower it or raise sure_sim",
        ),
        (
            f"cameras: [{A}]\nreid: {{model: mspf_x1_0}}\nmatcher: {{min_similarity: 0.72}}",
            r"min_similarity: 0\.72 is above sure_similarity, which is 0\.7 here",
        ),
        (f"cameras: [{A}]\nmatcher: {{new_below: 0.6}}", r"matcher.new_below: 0\.6 is above min_similarity, .* 0\.55"),
        ("cameras: [{id: a, url: a.mp4, max_age_s: soon}]", r"`float`, got `str`.*`cameras\[.*\].max_age_s`"),
        ("cameras: [{id: a, url: a.mp4, max_age_s: 0}]", r"> 0.*`cameras\[.*\].max_age_s`"),
        ("cameras: [{id: a, url: a.mp4, max_fps: 0}]", r"> 0.*`cameras\[.*\].max_fps`"),
        (
            "cameras: [{id: a, url: a.mp4, max_fps: 2}]",
            r"camera a: max_fps: 2: .*lost_after_s is 1; give 2\.5 or more, or a lost_after_s of 1\.25 or more",
        ),
        (
            f"cameras: [{A}, {{id: b, url: b.mp4, max_fps: 5}}]\ntruth: .",
            "camera b: max_fps: 5, and scores against truth count every frame; leave out one of the two",
        ),
        (
            f"cameras: [{A}, {{id: b, url: b.mp4, ignore: [[0, 0], [1, 0], [1, 1]]}}]",
            r"cameras\[1\]\.ignore: .* is one area where a list of them belongs; write \[\[\[0, 0\], .* \[1, 1\]\]\]",
        ),
        (
            "cameras: [{id: a, url: a.mp4, ignore: [[[0, 0], [1, 0], [640, 360]]]}]",
            r"cameras\[0\]\.ignore\[0\]: \[640, 360\] is no corner; give shares of the picture's width and height",
        ),
        *(
            (
                f"cameras: [{{id: a, url: a.mp4, ignore: [[[0, 0], [1, 0], [1, 1]], {area}]}}]",
                rf"\.ignore\[1\]: .*{says}",
            )
            for area, says in {
                "[[0, 0], [1, 1]]": "is no area; write three corners or more",
                "[[0, 0], [1, 0], [1]]": "is no area",
                "[[0, 0], [1, 0], [1, yes]]": "is no area",
                "5": "5 is no area",
                "[[0, 0], [1, 0], [1, -0.1]]": r"\[1, -0\.1\] is no corner",
                "[[0, 0], [1, 0], [1, .nan]]": "is no corner",
                "[[0, 0], [1, 0], [0, 0]]": "encloses nothing; give corners that are not on one line",
                "[[0.2, 0.7], [0.45, 0.7], [0.33, 0.7]]": "encloses nothing",
                "[[0, 0], [1, 1], [1, 0], [0, 1]]": "encloses nothing",
            }.items()
        ),
        (
            "cameras: [{id: a, url: a.mp4, ignore: 5}]",
            r"cameras\[0\]\.ignore: 5 is no list of areas; write \[\[\[0, 0\]",
        ),
        ("cameras: [{id: a, url: a.mp4, ignore: }]", r"cameras\[0\]\.ignore: None is no list of areas"),
        ("cameras: [{id: a}]", "missing required field `url`"),
        (
            f"cameras: [{A}, {{id: a/b, url: a.mp4}}]",
            r"cameras\[1\]\.id: 'a/b' is no id; use at most 64 of",
        ),
        ("cameras: [{id: a b, url: a.mp4}]", r"cameras\[0\]\.id: 'a b' .*a-z A-Z 0-9 \. _ -, first a letter or digit"),
        ("cameras: [{id: é, url: a.mp4}]", "'é' is no id"),
        ("cameras: [{id: -a, url: a.mp4}]", "'-a' is no id"),
        (f"cameras: [{{id: {'a' * 65}, url: a.mp4}}]", "at most 64"),
        ("cameras: [{id: 1, url: a.mp4}]", r"cameras\[0\]\.id: YAML reads 1, no text; put it in quotes"),
        ("cameras: [{id: 2026-01-31, url: a.mp4}]", "YAML reads 2026-01-31, no text"),
        ("cameras: [{id: no, url: a.mp4}]", "YAML reads False, no text; put it in quotes, as '1' or 'no'"),
        ("cameras: [{id: , url: a.mp4}]", r"`str`, got `null`.*`cameras\[.*\].id`"),
        ("cameras: [{id: a, url: 0}]", r"cameras\[0\]\.url: 0 is no url; write webcam:0"),
        ("cameras: [{id: a, url: '1'}]", r"cameras\[0\]\.url: '1' is no url; write webcam:1"),
        (
            "cameras: ['rtsp://me:pass@h/1']",
            r"cameras\[0\]: 'rtsp://\*\*\*@h/1' is no camera; write it as in cameras: \[{id",
        ),
        ("cameras: {hall: {url: a.mp4}}", "cameras: no list; put a dash before each camera, or write cameras:"),
        (f"cameras: [{A}]\nreid: mspf_x0_25", "'mspf_x0_25' is a value .*; write reid: {model: mspf_x0_25}"),
        (
            f"cameras: [{A}]\nmatcher: [1]",
            r"\[1\] is a value where settings belong; write matcher: {min_similarity: 0.55}",
        ),
        (
            f"cameras: [{A}, {{id: b, url: b.mp4, started_at: 1764500000}}, {{id: c, url: c.mp4}}]",
            "camera b: started_at is 1764500000, of a it is 0; give it for all files, or for none",
        ),
        (f"cameras: [{A}, {{id: b, url: b.mp4}}, {A}]", "id 'a' occurs 2 times; ids must differ"),
        ("cameras: [{id: a, url: ''}]", r"length >= 1.*cameras\[.*\].url"),
        (f"cameras: [{A}]\ntruth: ''", "length >= 1.*truth"),
        (f"cameras: [{A}]\nmatcher: {{prototypes: 100000000}}", "`int` <= 1000.*matcher.prototypes"),
        (f"cameras: [{A}]\nreid: {{bank: 1}}\nreid: {{bank: 2}}", "line 3: 'reid' stands there twice; keep one"),
        ("cameras: [{id: a, url: a.mp4,\n id: b}]", "line 2: 'id' stands there twice; keep one"),
        ("&a [*a]", "holds no settings; give at least cameras:"),
        (
            f"cameras: [{A}]\nreid: {{model: x.onnx}}",
            r"reid\.model: no file x\.onnx; relative paths start at cams\.yaml",
        ),
        (f"cameras: [{A}]\ndetector: {{model: x/y.onnx}}", r"detector\.model: no file x/y\.onnx"),
        ("cameras: []", "length >= 1.*cameras"),
        ("truth: x", r"cameras: is missing; give at least one, as in cameras: \[{id: hall, url: webcam:0}\]"),
        ("cameras:", "cameras: is missing"),
        (f"camera: [{A}]", "unknown key 'camera'; did you mean 'cameras'"),
        ("# cameras:", "cameras: is missing"),
        ("", "cameras: is missing"),
        ("cameras: [", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("cameras: \x00", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_says_where(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_site(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


SECTIONS = [("cameras", config.CameraConfig)] + [
    (field.name, field.type)
    for field in msgspec.structs.fields(config.Site)
    if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
]
NUMBERS = [
    (section, field.name)
    for section, kind in SECTIONS
    for field in msgspec.structs.fields(kind)
    if isinstance(field.default, float)
]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize(("section", "name"), NUMBERS)
def test_no_number_may_be_infinite_or_none(tmp_path, section, name, value):
    camera = (
        f"[{{id: a, url: a.mp4, {name}: {value}}}]"
        if section == "cameras"
        else f"[{A}]\n{section}: {{{name}: {value}}}"
    )
    with pytest.raises(ConfigError, match=rf"{section}.*{name}"):
        load_site(write(tmp_path, f"cameras: {camera}"))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "cams.yaml"
    path.write_bytes(b"\xff\xfe\x80\x81")
    with pytest.raises(ConfigError, match="holds no settings"):
        load_site(path)


@pytest.mark.parametrize(("name", "says"), [("none.yaml", "No such file"), (".", "Is a directory")])
def test_a_site_that_cannot_be_read_is_refused(tmp_path, name, says):
    with pytest.raises(ConfigError, match=f"cannot read the site: {says}.*give an existing cams.yaml"):
        load_site(tmp_path / name)


AWKWARD = [
    ("rtsp://me:hunter2@10.0.0.7/1", "rtsp://***@10.0.0.7/1"),
    ("rtsp://me:hun@ter2@h/1", "rtsp://***@h/1"),
    ("rtsp://me:hunter2:h@h/1", "rtsp://***@h/1"),
    ("rtsp://me:%40hunter2%3A@h/1", "rtsp://***@h/1"),
    ("rtsp://me:hunter2 hunter2@h/1", "rtsp://***@h/1"),
    ("rtsp://me:/hunter2?#@h/1", "rtsp://***@h/1"),
    ("rtsp://h/1?channel=1&token=hunter2", "rtsp://h/1?channel=1&token=***"),
    ("http://h/1?access_token=hunter2&x=1", "http://h/1?access_token=***&x=1"),
    ("http://h/1?apikey=hunter2", "http://h/1?apikey=***"),
    ("http://h/1?usr=me&PWD=hunter2", "http://h/1?usr=me&PWD=***"),
    ("rtsp://h/user=me&password=hunter2&channel=1", "rtsp://h/user=me&password=***&channel=1"),
    ("rtsp://h/user=me_password=hunter2_channel=1", "rtsp://h/user=me_password=***"),
    ("rtsp://me:hunter2@h/1?auth=hunter2", "rtsp://***@h/1?auth=***"),
    ("rtsp:/me:hunter2@h/1", "rtsp:/***@h/1"),
    ("me:hunter2@h/1", "***@h/1"),
    ("me:hun/ter2:hunter2@h/1", "***@h/1"),
]


@pytest.mark.parametrize(("url", "safe"), AWKWARD)
def test_no_password_or_token_of_a_url_is_shown(url, safe):
    assert CameraConfig("a", url).safe_url == safe
    assert "hunter2" not in redact(f"[Errno 111] Connection refused: '{url}'")


@pytest.mark.parametrize("url", ["rtsp://10.0.0.7:554/1?channel=1&subtype=0", "clips/a.mp4", "webcam:0"])
def test_a_url_without_secrets_is_shown_whole(url):
    assert redact(url) == url


@pytest.mark.parametrize(("setting", "allowed"), [("backend", [*BACKENDS]), ("precision", PRECISIONS[1:])])
def test_the_example_names_every_back_end_and_precision(setting, allowed):
    lines = (Path(__file__).parents[2] / "configs" / "cams.example.yaml").read_text().splitlines()
    assert f"  {setting}: auto # {', '.join(allowed)}" in lines
