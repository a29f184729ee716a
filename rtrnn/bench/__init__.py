"""Times one step of a network, beside the other ways to run the same file, in one process and in turns.

Every engine is a loop in Python that calls it once per timestep, as a control loop would. Engines take turns round by
round, so that a change of the CPU's clock or a busy neighbour meets all of them; medians over the rounds are compared.
"""

from rtrnn.bench.measure import Engine, Figures, Report, measure
from rtrnn.bench.suite import bench

__all__ = ["Engine", "Figures", "Report", "bench", "measure"]
