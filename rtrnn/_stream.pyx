# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The hot half of the Python API: :class:`Stream`; :class:`rtrnn._batch.Batch` shares its helpers.

A step on a contiguous float32 array goes straight to the core; everything else (lists, other types, dicts) is converted
first. The core's calls allocate nothing and keep the GIL: a step is shorter than giving it away.
"""

cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memcpy

import numpy as np

from rtrnn.errors import BusyError, Error, NonFiniteError, StateError

cnp.import_array()

cdef extern from *:
    """
    /* Whether nobody but the caller, who holds one reference, can see the array. */
    static inline int rtrnn_is_unshared(PyObject* array) {
    #ifdef Py_GIL_DISABLED
        (void)array;
        return 0;   /* another thread may be taking a reference */
    #else
        return Py_REFCNT(array) == 1 && ((PyArrayObject_fields*)array)->weakreflist == NULL;
    #endif
    }
    """
    bint rtrnn_is_unshared(object array) noexcept

_POLICIES = {
    "error": RTRNN_ON_NONFINITE_ERROR,
    "hold": RTRNN_ON_NONFINITE_HOLD,
    "propagate": RTRNN_ON_NONFINITE_PROPAGATE,
}


cdef rtrnn_on_nonfinite _policy(object on_nonfinite) except *:
    if on_nonfinite not in _POLICIES:
        raise ValueError(f"on_nonfinite: expected 'error', 'hold' or 'propagate', found {on_nonfinite!r}")
    return <rtrnn_on_nonfinite><int>_POLICIES[on_nonfinite]


cdef uint64_t _hold_steps(object steps, rtrnn_on_nonfinite policy) except? 0:
    """As the core takes it: 0 for no limit."""
    if steps is None:
        return 0
    if policy != RTRNN_ON_NONFINITE_HOLD:
        raise ValueError("hold_steps is for on_nonfinite='hold'")
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or not 0 < steps < 2**63:
        raise ValueError(f"hold_steps: expected a positive integer, found {steps!r}")
    return steps


cdef _Ports _ports(list ports):
    cdef _Ports self = _Ports.__new__(_Ports)
    self.names = tuple(port[0] for port in ports)
    self.shapes = tuple(tuple(port[1]) for port in ports)
    self.sizes = tuple(int(np.prod(port[1])) for port in ports)
    return self


cdef inline bint _is_as_made(cnp.ndarray array, cnp.npy_intp n) noexcept:
    """Whether an array of n values is still as PyArray_EMPTY makes it: its holder may have changed shape, type or flags in place."""
    return (
        cnp.PyArray_NDIM(array) == 1
        and cnp.PyArray_DIM(array, 0) == n
        and cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32
        and cnp.PyArray_ISCARRAY(array)
        and cnp.PyArray_CHKFLAGS(array, cnp.NPY_ARRAY_OWNDATA)
    )


cdef bint _is_plain(object x, Py_ssize_t size) noexcept:
    """A contiguous, aligned float32 array of `size` elements."""
    return (
        cnp.PyArray_Check(x)
        and cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT32
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>x)
        and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x)
        and cnp.PyArray_SIZE(<cnp.ndarray>x) == size
    )


cdef object _as_float32(object x, str what, tuple shape, Py_ssize_t size):
    """`x` as a contiguous float32 array of `size` elements, or an error that says what was expected."""
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected numbers of shape {shape}, found dtype {array.dtype}")
    if array.size != size or _significant(array.shape) != _significant(shape):
        raise ValueError(f"{what}: expected shape {shape} ({size} values), found shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float32)


cdef tuple _significant(tuple shape):
    return tuple(d for d in shape if d != 1)


cdef object _view(float* data, tuple shape, object owner, bint writable):
    cdef cnp.npy_intp n = 1
    for d in shape:
        n *= d
    flat = cnp.PyArray_SimpleNewFromData(1, &n, cnp.NPY_FLOAT32, data)
    cnp.set_array_base(flat, owner)
    array = flat.reshape(shape)
    array.flags.writeable = writable
    return array


cdef list _ordered(object x, _Ports ports, str what):
    """The values of a dict, or of a sequence, in the order in which `ports` are declared."""
    if isinstance(x, dict):
        unknown = [name for name in x if name not in ports.names]
        missing = [name for name in ports.names if name not in x]
        if unknown or missing:
            raise ValueError(f"{what}: expected the names {list(ports.names)}; missing {missing}, unknown {unknown}")
        return [x[name] for name in ports.names]
    if len(ports.names) == 1:
        return [x]
    if not isinstance(x, (tuple, list)) or len(x) != len(ports.names):
        raise ValueError(f"{what}: expected a dict or {len(ports.names)} arrays in the order {list(ports.names)}")
    return list(x)


cdef object _arranged(list values, _Ports ports, bint as_dict):
    if as_dict:
        return dict(zip(ports.names, values))
    return values[0] if len(values) == 1 else tuple(values)


@cython.final
cdef class _Keep:
    def __dealloc__(self):
        rtrnn_stream_free(self.handle)


cdef class _Ports:
    pass


# What `cimport rtrnn` gives (declared in _stream.pxd): a Stream made in Python, stepped without the GIL. They check the Stream's handle
# and every size, and answer with a status; a Stream belongs to one thread at a time.

cdef rtrnn_status stream_step(Stream stream) noexcept nogil:
    return rtrnn_stream_step(stream.handle)


cdef rtrnn_status stream_step_copy(
    Stream stream, const float* x, size_t x_size, float* y, size_t y_size
) noexcept nogil:
    return rtrnn_stream_step_copy(stream.handle, x, x_size, y, y_size)


cdef rtrnn_status stream_prepare(Stream stream) noexcept nogil:
    return rtrnn_stream_prepare(stream.handle)


cdef rtrnn_status stream_reset(Stream stream) noexcept nogil:
    return rtrnn_stream_reset(stream.handle)


cdef size_t stream_input_size(Stream stream, size_t i) noexcept nogil:
    return rtrnn_stream_input_size(stream.handle, i)


cdef float* stream_input(Stream stream, size_t i) noexcept nogil:
    return rtrnn_stream_input(stream.handle, i)


cdef size_t stream_output_size(Stream stream, size_t i) noexcept nogil:
    return rtrnn_stream_output_size(stream.handle, i)


cdef const float* stream_output(Stream stream, size_t i) noexcept nogil:
    return rtrnn_stream_output(stream.handle, i)


cdef size_t stream_state_size(Stream stream) noexcept nogil:
    return rtrnn_stream_state_size(stream.handle)


cdef rtrnn_status stream_get_state(Stream stream, float* state, size_t size) noexcept nogil:
    return rtrnn_stream_get_state(stream.handle, state, size)


cdef rtrnn_status stream_set_state(Stream stream, const float* state, size_t size) noexcept nogil:
    return rtrnn_stream_set_state(stream.handle, state, size)


cdef size_t stream_saved_bytes(Stream stream) noexcept nogil:
    return rtrnn_stream_saved_bytes(stream.handle)


cdef rtrnn_status stream_save(Stream stream, void* data, size_t bytes) noexcept nogil:
    return rtrnn_stream_save(stream.handle, data, bytes)


cdef rtrnn_status stream_restore(Stream stream, const void* data, size_t bytes) noexcept nogil:
    return rtrnn_stream_restore(stream.handle, data, bytes)


cdef class Stream:
    """One sequence in progress: a Plan, a state, and preallocated input and output buffers.

    Made by :meth:`rtrnn.Model.stream`. A Stream belongs to one thread at a time; Streams are independent of each other. It can be
    pickled, with its weights, options and state, and goes on with the same bits in another process or on another machine of the same
    byte order; a forced instruction set must be there too (ValueError).
    """

    def __cinit__(self):
        self.handle = NULL

    def __init__(self, plan, on_nonfinite="error", hold_steps=None):
        cdef rtrnn_stream* handle
        capsule = plan._handle()
        policy = _policy(on_nonfinite)
        hold = _hold_steps(hold_steps, policy)
        if rtrnn_stream_create(<rtrnn_plan*>PyCapsule_GetPointer(capsule, "rtrnn_plan"), policy, &handle) != RTRNN_OK:
            raise Error(rtrnn_last_error().decode())
        rtrnn_stream_set_hold_steps(handle, hold)
        self._adopt(handle, plan, policy, hold)

    cdef void _adopt(self, rtrnn_stream* handle, object plan, rtrnn_on_nonfinite policy, uint64_t hold) except *:
        cdef _Keep keep = _Keep.__new__(_Keep)
        keep.handle = handle
        self.keep = keep
        self.handle = handle
        self.plan = plan
        self.policy = policy
        self.hold = hold
        self.inputs_ = _ports(plan.inputs)
        self.outputs_ = _ports(plan.outputs)
        self.states_ = _ports([(name, shape) for name, shape, _ in plan.states])
        self.input_arrays = tuple(
            _view(rtrnn_stream_input(handle, i), shape, keep, True) for i, shape in enumerate(self.inputs_.shapes)
        )
        self.output_arrays = tuple(
            _view(<float*>rtrnn_stream_output(handle, i), shape, keep, False)
            for i, shape in enumerate(self.outputs_.shapes)
        )
        self.simple = len(self.inputs_.names) == 1 and len(self.outputs_.names) == 1
        self.older = self.newer = None
        if self.simple:
            self.input_size = self.inputs_.sizes[0]
            self.output_size = self.outputs_.sizes[0]
            self.flat = len(self.outputs_.shapes[0]) == 1
        self._look()

    cdef void _look(self) noexcept:
        if self.simple:
            self.x = rtrnn_stream_input(self.handle, 0)

    def step(self, x=None, *, out=None):
        """Takes one timestep.

        ``step(x)`` returns a new array; ``step(x, out=y)`` writes into `y` and returns it; ``step()`` reads
        :attr:`input`, writes :attr:`output` and returns None. `x` is anything array-like of the input's shape (axes of
        size 1 may be added or left out); a network with several inputs takes a dict, or a tuple in declared order, and
        one with several outputs gives the same kind back.

        With ``out=`` and contiguous float32 arrays, or without arguments, nothing is allocated and it may be called from a
        real-time thread.

        Raises TypeError (not numbers), ValueError (wrong shape or names), :class:`rtrnn.NonFiniteError` (a NaN or an
        infinity in the input, or an overflow inside the network, unless ``on_nonfinite`` says otherwise). After an error
        the state and :attr:`output` are as they were before.
        """
        cdef rtrnn_status status
        if x is None and out is None:
            status = rtrnn_stream_step(self.handle)
            if status > RTRNN_HELD:
                self._raise(status)
            return None
        if self.simple and _is_plain(x, self.input_size) and _significant_equal(<cnp.ndarray>x, self.inputs_.shapes[0]):
            if out is None:
                y = self._unshared_output()
                status = rtrnn_stream_step_copy(
                    self.handle,
                    <const float*>cnp.PyArray_DATA(<cnp.ndarray>x),
                    self.input_size,
                    <float*>cnp.PyArray_DATA(<cnp.ndarray>y),
                    self.output_size,
                )
                if status > RTRNN_HELD:
                    self._raise(status)
                return y if self.flat else y.reshape(self.outputs_.shapes[0])
            if _is_plain(out, self.output_size) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out):
                status = rtrnn_stream_step_copy(
                    self.handle,
                    <const float*>cnp.PyArray_DATA(<cnp.ndarray>x),
                    self.input_size,
                    <float*>cnp.PyArray_DATA(<cnp.ndarray>out),
                    self.output_size,
                )
                if status > RTRNN_HELD:
                    self._raise(status)
                return out
        return self._step_any(x, out)

    cdef object _unshared_output(self):
        """An array of the output's size that nobody else can see: the one before the last, if its holders have let go of it, else a new one.

        So a loop that keeps no more than its last result allocates nothing, and a result that is kept never changes.
        """
        cdef cnp.npy_intp n = self.output_size
        array = self.older
        self.older = self.newer
        if array is None or not self.flat or not rtrnn_is_unshared(array) or not _is_as_made(<cnp.ndarray>array, n):
            array = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT32, 0)
        self.newer = array
        return array

    cdef object _step_any(self, object x, object out):
        """Values pass through memory of this call's own, so that a call that is refused has touched no other thread's."""
        cdef cnp.ndarray array
        cdef cnp.ndarray all_x = np.empty(sum(self.inputs_.sizes), np.float32), all_y = np.empty(sum(self.outputs_.sizes), np.float32)
        cdef char* to = <char*>cnp.PyArray_DATA(all_x)
        cdef bint as_dict = isinstance(x, dict)
        arrays = self.input_arrays
        if x is not None:
            arrays = [
                _as_float32(value, f"input {name!r}", shape, size)
                for value, name, shape, size in zip(
                    _ordered(x, self.inputs_, "input"), self.inputs_.names, self.inputs_.shapes, self.inputs_.sizes
                )
            ]
        targets = None
        if out is not None:
            as_dict = isinstance(out, dict)
            targets = _ordered(out, self.outputs_, "out")
            for target, name, shape in zip(targets, self.outputs_.names, self.outputs_.shapes):
                if not isinstance(target, np.ndarray) or target.shape != shape or not target.flags.writeable:
                    found = f"shape {target.shape}" if isinstance(target, np.ndarray) else type(target).__name__
                    raise ValueError(f"out for {name!r}: expected a writable array of shape {shape}, found {found}")
        for array in arrays:
            memcpy(to, cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array))
            to += cnp.PyArray_NBYTES(array)
        status = rtrnn_stream_step_copy(
            self.handle,
            <const float*>cnp.PyArray_DATA(all_x),
            cnp.PyArray_SIZE(all_x),
            <float*>cnp.PyArray_DATA(all_y),
            cnp.PyArray_SIZE(all_y),
        )
        if status > RTRNN_HELD:
            self._raise(status)
        values, at = [], 0
        for shape, size in zip(self.outputs_.shapes, self.outputs_.sizes):
            values.append(all_y[at : at + size].reshape(shape))
            at += size
        if targets is None:
            return _arranged(values, self.outputs_, as_dict)
        for target, value in zip(targets, values):
            target[...] = value
        return out

    cdef object _raise(self, rtrnn_status status, object at=None):
        where = "" if at is None else f" at timestep {at}"
        if status == RTRNN_BUSY:
            raise BusyError("another thread is using this Stream; nothing was done")
        if self.hold:
            where += f", after {self.hold} held steps in a row"
        if status == RTRNN_NONFINITE_INPUT:
            bad = [
                f"{name!r} (element {int(np.flatnonzero(~np.isfinite(array))[0])})"
                for name, array in zip(self.inputs_.names, self.input_arrays)
                if not np.isfinite(array).all()
            ]
            raise NonFiniteError(f"input {', '.join(bad)} is NaN or infinite{where}; the state is unchanged")
        if status == RTRNN_NONFINITE_RESULT:
            raise NonFiniteError(f"an output or a state would become NaN or infinite{where}; the state is unchanged")
        raise Error(rtrnn_status_text(status).decode())

    def prepare(self):
        """Computes ahead what depends on the state alone, so that the next step only has the rest to do.

        Call it in a control loop's idle time. Changes no result. Real-time safe.
        """
        if rtrnn_stream_prepare(self.handle) != RTRNN_OK:
            self._raise(RTRNN_BUSY)

    def reset(self):
        """Back to the initial state; :attr:`output` becomes zero. Real-time safe."""
        if rtrnn_stream_reset(self.handle) != RTRNN_OK:
            self._raise(RTRNN_BUSY)

    def process(self, xs):
        """Takes T timesteps: `xs` (T, input) -> (T, output), carrying this Stream's state; the bits of T steps.

        Several inputs are a dict or a tuple of such arrays. Releases the GIL. When a timestep fails, the error names it and
        the Stream is as it was before the call.
        """
        cdef rtrnn_const_span inputs[64]
        cdef rtrnn_span outputs[64]
        cdef size_t failed_at = 0
        cdef size_t count, input_count = len(self.inputs_.names), output_count = len(self.outputs_.names)
        cdef rtrnn_status status
        if input_count > 64 or output_count > 64:
            raise ValueError("process takes at most 64 inputs and 64 outputs; use step")
        arrays = _block(xs, self.inputs_)
        count = arrays[0].shape[0] if arrays else 0
        results = [np.empty((count, *shape), np.float32) for shape in self.outputs_.shapes]
        for i, array in enumerate(arrays):
            inputs[i].data = <const float*>cnp.PyArray_DATA(<cnp.ndarray>array)
            inputs[i].size = cnp.PyArray_SIZE(<cnp.ndarray>array)
        for i, array in enumerate(results):
            outputs[i].data = <float*>cnp.PyArray_DATA(<cnp.ndarray>array)
            outputs[i].size = cnp.PyArray_SIZE(<cnp.ndarray>array)
        with nogil:
            if count > 1:
                rtrnn_stream_reserve(self.handle)   # without the memory it works as well, only slower
            status = rtrnn_stream_process(self.handle, inputs, input_count, outputs, output_count, count, &failed_at)
        if status > RTRNN_HELD:
            self._raise(status, failed_at)
        return _arranged(results, self.outputs_, isinstance(xs, dict))

    def trace(self, x=None):
        """Takes one timestep or several and returns all that they computed: gates, states, outputs, the value of every node.

        For inspection, outside the real-time path: allocates, and takes some ten times as long as the steps. `x` is one timestep's
        input (input) or a sequence (T, input), a dict or a tuple of such arrays where there are several inputs; without it
        :attr:`input` is taken. The Stream goes on as after the same steps, bit for bit. The result is a :class:`rtrnn.trace.Trace`, whose
        gates the engine computed once more from the same state, in the same precision; of a step that was held it shows what was refused.

            trace = stream.trace(xs)
            trace.cells["gru"]["update"]        # (T, hidden_size)

        Raises :class:`rtrnn.UnsupportedError` for a network without a gru, lstm or rnn node, ValueError (wrong shape or names),
        :class:`rtrnn.NonFiniteError` as :meth:`step`, naming the timestep; then the Stream is as it was before the call.
        """
        from rtrnn.trace import trace

        return trace(self, self.plan, x)

    def fork(self):
        """A new Stream of the same Plan that continues from this one's state. Allocates."""
        cdef Stream twin = Stream.__new__(Stream)
        cdef rtrnn_stream* handle
        cdef rtrnn_status status = rtrnn_stream_fork(self.handle, &handle)
        if status == RTRNN_BUSY:
            self._raise(status)
        if status != RTRNN_OK:
            raise MemoryError(rtrnn_last_error().decode())
        twin._adopt(handle, self.plan, self.policy, self.hold)
        return twin

    def save_state(self):
        """Outputs, state and what else the next steps depend on, as bytes that know their network, for a file or another process.

        :meth:`restore_state` of any Stream of this network goes on from there bit for bit, on any machine of the same byte order.
        """
        cdef size_t size = rtrnn_stream_saved_bytes(self.handle)
        data = PyBytes_FromStringAndSize(NULL, size)
        if rtrnn_stream_save(self.handle, PyBytes_AS_STRING(data), size) != RTRNN_OK:
            self._raise(RTRNN_BUSY)
        return data

    def restore_state(self, data, *, strict=True):
        """Continues from what :meth:`save_state` gave, of a Stream with whatever precision, instruction set or policies.

        Raises :class:`rtrnn.StateError` for the state of another network, and for one that is damaged or cut short;
        :class:`rtrnn.NonFiniteError` for NaN or infinity (unless the Stream propagates them). Then nothing is changed. With
        ``strict=False`` the network may differ in its weights: the state of one that was since trained further.
        """
        cdef Py_buffer view
        cdef rtrnn_status status = RTRNN_STATE_DAMAGED
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        if view.len and strict:
            status = rtrnn_stream_restore(self.handle, view.buf, view.len)
        elif view.len:
            status = rtrnn_stream_restore_any_weights(self.handle, view.buf, view.len)
        PyBuffer_Release(&view)
        if status == RTRNN_BUSY:
            self._raise(status)
        if status == RTRNN_STATE_DAMAGED:
            raise StateError("expected what save_state gave, found other bytes, or damaged or cut short ones; the Stream is unchanged")
        if status == RTRNN_STATE_MISMATCH:
            raise StateError(
                "the saved state belongs to another network"
                + (" or to other weights (see strict)" if strict else "")
                + "; the Stream is unchanged"
            )
        if status != RTRNN_OK:
            raise NonFiniteError("the saved state holds a NaN or an infinity; the Stream is unchanged")

    def __reduce__(self):
        # The Plan pickles as the Graph and its options, and is made anew for the CPU that the Stream wakes up on: the bits are the same.
        # Counters start from zero.
        return _woken, (type(self), self.plan, self.on_nonfinite, self.hold_steps, self.save_state(), [x.copy() for x in self.input_arrays])

    def swap(self, other):
        """Goes on with another Plan of this network, in another precision or with weights trained further, from the state as it is.

        `other` is a Stream of that Plan, made beforehand on any thread; the swap itself copies inputs, outputs and state, allocates
        nothing and is real-time safe. A Model is given this Stream's precisions and instruction set first, which allocates. Policies
        and counters stay. `other` is left with the former Plan, to be dropped where that may take time, or to swap back.

        :attr:`input` and :attr:`output` are other arrays afterwards; the former :attr:`input` is read-only from then on.

        Raises :class:`rtrnn.StateError`, with nothing changed, when the networks differ in more than their weights, or when only
        one of them limits its outputs.
        """
        cdef Stream with_
        if isinstance(other, Stream):
            with_ = other
        elif hasattr(other, "graph") and hasattr(other, "plan"):
            with_ = Stream(other.plan(self.plan.weights, self.plan.isa))
        else:
            raise TypeError(f"swap: expected a Stream or a Model, found {type(other).__name__}")
        cdef rtrnn_status status = rtrnn_stream_swap(self.handle, with_.handle)
        if status == RTRNN_BUSY:
            raise BusyError("another thread is using one of the Streams; nothing was done")
        if status != RTRNN_OK:
            raise StateError("the networks differ in more than their weights; the Stream is unchanged")
        if with_ is self:
            return
        # The memory has changed hands: what looks into it keeps the handle alive that owns it now.
        self.keep.handle, with_.keep.handle = with_.keep.handle, self.keep.handle
        self.keep, with_.keep = with_.keep, self.keep
        self.plan, with_.plan = with_.plan, self.plan
        self.input_arrays, with_.input_arrays = with_.input_arrays, self.input_arrays
        self.output_arrays, with_.output_arrays = with_.output_arrays, self.output_arrays
        self._look()
        with_._look()
        for array in self.input_arrays:
            cnp.PyArray_ENABLEFLAGS(<cnp.ndarray>array, cnp.NPY_ARRAY_WRITEABLE)
        for array in with_.input_arrays:
            cnp.PyArray_CLEARFLAGS(<cnp.ndarray>array, cnp.NPY_ARRAY_WRITEABLE)

    def state(self):
        """A copy of every state, by name."""
        flat = self.state_vector()
        out, at = {}, 0
        for name, shape, size in zip(self.states_.names, self.states_.shapes, self.states_.sizes):
            out[name] = flat[at : at + size].reshape(shape)
            at += size
        return out

    def set_state(self, state):
        """Continues from `state`: what :meth:`state` gave (a dict of all states), or the vector of :meth:`state_vector`.

        Raises :class:`rtrnn.StateError` for missing or unknown names, ValueError for a wrong shape, :class:`rtrnn.NonFiniteError` for NaN or
        infinity (unless the Stream propagates them); then nothing is changed.
        """
        cdef cnp.ndarray flat
        total = sum(self.states_.sizes)
        if isinstance(state, dict):
            unknown = [name for name in state if name not in self.states_.names]
            missing = [name for name in self.states_.names if name not in state]
            if unknown or missing:
                raise StateError(
                    f"expected the states {list(self.states_.names)}; missing {missing}, unknown {unknown}"
                )
            parts = [
                _as_float32(state[name], f"state {name!r}", shape, size).ravel()
                for name, shape, size in zip(self.states_.names, self.states_.shapes, self.states_.sizes)
            ]
            flat = np.concatenate(parts) if parts else np.empty(0, np.float32)
        else:
            flat = _as_float32(state, "state", (total,), total).ravel()
        cdef rtrnn_status status = rtrnn_stream_set_state(self.handle, <const float*>cnp.PyArray_DATA(flat), total)
        if status == RTRNN_BUSY:
            self._raise(status)
        if status != RTRNN_OK:
            raise NonFiniteError("the state to set holds a NaN or an infinity; the Stream is unchanged")

    def state_vector(self, out=None):
        """A copy of all states as one float32 vector, into `out` (contiguous) when given; then nothing is allocated."""
        cdef Py_ssize_t size = rtrnn_stream_state_size(self.handle)
        if out is None:
            out = np.empty(size, np.float32)
        elif not _is_plain(out, size) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out):
            raise ValueError(f"out: expected a writable contiguous float32 array of {size} values")
        if rtrnn_stream_get_state(self.handle, <float*>cnp.PyArray_DATA(<cnp.ndarray>out), size) != RTRNN_OK:
            self._raise(RTRNN_BUSY)
        return out

    @property
    def input(self):
        """The input buffer, to be written in place before ``step()``; a dict by name when there are several."""
        return self._single_or_dict(self.input_arrays, self.inputs_)

    @property
    def output(self):
        """The output buffer (read-only), as the last good step left it; a dict by name when there are several."""
        return self._single_or_dict(self.output_arrays, self.outputs_)

    cdef object _single_or_dict(self, tuple arrays, _Ports ports):
        return arrays[0] if len(arrays) == 1 else dict(zip(ports.names, arrays))

    @property
    def isa(self):
        """The instruction set that this Stream runs on."""
        return self.plan.isa

    @property
    def weights(self):
        """The precision of each matrix, by ``NODE.ROLE``: what ``weights="auto"`` chose, too."""
        return self.plan.weights

    @property
    def on_nonfinite(self):
        return {value: name for name, value in _POLICIES.items()}[<int>self.policy]

    @property
    def steps(self):
        """Timesteps taken since the Stream was created."""
        return rtrnn_stream_steps(self.handle)

    @property
    def nonfinite_count(self):
        """Steps that were refused or held because of a NaN or an infinity. Any thread may ask, as for the other counters."""
        return rtrnn_stream_nonfinite_count(self.handle)

    @property
    def hold_steps(self):
        """After so many held steps in a row the next bad one raises; None: never."""
        return self.hold or None

    @property
    def held_in_a_row(self):
        """Steps held since the last good one."""
        return rtrnn_stream_held_in_a_row(self.handle)

    @property
    def limited_count(self):
        """Steps of which `limits` changed an output."""
        return rtrnn_stream_limited_count(self.handle)

    @property
    def nbytes(self):
        """Memory of this Stream besides the shared Plan, in bytes."""
        return self.plan.stream_bytes

    def __repr__(self):
        ins = ", ".join(f"{n}{s}" for n, s in zip(self.inputs_.names, self.inputs_.shapes))
        outs = ", ".join(f"{n}{s}" for n, s in zip(self.outputs_.names, self.outputs_.shapes))
        return f"<rtrnn.Stream {ins} -> {outs}, {rtrnn_stream_state_size(self.handle)} state values, {self.isa}>"


