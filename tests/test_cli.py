"""The command line, as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.dicoms import phantom, radiograph
from support.fronts import ScriptedEngine, front_in_a_thread
from support.servers import serving, write_served_bundle

from spinert.runtime.config import ServerSettings


def spinert(*words, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spinert", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_served_bundle(tmp_path_factory.mktemp("cli") / "bundle")


@pytest.fixture
def folder(tmp_path) -> Path:
    inputs = tmp_path / "in [red]"
    inputs.mkdir()
    (inputs / "good.dcm").write_bytes(radiograph(phantom()))
    (inputs / "bad.dcm").write_bytes(b"not DICOM at all")
    return inputs


def test_help_names_every_command_and_the_disclaimer():
    text = spinert("--help").stdout
    for word in (
        "export",
        "inspect",
        "verify",
        "build",
        "serve",
        "analyze",
        "not a medical",
    ):
        assert word in text


def test_inspect_shows_what_a_bundle_decides(bundle):
    text = spinert("inspect", bundle).stdout
    for word in ("tiny", "p >= 0.28", "FUSION_PAPER", "score >= 0.5", "Osteophytes"):
        assert word in text


def test_inspect_json_is_the_manifest(bundle):
    text = spinert("inspect", bundle, "--json").stdout
    assert json.loads(text) == json.loads((bundle / "bundle.json").read_text())


def test_verify_measures_every_output(bundle):
    done = spinert("verify", bundle, "--backend", "fake", "--json")
    report = json.loads(done.stdout)
    assert report["passed"]
    [check] = report["backends"]
    measures = [m for network in check["networks"] for m in network["measures"]]
    assert {m["output"] for m in measures} == {"logits", "boxes", "scores", "labels"}
    assert check["networks"][0]["batch_sizes"] == [1, 2, 3, 4]
    assert "passes on fake" in spinert("verify", bundle, "--backend", "fake").stdout


def test_verify_runs_what_its_flags_ask_for(bundle):
    flags = ("--backend", "fake", "--max-batch", "2", "--precision", "fp32")
    report = json.loads(spinert("verify", bundle, *flags, "--json").stdout)
    [check] = report["backends"]
    assert check["backend"]["precision"] == "fp32"
    assert {tuple(gate["batch_sizes"]) for gate in check["networks"]} == {(1, 2)}


def test_verify_leaves_its_certificates_where_the_server_will_look(bundle, tmp_path):
    config = tmp_path / "server.toml"
    config.write_text(
        f"[backend]\nname = 'fake'\n[golden]\nstate_dir = '{tmp_path / 'state'}'\n"
    )
    spinert("verify", bundle, "--config", config)
    assert len(list((tmp_path / "state" / "certificates").iterdir())) == 2


def test_verify_writes_a_page(bundle, tmp_path):
    page = tmp_path / "report.html"
    spinert("verify", bundle, "--backend", "fake", "--report", page)
    assert "PASSED" in page.read_text()


def test_verify_says_before_the_work_that_the_page_has_no_place(bundle, tmp_path):
    page = tmp_path / "absent" / "report.html"
    done = spinert("verify", bundle, "--backend", "fake", "--report", page, code=2)
    assert done.stderr.startswith("error: CONFIG_INVALID: --report: the folder")


def test_a_network_that_fails_the_gate_is_shown_and_ends_with_one_line(tmp_path):
    directory, page = tmp_path / "bundle", tmp_path / "report.html"
    write_served_bundle(directory)
    spec = json.loads((directory / "bundle.json").read_text())
    spec["networks"]["classifier"]["parity"]["outputs"][0]["tolerance_abs"] = -1
    (directory / "bundle.json").write_text(json.dumps(spec))
    words = ("verify", directory, "--backend", "fake", "--report", page)
    done = spinert(*words, code=2)
    assert "fails on fake" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith("error: GOLDEN_SET_FAILED: network 'classifier'")
    assert "FAILED" in page.read_text()


def test_without_a_home_verify_says_that_its_certificates_are_lost(bundle):
    # An id without an entry in the user database: as in many containers.
    command = [sys.executable, "-m", "spinert", "verify", bundle, "--backend", "fake"]
    gone = {"HOME", "XDG_STATE_HOME"}
    environment = {k: v for k, v in os.environ.items() if k not in gone}
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, *map(str, command)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "set golden.state_dir" in done.stderr
    assert "passes on fake" in done.stdout


NO_HOME = """
import pwd, runpy, sys
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
sys.argv = sys.argv[3:]
runpy.run_module("spinert", run_name="__main__")
"""


def test_a_changed_bundle_fails_with_one_line(tmp_path):
    directory = write_served_bundle(tmp_path / "bundle")
    (directory / "networks" / "detector.onnx").write_bytes(b"FAKE")
    done = spinert("verify", directory, "--backend", "fake", code=2)
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith("error: BUNDLE_HASH_MISMATCH: ")


def test_serve_check_validates_without_serving(bundle, tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[backend]\nname = 'fake'\n")
    bad.write_text("[server]\nport = 1\n")
    done = spinert("serve", "--bundle", bundle, "--config", good, "--check")
    assert "valid" in done.stdout
    done = spinert("serve", "--bundle", bundle, "--config", bad, "--check", code=2)
    assert "unknown key 'port'" in done.stderr
    good.write_text("[backend]\nname = 'tensort'\nfallback = 'onnxruntime'\n")
    done = spinert("serve", "--bundle", bundle, "--config", good, "--check", code=2)
    assert "unknown backend 'tensort'" in done.stderr


SERVE_OVER_A_GRPC_THAT_COMPLAINS = """
import asyncio, sys, types
from pathlib import Path
from spinert.commands.serving import serve

