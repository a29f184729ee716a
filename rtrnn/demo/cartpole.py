"""A pole on a cart that a drive moves along a track: the plant of the control demo.

A cart of mass M moves along x; a uniform pole of mass m and half-length l turns about a pivot on the cart, at the
angle theta from the vertical, positive towards positive x. The drive's force F follows the commanded force u with
the time constant tau. With the viscous friction b of the cart and c of the pivot, a disturbing force d on the
cart, and P = F + d - b x' + m l theta'^2 sin(theta):

    theta'' = ((M + m) (g sin(theta) - c theta' / (m l)) - P cos(theta)) / (l (4/3 (M + m) - m cos(theta)^2))
    x''     = (P - m l theta'' cos(theta)) / (M + m)
    F'      = (u - F) / tau

in SI units: m, s, kg, N, rad. One fourth-order Runge-Kutta step per control period, u and d held constant.
Only the two positions are measured, each with Gaussian noise: no velocity is ever observed. A controller without
memory cannot damp: upright, with u any constant multiple of the two positions, the coefficient of s^3 in the
characteristic polynomial does not depend on the multiples and is negative, since the drive's lag outweighs the
friction. Every such loop is unstable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "ANGLE_LIMIT",
    "FORCE_LIMIT",
    "OBSERVATION_NAMES",
    "TRACK_LIMIT",
    "Conditions",
    "Trace",
    "advance",
    "conditions",
    "linearised",
    "simulate",
]

CART_MASS = 1.0  # kg
POLE_MASS = 0.1  # kg
HALF_LENGTH = 0.5  # m
GRAVITY = 9.81  # m/s^2
CART_FRICTION = 0.1  # N s/m
PIVOT_FRICTION = 0.001  # N m s/rad
DRIVE_LAG = 0.03  # s

TRACK_LIMIT = 2.4  # m: past it the cart has left the track
ANGLE_LIMIT = 0.5  # rad: past it the pole has fallen
FORCE_LIMIT = 10.0  # N

INITIAL_TILT = 0.15  # rad, largest
POSITION_NOISE = 0.001  # m, standard deviation
ANGLE_NOISE = 0.001  # rad, standard deviation
PUSH_FORCE = 4.0  # N, largest
PUSH_SECONDS = 0.15
PUSH_EVERY_SECONDS = 2.0

OBSERVATION_NAMES = ("cart_position", "pole_angle")

#: Cart position, cart velocity, pole angle, pole angular velocity, drive force: floats, or arrays of one shape.
State = tuple[Any, Any, Any, Any, Any]
Function = Callable[[Any], Any]


def _derivative(state: State, command: Any, push: Any, sin: Function, cos: Function) -> State:
    _, velocity, angle, turn, force = state
    total = CART_MASS + POLE_MASS
    moment = POLE_MASS * HALF_LENGTH
    sine, cosine = sin(angle), cos(angle)
    push = force + push - CART_FRICTION * velocity + moment * turn * turn * sine
    gravity = total * (GRAVITY * sine - PIVOT_FRICTION / moment * turn)
    turn_rate = (gravity - push * cosine) / (HALF_LENGTH * (4 / 3 * total - POLE_MASS * cosine * cosine))
    cart_rate = (push - moment * turn_rate * cosine) / total
    return velocity, cart_rate, turn, turn_rate, (command - force) / DRIVE_LAG


def _along(state: State, slope: State, dt: float) -> State:
    return (
        state[0] + dt * slope[0],
        state[1] + dt * slope[1],
        state[2] + dt * slope[2],
        state[3] + dt * slope[3],
        state[4] + dt * slope[4],
    )


def advance(
    state: State, command: Any, push: Any, dt: float, sin: Function = math.sin, cos: Function = math.cos
) -> State:
    """The state `dt` seconds later, by one fourth-order Runge-Kutta step; `command` and `push` are in N.

    Works on floats, and with NumPy's `sin` and `cos` on arrays of many carts.
    """
    k1 = _derivative(state, command, push, sin, cos)
    k2 = _derivative(_along(state, k1, dt / 2), command, push, sin, cos)
    k3 = _derivative(_along(state, k2, dt / 2), command, push, sin, cos)
    k4 = _derivative(_along(state, k3, dt), command, push, sin, cos)
    slope = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    return _along(state, slope, dt)


def linearised(dt: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrices (5, 5) and (5, 1) of one control period about the upright pole: state' = a state + b command."""
    size = 1e-5

    def slope(index: int) -> np.ndarray:
        step = size * np.eye(6)[index]
        ahead = advance(tuple(step[:5]), step[5], 0.0, dt)
        behind = advance(tuple(-step[:5]), -step[5], 0.0, dt)
        slopes: np.ndarray = (np.array(ahead) - np.array(behind)) / (2 * size)
        return slopes

    jacobian = np.stack([slope(index) for index in range(6)], axis=1)
    return jacobian[:, :5], jacobian[:, 5:]


