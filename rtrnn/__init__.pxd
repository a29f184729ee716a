# cimport rtrnn: step a Stream without the GIL and without Python. Compile with `python -m rtrnn --includes`; there is nothing to link.
#
#     cdef rtrnn.Stream stream = model.stream()
#     with nogil:
#         while running:
#             status = rtrnn.stream_step_copy(stream, x, x_size, y, y_size)   # RTRNN_OK, or what was wrong
#             rtrnn.stream_prepare(stream)                                    # in the idle time
from rtrnn._stream cimport (
    RTRNN_BUSY,
    RTRNN_HELD,
    RTRNN_INVALID_ARGUMENT,
    RTRNN_INVALID_HANDLE,
    RTRNN_NONFINITE_INPUT,
    RTRNN_NONFINITE_RESULT,
    RTRNN_OK,
    RTRNN_STATE_MISMATCH,
    Stream,
    rtrnn_status,
    stream_get_state,
    stream_input,
    stream_input_size,
    stream_output,
    stream_output_size,
    stream_prepare,
    stream_reset,
    stream_restore,
    stream_save,
    stream_saved_bytes,
    stream_set_state,
    stream_state_size,
    stream_step,
    stream_step_copy,
)
