# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
""":class:`Batch`: many streams of one Plan, stepped in lockstep."""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer

from rtrnn._stream cimport (
    RTRNN_BUSY,
    RTRNN_HELD,
    RTRNN_NONFINITE_INPUT,
    RTRNN_OK,
    _arranged,
    _as_float32,
    _block,
    _hold_steps,
    _is_plain,
    _ordered,
    _policy,
    _Ports,
    _ports,
    rtrnn_batch,
    rtrnn_batch_create,
    rtrnn_batch_fork,
    rtrnn_batch_free,
    rtrnn_batch_get_state,
    rtrnn_batch_limited_count,
    rtrnn_batch_nonfinite_count,
    rtrnn_batch_prepare,
    rtrnn_batch_reset,
    rtrnn_batch_restore,
    rtrnn_batch_save,
    rtrnn_batch_saved_bytes,
    rtrnn_batch_set_hold_steps,
    rtrnn_batch_set_state,
    rtrnn_batch_step,
    rtrnn_const_span,
    rtrnn_last_error,
    rtrnn_plan,
    rtrnn_span,
    rtrnn_status,
)

import numpy as np

from rtrnn.errors import BusyError, Error, NonFiniteError, StateError

cnp.import_array()

DEF MOST = 64   # inputs or outputs


cdef object _busy():
    raise BusyError("another thread is using this Batch; nothing was done")


cdef object _check(rtrnn_status status):
    """Of a call that fails for nothing else."""
    if status == RTRNN_BUSY:
        _busy()


