"""The header and the source file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from textwrap import indent

import numpy as np
import numpy.typing as npt

from rtrnn.c99.lowering import Lowering
from rtrnn.c99.memory import Buffer, Call, Place, assign
from rtrnn.c99.program import size
from rtrnn.c99.unary import literal

__all__ = ["Parts", "make_parts"]

#: Functions whose operations are macros or the C library's, defined by the preamble.
_PREAMBLE = ("fma", "sqrt")
_CHECKS = """\
#if defined(__FAST_MATH__) || (defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16)
#error "float arithmetic must be IEEE single precision: without -ffast-math, and on 32-bit x86 with -msse2 -mfpmath=sse"
#endif
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

typedef char RT_unsigned_has_32_bits[sizeof(unsigned) == 4 ? 1 : -1];
"""
_INLINE = """\
#if defined(__GNUC__)
#define RT_INLINE static inline __attribute__((always_inline))
#define RT_ALIGNED __attribute__((aligned(64)))
#else
#define RT_INLINE static inline
#define RT_ALIGNED
#endif
/* GCC makes better vectors of the products when it does not unroll their loops for the sizes at hand. */
#if defined(__GNUC__) && !defined(__clang__)
#define RT_APART __attribute__((noinline, noclone))
#define RT_ROLLED _Pragma("GCC unroll 1")
#else
#define RT_APART
#define RT_ROLLED
#endif
"""
_SMALL = """\
#define RT_INLINE static
#define RT_ALIGNED
#define RT_APART
"""
_FMA = """\
/* a b + c, rounded once. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__) || defined(__FP_FAST_FMAF)
#define RT_fma(a, b, c) __builtin_fmaf(a, b, c)
#elif defined(FP_FAST_FMAF)
#define RT_fma(a, b, c) fmaf(a, b, c)
#else
/* No such instruction: the product is exact in double, the sum is rounded to odd there and so only once in all
 * ("Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008). */
RT_INLINE float RT_fma(float a, float b, float c) {
    union { double d; unsigned long long u; } s;
    const double product = (double)a * (double)b, addend = c;
    double addend_used, error;
    s.d = product + addend;
    addend_used = s.d - product;
    error = (product - (s.d - addend_used)) + (addend - addend_used);
    if ((error < 0.0 || error > 0.0) && (s.u & 1u) == 0) s.u += (error > 0.0) == (s.d > 0.0) ? 1u : -1ull;
    return (float)s.d;
}
#endif
"""
_NO_FMA = """\
/* Rounded twice: not the engine's bits. */
#define RT_fma(a, b, c) ((a) * (b) + (c))
"""
_SQRT = """\
#if defined(__GNUC__)
#define RT_sqrt(x) __builtin_sqrtf(x)
#else
#define RT_sqrt(x) sqrtf(x)
#endif
"""


@dataclass(frozen=True)
class Parts:
    """What a generated policy is called and made for, and what it says of itself."""

    name: str
    fma: bool
    small: bool
    about: Sequence[str]


@cache
def _library() -> dict[str, tuple[tuple[str, ...], str]]:
    """functions.c by name: what each calls, and its text."""
    text = (files("rtrnn.c99") / "functions.c").read_text("utf-8")
    found = {}
    for part in re.split(r"^//@ ", text, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        name, _, needs = head.partition(":")
        found[name] = (tuple(needs.split()), body.strip() + "\n")
    return found


def _closure(names: Sequence[str]) -> list[str]:
    """The functions and what they call, in the library's order."""
    library = _library()
    needed: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += library[name][0] if name in library else ()
    return [name for name in (*_PREAMBLE, *library) if name in needed]


def make_parts(lowering: Lowering, parts: Parts) -> tuple[str, str, int, int]:
    """Header, source, bytes of constants and bytes of a state."""
    return _Writer(lowering, parts).write()


