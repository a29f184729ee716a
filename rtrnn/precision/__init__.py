"""Weights in fewer bits, chosen: what each precision does to the outputs, and which matrices can bear which.

:func:`choose` measures on a trajectory (recorded data, or input made up where there is none) and stays within a budget of error;
``Model.stream(weights="auto")`` and ``rtrnn quantize`` are made of it.
"""

from rtrnn.precision.choice import WeightChoice
from rtrnn.precision.errors import OutputError
from rtrnn.precision.search import choose
from rtrnn.precision.trial import Trial

__all__ = ["OutputError", "Trial", "WeightChoice", "choose"]
