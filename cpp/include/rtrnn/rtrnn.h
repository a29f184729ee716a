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
    RTRNN_NONFINITE_RESULT = 3, /* an output or state would become NaN or infinite; outputs and state are as before */
    RTRNN_INVALID_ARGUMENT = 4, /* a null handle, a size that is not the network's, a call out of turn; nothing was done */
    RTRNN_SYSTEM_ERROR = 5      /* the operating system refused what is needed */
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

/* A plan from a .rtrnn file. `weights` is the precision that its matrices are packed in: "f32", "f16", "bf16", "i16" or "i8"; NULL or
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

/* Loop: a thread that steps a stream once per period, from the latest observation to an action.
 *
 * Periods lie on a fixed grid. In each the thread wakes up lead_ns before the observation is due, warms the caches, takes the latest
 * observation when it is due, steps, writes the action, and prepares the next step in the idle time. Observations and actions are vectors
 * of all inputs, or all outputs, one behind the other in declared order. */
typedef struct rtrnn_loop rtrnn_loop;

typedef struct rtrnn_loop_options {
    size_t struct_size;         /* sizeof(rtrnn_loop_options); set by rtrnn_loop_options_init */
    int64_t period_ns;          /* 1000000 */
    int64_t deadline_ns;        /* an action is late this long after its observation was due, at most a period; 0: a period (0) */
    int64_t lead_ns;            /* how long before that to wake up and warm the caches; less than a period (0) */
    int64_t stale_ns;           /* an observation older than this is no longer acted on; 0: observations do not age (0) */
    const float* watchdog;      /* the action in place of a step that cannot be taken, copied; NULL: the last action again (NULL) */
    size_t watchdog_size;       /* its number of values */
    int32_t priority;           /* SCHED_FIFO from 1 to 99; 0: as the system schedules other threads (0) */
    int32_t cpu;                /* the one CPU to run on; -1: any (-1) */
    int32_t lock_memory;        /* not 0: mlockall, for the process and until it ends (0) */
} rtrnn_loop_options;

typedef struct rtrnn_loop_action_info {
    uint64_t sequence;          /* actions written so far, this one included; 0: there is none yet */
    int64_t age_ns;             /* since it was written */
    rtrnn_status status;        /* of the step: RTRNN_OK, or what stood in its way */
    int32_t watchdog;           /* 1: no step's result, since the observation was stale or the step refused */
} rtrnn_loop_action_info;

typedef struct rtrnn_loop_counters {
    uint64_t periods;           /* in which the loop ran */
    uint64_t late;              /* periods whose action came after the deadline, */
    uint64_t late_in_step;      /* and of these, those whose step alone took longer */
    uint64_t skipped;           /* periods left out because their deadline was over before they could begin */
    uint64_t stale;             /* periods without an observation young enough: not stepped */
    uint64_t repeated;          /* periods stepped on an observation that had been stepped on before */
    uint64_t nonfinite;         /* periods whose step was refused or held because of a NaN or an infinity */
} rtrnn_loop_counters;

typedef enum rtrnn_loop_time {
    RTRNN_LOOP_STEP = 0,        /* inside the step */
    RTRNN_LOOP_RESPONSE = 1,    /* from when the observation was due until the action was written */
    RTRNN_LOOP_WAKE_UP = 2,     /* from when the thread should have woken up until it did */
    RTRNN_LOOP_PREPARE = 3      /* inside prepare */
} rtrnn_loop_time;

typedef struct rtrnn_loop_times {
    uint64_t count;
    int64_t min_ns, max_ns;     /* exact; 0 when nothing was measured */
    double mean_ns;
    int64_t p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns;   /* at most 1/64 above the exact percentile */
} rtrnn_loop_times;

RTRNN_API void rtrnn_loop_options_init(rtrnn_loop_options* options) RTRNN_NOEXCEPT;
/* A loop that continues from the stream's state, on a stream of its own with the same on_nonfinite; `options` NULL: as
 * rtrnn_loop_options_init sets them. NULL on failure. A refused step writes the watchdog's action, a held one the last action again. */
RTRNN_API rtrnn_loop* rtrnn_loop_create(const rtrnn_stream* stream, const rtrnn_loop_options* options) RTRNN_NOEXCEPT;
/* Stops it first. */
RTRNN_API void rtrnn_loop_free(rtrnn_loop* loop) RTRNN_NOEXCEPT;
/* Returns once the thread is set up. What the system refused of priority, cpu and lock_memory is in rtrnn_loop_notes, and the loop runs
 * without. RTRNN_INVALID_ARGUMENT when it runs already. Counters and times go on from an earlier run. */
RTRNN_API rtrnn_status rtrnn_loop_start(rtrnn_loop* loop) RTRNN_NOEXCEPT;
/* Returns once the thread has ended: after what is left of the period, or a tenth of a second in longer ones. Any thread. */
RTRNN_API rtrnn_status rtrnn_loop_stop(rtrnn_loop* loop) RTRNN_NOEXCEPT;
RTRNN_API int rtrnn_loop_running(const rtrnn_loop* loop) RTRNN_NOEXCEPT;
/* What the system refused at the last start, one note per line; valid until the next start. */
RTRNN_API const char* rtrnn_loop_notes(const rtrnn_loop* loop) RTRNN_NOEXCEPT;
RTRNN_API size_t rtrnn_loop_input_size(const rtrnn_loop* loop) RTRNN_NOEXCEPT;
RTRNN_API size_t rtrnn_loop_output_size(const rtrnn_loop* loop) RTRNN_NOEXCEPT;

/* [real-time] Hands over an observation of `size` values. While the loop runs or not; one thread at a time. */
RTRNN_API rtrnn_status rtrnn_loop_observe(rtrnn_loop* loop, const float* values, size_t size) RTRNN_NOEXCEPT;
/* [real-time] The latest action, into `values` (`size` of them; left alone while there is none); `info` may be NULL. Any thread. */
RTRNN_API rtrnn_status rtrnn_loop_action(const rtrnn_loop* loop, float* values, size_t size, rtrnn_loop_action_info* info) RTRNN_NOEXCEPT;
/* [real-time] The network starts from its initial state in the next period. Any thread. */
RTRNN_API rtrnn_status rtrnn_loop_reset(rtrnn_loop* loop) RTRNN_NOEXCEPT;
/* [real-time] Any thread, while the loop runs or not. */
RTRNN_API rtrnn_status rtrnn_loop_get_counters(const rtrnn_loop* loop, rtrnn_loop_counters* counters) RTRNN_NOEXCEPT;
/* Durations measured so far: a summary, and, where `counts` is not NULL, the rtrnn_histogram_buckets() counts of the histogram. Any
 * thread, while the loop runs or not. */
RTRNN_API rtrnn_status rtrnn_loop_get_times(const rtrnn_loop* loop, rtrnn_loop_time which, rtrnn_loop_times* times, uint64_t* counts) RTRNN_NOEXCEPT;
/* [real-time] The number of buckets; the longest duration, in ns, that is counted in one. */
RTRNN_API size_t rtrnn_histogram_buckets(void) RTRNN_NOEXCEPT;
RTRNN_API int64_t rtrnn_histogram_upper_ns(size_t bucket) RTRNN_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