@dataclass(frozen=True)
class Conditions:
    """Everything about a run that the controller does not decide."""

    rate: int  #: control steps per second
    initial: State
    push: np.ndarray  #: (steps,), N, the disturbing force
    noise: np.ndarray  #: (steps, 2), float32, added to cart position (m) and pole angle (rad)


def conditions(seed: int, seconds: float, rate: int = 1000) -> Conditions:
    """Initial tilt, pushes and sensor noise drawn from `seed`."""
    generator = np.random.default_rng(seed)
    steps = max(1, round(seconds * rate))
    tilt = generator.uniform(INITIAL_TILT / 3, INITIAL_TILT) * generator.choice((-1.0, 1.0))
    push = np.zeros(steps)
    for window in range(math.ceil(seconds / PUSH_EVERY_SECONDS)):
        start = (window + generator.uniform(0.25, 0.75)) * PUSH_EVERY_SECONDS
        force = generator.uniform(PUSH_FORCE / 2, PUSH_FORCE) * generator.choice((-1.0, 1.0))
        push[round(start * rate) : round((start + PUSH_SECONDS) * rate)] = force
    noise = generator.standard_normal((steps, 2)) * (POSITION_NOISE, ANGLE_NOISE)
    return Conditions(rate, (0.0, 0.0, float(tilt), 0.0, 0.0), push, noise.astype(np.float32))


@dataclass(frozen=True)
class Trace:
    """A recorded run; `states` ends where the pole fell or the cart left the track."""

    rate: int
    states: np.ndarray  #: (steps, 5), as in State, each after its control period
    commands: np.ndarray  #: (steps,), N
    fell: bool

    @property
    def seconds(self) -> float:
        """How long the pole stayed up."""
        return len(self.states) / self.rate


def simulate(
    policy: Callable[[np.ndarray], float],
    given: Conditions,
    after_step: Callable[[int], None] | None = None,
) -> Trace:
    """Run `policy` in the loop: from an observation (2,) float32 in m and rad to a commanded force in N, limited
    here to FORCE_LIMIT.

    `after_step(index)` is called at the end of each control period; a real-time run waits there.
    """
    state, dt = given.initial, 1 / given.rate
    states, commands = np.zeros((len(given.push), 5)), np.zeros(len(given.push))
    observation = np.zeros(2, np.float32)
    pushes = given.push.tolist()
    for index, push in enumerate(pushes):
        observation[0], observation[1] = state[0], state[2]
        observation += given.noise[index]
        command = min(max(policy(observation), -FORCE_LIMIT), FORCE_LIMIT)
        commands[index] = command
        states[index] = state = advance(state, command, push, dt)
        if not (abs(state[0]) <= TRACK_LIMIT and abs(state[2]) <= ANGLE_LIMIT):
            return Trace(given.rate, states[: index + 1], commands[: index + 1], True)
        if after_step is not None:
            after_step(index)
    return Trace(given.rate, states, commands, False)
