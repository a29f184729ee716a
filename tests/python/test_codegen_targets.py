"""Generated C on other machines, emulated: arm64, and Cortex-M with and without floating-point hardware."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated import STRICT, assert_same_bits, engine_rows, random_rows, sizes

import rtrnn
from rtrnn.c99 import CSource

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
STEPS = 12
NETWORKS = ["policy_gru_encoder", "policy_lstm_elu", "gru_100", "gru_reset_before_clip", "head_silu_gelu_mish", "norm_softmax"]
POLICIES = {
    "g1": "unitree_g1/motion_legacy_opset11.onnx",
    "anydrive": "anydrive/anydrive_v3_lstm.pt",
    "raptor": "raptor/checkpoint.h5",
    "nam": "nam/BossLSTM-1x16.nam",
}
#: With no room on a Cortex-M: 1.2 MB of weights.
LARGE = {"silero": "silero_vad/silero_vad_16k_sequence.onnx"}

#: Steps through the inputs that are compiled in, and gives every output to `show`.
LOOP = """
#include "net.h"
static const unsigned given[] = {{{given}}};
static net_state s;
static union {{ float f[{inputs}]; unsigned u[{inputs}]; }} x;
static union {{ float f[{outputs}]; unsigned u[{outputs}]; }} y;
void show(unsigned bits);
int run(void);
int run(void) {{
    int t, i;
    net_reset(&s);
    for (t = 0; t < {steps}; ++t) {{
        for (i = 0; i < {inputs}; ++i) x.u[i] = given[t * {inputs} + i];
        if (t % 2) net_prepare(&s);
        if (net_step(&s, x.f, y.f)) return 1;
        for (i = 0; i < {outputs}; ++i) show(y.u[i]);
    }}
    return 0;
}}
"""
HOSTED = """
#include <stdio.h>
int run(void);
void show(unsigned bits);
void show(unsigned bits) { printf("%08x\\n", bits); }
int main(void) { return run(); }
"""
#: Neither a C library nor a start file: vectors, the FPU switched on, text and exit by semihosting.
BARE = """
typedef __SIZE_TYPE__ size;
int run(void);
void show(unsigned bits);
void reset(void);
void* memset(void* p, int value, size n);
void* memcpy(void* to, const void* from, size n);
extern unsigned stack_top;
__attribute__((section(".vectors"), used)) static const struct {
    const unsigned* stack;
    void (*reset)(void);
} vectors = {&stack_top, reset};
static int host(int operation, const void* argument) {
    register int r0 __asm__("r0") = operation;
    register const void* r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
void show(unsigned bits) {
    char text[10] = "00000000\\n";
    int i;
    for (i = 7; i >= 0; --i, bits >>= 4) text[i] = "0123456789abcdef"[bits & 15];
    host(4, text);
}
void* memset(void* p, int value, size n) {
    volatile unsigned char* c = p;
    while (n--) *c++ = (unsigned char)value;
    return p;
}
void* memcpy(void* to, const void* from, size n) {
    volatile unsigned char* c = to;
    const unsigned char* d = from;
    while (n--) *c++ = *d++;
    return to;
}
void reset(void) {
    *(volatile unsigned*)0xe000ed88u |= 0xfu << 20;
    __asm__ volatile("dsb\\nisb");
    host(0x18, (const void*)(run() ? 0x20023 : 0x20026));
    for (;;) {}
}
"""
LINKER = """
ENTRY(reset)
MEMORY { FLASH (rx) : ORIGIN = 0, LENGTH = 4M  RAM (rw) : ORIGIN = 0x20000000, LENGTH = 4M }
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > FLASH
    .ARM.exidx : { *(.ARM.exidx*) } > FLASH
    .bss (NOLOAD) : { *(.bss*) *(COMMON) } > RAM
    stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
"""
M4 = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
M3 = ["-mcpu=cortex-m3", "-mthumb"]


def need(*tools: str) -> None:
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def written(model: Any, code: CSource, rows: list[np.ndarray], folder: Path, harness: str) -> list[str]:
    """The sources of a program that steps through `rows`."""
    (inputs,), (outputs,) = sizes(model)
    given = ", ".join(f"{bits}u" for bits in rows[0].view(np.uint32).reshape(-1))
    (folder / "run.c").write_text(LOOP.format(given=given, inputs=inputs, outputs=outputs, steps=len(rows[0])))
    (folder / "harness.c").write_text(harness)
    code.write(folder / "net.c")
    return [str(folder / name) for name in ("net.c", "run.c", "harness.c")]


def outputs_of(command: Sequence[str], model: Any) -> list[np.ndarray]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    bits = [int(word, 16) for word in (done.stdout + done.stderr).split()]
    return [np.array(bits, np.uint32).view(np.float32).reshape(-1, sizes(model)[1][0])]


def on_arm64(model: Any, folder: Path, **options: Any) -> None:
    need("aarch64-linux-gnu-gcc", "qemu-aarch64-static")
    rows = random_rows(model, STEPS)
    sources = written(model, rtrnn.codegen(model, "net", **options), rows, folder, HOSTED)
    program = str(folder / "program")
    subprocess.run(["aarch64-linux-gnu-gcc", *STRICT, "-O3", "-static", *sources, "-lm", "-o", program], check=True)
    want, _ = engine_rows(model, rows, weights=options.get("weights", "f32"))
    assert_same_bits(outputs_of(["qemu-aarch64-static", program], model), want)


def on_cortex_m(model: Any, folder: Path, machine: str, flags: list[str], **options: Any) -> tuple[int, int]:
    """The bits under emulation; bytes of flash (code and constants) and of memory (one state)."""
    need("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm")
    rows = random_rows(model, STEPS)
    code = rtrnn.codegen(model, "net", small=True, **options)
    sources = written(model, code, rows, folder, BARE)
    script, program, objects = str(folder / "link.ld"), str(folder / "program.elf"), []
    Path(script).write_text(LINKER)
    for source in sources:
        objects.append(source[:-1] + "o")
        command = ["arm-none-eabi-gcc", *flags, *STRICT, "-Os", "-ffreestanding", "-fno-math-errno"]
        subprocess.run([*command, "-c", source, "-o", objects[-1]], check=True)
    subprocess.run(["arm-none-eabi-gcc", *flags, "-nostdlib", "-T", script, *objects, "-lgcc", "-o", program], check=True)
    want, _ = engine_rows(model, rows, weights=options.get("weights", "f32"))
    emulator = ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none", "-serial", "none"]
    found = outputs_of([*emulator, "-semihosting-config", "enable=on,target=native", "-kernel", program], model)
    assert_same_bits(found, want)
    text, data, bss = subprocess.check_output(["arm-none-eabi-size", objects[0]], text=True).splitlines()[1].split()[:3]
    assert (data, bss) == ("0", "0")
    return int(text), code.state_bytes


@pytest.mark.parametrize("name", NETWORKS)
def test_goldens_on_arm64(name: str, tmp_path: Path) -> None:
    on_arm64(rtrnn.load(GOLDEN / f"{name}.rtrnn"), tmp_path)


@pytest.mark.models
@pytest.mark.parametrize("name", [*POLICIES, *LARGE])
def test_recorded_networks_on_arm64(name: str, models: Path, tmp_path: Path) -> None:
    on_arm64(loaded(name, models), tmp_path)


def loaded(name: str, models: Path) -> Any:
    path = {**POLICIES, **LARGE}[name]
    if path.endswith(".pt"):
        pytest.importorskip("torch")
    if path.endswith(".onnx"):
        pytest.importorskip("onnx")
    return rtrnn.load(models / path)


@pytest.mark.models
def test_integers_on_arm64(models: Path, tmp_path: Path) -> None:
    on_arm64(loaded("anydrive", models), tmp_path, weights="i8")


@pytest.mark.parametrize("name", NETWORKS)
def test_goldens_on_cortex_m4(name: str, tmp_path: Path) -> None:
    on_cortex_m(rtrnn.load(GOLDEN / f"{name}.rtrnn"), tmp_path, "mps2-an386", M4)


@pytest.mark.models
@pytest.mark.parametrize("weights", ["f32", "i8"])
@pytest.mark.parametrize("name", POLICIES)
def test_recorded_networks_on_cortex_m4(name: str, weights: str, models: Path, tmp_path: Path) -> None:
    flash, ram = on_cortex_m(loaded(name, models), tmp_path, "mps2-an386", M4, weights=weights)
    print(f"{name} {weights}: {flash} bytes of flash, {ram} of memory")
    limits = {("raptor", "f32"): 10 * 1024, ("raptor", "i8"): 5 * 1024, ("g1", "i8"): 40 * 1024}
    assert flash < limits.get((name, weights), 1 << 17)


def test_without_floating_point_hardware(tmp_path: Path) -> None:
    """Cortex-M3: everything in software, the bits the same."""
    on_cortex_m(rtrnn.load(GOLDEN / "gru_8.rtrnn"), tmp_path, "mps2-an385", M3)
