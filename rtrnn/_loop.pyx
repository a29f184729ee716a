# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The periodic thread: :class:`Loop`, over the C interface. What it gives is described in :mod:`rtrnn.loop`."""

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint64_t

import math
import warnings

import numpy as np

from rtrnn._stream cimport RTRNN_OK, Stream, _Ports, rtrnn_last_error, rtrnn_status, rtrnn_stream

from rtrnn.errors import Error
from rtrnn.loop import Action, LoopStats, Times

cnp.import_array()


cdef extern from "rtrnn/rtrnn.h" nogil:
    ctypedef struct rtrnn_loop
    ctypedef struct rtrnn_loop_options:
        int64_t period_ns, deadline_ns, lead_ns, stale_ns
        const float* watchdog
        size_t watchdog_size
        int32_t priority, cpu, lock_memory
    ctypedef struct rtrnn_loop_action_info:
        uint64_t sequence
        int64_t age_ns
        rtrnn_status status
        int32_t watchdog
    ctypedef struct rtrnn_loop_counters:
        uint64_t periods, late, late_in_step, skipped, stale, repeated, nonfinite
    ctypedef enum rtrnn_loop_time:
        RTRNN_LOOP_STEP
        RTRNN_LOOP_RESPONSE
        RTRNN_LOOP_WAKE_UP
        RTRNN_LOOP_PREPARE
    ctypedef struct rtrnn_loop_times:
        uint64_t count
        int64_t min_ns, max_ns
        double mean_ns

    rtrnn_status rtrnn_loop_options_init(rtrnn_loop_options*, size_t) noexcept
    rtrnn_status rtrnn_loop_create(const rtrnn_stream*, const rtrnn_loop_options*, rtrnn_loop**) noexcept
    rtrnn_status rtrnn_loop_free(rtrnn_loop*) noexcept
    rtrnn_status rtrnn_loop_start(rtrnn_loop*) noexcept
    rtrnn_status rtrnn_loop_stop(rtrnn_loop*) noexcept
    int rtrnn_loop_running(const rtrnn_loop*) noexcept
    const char* rtrnn_loop_notes(const rtrnn_loop*) noexcept
    size_t rtrnn_loop_input_size(const rtrnn_loop*) noexcept
    size_t rtrnn_loop_output_size(const rtrnn_loop*) noexcept
    rtrnn_status rtrnn_loop_observe(rtrnn_loop*, const float*, size_t) noexcept
    rtrnn_status rtrnn_loop_action(const rtrnn_loop*, float*, size_t, rtrnn_loop_action_info*) noexcept
    rtrnn_status rtrnn_loop_reset(rtrnn_loop*) noexcept
    rtrnn_status rtrnn_loop_get_counters(const rtrnn_loop*, rtrnn_loop_counters*) noexcept
    rtrnn_status rtrnn_loop_get_times(const rtrnn_loop*, rtrnn_loop_time, rtrnn_loop_times*, uint64_t*) noexcept
    size_t rtrnn_histogram_buckets() noexcept
    int64_t rtrnn_histogram_upper_ns(size_t) noexcept


_STATUS = ("ok", "held", "nonfinite_input", "nonfinite_result")


def histogram_bounds_ns():
    """The longest duration that is counted in each bucket of a loop's histograms, in nanoseconds, rising."""
    return np.array([rtrnn_histogram_upper_ns(i) for i in range(rtrnn_histogram_buckets())], np.int64)


cdef int64_t _ns(object seconds, str what) except? -1:
    value = float(seconds) * 1e9
    if not math.isfinite(value) or abs(value) > 2.0**62:
        raise ValueError(f"{what}: expected seconds, found {seconds!r}")
    return round(value)


cdef object _flat(object x, _Ports ports, str what):
    """All values of inputs or outputs, one behind the other, as one contiguous float32 vector."""
    from rtrnn.model import _as_float, _ordered

    names = list(ports.names)
    parts = []
    for name, value, size in zip(names, _ordered(x, names), ports.sizes):
        part = _as_float(value, name)
        if part.size != size:
            raise ValueError(f"{what} {name!r}: expected {size} values, found shape {part.shape}")
        parts.append(part.ravel())
    return np.ascontiguousarray(np.concatenate(parts) if parts else np.empty(0, np.float32))


