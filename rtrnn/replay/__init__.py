"""Replaying recorded episodes through a policy: where it would have acted differently, on one machine or many.

A log (:mod:`rtrnn.replay.logs`) holds episodes: what a policy observed and, often, what it did. Each is run again from its own initial
state and compared, step by step, with what was recorded or with what another policy does there. Everything is measured by episode
(:mod:`rtrnn.replay.work`) and merged by the episode's name (:mod:`rtrnn.replay.report`): so a task may run anywhere, in any order and,
after a worker died, twice. The report is the same to the bit.
"""

from rtrnn.replay.logs import Schema, find_logs
from rtrnn.replay.report import Report
from rtrnn.replay.run import on_ray, on_threads, replay
from rtrnn.replay.work import Policy

__all__ = ["Policy", "Report", "Schema", "find_logs", "on_ray", "on_threads", "replay"]
