"""The C of a cell's gates, from the sums of its two matrices: one function for each set of activations and options.

The sums lie gate by gate, `n` each: `x` those of the input, `p` (prepared) the recurrent ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rtrnn.c99.unary import Unary, cell_functions, literal

__all__ = ["Gates", "gates_of"]

_IN = "const float* restrict "
_OUT = "float* restrict "
_STANDARD = {"rnn": ("tanh",), "gru": ("sigmoid", "tanh"), "lstm": ("sigmoid", "tanh", "tanh")}


@dataclass(frozen=True)
class Gates:
    """A function that turns sums into the next state; `kind` is rnn, gru, reset, update (gru "before", in two parts) or lstm."""

    kind: str
    functions: tuple[Unary, ...]
    clip: float = 0.0
    input_forget: bool = False
    peephole: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        clip = ("min", "max") if self.clip > 0 else ()
        return ("fma", *clip, *(name for function in self.functions for name in function.needs))

    def _gate(self, function: int, total: str) -> str:
        if self.clip > 0:
            limit = literal(self.clip)
            total = f"RT_min({limit}, RT_max(-{limit}, {total}))"
        return self.functions[function](total)

    def source(self, name: str) -> str:
        """The function, called `name`."""
        parameters, body = getattr(self, f"_{self.kind}")()
        lines = "\n".join(f"        {line}" for line in body)
        return f"static void {name}({', '.join(parameters)}, int n) {{\n    int i;\n    for (i = 0; i < n; ++i) {{\n{lines}\n    }}\n}}\n"

    def _rnn(self) -> tuple[list[str], list[str]]:
        return [f"{_IN}x", f"{_IN}p", f"{_OUT}h_out"], ["const float sum = x[i] + p[i];", f"h_out[i] = {self._gate(0, 'sum')};"]

    def _gru(self) -> tuple[list[str], list[str]]:
        return [f"{_IN}x", f"{_IN}p", f"{_IN}h", f"{_OUT}h_out"], [
            "const float r_sum = x[i] + p[i], z_sum = x[n + i] + p[n + i];",
            f"const float r = {self._gate(0, 'r_sum')}, z = {self._gate(0, 'z_sum')};",
            "const float n_sum = RT_fma(r, p[2 * n + i], x[2 * n + i]);",
            f"const float next = {self._gate(1, 'n_sum')};",
            "h_out[i] = RT_fma(z, h[i] - next, next);",
        ]

    def _reset(self) -> tuple[list[str], list[str]]:
        return [f"{_IN}x", f"{_IN}p", f"{_IN}h", f"{_OUT}reset_h", f"{_OUT}update"], [
            "const float r_sum = x[i] + p[i], z_sum = x[n + i] + p[n + i];",
            f"const float r = {self._gate(0, 'r_sum')};",
            "reset_h[i] = r * h[i];",
            f"update[i] = {self._gate(0, 'z_sum')};",
        ]

    def _update(self) -> tuple[list[str], list[str]]:
        return [f"{_IN}x", f"{_IN}p", f"{_IN}h", f"{_IN}update", f"{_OUT}h_out"], [
            "const float n_sum = x[i] + p[i];",
            f"const float next = {self._gate(1, 'n_sum')};",
            "h_out[i] = RT_fma(update[i], h[i] - next, next);",
        ]

    def _lstm(self) -> tuple[list[str], list[str]]:
        body = ["const float old = c[i], g_sum = x[2 * n + i] + p[2 * n + i];", "float in, forget, next, squashed, out;",
                "float i_sum = x[i] + p[i], o_sum = x[3 * n + i] + p[3 * n + i];"]  # fmt: skip
        if not self.input_forget:
            body.append("float f_sum = x[n + i] + p[n + i];")
        if self.peephole:
            body.append("i_sum = RT_fma(peephole[i], old, i_sum);")
        if self.peephole and not self.input_forget:
            body.append("f_sum = RT_fma(peephole[n + i], old, f_sum);")
        body.append(f"in = {self._gate(0, 'i_sum')};")
        body.append("forget = 1.0f - in;" if self.input_forget else f"forget = {self._gate(0, 'f_sum')};")
        body += [f"next = {self._gate(1, 'g_sum')};", "next = RT_fma(forget, old, in * next);"]
        if self.peephole:
            body.append("o_sum = RT_fma(peephole[2 * n + i], next, o_sum);")
        body += [f"out = {self._gate(0, 'o_sum')};", f"squashed = {self.functions[2]('next')};",
                 "c_out[i] = next;", "h_out[i] = out * squashed;"]  # fmt: skip
        peephole = [f"{_IN}peephole"] if self.peephole else []
        return [f"{_IN}x", f"{_IN}p", f"{_IN}c", *peephole, f"{_OUT}h_out", f"{_OUT}c_out"], body


def gates_of(kind: str, op: str, attributes: dict[str, Any], peephole: bool = False) -> Gates:
    """The gates of a node."""
    functions = tuple(cell_functions(attributes, _STANDARD[op]))
    return Gates(kind, functions, float(attributes.get("clip", 0)), bool(attributes.get("input_forget", 0)), peephole)