cdef class Batch:
    """`n` independent streams of one Plan, stepped in lockstep; each has the bits it would have alone.

    Made by :meth:`rtrnn.Model.batch`. The weights are read once for many streams, so a step of a batch takes much less time than
    as many steps of a Stream. A Batch belongs to one thread at a time. It can be pickled, as a Stream can.
    """

    cdef rtrnn_batch* handle
    cdef readonly Py_ssize_t size
    cdef readonly object plan
    cdef readonly str on_nonfinite
    cdef object hold
    cdef _Ports inputs_, outputs_, states_
    cdef bint stepping   # a thread is in step() and gave the GIL away: calls that are several of the core's ask first, and then cannot meet it half-way
    cdef tuple input_shapes, output_shapes   # with the axis of streams
    cdef Py_ssize_t state_size

    def __cinit__(self):
        self.handle = NULL

    def __init__(self, plan, size, on_nonfinite="error", hold_steps=None):
        if size < 1:
            raise ValueError(f"a batch needs at least one stream, found {size}")
        capsule = plan._handle()
        policy = _policy(on_nonfinite)
        hold = _hold_steps(hold_steps, policy)
        if rtrnn_batch_create(<rtrnn_plan*>PyCapsule_GetPointer(capsule, "rtrnn_plan"), size, policy, &self.handle) != RTRNN_OK:
            raise Error(rtrnn_last_error().decode())
        rtrnn_batch_set_hold_steps(self.handle, hold)
        self._adopt(plan, size, on_nonfinite, hold_steps)

    cdef void _adopt(self, object plan, Py_ssize_t size, str on_nonfinite, object hold) except *:
        self.size = size
        self.plan = plan
        self.on_nonfinite = on_nonfinite
        self.hold = hold
        self.inputs_ = _ports(plan.inputs)
        self.outputs_ = _ports(plan.outputs)
        self.states_ = _ports([(name, shape) for name, shape, _ in plan.states])
        if len(self.inputs_.names) > MOST or len(self.outputs_.names) > MOST:
            raise ValueError(f"a batch takes at most {MOST} inputs and {MOST} outputs")
        self.input_shapes = tuple((size, *shape) for shape in self.inputs_.shapes)
        self.output_shapes = tuple((size, *shape) for shape in self.outputs_.shapes)
        self.state_size = sum(self.states_.sizes)

    def __dealloc__(self):
        if self.handle is not NULL:
            rtrnn_batch_free(self.handle)

    def __len__(self):
        return self.size

    def step(self, x, *, out=None):
        """One timestep of every stream: `x` (n, input) -> (n, output), a new array or `out`. Releases the GIL.

        Several inputs are a dict or a tuple of such arrays; with `out` (contiguous float32) and contiguous float32 inputs no
        memory is allocated for values. Errors are those of :meth:`Stream.step`; the message names the first stream that failed,
        and every stream is as before the call. With on_nonfinite="hold" such a stream repeats its last output while the others
        advance.
        """
        cdef rtrnn_const_span inputs[MOST]
        cdef rtrnn_span outputs[MOST]
        cdef size_t failed_at = 0, input_count = len(self.inputs_.names), output_count = len(self.outputs_.names)
        cdef Py_ssize_t i
        cdef rtrnn_status status
        cdef list arrays, results
        cdef bint as_dict = isinstance(x, dict) if out is None else isinstance(out, dict)
        if self._plain_single(x):
            arrays = [x]
        else:
            arrays = _block(x, self.inputs_)
            for array, name in zip(arrays, self.inputs_.names):
                if len(array) != self.size:
                    raise ValueError(f"input {name!r}: expected {self.size} rows, one per stream, found {len(array)}")
        if out is None:
            results = [np.empty(shape, np.float32) for shape in self.output_shapes]
        else:
            results = _ordered(out, self.outputs_, "out")
            for result, name, shape, size in zip(results, self.outputs_.names, self.output_shapes, self.outputs_.sizes):
                if not _is_plain(result, self.size * size) or result.shape != shape or not result.flags.writeable:
                    raise ValueError(f"out for {name!r}: expected a writable contiguous float32 array of shape {shape}")
        for i in range(len(arrays)):
            inputs[i].data = <const float*>cnp.PyArray_DATA(<cnp.ndarray>arrays[i])
            inputs[i].size = cnp.PyArray_SIZE(<cnp.ndarray>arrays[i])
        for i in range(len(results)):
            outputs[i].data = <float*>cnp.PyArray_DATA(<cnp.ndarray>results[i])
            outputs[i].size = cnp.PyArray_SIZE(<cnp.ndarray>results[i])
        if self.stepping:
            _busy()
        self.stepping = True
        with nogil:
            status = rtrnn_batch_step(self.handle, inputs, input_count, outputs, output_count, &failed_at)
        self.stepping = False
        _check(status)
        if status > RTRNN_HELD:
            what = "an input is" if status == RTRNN_NONFINITE_INPUT else "an output or a state would become"
            raise NonFiniteError(f"stream {failed_at}: {what} NaN or infinite; every stream is unchanged")
        return out if out is not None else _arranged(results, self.outputs_, as_dict)

    cdef bint _plain_single(self, object x) except -1:
        """The array that the only input takes as it is."""
        if len(self.inputs_.names) != 1 or not _is_plain(x, self.size * <Py_ssize_t>self.inputs_.sizes[0]):
            return False
        return x.shape == self.input_shapes[0]

    def prepare(self):
        """:meth:`Stream.prepare` of every stream. Real-time safe."""
        _check(rtrnn_batch_prepare(self.handle))

    def reset(self, mask=None):
        """Every stream, or those where `mask` (n booleans) is true, back to the initial state."""
        cdef Py_ssize_t i
        chosen = np.ones(self.size, bool) if mask is None else np.asarray(mask)
        if chosen.shape != (self.size,) or chosen.dtype != bool:
            raise ValueError(f"mask: expected {self.size} booleans, found {chosen.dtype} of shape {chosen.shape}")
        cdef cnp.ndarray indices = np.flatnonzero(chosen)
        cdef const cnp.npy_intp* index = <const cnp.npy_intp*>cnp.PyArray_DATA(indices)
        if self.stepping:
            _busy()
        for i in range(cnp.PyArray_SIZE(indices)):
            _check(rtrnn_batch_reset(self.handle, index[i]))

    def fork(self):
        """A new Batch of the same Plan whose streams continue from the states of this one's. Allocates."""
        cdef Batch twin = Batch.__new__(Batch)
        cdef rtrnn_status status = rtrnn_batch_fork(self.handle, &twin.handle)
        _check(status)
        if status != RTRNN_OK:
            raise MemoryError(rtrnn_last_error().decode())
        twin._adopt(self.plan, self.size, self.on_nonfinite, self.hold)
        return twin

    def __reduce__(self):
        return _woken, (type(self), self.plan, self.size, self.on_nonfinite, self.hold, self._saved())

    cdef list _saved(self):
        """Of each stream what :meth:`Stream.save_state` gives."""
        cdef size_t bytes_each = rtrnn_batch_saved_bytes(self.handle)
        cdef Py_ssize_t i
        saved = []
        if self.stepping:
            _busy()
        for i in range(self.size):
            data = PyBytes_FromStringAndSize(NULL, bytes_each)
            _check(rtrnn_batch_save(self.handle, i, PyBytes_AS_STRING(data), bytes_each))
            saved.append(data)
        return saved

    cdef void _restore(self, list saved) except *:
        cdef Py_ssize_t i
        for i in range(self.size):
            if rtrnn_batch_restore(self.handle, i, PyBytes_AS_STRING(saved[i]), len(saved[i])) != RTRNN_OK:
                raise StateError(f"the pickled state of stream {i} is damaged or belongs to another network")

    def state(self):
        """A copy of every state, by name: ``(n, *shape)``."""
        cdef Py_ssize_t i
        flat = np.empty((self.size, self.state_size), np.float32)
        cdef float* to = <float*>cnp.PyArray_DATA(<cnp.ndarray>flat)
        if self.stepping:
            _busy()
        for i in range(self.size):
            _check(rtrnn_batch_get_state(self.handle, i, to + i * self.state_size, self.state_size))
        out, at = {}, 0
        for name, shape, size in zip(self.states_.names, self.states_.shapes, self.states_.sizes):
            out[name] = np.ascontiguousarray(flat[:, at : at + size]).reshape((self.size, *shape))
            at += size
        return out

    def set_state(self, state):
        """Continues from what :meth:`state` gave. Errors are those of :meth:`Stream.set_state`; then nothing is changed."""
        cdef Py_ssize_t i
        unknown = [name for name in state if name not in self.states_.names]
        missing = [name for name in self.states_.names if name not in state]
        if unknown or missing:
            raise StateError(f"expected the states {list(self.states_.names)}; missing {missing}, unknown {unknown}")
        parts = [
            _as_float32(state[name], f"state {name!r}", (self.size, *shape), self.size * size).reshape(self.size, size)
            for name, shape, size in zip(self.states_.names, self.states_.shapes, self.states_.sizes)
        ]
        if not parts:
            return
        flat = np.ascontiguousarray(np.concatenate(parts, 1))
        if self.on_nonfinite != "propagate" and not np.isfinite(flat).all():
            raise NonFiniteError("the state to set holds a NaN or an infinity; the batch is unchanged")
        cdef const float* values = <const float*>cnp.PyArray_DATA(<cnp.ndarray>flat)
        if self.stepping:
            _busy()
        for i in range(self.size):
            _check(rtrnn_batch_set_state(self.handle, i, values + i * self.state_size, self.state_size))

    @property
    def nonfinite_count(self):
        """For each stream (n) the steps that were refused or held because of a NaN or an infinity."""
        return np.array([rtrnn_batch_nonfinite_count(self.handle, i) for i in range(self.size)], np.uint64)

    @property
    def limited_count(self):
        """For each stream (n) the steps of which `limits` changed an output."""
        return np.array([rtrnn_batch_limited_count(self.handle, i) for i in range(self.size)], np.uint64)

    @property
    def isa(self):
        """The instruction set that this Batch runs on."""
        return self.plan.isa

    def __repr__(self):
        return f"<rtrnn.Batch of {self.size} streams, {self.plan.isa}>"


def _woken(kind, plan, size, on_nonfinite, hold_steps, saved):
    """A pickled Batch, as it was."""
    cdef Batch batch = kind(plan, size, on_nonfinite, hold_steps)
    batch._restore(saved)
    return batch