class _Writer:
    def __init__(self, lowering: Lowering, parts: Parts) -> None:
        self.lowering, self.parts, graph = lowering, parts, lowering.graph
        self.graph = graph
        # parameters must not be called what a function of the network is called
        x, y = ("in", "out") if re.match(r"[xy](_|$)", parts.name) else ("x", "y")
        self.inputs = _parameters(x, [port.name for port in graph.inputs])
        self.outputs = _parameters(y, [port.name for port in graph.outputs])
        for port, name in zip(graph.inputs, self.inputs, strict=True):
            lowering.place(port.name, Place(Buffer(size(graph, port.name), name)))
        states = [graph.tensor(s.initial).reshape(-1) if s.initial else np.zeros(size(graph, s.name), np.float32) for s in graph.states]
        self.initial = np.concatenate([*states, np.zeros(0, np.float32)])
        self.state_size = self.initial.size

    def write(self) -> tuple[str, str, int, int]:
        from rtrnn.c99.ops import OPS

        self.lowering.run(OPS)
        checks, commits, results = self._finish()
        self.lowering.need("all_finite")
        final = Call(lambda: "", results)
        work = assign([*self.lowering.prepare, *self.lowering.finish, final], 1 if self.parts.small else 16)
        body = self._body(checks, commits)
        head = self._header(work)
        text = "\n".join([self._preamble(), *self._functions(), *self._constants(), body])
        constants = sum(values.nbytes for _, values in self.lowering.constants.values()) + 4 * self.initial.size * bool(self.initial.any())
        state = 4 * (self.state_size + work + -(-self.lowering.quantized // 2) + 1)
        return self._named(head), self._named(text), constants, state

    def _named(self, text: str) -> str:
        return re.sub(r"\bRT_", f"{self.parts.name}_", text).replace("@NAME@", self.parts.name.upper())

    # -- the end of a step -----------------------------------------------------------------------------

    def _finish(self) -> tuple[list[tuple[Place, int]], list[tuple[Place, int, Place]], list[Place]]:
        """What must be finite, what is copied where, and what must live until then.

        States are written first, then outputs; what a copy would overwrite before it is read is moved out of the way.
        """
        lowering, graph = self.lowering, self.graph
        moves: list[tuple[Place, int, Place]] = []
        for state in graph.states:
            moves.append((lowering.place(state.next), size(graph, state.name), lowering.place(state.name)))
        for port, name in zip(graph.outputs, self.outputs, strict=True):
            count = size(graph, port.value)
            moves.append((lowering.place(port.value), count, Place(Buffer(count, name))))
        for k, (source, count, target) in enumerate(moves):
            if source.resolved() == target.resolved():
                continue
            if source.resolved().buffer.expression == "s->state":
                kept = lowering.scratch(count)
                lowering.copy(source, count, kept)
                moves[k] = (kept, count, target)
        moves = [move for move in moves if move[0].resolved() != move[2].resolved()]
        if moves:
            lowering.need("copy")
        checked: dict[Place, int] = {}
        for source, count, _ in moves:
            if source.resolved().buffer.expression not in self.inputs:  # inputs are finite
                checked[source.resolved()] = max(count, checked.get(source.resolved(), 0))
        return list(checked.items()), moves, [source for source, _, _ in moves]

    # -- the header ------------------------------------------------------------------------------------

    def _signature(self) -> str:
        ports = [f"const float* {name}" for name in self.inputs] + [f"float* {name}" for name in self.outputs]
        return f"int RT_step(RT_state* s, {', '.join(ports)})"

    def _header(self, work: int) -> str:
        graph = self.graph
        lines = [f"/* {line}".rstrip() if not k else f" * {line}".rstrip() for k, line in enumerate(self.parts.about)]
        lines += [" */", "#ifndef @NAME@_H", "#define @NAME@_H", ""]
        for kind, ports in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs)):
            for name, port in zip(_identifiers([port.name for port in ports]), ports, strict=True):
                value = port.value if kind == "OUTPUT" else port.name  # type: ignore[attr-defined]
                lines.append(f"#define @NAME@_{kind}_{name.upper()} {size(graph, value)} /* floats, shape {graph.shape(value)} */")
        lines += [f"#define @NAME@_STATE_SIZE {self.state_size} /* floats */"]
        offset = 0
        for name, state in zip(_identifiers([state.name for state in graph.states]), graph.states, strict=True):
            lines.append(f"#define @NAME@_OFFSET_{name.upper()} {offset} /* of {size(graph, state.name)} floats in the state */")
            offset += size(graph, state.name)
        lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
                  "/* One sequence in progress. A copy of it is a fork. Independent ones may be stepped by different threads. */",
                  "typedef struct RT_state {"]  # fmt: skip
        if self.state_size:
            lines.append("    float state[@NAME@_STATE_SIZE]; /* whoever writes it sets prepared = 0 */")
        if work:
            lines.append(f"    float work[{work}];")
        if self.lowering.quantized:
            lines.append(f"    short quantized[{self.lowering.quantized}];")
        lines += ["    int prepared;", "} RT_state;", "",
                  "/* The initial state. */", "void RT_reset(RT_state* s);", "",
                  "/* Computes ahead what depends on the state alone, so that the next step has less to do; changes no result. */",
                  "void RT_prepare(RT_state* s);", "",
                  "/* One timestep. 0; or 1 when an input, 2 when an output or a state would be NaN or infinite: then the state and the",
                  " * outputs are as before. Inputs and outputs must not overlap. */",
                  f"{self._signature()};", "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]  # fmt: skip
        return "\n".join(lines)

    # -- the source ------------------------------------------------------------------------------------

    def _preamble(self) -> str:
        used = _closure(list(self.lowering.functions))
        sqrt = " It takes a square root: link with -lm, or compile with -fno-math-errno." if "sqrt" in used else ""
        lines = [f"/* See the header. C99; compile it optimised.{sqrt} */", f'#include "{self.parts.name}.h"']
        if "fma" in used or "sqrt" in used:
            lines += ["#if !defined(__GNUC__)", "#include <math.h>", "#endif"]
        text = "\n".join(lines) + "\n\n" + _CHECKS + "\n" + (_SMALL if self.parts.small else _INLINE)
        if "fma" in used:
            text += "\n" + (_FMA if self.parts.fma else _NO_FMA)
        if "sqrt" in used:
            text += "\n" + _SQRT
        return text

    def _functions(self) -> list[str]:
        library = _library()
        text = [library[name][1] for name in _closure(list(self.lowering.functions)) if name in library]
        text += [product.source() for product in sorted(self.lowering.products, key=lambda product: product.name)]
        return text + [gates.source(name) for gates, name in self.lowering.gates.items()]

    def _constants(self) -> list[str]:
        return [_array(name, kind, values) for name, (kind, values) in self.lowering.constants.items()]

    def _body(self, checks: list[tuple[Place, int]], commits: list[tuple[Place, int, Place]]) -> str:
        text, initial = "", self.initial
        if initial.any():
            text += _array("RT_initial", "float", initial) + "\n"
        reset = ["s->prepared = 0;"]
        if self.state_size:
            value = "RT_initial[i]" if initial.any() else "0.0f"
            reset = ["int i;", f"for (i = 0; i < @NAME@_STATE_SIZE; ++i) s->state[i] = {value};", *reset]
        text += _function("void RT_reset(RT_state* s)", reset) + "\n"
        text += _function("void RT_prepare(RT_state* s)", [*_calls(self.lowering.prepare), "s->prepared = 1;"]) + "\n"
        step = []
        for name, port in zip(self.inputs, self.graph.inputs, strict=True):
            step.append(f"if (!RT_all_finite({name}, {size(self.graph, port.name)})) return 1;")
        step += ["if (!s->prepared) RT_prepare(s);", "s->prepared = 0;", *_calls(self.lowering.finish, declare=False)]
        step += [f"if (!RT_all_finite({place}, {count})) return 2;" for place, count in checks]
        step += [f"RT_copy({source}, {count}, {target});" for source, count, target in commits]
        step.append("return 0;")
        if _uses_i(step):
            step.insert(0, "int i;")
        return text + _function(self._signature(), step)


def _calls(calls: list[Call], declare: bool = True) -> list[str]:
    lines = [call.write() for call in calls]
    return ["int i;", *lines] if declare and _uses_i(lines) else lines


def _uses_i(lines: list[str]) -> bool:
    return any(re.search(r"\bi\b", line) for line in lines)


def _function(signature: str, lines: list[str]) -> str:
    return f"{signature} {{\n{indent(chr(10).join(lines), '    ')}\n}}\n"


def _array(name: str, kind: str, values: npt.NDArray[np.generic]) -> str:
    numbers = [literal(v) if kind == "float" else str(v) for v in values.reshape(-1)]  # type: ignore[arg-type]
    lines = [", ".join(numbers[k : k + 8]) for k in range(0, len(numbers), 8)]
    return f"static const {kind} {name}[{len(numbers)}] RT_ALIGNED = {{\n" + ",\n".join(f"    {line}" for line in lines) + "\n};\n"


def _identifiers(names: Sequence[str]) -> list[str]:
    """C identifiers that are like these names, each another one."""
    found: list[str] = []
    for name in names:
        base = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
        candidate, k = base, 2
        while candidate.upper() in (known.upper() for known in found):
            candidate, k = f"{base}_{k}", k + 1
        found.append(candidate)
    return found


def _parameters(prefix: str, names: Sequence[str]) -> list[str]:
    return [prefix] if len(names) == 1 else [f"{prefix}_{name}" for name in _identifiers(names)]
