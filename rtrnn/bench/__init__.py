"""Times a step of a network, beside other engines and the machine's limits, in one process and in turns.

Every engine is a loop that calls it once per timestep, as a control loop would. Engines take turns round by round, on
one CPU, so that a change of the CPU's clock or a busy neighbour meets all of them; medians over the rounds are
compared. What the machine can do at best (reading each cache, multiply-adds) is measured between the rounds.

    rtrnn bench policy.onnx                              one file and its own runtimes
    rtrnn bench --grid --save figures.json --figure figures.png
    rtrnn bench --grid --cells gru --sizes 8,64x128 --forms step,finish --no-policies --peers onnxruntime,torch

``tools/bench`` has what needs the source tree: the same without Python, and counts of instructions.
"""

from rtrnn.bench.grid import GridResult, grid
from rtrnn.bench.measure import Engine, Figures, Report, measure
from rtrnn.bench.suite import Result, bench

__all__ = ["Engine", "Figures", "GridResult", "Report", "Result", "bench", "grid", "measure"]
