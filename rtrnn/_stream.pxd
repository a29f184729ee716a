# The C interface of the core (rtrnn/rtrnn.h) and the Stream extension type, for `cimport`.
from libc.stdint cimport uint64_t


cdef extern from "rtrnn/rtrnn.h" nogil:
    ctypedef struct rtrnn_plan
    ctypedef struct rtrnn_stream
    ctypedef struct rtrnn_batch
    ctypedef enum rtrnn_status:
        RTRNN_OK
        RTRNN_HELD
        RTRNN_NONFINITE_INPUT
        RTRNN_NONFINITE_RESULT
        RTRNN_BUSY
        RTRNN_INVALID_ARGUMENT
        RTRNN_INVALID_HANDLE
        RTRNN_STATE_MISMATCH
        RTRNN_INVALID_FILE
        RTRNN_UNSUPPORTED
        RTRNN_IO
        RTRNN_OUT_OF_MEMORY
        RTRNN_SYSTEM
        RTRNN_INTERNAL
        RTRNN_STATE_DAMAGED
    ctypedef enum rtrnn_on_nonfinite:
        RTRNN_ON_NONFINITE_ERROR
        RTRNN_ON_NONFINITE_HOLD
        RTRNN_ON_NONFINITE_PROPAGATE
    ctypedef struct rtrnn_const_span:
        const float* data
        size_t size
    ctypedef struct rtrnn_span:
        float* data
        size_t size

    const char* rtrnn_status_text(rtrnn_status) noexcept
    const char* rtrnn_last_error() noexcept
    rtrnn_status rtrnn_stream_create(const rtrnn_plan*, rtrnn_on_nonfinite, rtrnn_stream**) noexcept
    rtrnn_status rtrnn_stream_fork(const rtrnn_stream*, rtrnn_stream**) noexcept
    rtrnn_status rtrnn_stream_free(rtrnn_stream*) noexcept
    size_t rtrnn_stream_input_count(const rtrnn_stream*) noexcept
    size_t rtrnn_stream_input_size(const rtrnn_stream*, size_t) noexcept
    float* rtrnn_stream_input(rtrnn_stream*, size_t) noexcept
    size_t rtrnn_stream_output_count(const rtrnn_stream*) noexcept
    size_t rtrnn_stream_output_size(const rtrnn_stream*, size_t) noexcept
    const float* rtrnn_stream_output(const rtrnn_stream*, size_t) noexcept
    rtrnn_status rtrnn_stream_step(rtrnn_stream*) noexcept
    rtrnn_status rtrnn_stream_step_copy(rtrnn_stream*, const float*, size_t, float*, size_t) noexcept
    rtrnn_status rtrnn_stream_prepare(rtrnn_stream*) noexcept
    rtrnn_status rtrnn_stream_reset(rtrnn_stream*) noexcept
    rtrnn_status rtrnn_stream_reserve(rtrnn_stream*) noexcept
    rtrnn_status rtrnn_stream_process(
        rtrnn_stream*, const rtrnn_const_span*, size_t, const rtrnn_span*, size_t, size_t, size_t*
    ) noexcept
    size_t rtrnn_stream_state_size(const rtrnn_stream*) noexcept
    const float* rtrnn_stream_state(const rtrnn_stream*) noexcept
    rtrnn_status rtrnn_stream_get_state(const rtrnn_stream*, float*, size_t) noexcept
    rtrnn_status rtrnn_stream_set_state(rtrnn_stream*, const float*, size_t) noexcept
    size_t rtrnn_stream_saved_bytes(const rtrnn_stream*) noexcept
    rtrnn_status rtrnn_stream_save(const rtrnn_stream*, void*, size_t) noexcept
    rtrnn_status rtrnn_stream_restore(rtrnn_stream*, const void*, size_t) noexcept
    rtrnn_status rtrnn_stream_restore_any_weights(rtrnn_stream*, const void*, size_t) noexcept
    rtrnn_status rtrnn_stream_swap(rtrnn_stream*, rtrnn_stream*) noexcept
    rtrnn_status rtrnn_stream_set_hold_steps(rtrnn_stream*, uint64_t) noexcept
    uint64_t rtrnn_stream_held_in_a_row(const rtrnn_stream*) noexcept
    uint64_t rtrnn_stream_limited_count(const rtrnn_stream*) noexcept
    uint64_t rtrnn_stream_steps(const rtrnn_stream*) noexcept
    uint64_t rtrnn_stream_nonfinite_count(const rtrnn_stream*) noexcept
    rtrnn_status rtrnn_batch_create(const rtrnn_plan*, size_t, rtrnn_on_nonfinite, rtrnn_batch**) noexcept
    rtrnn_status rtrnn_batch_free(rtrnn_batch*) noexcept
    rtrnn_status rtrnn_batch_fork(const rtrnn_batch*, rtrnn_batch**) noexcept
    rtrnn_status rtrnn_batch_set_hold_steps(rtrnn_batch*, uint64_t) noexcept
    uint64_t rtrnn_batch_limited_count(const rtrnn_batch*, size_t) noexcept
    uint64_t rtrnn_batch_nonfinite_count(const rtrnn_batch*, size_t) noexcept
    rtrnn_status rtrnn_batch_step(rtrnn_batch*, const rtrnn_const_span*, size_t, const rtrnn_span*, size_t, size_t*) noexcept
    rtrnn_status rtrnn_batch_prepare(rtrnn_batch*) noexcept
    rtrnn_status rtrnn_batch_reset(rtrnn_batch*, size_t) noexcept
    rtrnn_status rtrnn_batch_get_state(const rtrnn_batch*, size_t, float*, size_t) noexcept
    rtrnn_status rtrnn_batch_set_state(rtrnn_batch*, size_t, const float*, size_t) noexcept
    size_t rtrnn_batch_saved_bytes(const rtrnn_batch*) noexcept
    rtrnn_status rtrnn_batch_save(const rtrnn_batch*, size_t, void*, size_t) noexcept
    rtrnn_status rtrnn_batch_restore(rtrnn_batch*, size_t, const void*, size_t) noexcept


