"""Every example, built from the installed package and from the source tree, gives the bits that Python gives.

RTRNN_EXAMPLES_DIR names the `examples` folder of a build of the tree with -DRTRNN_EXAMPLES=ON (tools/test makes one).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_stream import policy

import rtrnn

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = 60
Program = Callable[..., "subprocess.CompletedProcess[str]"]


def call(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a command; a failure shows all that it said."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **{"env": environment, "timeout": 120, **options})  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def flag(name: str) -> list[str]:
    """What `python -m rtrnn NAME` prints, as words."""
    return call(sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-m", "rtrnn", name).stdout.split()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, str], Path]:
    """A C or C++ example's program, by folder, name and where the library is from; built once."""
    programs: dict[tuple[str, str], Path] = {}

    def build(folder: str, name: str, source: str) -> Path:
        if source == "tree":
            tree = os.environ.get("RTRNN_EXAMPLES_DIR")
            if not tree:
                pytest.skip("RTRNN_EXAMPLES_DIR is not set: there is no build of the tree with its examples")
            return Path(tree) / folder / name
        if not shutil.which("cmake") or not shutil.which("c++"):
            pytest.skip("needs cmake and a C++ compiler")
        if (folder, name) not in programs:
            build_dir = tmp_path_factory.mktemp(folder)
            call("cmake", "-S", EXAMPLES / folder, "-B", build_dir, f"-Drtrnn_DIR={flag('--cmake-dir')[0]}")
            call("cmake", "--build", build_dir)
            programs[folder, name] = build_dir / name
        return programs[folder, name]

    return build


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, Path, str]:
    """A policy, a file of observations, and the actions that Python prints."""
    model = policy("lstm")
    model.set_metadata("joints", "hip knee")
    model.save(tmp_path / "policy.rtrnn")
    xs = np.random.default_rng(3).normal(size=(ROWS, 5)).astype("<f4")
    xs.tofile(tmp_path / "observations.f32")
    stream = rtrnn.load(tmp_path / "policy.rtrnn").stream()
    lines = [" ".join(f"{bits:08x}" for bits in stream.step(x).view(np.uint32)) for x in xs]
    return tmp_path / "policy.rtrnn", tmp_path / "observations.f32", "\n".join(lines) + "\n"


