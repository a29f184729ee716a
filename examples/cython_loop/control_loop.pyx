# cython: language_level=3, boundscheck=False, wraparound=False
"""A control loop at a fixed rate, in Cython, that holds no GIL: other Python threads run as if it were not there."""

cimport rtrnn
from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec


cdef extern from "<time.h>" nogil:
    enum: TIMER_ABSTIME
    int clock_nanosleep(int clock, int flags, const timespec* request, timespec* remain)


cdef int64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef void sleep_until(int64_t due_ns) noexcept nogil:
    cdef timespec t
    t.tv_sec = due_ns // 1000000000
    t.tv_nsec = due_ns % 1000000000
    while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0:
        pass


def run(rtrnn.Stream stream not None, const float[:, ::1] observations, float[:, ::1] actions, double rate, double seconds):
    """Steps `stream` at `rate` Hz for `seconds`, or for one pass over the rows of `observations` when `seconds` is 0.

    actions[t] receives the action of observations[t]; a longer run starts over at row 0 and overwrites. Returns the number of steps taken
    and how many of them began more than a period late.
    """
    cdef Py_ssize_t t = 0, rows = observations.shape[0], late = 0
    cdef size_t x_size = observations.shape[1], y_size = actions.shape[1]
    cdef int64_t period = <int64_t>(1e9 / rate), steps = 0, due, wanted
    cdef rtrnn.rtrnn_status status = rtrnn.RTRNN_OK
    if rows == 0 or actions.shape[0] != rows:
        raise ValueError("expected as many rows of actions as of observations, at least one")
    wanted = rows if seconds == 0 else <int64_t>(seconds * rate)
    with nogil:
        due = now_ns()
        while steps < wanted:
            sleep_until(due)
            if now_ns() - due > period:
                late += 1
            status = rtrnn.stream_step_copy(stream, &observations[t, 0], x_size, &actions[t, 0], y_size)
            if status > rtrnn.RTRNN_HELD:
                break
            rtrnn.stream_prepare(stream)
            steps += 1
            t = t + 1 if t + 1 < rows else 0
            due += period
    if status > rtrnn.RTRNN_HELD:
        raise ValueError(f"step {steps}: status {<int>status}")
    return steps, late
