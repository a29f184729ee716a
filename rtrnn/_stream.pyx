# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The hot half of the Python API: :class:`Stream`; :class:`rtrnn._batch.Batch` shares its helpers.

A step on a contiguous float32 array goes straight to the core; everything else (lists, other types, dicts) is converted
first. The core's calls allocate nothing and keep the GIL: a step is shorter than giving it away.
"""

cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memcpy

import numpy as np

from rtrnn.errors import BusyError, Error, NonFiniteError, StateError

cnp.import_array()

_POLICIES = {
    "error": RTRNN_ON_NONFINITE_ERROR,
    "hold": RTRNN_ON_NONFINITE_HOLD,
    "propagate": RTRNN_ON_NONFINITE_PROPAGATE,
}


cdef rtrnn_on_nonfinite _policy(object on_nonfinite) except *:
    if on_nonfinite not in _POLICIES:
        raise ValueError(f"on_nonfinite: expected 'error', 'hold' or 'propagate', found {on_nonfinite!r}")
    return <rtrnn_on_nonfinite><int>_POLICIES[on_nonfinite]


cdef _Ports _ports(list ports):
    cdef _Ports self = _Ports.__new__(_Ports)
    self.names = tuple(port[0] for port in ports)
    self.shapes = tuple(tuple(port[1]) for port in ports)
    self.sizes = tuple(int(np.prod(port[1])) for port in ports)
    return self


cdef bint _is_plain(object x, Py_ssize_t size) noexcept:
    """A contiguous, aligned float32 array of `size` elements."""
    return (
        cnp.PyArray_Check(x)
        and cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT32
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>x)
        and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x)
        and cnp.PyArray_SIZE(<cnp.ndarray>x) == size
    )


cdef cnp.ndarray _as_float32(object x, str what, tuple shape, Py_ssize_t size):
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
    """Keeps the core's stream alive while an array looks into it."""
    cdef rtrnn_stream* handle

    def __dealloc__(self):
        rtrnn_stream_free(self.handle)


cdef class _Ports:
    pass


cdef class Stream:
    """One sequence in progress: a Plan, a state, and preallocated input and output buffers.

    Made by :meth:`rtrnn.Model.stream`. A Stream belongs to one thread at a time; Streams are independent of each other.
    """

    def __cinit__(self):
        self.handle = NULL

    def __init__(self, plan, on_nonfinite="error"):
        cdef rtrnn_stream* handle
        capsule = plan._handle()
        policy = _policy(on_nonfinite)
        if rtrnn_stream_create(<rtrnn_plan*>PyCapsule_GetPointer(capsule, "rtrnn_plan"), policy, &handle) != RTRNN_OK:
            raise Error(rtrnn_last_error().decode())
        self._adopt(handle, plan, policy)

    cdef void _adopt(self, rtrnn_stream* handle, object plan, rtrnn_on_nonfinite policy) except *:
        cdef _Keep keep = _Keep.__new__(_Keep)
        keep.handle = handle
        self.keep = keep
        self.handle = handle
        self.plan = plan
        self.policy = policy
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
        if self.simple:
            self.input_size = self.inputs_.sizes[0]
            self.output_size = self.outputs_.sizes[0]
            self.x = rtrnn_stream_input(handle, 0)
            self.y = rtrnn_stream_output(handle, 0)

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
                status = rtrnn_stream_step_copy(
                    self.handle, <const float*>cnp.PyArray_DATA(<cnp.ndarray>x), self.input_size, NULL, 0
                )
                if status > RTRNN_HELD:
                    self._raise(status)
                return self._new_output()
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

    cdef object _new_output(self):
        cdef tuple shape = self.outputs_.shapes[0]
        cdef cnp.npy_intp n = self.output_size
        array = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT32, 0)
        memcpy(cnp.PyArray_DATA(<cnp.ndarray>array), self.y, n * sizeof(float))
        return array if len(shape) == 1 else array.reshape(shape)

    cdef object _step_any(self, object x, object out):
        cdef Py_ssize_t i
        cdef cnp.ndarray array
        cdef bint as_dict = isinstance(x, dict)
        if x is not None:
            arrays = [
                _as_float32(value, f"input {name!r}", shape, size)
                for value, name, shape, size in zip(
                    _ordered(x, self.inputs_, "input"), self.inputs_.names, self.inputs_.shapes, self.inputs_.sizes
                )
            ]
            for i in range(len(arrays)):
                array = arrays[i]
                memcpy(rtrnn_stream_input(self.handle, i), cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array))
        targets = None
        if out is not None:
            as_dict = isinstance(out, dict)
            targets = _ordered(out, self.outputs_, "out")
            for target, name, shape in zip(targets, self.outputs_.names, self.outputs_.shapes):
                if not isinstance(target, np.ndarray) or target.shape != shape or not target.flags.writeable:
                    found = f"shape {target.shape}" if isinstance(target, np.ndarray) else type(target).__name__
                    raise ValueError(f"out for {name!r}: expected a writable array of shape {shape}, found {found}")
        status = rtrnn_stream_step(self.handle)
        if status > RTRNN_HELD:
            self._raise(status)
        if targets is None:
            return _arranged([array.copy() for array in self.output_arrays], self.outputs_, as_dict)
        for target, value in zip(targets, self.output_arrays):
            target[...] = value
        return out

    cdef object _raise(self, rtrnn_status status, object at=None):
        where = "" if at is None else f" at timestep {at}"
        if status == RTRNN_BUSY:
            raise BusyError("another thread is using this Stream; nothing was done")
        if status == RTRNN_NONFINITE_INPUT:
            bad = [
                f"{name!r} (element {int(np.flatnonzero(~np.isfinite(array))[0])})"
                for name, array in zip(self.inputs_.names, self.input_arrays)
                if not np.isfinite(array).all()
            ]
            raise NonFiniteError(f"input {', '.join(bad)} is NaN or infinite{where}; the state is unchanged")
        raise NonFiniteError(f"an output or a state would become NaN or infinite{where}; the state is unchanged")

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

    def fork(self):
        """A new Stream of the same Plan that continues from this one's state. Allocates."""
        cdef Stream twin = Stream.__new__(Stream)
        cdef rtrnn_stream* handle
        cdef rtrnn_status status = rtrnn_stream_fork(self.handle, &handle)
        if status == RTRNN_BUSY:
            self._raise(status)
        if status != RTRNN_OK:
            raise MemoryError(rtrnn_last_error().decode())
        twin._adopt(handle, self.plan, self.policy)
        return twin

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
        """Steps that were refused or held because of a NaN or an infinity."""
        return rtrnn_stream_nonfinite_count(self.handle)

    @property
    def nbytes(self):
        """Memory of this Stream besides the shared Plan, in bytes."""
        return self.plan.stream_bytes

    def __repr__(self):
        ins = ", ".join(f"{n}{s}" for n, s in zip(self.inputs_.names, self.inputs_.shapes))
        outs = ", ".join(f"{n}{s}" for n, s in zip(self.outputs_.names, self.outputs_.shapes))
        return f"<rtrnn.Stream {ins} -> {outs}, {rtrnn_stream_state_size(self.handle)} state values, {self.isa}>"


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