async def fails_to_bind():
    import grpc
    try:
        grpc.aio.server().add_insecure_port(":0")
    except RuntimeError:
        pass

stub = types.SimpleNamespace(serve=lambda *_: asyncio.run(fails_to_bind()))
sys.modules["spinert.runtime.server.serve"] = stub
serve(["--bundle", "."])
"""


@pytest.mark.parametrize(("wish", "is_quiet"), [("", True), ("ERROR", False)])
def test_standard_error_of_a_server_is_its_log_unless_grpc_is_asked_for(wish, is_quiet):
    environment = {k: v for k, v in os.environ.items() if k != "GRPC_VERBOSITY"}
    environment |= {"GRPC_VERBOSITY": wish} if wish else {}
    command = [sys.executable, "-c", SERVE_OVER_A_GRPC_THAT_COMPLAINS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert (done.stderr == "") is is_quiet


def test_analyze_tells_what_became_of_each_file(bundle, folder, tmp_path):
    out, pictures = tmp_path / "results.json", tmp_path / "pictures"
    with serving(bundle, tmp_path / "server") as server:
        done = spinert(
            "analyze",
            folder,
            "--server",
            server.address,
            "--json",
            out,
            "--overlay",
            pictures,
        )
    assert "good.dcm" in done.stdout
    assert "MALFORMED_DICOM" in done.stdout
    assert "not a medical device" in done.stdout
    bad, good = json.loads(out.read_text())
    assert Path(bad["file"]).name == "bad.dcm"
    assert bad["error"]["status"] == "INVALID_ARGUMENT"
    assert bad["error"]["reason"] == "MALFORMED_DICOM"
    assert 0 < good["verdict"]["abnormal_probability"] < 1
    assert good["provenance"]["bundle_name"] == "tiny"
    assert [path.name for path in pictures.iterdir()] == ["good.png"]


def test_file_names_are_shown_as_they_are(bundle, folder, tmp_path):
    name = "IMG[left] [red]7"
    (folder / "good.dcm").rename(folder / f"{name}.dcm")
    (folder / "bad.dcm").rename(folder / "[b]bad:x:.dcm")
    pictures = tmp_path / "pictures"
    with serving(bundle, tmp_path / "server") as server:
        address = ("--server", server.address)
        done = spinert("analyze", folder, *address, "--overlay", pictures)
    assert f"{name}.dcm" in done.stdout
    assert "[b]bad:x:.dcm" in done.stdout
    assert [path.name for path in pictures.iterdir()] == [f"{name}.png"]


class EndingEngine(ScriptedEngine):
    """The server shuts down with its third frame."""

    front = None

    def submit(self, request):
        future = super().submit(request)
        if len(self.requests) == 3:
            self.front.service.drain()
        return future


def test_analyze_keeps_what_it_has_when_the_server_leaves(folder, tmp_path):
    for number in range(40):
        (folder / f"more{number:02}.dcm").write_bytes(b"not DICOM")
    out = tmp_path / "results.json"
    engine = EndingEngine()
    # So the client has the answers to two frames when it sends the third; what comes
    # with the end of a call may be lost in gRPC.
    one_by_one = ServerSettings(listen="127.0.0.1:0", max_frames_in_flight=1)
    with front_in_a_thread(engine, one_by_one) as front:
        engine.front = front
        server = ("--server", front.address)
        done = spinert("analyze", folder, *server, "--json", out, code=1)
    assert "file without answer" in done.stdout
    results = json.loads(out.read_text())
    assert len(results) == 42
    is_lost = ["error" in result for result in results]
    assert not any(is_lost[:2])
    assert all(is_lost[3:])


PARENT = """
import os, subprocess, sys
own = ["--parent", str(os.getpid())]
with open("log", "wb") as log:
    command = [sys.executable, "-m", "spinert", "serve", *sys.argv[1:], *own]
    subprocess.run(command, stderr=log)
