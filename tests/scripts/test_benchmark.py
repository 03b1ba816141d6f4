"""The benchmark's own arithmetic, and its parts from end to end on tiny networks and clips."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import engines
from engines.cuda import Gpu
from engines.engine import NotInstalledError
from engines.gate import golden_path, read_golden
from pipeline.export_detector import DEFAULT_DETECTOR
from tests.fakes import picture
from tests.pipeline.clips import write_clip
from tests.pipeline.networks import PLACES, write_detector, write_reid

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def layers(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmark_layers")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """(N, 3, 8, 4) by a 3x3 convolution into 5 maps, their mean, and a product with (5, 7)."""
    rng = np.random.default_rng(0)
    constants = {"maps": rng.random((5, 3, 3, 3), np.float32), "head": rng.random((5, 7), np.float32)}
    nodes = [
        helper.make_node("Conv", ["images", "maps"], ["found"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["found"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["rows"]),
    ]
    ends = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 4]),
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 7]),
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "net.onnx"
    )
    return tmp_path / "net.onnx"


def test_the_multiply_adds_of_a_network_are_those_of_its_convolutions_and_products(layers, network: Path) -> None:
    nodes = layers.quickest_run(network, (3, 8, 4), padded=False).nodes
    by_kind = {node.kind.split()[0].removeprefix("Fused"): node.macs for node in nodes if node.macs}
    assert by_kind == {"Conv": 8 * 4 * 5 * 3 * 9, "MatMul": 5 * 7}


@pytest.mark.parametrize(
    ("sides", "written", "summed"),
    [
        ([[4, 6], [6, 5]], 20, 6),
        ([[2, 3, 4, 6], [2, 3, 6, 5]], 120, 6),
        ([[2, 3, 6, 4], [2, 3, 6, 5]], 120, 6),  # the first transposed
        ([[2, 4, 6], [6, 5]], 40, 6),
        ([[4, 6]], 20, 6),  # the second was packed beforehand
    ],
)
def test_the_axis_that_a_product_sums_over_is_found(layers, sides, written: int, summed: int) -> None:
    assert layers.summed_axis(sides, written) == summed


def test_the_layers_of_a_network_add_up_to_its_whole_run(layers, network: Path) -> None:
    *parts, whole = layers.layer_rows("net", network, (3, 8, 4), layers.Roof(1e11, 1e10))
    assert whole["layer"] == "whole run"
    for column in ("nodes", "ms", "share", "ms at the roof"):
        assert sum(row[column] for row in parts) == pytest.approx(whole[column])
    assert whole["share"] == pytest.approx(1)


def test_a_layer_is_held_to_the_slower_of_multiplying_and_moving(layers) -> None:
    roof = layers.Roof(macs=100, bytes=10)
    assert roof.seconds(layers.Work("Conv", 1, macs=200, bytes=10)) == 2
    assert roof.seconds(layers.Work("Relu", 1, macs=0, bytes=30)) == 3


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras in whose six frames somebody stands still."""
    folder = tmp_path_factory.mktemp("site")
    image = picture()
    x1, y1, x2, y2 = PLACES[0]
    image[y1:y2, x1:x2:2] = 200
    for name in "ab":
        write_clip(folder / f"{name}.mp4", [image] * 6)
    plan = {
        "cameras": [{"id": name, "url": str(folder / f"{name}.mp4")} for name in "ab"],
        "detector": {"model": str(write_detector(folder / "detector.onnx")), "backend": "onnxruntime"},
        "reid": {"model": str(write_reid(folder / "reid.onnx")), "backend": "onnxruntime"},
    }
    path = folder / "cams.yaml"
    path.write_bytes(msgspec.yaml.encode(plan))
    return path


def test_the_stages_of_a_replay_add_up_to_the_whole_run(load_script, site: Path) -> None:
    *parts, whole = load_script("benchmark_pipeline").stages(site)
    assert {"decode", "detector network", "re-ID network", "match, store and write"} <= {row["stage"] for row in parts}
    assert sum(row["share"] for row in parts) == pytest.approx(1)
    assert sum(row["core ms a frame"] for row in parts) == pytest.approx(whole["core ms a frame"])


def test_a_replay_and_decoding_count_every_frame(load_script, site: Path) -> None:
    pipeline = load_script("benchmark_pipeline")
    (run,) = pipeline.replay(site)
    assert run["frames"] == 12
    assert run["crops/s"] > 0
    assert pipeline.decoding(site)[0]["frames"] == 6


