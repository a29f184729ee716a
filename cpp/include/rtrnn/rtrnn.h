/* rtrnn: run a trained recurrent network one timestep at a time. C interface of the core library.
 *
 * Handles are opaque, and there is no global state. A stream, a batch or a loop belongs to one thread at a time, but for what is marked
 * [any thread]; a call on a stream or a batch that another thread is in answers RTRNN_BUSY and does nothing. A plan may be shared by any
 * number of threads.
 *
 * [real-time] functions allocate nothing, take no lock, make no system call and may be called from a real-time thread; the others may
 * do all of it.
 *
 * Functions that can fail return a status. Those that make or free something also leave a message for the calling thread
 * (rtrnn_last_error); [real-time] functions never do, their status says it all. Functions that answer with a number or an address give 0
 * or NULL when a handle is not valid or an index too large. Sizes are counts of floats, unless they say bytes, and a size that is not
 * the network's is refused. A handle that was freed is found out by its mark, for certain in a debug build (RTRNN_CHECK_HANDLES).
 */
#ifndef RTRNN_RTRNN_H
#define RTRNN_RTRNN_H

#include <stddef.h>
#include <stdint.h>

#include "rtrnn/realtime.h"

#if defined(RTRNN_STATIC)
#define RTRNN_API
#elif defined(_WIN32) && defined(RTRNN_BUILDING)
#define RTRNN_API __declspec(dllexport)
#elif defined(_WIN32)
#define RTRNN_API __declspec(dllimport)
#else
#define RTRNN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
#define RTRNN_NOEXCEPT noexcept
#define RTRNN_INT : int32_t   /* so that any number a caller passes is a value of the type */
extern "C" {
#else
#define RTRNN_NOEXCEPT
#define RTRNN_INT
#endif

/* Changes whenever a program built against an older header would no longer run; rtrnn_abi_version() is the library's. */
#define RTRNN_ABI_VERSION 1

typedef struct rtrnn_plan rtrnn_plan;
typedef struct rtrnn_stream rtrnn_stream;
typedef struct rtrnn_batch rtrnn_batch;
typedef struct rtrnn_loop rtrnn_loop;

/* Those up to RTRNN_HELD mean that the step was taken. */
typedef enum rtrnn_status RTRNN_INT {
    RTRNN_OK = 0,
    RTRNN_HELD = 1,             /* a NaN or infinity was met; outputs and state are those of the last good step */
    RTRNN_NONFINITE_INPUT = 2,  /* an input is NaN or infinite; outputs and state are as before */
    RTRNN_NONFINITE_RESULT = 3, /* an output or state would become NaN or infinite; outputs and state are as before */
    RTRNN_BUSY = 4,             /* another thread is using the handle; nothing was done */
    RTRNN_INVALID_ARGUMENT = 5, /* a NULL, a wrong size or an unknown value; nothing was done */
    RTRNN_INVALID_HANDLE = 6,   /* the handle is NULL, freed or of another kind; nothing was done */
    RTRNN_STATE_MISMATCH = 7,   /* the saved state, or the other stream, belongs to another network; nothing was done */
    RTRNN_INVALID_FILE = 8,     /* not a .rtrnn file, or a damaged one */
    RTRNN_UNSUPPORTED = 9,      /* a precision, an instruction set or a network that cannot be streamed here */
    RTRNN_IO = 10,              /* the system could not read the file */
    RTRNN_OUT_OF_MEMORY = 11,
    RTRNN_SYSTEM = 12,          /* the system refused what is needed, such as a thread */
    RTRNN_INTERNAL = 13,        /* a mistake of this library */
    RTRNN_STATE_DAMAGED = 14    /* no saved state, or not all of it, or bytes of it changed; nothing was done */
} rtrnn_status;

typedef enum rtrnn_on_nonfinite RTRNN_INT {
    RTRNN_ON_NONFINITE_ERROR = 0,
    RTRNN_ON_NONFINITE_HOLD = 1,
    RTRNN_ON_NONFINITE_PROPAGATE = 2
} rtrnn_on_nonfinite;

/* The named vectors of a plan. */
typedef enum rtrnn_port RTRNN_INT { RTRNN_INPUT = 0, RTRNN_OUTPUT = 1, RTRNN_STATE = 2 } rtrnn_port;

/* `size` floats that are read, or written. */
typedef struct rtrnn_const_span {
    const float* data;
    size_t size;
} rtrnn_const_span;

typedef struct rtrnn_span {
    float* data;
    size_t size;
} rtrnn_span;

/* The precision of one matrix, NODE.ROLE with the roles weight_ih, weight_hh, weight_hr, weight. */
typedef struct rtrnn_override {
    const char* matrix;
    const char* weights;
} rtrnn_override;

/* What a plan is asked for. Start from RTRNN_OPTIONS_INIT; NULL and zero are the defaults. `struct_size` tells the library which version
 * of this struct the caller was built with: it grows at its end only. */
typedef struct rtrnn_options {
    size_t struct_size;
    const char* weights;               /* precision of all matrices: "f32" (default), "f16", "bf16", "i16", "i8" or "i8a14" */
    const char* isa;                   /* instruction set; default: RTRNN_ISA of the environment, else the best this CPU has */
    const rtrnn_override* overrides;   /* matrices with a precision of their own */
    size_t override_count;
    uint32_t threads;                  /* that work on one step of a large network, the calling one included, up to 64; default: it alone */
    uint32_t reserved;                 /* 0 */
    const char* limits;                /* of the outputs, JSON like the metadata "rtrnn.limits" of a file; NULL: the file's; "": none */
    const int32_t* cpus;               /* processors that the other threads of each stream are pinned to, threads - 1 (Linux); NULL: none */
    double spin_ms;                    /* how long those look for the next step, each holding its core, before they nap; default: 5 */
    const double* delta;               /* threshold of delta updates, which change the result, from 0 on; NULL: none */
} rtrnn_options;

#define RTRNN_OPTIONS_INIT {sizeof(rtrnn_options), NULL, NULL, NULL, 0, 0, 0, NULL, NULL, 0, NULL}

/* ---- The library ------------------------------------------------------------------------------------------------------------- */

/* "MAJOR.MINOR.PATCH" [real-time] */
RTRNN_API const char* rtrnn_version(void) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* RTRNN_ABI_VERSION of the library [real-time] */
RTRNN_API uint32_t rtrnn_abi_version(void) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* What a status means, in a few words [real-time] */
RTRNN_API const char* rtrnn_status_text(rtrnn_status status) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* Why the last call that makes or frees something and failed on this thread failed; "" before the first. Valid until the next such. */
RTRNN_API const char* rtrnn_last_error(void) RTRNN_NOEXCEPT;
/* The instruction sets that this build and this CPU both have, best first; NULL from the last on. */
RTRNN_API const char* rtrnn_isa_available(size_t i) RTRNN_NOEXCEPT;

/* ---- Plan: a network made runnable on this CPU --------------------------------------------------------------------------------- */

/* From a .rtrnn file, or the bytes of one (copied). `options` may be NULL. *plan is NULL on failure. */
RTRNN_API rtrnn_status rtrnn_plan_load(const char* path, const rtrnn_options* options, rtrnn_plan** plan) RTRNN_NOEXCEPT;
RTRNN_API rtrnn_status rtrnn_plan_load_memory(const void* data, size_t bytes, const rtrnn_options* options, rtrnn_plan** plan) RTRNN_NOEXCEPT;
/* Streams and batches keep what they need. NULL is fine. */
RTRNN_API rtrnn_status rtrnn_plan_free(rtrnn_plan* plan) RTRNN_NOEXCEPT;

/* [real-time] Inputs, outputs and states: how many, and of each the name, the number of floats and the shape of one timestep. Names and
 * shapes live as long as the plan. States lie in this order in a state vector. */
RTRNN_API size_t rtrnn_plan_port_count(const rtrnn_plan* plan, rtrnn_port port) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API const char* rtrnn_plan_port_name(const rtrnn_plan* plan, rtrnn_port port, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API size_t rtrnn_plan_port_size(const rtrnn_plan* plan, rtrnn_port port, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API size_t rtrnn_plan_port_rank(const rtrnn_plan* plan, rtrnn_port port, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API const int64_t* rtrnn_plan_port_shape(const rtrnn_plan* plan, rtrnn_port port, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* [real-time] Free-form text of the file (joint names, scales, rates), sorted by key. An unknown key gives NULL. */
RTRNN_API size_t rtrnn_plan_metadata_count(const rtrnn_plan* plan) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API const char* rtrnn_plan_metadata_key(const rtrnn_plan* plan, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API const char* rtrnn_plan_metadata_text(const rtrnn_plan* plan, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API const char* rtrnn_plan_metadata(const rtrnn_plan* plan, const char* key) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* [real-time] A hash over everything but the metadata, limits of outputs included; one that leaves out the weights, and so is the same for a
 * network that was trained further; the instruction set in use; the memory of packed weights and constants. */
RTRNN_API uint64_t rtrnn_plan_fingerprint(const rtrnn_plan* plan) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API uint64_t rtrnn_plan_structure(const rtrnn_plan* plan) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API const char* rtrnn_plan_isa(const rtrnn_plan* plan) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API size_t rtrnn_plan_constant_bytes(const rtrnn_plan* plan) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* ---- Stream: one sequence in progress ------------------------------------------------------------------------------------------ */

/* A stream in its initial state, or a copy of one as it is. *stream (*fork) is NULL on failure. */
RTRNN_API rtrnn_status rtrnn_stream_create(const rtrnn_plan* plan, rtrnn_on_nonfinite on_nonfinite, rtrnn_stream** stream) RTRNN_NOEXCEPT;
RTRNN_API rtrnn_status rtrnn_stream_fork(const rtrnn_stream* stream, rtrnn_stream** fork) RTRNN_NOEXCEPT;
RTRNN_API rtrnn_status rtrnn_stream_free(rtrnn_stream* stream) RTRNN_NOEXCEPT;

/* [real-time] Number, size and memory of inputs and outputs; the memory stays where it is. */
RTRNN_API size_t rtrnn_stream_input_count(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API size_t rtrnn_stream_input_size(const rtrnn_stream* stream, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API float* rtrnn_stream_input(rtrnn_stream* stream, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API size_t rtrnn_stream_output_count(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API size_t rtrnn_stream_output_size(const rtrnn_stream* stream, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API const float* rtrnn_stream_output(const rtrnn_stream* stream, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* [real-time] One timestep on the input memory, into the output memory. */
RTRNN_API rtrnn_status rtrnn_stream_step(rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] The same with memory of the caller's: `x` holds all inputs, `y` receives all outputs, each in declared order without gaps.
 * `y` may be NULL, with a size of 0. */
RTRNN_API rtrnn_status rtrnn_stream_step_copy(rtrnn_stream* stream, const float* x, size_t x_size, float* y, size_t y_size) RTRNN_NOEXCEPT
    RTRNN_NONBLOCKING;
/* [real-time] Computes ahead what depends on the state alone: for the time after one step's output and before the next input. */
RTRNN_API rtrnn_status rtrnn_stream_prepare(rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] Back to the initial state. */
RTRNN_API rtrnn_status rtrnn_stream_reset(rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* Sets memory aside for rtrnn_stream_process, which then takes many timesteps together where the network allows it, and is several times
 * faster; the bits stay. Without it, or where there is nothing to gain, that works step by step. */
RTRNN_API rtrnn_status rtrnn_stream_reserve(rtrnn_stream* stream) RTRNN_NOEXCEPT;
/* [real-time] `steps` timesteps; inputs[i] is (steps, input size), outputs[i] is (steps, output size). On failure the stream is as before
 * and *failed_at (if not NULL) is the timestep. */
RTRNN_API rtrnn_status rtrnn_stream_process(rtrnn_stream* stream, const rtrnn_const_span* inputs, size_t input_count, const rtrnn_span* outputs,
                                            size_t output_count, size_t steps, size_t* failed_at) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* [real-time] All states as one vector; the address is good until the next call that changes the stream. set_state refuses values that
 * are not finite (RTRNN_NONFINITE_INPUT) unless the stream propagates them. */
RTRNN_API size_t rtrnn_stream_state_size(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API const float* rtrnn_stream_state(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_stream_get_state(const rtrnn_stream* stream, float* state, size_t size) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_stream_set_state(rtrnn_stream* stream, const float* state, size_t size) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] Outputs, state and what else the next steps depend on, as bytes that know their network and are checked, for a file or another
 * process on a machine of the same byte order: a stream that restores them goes on with the same bits. restore refuses those of another
 * network, other weights included (RTRNN_STATE_MISMATCH), and damaged ones (RTRNN_STATE_DAMAGED); precision and instruction set may differ.
 * restore_any_weights takes those of a network that differs in its weights alone. */
RTRNN_API size_t rtrnn_stream_saved_bytes(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_stream_save(const rtrnn_stream* stream, void* data, size_t bytes) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_stream_restore(rtrnn_stream* stream, const void* data, size_t bytes) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_stream_restore_any_weights(rtrnn_stream* stream, const void* data, size_t bytes) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* [real-time] Goes on with the plan of `other`, a stream that was made beforehand from the same network in another precision, or from one
 * that differs in its weights alone (else RTRNN_STATE_MISMATCH). Inputs, outputs and state are carried over; on_nonfinite, hold_steps and
 * counters stay. `other` gets the former plan and memory, to be freed where that may take time, or to swap back. Addresses of inputs,
 * outputs and state are others afterwards. */
RTRNN_API rtrnn_status rtrnn_stream_swap(rtrnn_stream* stream, rtrnn_stream* other) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* [real-time] With RTRNN_ON_NONFINITE_HOLD: after `steps` held timesteps in a row the next bad one is an error, until a good one comes.
 * 0, as a stream begins: any number may be held. */
RTRNN_API rtrnn_status rtrnn_stream_set_hold_steps(rtrnn_stream* stream, uint64_t steps) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* [real-time] [any thread] Timesteps taken; timesteps refused or held because of a NaN or infinity; timesteps held since the last good one;
 * timesteps of which an output was changed by its limits. */
RTRNN_API uint64_t rtrnn_stream_steps(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API uint64_t rtrnn_stream_nonfinite_count(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API uint64_t rtrnn_stream_held_in_a_row(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API uint64_t rtrnn_stream_limited_count(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] Memory besides the plan's. */
RTRNN_API size_t rtrnn_stream_memory_bytes(const rtrnn_stream* stream) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* ---- Batch: independent streams in lockstep, each with the bits it would have alone ------------------------------------------------ */

/* `count` (at least 1) streams in their initial state. *batch is NULL on failure. */
RTRNN_API rtrnn_status rtrnn_batch_create(const rtrnn_plan* plan, size_t count, rtrnn_on_nonfinite on_nonfinite, rtrnn_batch** batch) RTRNN_NOEXCEPT;
RTRNN_API rtrnn_status rtrnn_batch_free(rtrnn_batch* batch) RTRNN_NOEXCEPT;
/* A batch that continues from the states of this one's streams. *twin is NULL on failure. */
RTRNN_API rtrnn_status rtrnn_batch_fork(const rtrnn_batch* batch, rtrnn_batch** twin) RTRNN_NOEXCEPT;
/* [real-time] */
RTRNN_API size_t rtrnn_batch_count(const rtrnn_batch* batch) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] inputs[i] is (count, input size), outputs[i] is (count, output size). On failure every stream is as before and *failed_at
 * (if not NULL) is the first stream that failed, bad inputs before bad results. A stream that is held repeats its last output; the
 * others advance. */
RTRNN_API rtrnn_status rtrnn_batch_step(rtrnn_batch* batch, const rtrnn_const_span* inputs, size_t input_count, const rtrnn_span* outputs,
                                        size_t output_count, size_t* failed_at) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] */
RTRNN_API rtrnn_status rtrnn_batch_prepare(rtrnn_batch* batch) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] Stream i of the batch: back to its initial state; its state, read and written. */
RTRNN_API rtrnn_status rtrnn_batch_reset(rtrnn_batch* batch, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_batch_get_state(const rtrnn_batch* batch, size_t i, float* state, size_t size) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_batch_set_state(rtrnn_batch* batch, size_t i, const float* state, size_t size) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] rtrnn_stream_save and rtrnn_stream_restore of stream i: what the one saved, the other kind restores too. */
RTRNN_API size_t rtrnn_batch_saved_bytes(const rtrnn_batch* batch) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_batch_save(const rtrnn_batch* batch, size_t i, void* data, size_t bytes) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API rtrnn_status rtrnn_batch_restore(rtrnn_batch* batch, size_t i, const void* data, size_t bytes) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] rtrnn_stream_set_hold_steps of each stream. */
RTRNN_API rtrnn_status rtrnn_batch_set_hold_steps(rtrnn_batch* batch, uint64_t steps) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] [any thread] Steps of stream i that were refused or held because of a NaN or infinity; that an output limit acted in. */
RTRNN_API uint64_t rtrnn_batch_nonfinite_count(const rtrnn_batch* batch, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API uint64_t rtrnn_batch_limited_count(const rtrnn_batch* batch, size_t i) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* ---- Loop: a thread that steps a stream once per period, from the latest observation to an action ------------------------------------ */

/* Periods lie on a fixed grid. In each the thread wakes up lead_ns before the observation is due, warms the caches, takes the latest
 * observation when it is due, steps, writes the action, and prepares the next step in the idle time. Observations and actions are vectors
 * of all inputs, or all outputs, one behind the other in declared order. */
typedef struct rtrnn_loop_options {
    size_t struct_size;         /* as that of rtrnn_options; set by rtrnn_loop_options_init */
    int64_t period_ns;          /* 1000000 */
    int64_t deadline_ns;        /* an action is late this long after its observation was due, at most a period; 0: a period (0) */
    int64_t lead_ns;            /* how long before that to wake up and warm the caches; less than a period (0) */
    int64_t stale_ns;           /* an observation older than this is no longer acted on; 0: observations do not age (0) */
    const float* watchdog;      /* the action in place of a step that cannot be taken, copied; NULL: the last action again (NULL) */
    size_t watchdog_size;       /* its number of values */
    int32_t priority;           /* SCHED_FIFO from 1 to 99; 0: as the system schedules other threads (0) */
    int32_t cpu;                /* the one CPU to run on; -1: any (-1) */
    int32_t lock_memory;        /* not 0: mlockall, for the process and until it ends (0) */
    int32_t reserved;           /* 0 */
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

typedef enum rtrnn_loop_time RTRNN_INT {
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

/* The defaults, in parentheses above, into the struct of a caller who knows it as `struct_size` bytes. */
RTRNN_API rtrnn_status rtrnn_loop_options_init(rtrnn_loop_options* options, size_t struct_size) RTRNN_NOEXCEPT;
/* A loop that continues from the stream's state, on a stream of its own with the same on_nonfinite; `options` NULL: as
 * rtrnn_loop_options_init sets them. *loop is NULL on failure. A refused step writes the watchdog's action, a held one the last action
 * again. */
RTRNN_API rtrnn_status rtrnn_loop_create(const rtrnn_stream* stream, const rtrnn_loop_options* options, rtrnn_loop** loop) RTRNN_NOEXCEPT;
/* Stops it first. */
RTRNN_API rtrnn_status rtrnn_loop_free(rtrnn_loop* loop) RTRNN_NOEXCEPT;
/* Returns once the thread is set up. What the system refused of priority, cpu and lock_memory is in rtrnn_loop_notes, and the loop runs
 * without. RTRNN_INVALID_ARGUMENT when it runs already. Counters and times go on from an earlier run. */
RTRNN_API rtrnn_status rtrnn_loop_start(rtrnn_loop* loop) RTRNN_NOEXCEPT;
/* Returns once the thread has ended: after what is left of the period, or a tenth of a second in longer ones. Any thread. */
RTRNN_API rtrnn_status rtrnn_loop_stop(rtrnn_loop* loop) RTRNN_NOEXCEPT;
RTRNN_API int rtrnn_loop_running(const rtrnn_loop* loop) RTRNN_NOEXCEPT;
/* What the system refused at the last start, one note per line; valid until the next start. */
RTRNN_API const char* rtrnn_loop_notes(const rtrnn_loop* loop) RTRNN_NOEXCEPT;
/* [real-time] The sizes of an observation and of an action. */
RTRNN_API size_t rtrnn_loop_input_size(const rtrnn_loop* loop) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API size_t rtrnn_loop_output_size(const rtrnn_loop* loop) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

/* [real-time] (the clock is read, on Linux without a system call) Hands over an observation of `size` values. While the loop runs or not;
 * one thread at a time, RTRNN_BUSY to another. */
RTRNN_API rtrnn_status rtrnn_loop_observe(rtrnn_loop* loop, const float* values, size_t size) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] The latest action, into `values` (`size` of them; left alone while there is none); `info` may be NULL. Any thread. */
RTRNN_API rtrnn_status rtrnn_loop_action(const rtrnn_loop* loop, float* values, size_t size, rtrnn_loop_action_info* info) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] The network starts from its initial state in the next period. Any thread. */
RTRNN_API rtrnn_status rtrnn_loop_reset(rtrnn_loop* loop) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* [real-time] Any thread, while the loop runs or not. */
RTRNN_API rtrnn_status rtrnn_loop_get_counters(const rtrnn_loop* loop, rtrnn_loop_counters* counters) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
/* Durations measured so far: a summary, and, where `counts` is not NULL, the rtrnn_histogram_buckets() counts of the histogram. Any
 * thread, while the loop runs or not. */
RTRNN_API rtrnn_status rtrnn_loop_get_times(const rtrnn_loop* loop, rtrnn_loop_time which, rtrnn_loop_times* times, uint64_t* counts) RTRNN_NOEXCEPT;
/* [real-time] The number of buckets; the longest duration, in ns, that is counted in one. */
RTRNN_API size_t rtrnn_histogram_buckets(void) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;
RTRNN_API int64_t rtrnn_histogram_upper_ns(size_t bucket) RTRNN_NOEXCEPT RTRNN_NONBLOCKING;

#ifdef __cplusplus
}
#endif
#endif
