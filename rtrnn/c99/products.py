"""The C of matrix-vector products: one function for each number of gates, of partial sums and of rows in a tile.

A row is summed as cpp/src/kernels/sums.inl says: its columns go round-robin into the partial sums, each a chain of at most 32 fused
multiply-adds; those of a block are added pairwise, the blocks in order. Loops over the rows of a tile have constant bounds and no
dependence between turns: compilers make vectors of them. Tiles of one row have no such loops, and little code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import indent

__all__ = ["CHAIN", "IntegerProduct", "Product"]

CHAIN = 32


@dataclass(frozen=True, order=True)
class _Shape:
    gates: int
    partials: int
    width: int
    whole: bool  # the rows are whole tiles

    def lanes(self, statement: str) -> str:
        """The statement, which works on row `i` of a tile, for every row of it."""
        if self.width > 1:
            return f"for (i = 0; i < {self.width}; ++i) {statement}"
        return re.sub(r"(s\d\d|t\d)\[i\]", r"\1", statement).replace(" + i]", "]").replace("[i]", "[0]")

    def rows(self, statement: str) -> str:
        """The same for rows that are not padding."""
        return self.lanes(statement) if self.whole else f"for (i = 0; i < count; ++i) {statement}"

    def local(self, kind: str, names: list[str]) -> str:
        size = f"[{self.width}]" if self.width > 1 else ""
        return f"{kind} {', '.join(name + size for name in names)};"

    @property
    def sums(self) -> list[str]:
        return [f"s{g}{p}" for g in range(self.gates) for p in range(self.partials)]

    def total(self, gate: int) -> str:
        s = [f"s{gate}{p}[i]" for p in range(self.partials)]
        return f"({s[0]} + {s[1]}) + ({s[2]} + {s[3]})" if self.partials == 4 else " + ".join(s)

    def function(self, name: str, parameters: list[str], body: list[str], ends: str) -> str:
        """The function that runs `body` for each tile, with what moves on from one to the next."""
        lines = []
        if self.width > 1:
            lines += ["int i;", "RT_ROLLED"]
        lines.append(f"for (; rows > 0; rows -= {self.width}) {{")
        if not self.whole:
            lines.append(f"    const int count = rows < {self.width} ? rows : {self.width};")
        lines += [f"    {line}" for line in body]
        lines += [f"    {pointer} += {self.width};" for pointer in ends.split()] + ["}"]
        stride = ["int stride"] if self.gates > 1 else []
        ends_with = ["int columns", "int rows", "float* restrict out"]
        text = indent("\n".join(lines), "    ")
        return f"static RT_APART void RT_{name}({', '.join([*parameters, *stride, *ends_with])}) {{\n{text}\n}}\n"


def _gate(gate: int) -> str:
    return ("", "stride + ", "2 * stride + ", "3 * stride + ")[gate] + "i"


@dataclass(frozen=True, order=True)
class Product(_Shape):
    """``out[gate * stride + row] = bias + weights . x`` in f32; bias likewise, or null."""

    blocks: bool = False  # some matrix has more columns than one block

    @property
    def name(self) -> str:
        shape = f"{self.gates}_{self.partials}_{self.width}"
        return f"product_{shape}{'' if self.whole else '_part'}{'_blocks' if self.blocks else ''}"

    needs = ("fma",)

    def source(self) -> str:
        g = range(self.gates)
        zeros = [self.lanes(f"{s}[i] = 0.0f;") for s in self.sums]
        body = [self.local("float", self.sums), "const float* v = x;"]
        start = list(zeros)
        for k in g:
            start[k * self.partials] = self.lanes(f"s{k}0[i] = bias[{_gate(k)}];")
            if not self.whole:
                start.append(self.rows(f"s{k}0[i] = bias[{_gate(k)}];"))
                start[k * self.partials] = zeros[k * self.partials]
        skip = f"w += n * {self.gates * self.width};"
        if self.blocks:
            length = CHAIN * self.partials
            block = [f"int n = left < {length} ? left : {length};", "left -= n;", *self._columns(), skip, "v += n;"]
            block += [self.lanes(f"t{k}[i] = first ? {self.total(k)} : t{k}[i] + ({self.total(k)});") for k in g]
            block += ["if (left == 0) break;", "first = 0;", *zeros]
            body += [self.local("float", [f"t{k}" for k in g]), "int first = 1, left = columns;"]
            body += [self.lanes(f"t{k}[i] = 0.0f;") for k in g]
            body += [*start, "for (;;) {", *(f"    {line}" for line in block), "}"]
            body += [self.rows(f"out[{_gate(k)}] = t{k}[i];") for k in g]
        else:
            body += ["int n = columns;", *start, *self._columns(), skip, *(self.rows(f"out[{_gate(k)}] = {self.total(k)};") for k in g)]
        parameters = ["const float* restrict w", "const float* restrict bias", "const float* restrict x"]
        return self.function(self.name, parameters, body, "bias out")

    def _columns(self) -> list[str]:
        step = self.gates * self.width
        lines = ["RT_ROLLED"] if self.width > 1 else []
        lines += [f"for (; n >= {self.partials}; n -= {self.partials}) {{"]
        lines += [f"    {line}" for p in range(self.partials) for line in self._column(p)]
        lines += [f"    w += {self.partials * step};", f"    v += {self.partials};", "}"]
        for p in range(self.partials - 1):
            lines += [f"if (n > {p}) {{", *(f"    {line}" for line in self._column(p)), "}"]
        return lines

    def _column(self, p: int) -> list[str]:
        first = p * self.gates * self.width
        return [self.lanes(f"s{k}{p}[i] = RT_fma(w[{first + k * self.width} + i], v[{p}], s{k}{p}[i]);") for k in range(self.gates)]


@dataclass(frozen=True, order=True)
class IntegerProduct(_Shape):
    """The same with integers times scales, for an operand of integers times `unit`; their sums are exact."""

    kind: str = "signed char"

    @property
    def name(self) -> str:
        precision = {"signed char": "i8", "short": "i16"}[self.kind]
        return f"product_{precision}_{self.gates}_{self.width}{'' if self.whole else '_part'}"

    needs = ("fma",)

    def source(self) -> str:
        g = range(self.gates)
        body = [self.local("unsigned", [f"s{k}0" for k in g]), "int n;", *(self.lanes(f"s{k}0[i] = 0u;") for k in g)]
        body += ["for (n = 0; n < columns; ++n) {",
                 *("    " + self.lanes(f"s{k}0[i] += (unsigned)(w[{k * self.width} + i] * x[n]);") for k in g),
                 f"    w += {self.gates * self.width};", "}"]  # fmt: skip
        body += [self.rows(f"out[{_gate(k)}] = RT_fma((float)(int)s{k}0[i], scale[{_gate(k)}] * unit, bias[{_gate(k)}]);") for k in g]
        parameters = [f"const {self.kind}* restrict w", "const float* restrict scale", "float unit", "const float* restrict bias",
                      "const short* restrict x"]  # fmt: skip
        return self.function(self.name, parameters, body, "scale bias out")