def test_a_network_is_timed_on_the_tensorrt_that_runs_it_and_told_of_where_one_does_not(
    load_script, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, load = load_script("benchmark_networks"), engines.load

    def loaded(path: Path, backend: str, precision: str = "auto", *rest: object, **more: object) -> engines.Engine:
        if backend == "tensorrt-rtx":
            raise NotInstalledError("not here")
        if (backend, precision) == ("tensorrt", "f32"):
            raise engines.EngineError("no memory")
        return load(path, "onnxruntime" if backend == "tensorrt" else backend, proven=False)

    monkeypatch.setattr(engines, "load", loaded)
    monkeypatch.setattr(networks, "candidates", lambda *given: {"net": networks.candidate(network, (3, 8, 4))})
    monkeypatch.setattr(networks, "cpu_ways", lambda: {"onnxruntime f32": ("onnxruntime", "f32")})
    rows = networks.networks({}, (), False, (1, 2), 1)
    ways = [(row["way"], row.get("batch"), row.get("note")) for row in rows]
    timed = [(way, batch, None) for way in ("onnxruntime f32", "tensorrt f16") for batch in (1, 2)]
    assert ways == [*timed, ("tensorrt f32", None, "no memory")]
    assert load_script("benchmark_plot").plot({"networks": rows}, network.with_suffix(".png"))


def test_a_quantised_file_is_built_as_it_is(load_script, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"QuantizeLinear")
    ways = load_script("benchmark_networks").tensorrt_ways(tmp_path / "net.onnx")
    assert ways == {f"{name} int8": (name, "auto") for name in ("tensorrt", "tensorrt-rtx")}


def test_a_copy_in_fewer_bits_stands_beside_its_network_by_the_clock_on_a_gpu_and_by_core_time_on_a_cpu(
    load_script, layers
) -> None:
    networks, timing = load_script("benchmark_networks"), load_script("benchmark_timing").Timing
    one = networks.Candidate(Path("net.onnx"), (3, 8, 4), macs=100, bytes=80, module=None)
    known = {"net": one, "net int8": replace(one, source="net")}
    taken = {
        ("net", "tensorrt f32", 1): timing(wall_s=6, core_s=1),
        ("net int8", "tensorrt int8", 1): timing(wall_s=2, core_s=1),
        ("net", "openvino f32", 1): timing(wall_s=6, core_s=8),
        ("net int8", "openvino bf16", 1): timing(wall_s=6, core_s=2),
    }
    rows = {key[1]: networks.network_row(key, known, taken, layers.Roof(500, 40)) for key in taken}
    assert (rows["tensorrt int8"]["speed to f32"], rows["openvino bf16"]["speed to f32"]) == (3, 4)
    assert (rows["tensorrt int8"]["of matrix product"], rows["openvino bf16"]["core ms"]) == (0.1, 2000)
    assert "core ms" not in rows["tensorrt int8"]


def test_the_detector_is_quantised_for_any_back_end_and_for_cpus_on_the_pictures_of_its_reference(
    load_script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, seen = load_script("benchmark_networks"), []
    monkeypatch.setattr(
        networks, "to_int8", lambda path, out, batches, symmetric: seen.append((list(batches), symmetric))
    )
    one = networks.Candidate(DEFAULT_DETECTOR, (3, 288, 480), macs=1, bytes=1, module=None)
    copies = networks.in_fewer_bits("detector", one, tmp_path)
    assert {name: copy.source for name, copy in copies.items()} == dict.fromkeys(
        ("detector int8", "detector uint8"), "detector"
    )
    pictures = read_golden(golden_path(DEFAULT_DETECTOR)).inputs
    for (batches, symmetric), wanted in zip(seen, (True, False), strict=True):
        assert symmetric is wanted
        np.testing.assert_array_equal(np.concatenate(batches), pictures)


def test_shipped_networks_are_timed_at_their_own_size_in_int8_too(load_script, tmp_path: Path) -> None:
    only = ["MSPF x0.25 as shipped"]
    found = load_script("benchmark_networks").candidates(tmp_path, {}, only, int8=True)
    assert [(name, one.shape) for name, one in found.items()] == [
        (only[0], (3, 128, 64)),
        (f"{only[0]} int8", (3, 128, 64)),
    ]
    assert b"QuantizeLinear" in found[f"{only[0]} int8"].path.read_bytes()


def test_networks_without_training_are_exported(load_script, tmp_path: Path) -> None:
    (one,) = load_script("benchmark_networks").candidates(tmp_path, {}, ["OSNet x1.0"]).values()
    (rows,) = engines.load(one.path, "onnxruntime", proven=False)(np.zeros((2, *one.shape), np.float32))
    np.testing.assert_allclose(rows, one.module(torch.zeros(2, *one.shape)), atol=1e-4)


def test_a_network_that_there_is_not_is_refused(load_script, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no network OSNet; there are MSPF x0.25, .*detector, mine"):
        load_script("benchmark_networks").candidates(tmp_path, {"mine": tmp_path / "mine.onnx"}, ["OSNet"])


def test_the_machines_gpu_is_named_with_what_builds_for_it(load_script, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_script("benchmark")
    assert "gpu" not in benchmark.machine()[0]
    monkeypatch.setattr(benchmark.cuda, "gpu_or_none", lambda: Gpu("Toy", "9.0", "1"))
    monkeypatch.setattr(benchmark, "version", {"tensorrt": "10.9", "tensorrt-rtx": "unknown"}.__getitem__)
    (row,) = benchmark.machine()
    assert (row["gpu"], row["tensorrt"]) == ("Toy", "10.9")
    assert "tensorrt-rtx" not in row


def test_a_networks_ways_on_a_gpu_are_eager_in_both_precisions_and_compiled(load_script, network: Path) -> None:
    networks = load_script("benchmark_networks")
    one = networks.candidate(network, (3, 8, 4), torch.nn.Conv2d(3, 2, 3))
    calls = networks.gpu_ways(one, 5, torch.device("cpu"))
    assert list(calls) == ["torch float32", "torch float16", "compiled float16"]
    single, half = (calls[name]() for name in ("torch float32", "torch float16"))
    assert (single.shape, single.dtype) == ((5, 2, 6, 2), torch.float32)
    assert half.dtype == torch.float16


def test_a_gpus_row_stands_beside_torch_osnet_and_both_roofs(load_script, layers) -> None:
    networks = load_script("benchmark_networks")
    one = networks.Candidate(Path("net.onnx"), (3, 8, 4), macs=100, bytes=80, module=None)
    taken = {("net", "a float16", 4): 2.0, ("OSNet x1.0", "a float16", 4): 4.0, ("net", "torch float32", 4): 8.0}
    row = networks.gpu_row(("net", "a float16", 4), one, taken, layers.Roof(500, 40))
    assert (row["x torch"], row["x OSNet same way"], row["crops/s"]) == (0.25, 0.5, 0.5)
    assert (row["of matrix product"], row["of copy"]) == (0.1, 0.5)


def test_a_gpu_is_measured_for_streams_by_the_detector_and_mspf_and_goes_on_past_a_way_that_fails(
    load_script, layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = load_script("benchmark_networks")
    one = networks.Candidate(Path("net.onnx"), (3, 8, 4), macs=100, bytes=80, module=torch.nn.Identity())

    def seconds(call: float) -> float:
        if not call:
            raise RuntimeError("out of memory\nof many lines")
        return call

    monkeypatch.setattr(networks.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(networks, "candidates", lambda *given: {"detector": one, "MSPF x0.25": one})
    monkeypatch.setattr(networks, "gpu_ways", lambda one, batch, device: {"slow": batch / 100, "quick": batch / 10_000})
    monkeypatch.setattr(networks, "seconds_on_gpu", lambda call: seconds(call if call != 32 / 10_000 else 0))
    monkeypatch.setattr(networks, "gpu_roof", lambda: layers.Roof(500, 40))
    *measured, streams, failed = networks.cuda({}, ())
    assert [(row["batch"], row.get("frames/s"), row.get("crops/s")) for row in measured] == [
        (8, pytest.approx(100), None),
        (8, pytest.approx(10_000), None),
        (32, pytest.approx(100), None),
        (64, None, pytest.approx(100)),
        (64, None, pytest.approx(10_000)),
    ]
    assert (streams["network"], streams["way"]) == (
        "detector + MSPF x0.25",
        "50 streams at 10 fps, 4 crops a frame",
    )
    assert streams["% of the GPU"] == pytest.approx(100 * 500 * (1 + 4) / 10_000)
    assert (failed["network"], failed["way"], failed["note"]) == ("detector", "quick", "out of memory")


def test_a_part_that_cannot_be_measured_here_is_said_to_be_none(
    load_script, capsys: pytest.CaptureFixture[str]
) -> None:
    load_script("benchmark").show("cuda", [])
    assert capsys.readouterr().out == "cuda: nothing here that it could measure\n"


def test_a_picture_of_nothing_is_not_written(load_script, tmp_path: Path) -> None:
    assert not load_script("benchmark_plot").plot({"wire": [{"messages/s": 1.0}], "stages": []}, tmp_path / "plot.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_of_parts_that_have_none_is_refused_before_anything_is_measured(
    load_script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--part", "wire", "--plot", "plot.png"])
    with pytest.raises(SystemExit):
        load_script("benchmark").main()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "--plot draws networks, layers, threads, stages, gallery;" in shown.err


def test_a_picture_that_cannot_be_written_loses_no_figures(
    load_script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [{"stage": "decode", "core ms a frame": 1.0}]
    monkeypatch.setattr(load_script("benchmark"), "parts", lambda given: {"stages": lambda: rows})
    places = ["--json", str(tmp_path / "rows.json"), "--plot", str(tmp_path / "no folder" / "plot.png")]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *places])
    with pytest.raises(FileNotFoundError):
        load_script("benchmark").main()
    assert json.loads((tmp_path / "rows.json").read_text())["stages"] == rows


@pytest.mark.parametrize("parts", [("stages", "threads"), ("layers", "gallery", "wire")])
def test_the_picture_shows_the_parts_that_were_measured(load_script, tmp_path: Path, parts: tuple[str, ...]) -> None:
    setting = {"network": "net", "back end": "openvino", "processes": 1, "threads of each": "1"}
    rows = {
        "stages": [{"stage": "decode", "core ms a frame": 1.0}],
        "layers": [{"network": "net", "layer": "Conv", "share": 1.0}],
        "threads": [{**setting, "batch": batch, "images/s": 1.0} for batch in (1, 4)],
        "gallery": [{"identities": 100, "one thread, ms": 1.0}, {"identities": 1000, "one thread, ms": 3.0}],
        "wire": [{"messages/s": 1.0}],
    }
    assert load_script("benchmark_plot").plot({name: rows[name] for name in parts}, tmp_path / "plot.png")
    assert cv2.imread(str(tmp_path / "plot.png")) is not None


def test_a_picture_of_many_bars_is_taller(load_script, tmp_path: Path) -> None:
    for count in (10, 100):
        rows = [{"stage": str(number), "core ms a frame": 1.0} for number in range(count)]
        assert load_script("benchmark_plot").plot({"stages": rows}, tmp_path / f"{count}.png")
    few, many = (cv2.imread(str(tmp_path / f"{count}.png")) for count in (10, 100))
    assert many.shape[0] > 1.5 * few.shape[0]


def test_each_network_has_a_panel_of_its_own_for_threads(load_script) -> None:
    rows = [{"network": name, "batch": batch} for batch in (1, 4) for name in ("net", "other")]
    panels = load_script("benchmark_plot").panels("threads", rows)
    assert [(title, [row["batch"] for row in own]) for title, _, own in panels] == [
        ("threads: net", [1, 4]),
        ("threads: other", [1, 4]),
    ]


def test_a_process_of_its_own_runs_a_network_in_every_setting(load_script, tmp_path: Path) -> None:
    threads = load_script("benchmark_threads")
    cases = [threads.Case(1, setting, 2) for setting in threads.settings(1, 2)]
    with threads.workers(1, write_reid(tmp_path / "reid.onnx")) as connections:
        stints = [threads.together(connections, case) for case in cases]
    row = threads.case_row(cases[0], [stints[0]] * 3)
    (stint,) = stints[0]
    assert row["images/s"] == pytest.approx(2 * stint.calls / stint.wall_s)
    assert row["core ms an image"] == pytest.approx(500 * stint.core_s / stint.calls)


def test_processes_that_share_the_cores_are_tried_with_all_of_them_their_part_and_one(load_script) -> None:
    settings = load_script("benchmark_threads").settings
    assert [one.threads for one in settings(2, 8) if one.backend == "openvino"] == [1, 4, 8]
    assert [one.threads for one in settings(4, 2) if one.backend == "openvino"] == [1, 2]
    assert {one.name for one in settings(1, 2)} == {"", "pinned", "2 streams", "spinning"}


def test_time_inside_an_inner_stage_is_not_that_of_the_outer_one(load_script, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load_script("benchmark_pipeline")
    ticks = iter([0, 1, 3, 7, 8])  # made; outer on, inner on, inner off, outer off
    monkeypatch.setattr(pipeline.time, "process_time", lambda: next(ticks))
    watch = pipeline.Stopwatch()
    with watch.stage("outer"), watch.stage("inner"):
        pass
    assert watch.core_s == {"all else": 1, "outer": 2 + 1, "inner": 4}
