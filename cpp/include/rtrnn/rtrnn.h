/* rtrnn: run a trained recurrent network one timestep at a time. C interface of the core library.
 *
 * Handles are opaque. Functions marked [real-time] allocate nothing, take no lock, make no system call and may be called from a
 * real-time thread; the others may do all of it. A stream belongs to one thread at a time; a plan may be shared by any number
 * of threads. Functions that can fail return a status, or NULL and a message for the calling thread (rtrnn_last_error).
 */
#ifndef RTRNN_RTRNN_H
#define RTRNN_RTRNN_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(RTRNN_BUILDING)
#define RTRNN_API __declspec(dllexport)
#elif defined(_WIN32)
#define RTRNN_API __declspec(dllimport)
#else
#define RTRNN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
#define RTRNN_NOEXCEPT noexcept
extern "C" {
#else
#define RTRNN_NOEXCEPT
#endif

typedef struct rtrnn_plan rtrnn_plan;
typedef struct rtrnn_stream rtrnn_stream;
typedef struct rtrnn_batch rtrnn_batch;

typedef enum rtrnn_status {
    RTRNN_OK = 0,
    RTRNN_HELD = 1,             /* a NaN or infinity was met; outputs and state are those of the last good step */
    RTRNN_NONFINITE_INPUT = 2,  /* an input is NaN or infinite; outputs and state are as before */
    RTRNN_NONFINITE_RESULT = 3  /* an output or state would become NaN or infinite; outputs and state are as before */
} rtrnn_status;

typedef enum rtrnn_on_nonfinite {
    RTRNN_ON_NONFINITE_ERROR = 0,
    RTRNN_ON_NONFINITE_HOLD = 1,
    RTRNN_ON_NONFINITE_PROPAGATE = 2
} rtrnn_on_nonfinite;

/* "MAJOR.MINOR.PATCH" [real-time] */
RTRNN_API const char* rtrnn_version(void) RTRNN_NOEXCEPT;
/* Why the last call that failed on this thread failed. */
RTRNN_API const char* rtrnn_last_error(void) RTRNN_NOEXCEPT;

/* A plan from a .rtrnn file. `weights` is the precision that its matrices are packed in: "f32", "f16", "bf16", "i16", "i8" or "i8a14"; NULL or
 * "" is "f32". `isa` NULL or "" chooses the best (or RTRNN_ISA). NULL on failure. */
RTRNN_API rtrnn_plan* rtrnn_plan_load(const char* path, const char* weights, const char* isa) RTRNN_NOEXCEPT;
RTRNN_API void rtrnn_plan_free(rtrnn_plan* plan) RTRNN_NOEXCEPT;

/* A stream in its initial state. It keeps what it needs of the plan alive. NULL on failure. */
RTRNN_API rtrnn_stream* rtrnn_stream_create(const rtrnn_plan* plan, rtrnn_on_nonfinite on_nonfinite) RTRNN_NOEXCEPT;
RTRNN_API rtrnn_stream* rtrnn_stream_fork(const rtrnn_stream* stream) RTRNN_NOEXCEPT;
RTRNN_API void rtrnn_stream_free(rtrnn_stream* stream) RTRNN_NOEXCEPT;

/* [real-time] Number, size in floats and memory of inputs and outputs; the memory stays where it is. */
RTRNN_API size_t rtrnn_stream_input_count(const rtrnn_stream* stream) RTRNN_NOEXCEPT;
RTRNN_API size_t rtrnn_stream_input_size(const rtrnn_stream* stream, size_t i) RTRNN_NOEXCEPT;
RTRNN_API float* rtrnn_stream_input(rtrnn_stream* stream, size_t i) RTRNN_NOEXCEPT;
RTRNN_API size_t rtrnn_stream_output_count(const rtrnn_stream* stream) RTRNN_NOEXCEPT;
RTRNN_API size_t rtrnn_stream_output_size(const rtrnn_stream* stream, size_t i) RTRNN_NOEXCEPT;
RTRNN_API const float* rtrnn_stream_output(const rtrnn_stream* stream, size_t i) RTRNN_NOEXCEPT;

/* [real-time] One timestep on the input memory, into the output memory. */
RTRNN_API rtrnn_status rtrnn_stream_step(rtrnn_stream* stream) RTRNN_NOEXCEPT;
/* [real-time] The same for one input and one output: copies `x` in and, where `y` is not NULL, the output out. */
RTRNN_API rtrnn_status rtrnn_stream_step_copy(rtrnn_stream* stream, const float* x, float* y) RTRNN_NOEXCEPT;
/* [real-time] Computes ahead what depends on the state alone. */
RTRNN_API void rtrnn_stream_prepare(rtrnn_stream* stream) RTRNN_NOEXCEPT;
/* [real-time] Back to the initial state. */
RTRNN_API void rtrnn_stream_reset(rtrnn_stream* stream) RTRNN_NOEXCEPT;
/* [real-time] `count` timesteps; inputs[i] is (count, input size), outputs[i] is (count, output size). On failure the stream is as
 * before and *failed_at (if not NULL) is the timestep. */
RTRNN_API rtrnn_status rtrnn_stream_process(rtrnn_stream* stream, const float* const* inputs, float* const* outputs, size_t count,
                                            size_t* failed_at) RTRNN_NOEXCEPT;
/* [real-time] All states as one vector. set_state refuses values that are not finite (RTRNN_NONFINITE_INPUT) unless the stream
 * propagates them. */
RTRNN_API size_t rtrnn_stream_state_size(const rtrnn_stream* stream) RTRNN_NOEXCEPT;
RTRNN_API const float* rtrnn_stream_state(const rtrnn_stream* stream) RTRNN_NOEXCEPT;
RTRNN_API rtrnn_status rtrnn_stream_set_state(rtrnn_stream* stream, const float* state) RTRNN_NOEXCEPT;
/* [real-time] Timesteps taken; timesteps refused or held because of a NaN or infinity. */
RTRNN_API uint64_t rtrnn_stream_steps(const rtrnn_stream* stream) RTRNN_NOEXCEPT;
RTRNN_API uint64_t rtrnn_stream_nonfinite_count(const rtrnn_stream* stream) RTRNN_NOEXCEPT;

/* `count` independent streams stepped in lockstep, each with the bits it would have alone. NULL on failure. */
RTRNN_API rtrnn_batch* rtrnn_batch_create(const rtrnn_plan* plan, size_t count, rtrnn_on_nonfinite on_nonfinite) RTRNN_NOEXCEPT;
RTRNN_API void rtrnn_batch_free(rtrnn_batch* batch) RTRNN_NOEXCEPT;
/* [real-time] inputs[i] is (count, input size), outputs[i] is (count, output size). On failure every stream is as before and
 * *failed_at (if not NULL) is the first stream that failed. */
RTRNN_API rtrnn_status rtrnn_batch_step(rtrnn_batch* batch, const float* const* inputs, float* const* outputs, size_t* failed_at) RTRNN_NOEXCEPT;
/* [real-time] */
RTRNN_API void rtrnn_batch_prepare(rtrnn_batch* batch) RTRNN_NOEXCEPT;
/* [real-time] Stream i of the batch, owned by it. */
RTRNN_API rtrnn_stream* rtrnn_batch_stream(rtrnn_batch* batch, size_t i) RTRNN_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