@pytest.mark.parametrize("source", ["wheel", "tree"])
@pytest.mark.parametrize(
    ("folder", "name"), [("c", "example_policy"), ("cpp_controller", "example_controller"), ("ros2_control", "example_replay")]
)
def test_a_policy(
    built: Callable[[str, str, str], Path], recording: tuple[Path, Path, str], folder: str, name: str, source: str
) -> None:
    program = built(folder, name, source)
    model, observations, expected = recording
    assert call(program, model, observations).stdout == expected
    missing = subprocess.run([program, "missing.rtrnn", observations], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "missing.rtrnn" in missing.stderr


def test_the_c_program_describes_the_network(built: Callable[[str, str, str], Path], recording: tuple[Path, Path, str]) -> None:
    said = call(built("c", "example_policy", "wheel"), *recording[:2]).stderr
    assert "input obs: 5 values" in said
    assert "joints = hip knee" in said


@pytest.mark.parametrize("source", ["wheel", "tree"])
@pytest.mark.parametrize("sample", ["float", "pcm16"])
def test_audio(built: Callable[[str, str, str], Path], tmp_path: Path, sample: str, source: str) -> None:
    program = built("audio", "example_amplifier", source)
    rng = np.random.default_rng(5)
    weights = [rng.normal(size=shape).astype(np.float32) * 0.4 for shape in [(64, 1), (64, 16), (64,), (64,), (1, 16), (1,)]]
    rtrnn.Sequential(rtrnn.LSTM(*weights[:4]), rtrnn.Linear(*weights[4:])).save(tmp_path / "amplifier.rtrnn")
    check_audio(program, tmp_path / "amplifier.rtrnn", tmp_path, sample)


@pytest.mark.models
def test_audio_with_a_recorded_amplifier(built: Callable[[str, str, str], Path], tmp_path: Path, models: Path) -> None:
    call(sys.executable, "-m", "rtrnn", "convert", models / "nam" / "lstm.nam", tmp_path / "amplifier.rtrnn", cwd=tmp_path)
    check_audio(built("audio", "example_amplifier", "wheel"), tmp_path / "amplifier.rtrnn", tmp_path, "float")


def check_audio(program: Path, model: Path, folder: Path, sample: str) -> None:
    samples = (np.sin(np.arange(1000) * 0.05) * 0.7).astype(np.float32)
    if sample == "pcm16":
        whole = np.round(samples * 32767).astype("<i2")
        samples = whole.astype(np.float32) / np.float32(32768)
        with wave.open(str(folder / "in.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(48000)
            file.writeframes(whole.tobytes())
    else:
        header = np.array([16, 0x00010003, 48000, 192000, 0x00200004], "<u4").tobytes()
        body = b"WAVEfmt " + header + b"data" + np.uint32(samples.nbytes).tobytes() + samples.tobytes()
        (folder / "in.wav").write_bytes(b"RIFF" + np.uint32(len(body)).tobytes() + body)
    assert "real-time factor" in call(program, model, folder / "in.wav", folder / "out.wav", 64).stdout
    found = np.frombuffer((folder / "out.wav").read_bytes()[44:], "<f4")
    expected = rtrnn.load(model).stream().process(samples.reshape(-1, 1))
    assert np.array_equal(found.view(np.uint32), expected.ravel().view(np.uint32))


def test_cython(tmp_path: Path, recording: tuple[Path, Path, str]) -> None:
    pytest.importorskip("Cython", reason="needs Cython")
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    for name in ("control_loop.pyx", "main.py"):
        shutil.copy(EXAMPLES / "cython_loop" / name, tmp_path)
    extension = f"control_loop{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = f"-I{sysconfig.get_path('include')}"
    call(sys.executable, "-m", "cython", "-3", "control_loop.pyx", cwd=tmp_path)
    call("cc", "-O2", "-shared", "-fPIC", *flag("--includes"), include, "control_loop.c", "-o", extension, cwd=tmp_path)
    model, observations, expected = recording
    assert call(sys.executable, "main.py", model, observations, cwd=tmp_path).stdout == expected
    # Ten seconds in the README; the GIL is free all the same.
    said = call(sys.executable, "main.py", model, observations, "--seconds", "1", cwd=tmp_path).stderr
    assert said.startswith("1000 steps")
    assert int(said.split("Python took ")[1].split()[0]) > 1000


@pytest.mark.parametrize("source", ["wheel", "tree"])
def test_rust(tmp_path: Path, recording: tuple[Path, Path, str], source: str) -> None:
    if not shutil.which("cargo"):
        pytest.skip("needs cargo (apt install cargo)")
    libs = flag("--libs")
    if source == "tree":
        tree = os.environ.get("RTRNN_EXAMPLES_DIR")
        if not tree:
            pytest.skip("RTRNN_EXAMPLES_DIR is not set: there is no build of the tree with its examples")
        directory = Path(tree).parent / "cpp"
        libs = [f"-L{directory}", f"-Wl,-rpath,{directory}", "-lrtrnn"]
    shutil.copytree(EXAMPLES / "rust", tmp_path / "rust", ignore=shutil.ignore_patterns("target", "Cargo.lock"))
    environment = {**os.environ, "RTRNN_LIBS": " ".join(libs)}
    call("cargo", "build", "--quiet", "--offline", cwd=tmp_path / "rust", env=environment)
    model, observations, expected = recording
    assert call(tmp_path / "rust" / "target" / "debug" / "policy", model, observations).stdout == expected