"""


def test_a_server_started_for_a_command_ends_when_that_is_killed(bundle, tmp_path):
    config = tmp_path / "server.toml"
    config.write_text("[backend]\nname = 'fake'\n[decode]\nworkers = 1\n")
    words = ("--bundle", bundle, "--config", config, "--listen", "127.0.0.1:0")
    command = [sys.executable, "-c", PARENT, *map(str, words)]
    with subprocess.Popen(command, cwd=tmp_path) as parent:
        logged(tmp_path / "log", "ready")
        parent.kill()
    logged(tmp_path / "log", "stopped")


def logged(log: Path, event: str) -> None:
    until_s = time.monotonic() + 30
    while not (log.exists() and f'"event": "{event}"' in log.read_text()):
        assert time.monotonic() < until_s, f"no event {event}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [
        ("uvloop", ("serve", "--bundle", "BUNDLE"), "spinert[cpu]"),
        ("torch", ("export", "RECIPE", "-o", "nowhere"), "spinert[cpu,export]"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    bundle, tmp_path, package, words, extra
):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("")
    places = {"BUNDLE": str(bundle), "RECIPE": str(recipe)}
    arguments = [places.get(word, word) for word in words]
    # None in sys.modules is how Python marks what cannot be imported.
    code = f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = {arguments!r}"
    program = f"{code}; from spinert.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert extra in done.stderr
    assert "Traceback" not in done.stderr


def test_analyze_needs_a_server_or_a_bundle(folder):
    assert "either --server or --bundle" in spinert("analyze", folder, code=2).stderr


def test_analyze_says_when_no_server_answers(folder):
    done = spinert("analyze", folder, "--server", "127.0.0.1:1", code=2)
    assert done.stderr.startswith("error: UNAVAILABLE: ")
    assert "127.0.0.1:1" in done.stderr


def test_export_says_which_file_is_missing(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "x"\nversion = "1"\npreset = "vindr"\n'
        '[[classifier]]\narchitecture = "densenet121"\ncheckpoint = "absent.pth"\n'
        '[detector]\narchitecture = "sparse_rcnn_r50_fpn"\ncheckpoint = "untrained:1"\n'
    )
    done = spinert("export", recipe, "-o", tmp_path / "bundle", code=2)
    assert "absent.pth" in done.stderr
    assert not (tmp_path / "bundle").exists()