cdef class Loop:
    """A thread that steps a network once per period, from the latest observation to an action.

    `source` is a Model or a Stream, whose state it continues from on a Stream of its own; further keywords are those of
    :meth:`rtrnn.Model.stream` (for a Model). Periods lie on a fixed grid, 1 / `rate` seconds apart. In each the thread
    wakes up `lead` seconds before the observation is due and warms the caches, takes the latest observation when it is
    due, steps, writes the action, and prepares the next step in the idle time. It never takes the GIL.

    - `deadline`: an action is late this many seconds after its observation was due (default: a period, and at most that).
      A period whose deadline is over before it could begin is skipped; the grid stays.
    - `stale_after`: an observation older than this many seconds is not acted on; then, and while there is none, and when
      a step is refused (``on_nonfinite="error"``), the action is `watchdog`: an array (a dict or a tuple for several
      outputs), or None for the last action again.
    - `priority`: SCHED_FIFO from 1 to 99, 0 for the usual scheduling; `cpu`: the one CPU to run on; `lock_memory`:
      mlockall, for the whole process and until it ends. What the system refuses becomes a RuntimeWarning of
      :meth:`start`, and the loop runs without it.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. Raises ValueError and TypeError for options that
    make no sense, and what :meth:`rtrnn.Model.stream` raises.
    """

    cdef rtrnn_loop* handle
    cdef _Ports inputs_, outputs_
    cdef Py_ssize_t input_size, output_size
    cdef readonly double period

    def __cinit__(self):
        self.handle = NULL

    def __init__(
        self,
        source,
        rate=1000.0,
        *,
        deadline=None,
        lead=0.0,
        stale_after=None,
        watchdog=None,
        priority=0,
        cpu=None,
        lock_memory=False,
        **stream_options,
    ):
        cdef rtrnn_loop_options options
        cdef cnp.ndarray values = None
        cdef Stream stream
        if self.handle is not NULL:
            raise RuntimeError("this loop is made already")
        if isinstance(source, Stream):
            if stream_options:
                raise TypeError(f"{', '.join(stream_options)}: a Stream has its options already; expected a Model")
            stream = source
        elif hasattr(source, "stream"):
            stream = source.stream(**stream_options)
        else:
            raise TypeError(f"expected a Model or a Stream, found {type(source).__name__}")
        if not (isinstance(rate, (int, float, np.number)) and 0 < rate < math.inf):
            raise ValueError(f"rate: expected periods per second above 0, found {rate!r}")
        rtrnn_loop_options_init(&options, sizeof(options))
        options.period_ns = _ns(1 / rate, "rate")
        # 0 has a meaning of its own in the C interface.
        if deadline is not None and not deadline > 0:
            raise ValueError(f"deadline: expected seconds above 0, found {deadline!r}")
        if stale_after is not None and not stale_after > 0:
            raise ValueError(f"stale_after: expected seconds above 0, found {stale_after!r}")
        options.deadline_ns = 0 if deadline is None else _ns(deadline, "deadline")
        options.lead_ns = _ns(lead, "lead")
        options.stale_ns = 0 if stale_after is None else _ns(stale_after, "stale_after")
        options.priority = priority
        options.cpu = -1 if cpu is None else cpu
        options.lock_memory = bool(lock_memory)
        self.inputs_, self.outputs_ = stream.inputs_, stream.outputs_
        if watchdog is not None:
            values = _flat(watchdog, self.outputs_, "watchdog")
            options.watchdog = <const float*>cnp.PyArray_DATA(values)
            options.watchdog_size = cnp.PyArray_SIZE(values)
        if rtrnn_loop_create(stream.handle, &options, &self.handle) != RTRNN_OK:
            raise ValueError(rtrnn_last_error().decode())
        self.input_size = rtrnn_loop_input_size(self.handle)
        self.output_size = rtrnn_loop_output_size(self.handle)
        self.period = options.period_ns / 1e9

    def __dealloc__(self):
        with nogil:
            rtrnn_loop_free(self.handle)

    def start(self):
        """Starts the thread and returns once it is set up. Statistics go on from an earlier run.

        Raises RuntimeError when it runs already, :class:`rtrnn.Error` when the system has no thread for it.
        """
        cdef rtrnn_status status
        if rtrnn_loop_running(self.handle):
            raise RuntimeError("the loop runs already")
        with nogil:
            status = rtrnn_loop_start(self.handle)
        if status != RTRNN_OK:
            raise Error(rtrnn_last_error().decode())
        for note in self.notes:
            warnings.warn(f"rtrnn.Loop: {note}", RuntimeWarning, stacklevel=2)

    def stop(self):
        """Ends the thread and waits for it: what is left of the period, at most a tenth of a second. Does nothing when it does not run."""
        with nogil:
            rtrnn_loop_stop(self.handle)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, exc_type, exc, trace):
        self.stop()

    @property
    def running(self):
        return bool(rtrnn_loop_running(self.handle))

    @property
    def notes(self):
        """What the system refused of `priority`, `cpu` and `lock_memory` at the last start."""
        return tuple(rtrnn_loop_notes(self.handle).decode().splitlines())

    def observe(self, x):
        """Hands over an observation, which the next periods act on until there is a newer one.

        `x` is an array-like of the input's shape; for several inputs a dict, or a tuple in declared order. From one thread
        at a time. A contiguous float32 array for a single input is taken without an allocation. Raises TypeError, ValueError.
        """
        cdef cnp.ndarray array
        if (
            len(self.inputs_.names) == 1
            and cnp.PyArray_Check(x)
            and cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT32
            and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>x)
            and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x)
            and cnp.PyArray_SIZE(<cnp.ndarray>x) == self.input_size
        ):
            array = <cnp.ndarray>x
        else:
            array = _flat(x, self.inputs_, "input")
        rtrnn_loop_observe(self.handle, <const float*>cnp.PyArray_DATA(array), self.input_size)

    def action(self):
        """The latest action as an :class:`rtrnn.loop.Action`, None while there is none. Any thread."""
        cdef rtrnn_loop_action_info info
        cdef cnp.npy_intp n = self.output_size
        cdef cnp.ndarray flat = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT32, 0)
        rtrnn_loop_action(self.handle, <float*>cnp.PyArray_DATA(flat), n, &info)
        if info.sequence == 0:
            return None
        values, at = {}, 0
        for name, shape, size in zip(self.outputs_.names, self.outputs_.shapes, self.outputs_.sizes):
            values[name] = flat[at : at + size].reshape(shape)
            at += size
        found = values if len(values) > 1 else next(iter(values.values()), flat)
        return Action(found, info.sequence, info.age_ns / 1e9, bool(info.watchdog), _STATUS[<int>info.status])

    def reset(self):
        """The network starts from its initial state in the next period. Any thread."""
        rtrnn_loop_reset(self.handle)

    def stats(self):
        """Counters and durations of all periods so far, as :class:`rtrnn.loop.LoopStats`; also while it runs, from any thread."""
        cdef rtrnn_loop_counters c
        rtrnn_loop_get_counters(self.handle, &c)
        return LoopStats(
            periods=c.periods,
            late=c.late,
            late_in_step=c.late_in_step,
            skipped=c.skipped,
            stale=c.stale,
            repeated=c.repeated,
            nonfinite=c.nonfinite,
            step=self._times(RTRNN_LOOP_STEP),
            response=self._times(RTRNN_LOOP_RESPONSE),
            wake_up=self._times(RTRNN_LOOP_WAKE_UP),
            prepare=self._times(RTRNN_LOOP_PREPARE),
        )

    cdef object _times(self, rtrnn_loop_time which):
        cdef rtrnn_loop_times found
        cdef cnp.npy_intp n = rtrnn_histogram_buckets()
        cdef cnp.ndarray counts = cnp.PyArray_EMPTY(1, &n, cnp.NPY_UINT64, 0)
        if rtrnn_loop_get_times(self.handle, which, &found, <uint64_t*>cnp.PyArray_DATA(counts)) != RTRNN_OK:
            raise MemoryError(rtrnn_last_error().decode())
        return Times(found.min_ns / 1e9, found.mean_ns / 1e9, found.max_ns / 1e9, counts)

    def __repr__(self):
        state = "running" if self.running else "stopped"
        return f"<rtrnn.Loop {list(self.inputs_.names)} -> {list(self.outputs_.names)}, {1 / self.period:g} Hz, {state}>"