def _woken(kind, plan, on_nonfinite, hold_steps, state, inputs):
    """A pickled Stream, as it was."""
    cdef Stream stream = kind(plan, on_nonfinite, hold_steps)
    stream.restore_state(state)
    for array, values in zip(stream.input_arrays, inputs):
        array[...] = values
    return stream


cdef inline bint _significant_equal(cnp.ndarray x, tuple shape) noexcept:
    """Equal shapes once axes of size 1 are left out; the usual case, one dimension on both sides, is decided at once."""
    cdef Py_ssize_t i = 0, j = 0, n = cnp.PyArray_NDIM(x), m = len(shape)
    cdef cnp.npy_intp* dims = cnp.PyArray_DIMS(x)
    if n == 1 and m == 1:
        return True
    while True:
        while i < n and dims[i] == 1:
            i += 1
        while j < m and <Py_ssize_t>shape[j] == 1:
            j += 1
        if i == n or j == m:
            return i == n and j == m
        if dims[i] != <Py_ssize_t>shape[j]:
            return False
        i += 1
        j += 1


cdef list _block(object xs, _Ports ports):
    """Arrays (T, ...) for each input, float32 and contiguous, all with the same T."""
    arrays = []
    for value, name, shape, size in zip(_ordered(xs, ports, "input"), ports.names, ports.shapes, ports.sizes):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"input {name!r}: expected numbers, found dtype {array.dtype}")
        if array.ndim == 0 or _significant(array.shape[1:]) != _significant(shape):
            raise ValueError(f"input {name!r}: expected shape {('T', *shape)}, found {array.shape}")
        arrays.append(np.ascontiguousarray(array, dtype=np.float32))
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise ValueError(f"inputs differ in their number of timesteps: {sorted(lengths)}")
    return arrays