cdef class _Ports:
    """Names, shapes and sizes of inputs, outputs or states."""
    cdef readonly tuple names
    cdef readonly tuple shapes
    cdef readonly tuple sizes


cdef class _Keep:
    """Keeps the core's stream alive while an array looks into it."""
    cdef rtrnn_stream* handle


cdef class Stream:
    cdef rtrnn_stream* handle
    cdef rtrnn_on_nonfinite policy
    cdef uint64_t hold
    cdef _Keep keep
    cdef object plan
    cdef _Ports inputs_, outputs_, states_
    cdef tuple input_arrays, output_arrays
    cdef bint simple, flat
    cdef object older, newer   # arrays that step(x) returned
    cdef Py_ssize_t input_size, output_size
    cdef float* x
    cdef void _adopt(self, rtrnn_stream* handle, object plan, rtrnn_on_nonfinite policy, uint64_t hold) except *
    cdef void _look(self) noexcept
    cdef object _unshared_output(self)
    cdef object _step_any(self, object x, object out)
    cdef object _raise(self, rtrnn_status status, object at=*)
    cdef object _single_or_dict(self, tuple arrays, _Ports ports)


# [real-time] The calls of rtrnn/rtrnn.h on a Stream's handle, reached through the module: their callers link nothing.
cdef rtrnn_status stream_step(Stream stream) noexcept nogil
cdef rtrnn_status stream_step_copy(Stream stream, const float* x, size_t x_size, float* y, size_t y_size) noexcept nogil
cdef rtrnn_status stream_prepare(Stream stream) noexcept nogil
cdef rtrnn_status stream_reset(Stream stream) noexcept nogil
cdef size_t stream_input_size(Stream stream, size_t i) noexcept nogil
cdef float* stream_input(Stream stream, size_t i) noexcept nogil
cdef size_t stream_output_size(Stream stream, size_t i) noexcept nogil
cdef const float* stream_output(Stream stream, size_t i) noexcept nogil
cdef size_t stream_state_size(Stream stream) noexcept nogil
cdef rtrnn_status stream_get_state(Stream stream, float* state, size_t size) noexcept nogil
cdef rtrnn_status stream_set_state(Stream stream, const float* state, size_t size) noexcept nogil
cdef size_t stream_saved_bytes(Stream stream) noexcept nogil
cdef rtrnn_status stream_save(Stream stream, void* data, size_t bytes) noexcept nogil
cdef rtrnn_status stream_restore(Stream stream, const void* data, size_t bytes) noexcept nogil

# What Stream and Batch share: nothing for others to call.
cdef rtrnn_on_nonfinite _policy(object on_nonfinite) except *
cdef uint64_t _hold_steps(object steps, rtrnn_on_nonfinite policy) except? 0
cdef _Ports _ports(list ports)
cdef bint _is_plain(object x, Py_ssize_t size) noexcept
cdef object _as_float32(object x, str what, tuple shape, Py_ssize_t size)
cdef list _ordered(object x, _Ports ports, str what)
cdef object _arranged(list values, _Ports ports, bint as_dict)
cdef list _block(object xs, _Ports ports)
