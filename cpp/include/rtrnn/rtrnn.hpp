// rtrnn: run a trained recurrent network one timestep at a time. C++ (14 and later) over the C interface, header-only.
//
// Plan, Stream, Batch and Loop own what they name, move and do not copy. Constructors throw rtrnn::Error; where exceptions are off or not
// wanted, `create` fills one in and gives a Status, and last_error() tells why. Everything else is noexcept and gives a Status or a
// value; what rtrnn.h marks [real-time] is so here. A default-constructed or moved-from object answers like a NULL handle.
//
// The names live in the inline namespace rtrnn::api, so that they are never taken for the library's own classes.
#ifndef RTRNN_RTRNN_HPP
#define RTRNN_RTRNN_HPP

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "rtrnn/rtrnn.h"

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define RTRNN_EXCEPTIONS 1
#else
#define RTRNN_EXCEPTIONS 0
#endif

namespace rtrnn {
inline namespace api {

enum class Status : std::int32_t {
    ok = RTRNN_OK,
    held = RTRNN_HELD,
    nonfinite_input = RTRNN_NONFINITE_INPUT,
    nonfinite_result = RTRNN_NONFINITE_RESULT,
    busy = RTRNN_BUSY,
    invalid_argument = RTRNN_INVALID_ARGUMENT,
    invalid_handle = RTRNN_INVALID_HANDLE,
    state_mismatch = RTRNN_STATE_MISMATCH,
    state_damaged = RTRNN_STATE_DAMAGED,
    invalid_file = RTRNN_INVALID_FILE,
    unsupported = RTRNN_UNSUPPORTED,
    io = RTRNN_IO,
    out_of_memory = RTRNN_OUT_OF_MEMORY,
    system = RTRNN_SYSTEM,
    internal = RTRNN_INTERNAL
};

enum class OnNonFinite : std::int32_t {
    error = RTRNN_ON_NONFINITE_ERROR,
    hold = RTRNN_ON_NONFINITE_HOLD,
    propagate = RTRNN_ON_NONFINITE_PROPAGATE
};

enum class Port : std::int32_t { input = RTRNN_INPUT, output = RTRNN_OUTPUT, state = RTRNN_STATE };

inline const char* version() noexcept { return rtrnn_version(); }
inline const char* last_error() noexcept { return rtrnn_last_error(); }
inline const char* to_string(Status status) noexcept { return rtrnn_status_text(static_cast<rtrnn_status>(status)); }
// The step was taken: ok or held.
inline bool stepped(Status status) noexcept { return status == Status::ok || status == Status::held; }

class Error : public std::runtime_error {
public:
    Error(Status status, const char* message) : std::runtime_error(message), status_(status) {}
    Status status() const noexcept { return status_; }

private:
    Status status_;
};

// `size` elements at `data`: what std::span is from C++20 on. Made from arrays and from containers that have data() and size().
template <class T>
class span {
public:
    constexpr span() noexcept = default;
    constexpr span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N>
    constexpr span(T (&array)[N]) noexcept : data_(array), size_(N) {}
    template <class C, class = typename std::enable_if<std::is_convertible<decltype(std::declval<C&>().data()), T*>::value &&
                                                       std::is_convertible<decltype(std::declval<C&>().size()), std::size_t>::value>::type>
    constexpr span(C&& container) noexcept : data_(container.data()), size_(container.size()) {}

    constexpr T* data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T* begin() const noexcept { return data_; }
    constexpr T* end() const noexcept { return data_ + size_; }
    constexpr T& operator[](std::size_t i) const noexcept { return data_[i]; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

// A list of inputs or outputs with several rows each. Those of one port may be given as they are.
using InputRows = span<const rtrnn_const_span>;
using OutputRows = span<const rtrnn_span>;

// One matrix, NODE.ROLE, with a precision of its own.
using Override = rtrnn_override;

// As rtrnn_options; nothing is copied or owned.
struct Options {
    const char* weights = nullptr;
    const char* isa = nullptr;
    span<const Override> overrides = {};
    unsigned threads = 0;
    const char* limits = nullptr;
    span<const std::int32_t> cpus = {};   // threads - 1, or none
    double spin_ms = 0;                   // 0: the default
    double delta = -1;                    // none when below 0
};

namespace detail {

inline Status status(rtrnn_status s) noexcept { return static_cast<Status>(s); }

inline rtrnn_options c_options(const Options& options) noexcept {
    rtrnn_options out = RTRNN_OPTIONS_INIT;
    out.weights = options.weights;
    out.isa = options.isa;
    out.overrides = options.overrides.data();
    out.override_count = options.overrides.size();
    out.threads = options.threads;
    out.limits = options.limits;
    out.cpus = options.cpus.size() ? options.cpus.data() : nullptr;
    out.spin_ms = options.spin_ms;
    out.delta = options.delta < 0 ? nullptr : &options.delta;
    return out;
}

template <class Handle, rtrnn_status (*release)(Handle*)>
struct Free {
    void operator()(Handle* handle) const noexcept { release(handle); }
};
#if RTRNN_EXCEPTIONS
inline void require(Status s) {
    if (s != Status::ok) throw Error(s, last_error());
}
#endif

}  // namespace detail

// A network made runnable on this CPU; any number of threads may share it.
class Plan {
public:
    Plan() noexcept = default;
#if RTRNN_EXCEPTIONS
    explicit Plan(const char* path, const Options& options = {}) { detail::require(create(*this, path, options)); }
    explicit Plan(const std::string& path, const Options& options = {}) : Plan(path.c_str(), options) {}
    Plan(const void* data, std::size_t bytes, const Options& options = {}) { detail::require(create(*this, data, bytes, options)); }
#endif
    static Status create(Plan& plan, const char* path, const Options& options = {}) noexcept {
        const rtrnn_options given = detail::c_options(options);
        rtrnn_plan* made = nullptr;
        const rtrnn_status status = rtrnn_plan_load(path, &given, &made);
        plan.handle_.reset(made);
        return detail::status(status);
    }
    static Status create(Plan& plan, const void* data, std::size_t bytes, const Options& options = {}) noexcept {
        const rtrnn_options given = detail::c_options(options);
        rtrnn_plan* made = nullptr;
        const rtrnn_status status = rtrnn_plan_load_memory(data, bytes, &given, &made);
        plan.handle_.reset(made);
        return detail::status(status);
    }

    std::size_t count(Port port) const noexcept { return rtrnn_plan_port_count(handle(), c_port(port)); }
    const char* name(Port port, std::size_t i) const noexcept { return rtrnn_plan_port_name(handle(), c_port(port), i); }
    std::size_t size(Port port, std::size_t i) const noexcept { return rtrnn_plan_port_size(handle(), c_port(port), i); }
    span<const std::int64_t> shape(Port port, std::size_t i) const noexcept {
        return {rtrnn_plan_port_shape(handle(), c_port(port), i), rtrnn_plan_port_rank(handle(), c_port(port), i)};
    }
    std::size_t metadata_count() const noexcept { return rtrnn_plan_metadata_count(handle()); }
    const char* metadata_key(std::size_t i) const noexcept { return rtrnn_plan_metadata_key(handle(), i); }
    const char* metadata_text(std::size_t i) const noexcept { return rtrnn_plan_metadata_text(handle(), i); }
    const char* metadata(const char* key) const noexcept { return rtrnn_plan_metadata(handle(), key); }
    std::uint64_t fingerprint() const noexcept { return rtrnn_plan_fingerprint(handle()); }
    std::uint64_t structure() const noexcept { return rtrnn_plan_structure(handle()); }
    const char* isa() const noexcept { return rtrnn_plan_isa(handle()); }
    std::size_t constant_bytes() const noexcept { return rtrnn_plan_constant_bytes(handle()); }

    const rtrnn_plan* handle() const noexcept { return handle_.get(); }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    static rtrnn_port c_port(Port port) noexcept { return static_cast<rtrnn_port>(port); }

    std::unique_ptr<rtrnn_plan, detail::Free<rtrnn_plan, rtrnn_plan_free>> handle_;
};

// One sequence in progress; belongs to one thread at a time.
class Stream {
public:
    Stream() noexcept = default;
#if RTRNN_EXCEPTIONS
    explicit Stream(const Plan& plan, OnNonFinite on_nonfinite = OnNonFinite::error) { detail::require(create(*this, plan, on_nonfinite)); }
    Stream fork() const {
        Stream twin;
        detail::require(create_fork(twin, *this));
        return twin;
    }
#endif
    static Status create(Stream& stream, const Plan& plan, OnNonFinite on_nonfinite = OnNonFinite::error) noexcept {
        rtrnn_stream* made = nullptr;
        const rtrnn_status status = rtrnn_stream_create(plan.handle(), static_cast<rtrnn_on_nonfinite>(on_nonfinite), &made);
        stream.handle_.reset(made);
        return detail::status(status);
    }
    static Status create_fork(Stream& fork, const Stream& stream) noexcept {
        rtrnn_stream* made = nullptr;
        const rtrnn_status status = rtrnn_stream_fork(stream.handle(), &made);
        fork.handle_.reset(made);
        return detail::status(status);
    }

    // The memory that step() reads and writes; it stays where it is.
    span<float> input(std::size_t i = 0) noexcept { return {rtrnn_stream_input(handle(), i), rtrnn_stream_input_size(handle(), i)}; }
    span<const float> output(std::size_t i = 0) const noexcept { return {rtrnn_stream_output(handle(), i), rtrnn_stream_output_size(handle(), i)}; }
    std::size_t input_count() const noexcept { return rtrnn_stream_input_count(handle()); }
    std::size_t output_count() const noexcept { return rtrnn_stream_output_count(handle()); }

    Status step() noexcept { return detail::status(rtrnn_stream_step(handle())); }
    // All inputs, all outputs, each in declared order without gaps.
    Status step(span<const float> x, span<float> y) noexcept {
        return detail::status(rtrnn_stream_step_copy(handle(), x.data(), x.size(), y.data(), y.size()));
    }
    Status prepare() noexcept { return detail::status(rtrnn_stream_prepare(handle())); }
    Status reset() noexcept { return detail::status(rtrnn_stream_reset(handle())); }

    Status process(InputRows inputs, OutputRows outputs, std::size_t steps, std::size_t* failed_at = nullptr) noexcept {
        return detail::status(rtrnn_stream_process(handle(), inputs.data(), inputs.size(), outputs.data(), outputs.size(), steps, failed_at));
    }
    // One input, one output: `x` (steps, input size), `y` (steps, output size).
    Status process(span<const float> x, span<float> y, std::size_t steps, std::size_t* failed_at = nullptr) noexcept {
        const rtrnn_const_span in = {x.data(), x.size()};
        const rtrnn_span out = {y.data(), y.size()};
        return process({&in, 1}, {&out, 1}, steps, failed_at);
    }

    span<const float> state() const noexcept { return {rtrnn_stream_state(handle()), rtrnn_stream_state_size(handle())}; }
    Status set_state(span<const float> state) noexcept { return detail::status(rtrnn_stream_set_state(handle(), state.data(), state.size())); }
    std::size_t saved_bytes() const noexcept { return rtrnn_stream_saved_bytes(handle()); }
    Status save(void* data, std::size_t bytes) const noexcept { return detail::status(rtrnn_stream_save(handle(), data, bytes)); }
    Status restore(const void* data, std::size_t bytes) noexcept { return detail::status(rtrnn_stream_restore(handle(), data, bytes)); }
    Status restore_any_weights(const void* data, std::size_t bytes) noexcept {
        return detail::status(rtrnn_stream_restore_any_weights(handle(), data, bytes));
    }
    // Takes over the plan of `other`, which gets this one's: see rtrnn_stream_swap.
    Status swap(Stream& other) noexcept { return detail::status(rtrnn_stream_swap(handle(), other.handle())); }
    Status set_hold_steps(std::uint64_t steps) noexcept { return detail::status(rtrnn_stream_set_hold_steps(handle(), steps)); }

    std::uint64_t steps() const noexcept { return rtrnn_stream_steps(handle()); }
    std::uint64_t nonfinite_count() const noexcept { return rtrnn_stream_nonfinite_count(handle()); }
    std::uint64_t held_in_a_row() const noexcept { return rtrnn_stream_held_in_a_row(handle()); }
    std::uint64_t limited_count() const noexcept { return rtrnn_stream_limited_count(handle()); }
    std::size_t memory_bytes() const noexcept { return rtrnn_stream_memory_bytes(handle()); }

    rtrnn_stream* handle() const noexcept { return handle_.get(); }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    std::unique_ptr<rtrnn_stream, detail::Free<rtrnn_stream, rtrnn_stream_free>> handle_;
};

// Independent streams in lockstep, each with the bits it would have alone.
class Batch {
public:
    Batch() noexcept = default;
#if RTRNN_EXCEPTIONS
    Batch(const Plan& plan, std::size_t count, OnNonFinite on_nonfinite = OnNonFinite::error) {
        detail::require(create(*this, plan, count, on_nonfinite));
    }
    Batch fork() const {
        Batch twin;
        detail::require(create_fork(twin, *this));
        return twin;
    }
#endif
    static Status create(Batch& batch, const Plan& plan, std::size_t count, OnNonFinite on_nonfinite = OnNonFinite::error) noexcept {
        rtrnn_batch* made = nullptr;
        const rtrnn_status status = rtrnn_batch_create(plan.handle(), count, static_cast<rtrnn_on_nonfinite>(on_nonfinite), &made);
        batch.handle_.reset(made);
        return detail::status(status);
    }

    static Status create_fork(Batch& fork, const Batch& batch) noexcept {
        rtrnn_batch* made = nullptr;
        const rtrnn_status status = rtrnn_batch_fork(batch.handle(), &made);
        fork.handle_.reset(made);
        return detail::status(status);
    }

    std::size_t count() const noexcept { return rtrnn_batch_count(handle()); }
    Status step(InputRows inputs, OutputRows outputs, std::size_t* failed_at = nullptr) noexcept {
        return detail::status(rtrnn_batch_step(handle(), inputs.data(), inputs.size(), outputs.data(), outputs.size(), failed_at));
    }
    // One input, one output: `x` (count, input size), `y` (count, output size).
    Status step(span<const float> x, span<float> y, std::size_t* failed_at = nullptr) noexcept {
        const rtrnn_const_span in = {x.data(), x.size()};
        const rtrnn_span out = {y.data(), y.size()};
        return step(InputRows(&in, 1), OutputRows(&out, 1), failed_at);
    }
    Status prepare() noexcept { return detail::status(rtrnn_batch_prepare(handle())); }
    Status reset(std::size_t i) noexcept { return detail::status(rtrnn_batch_reset(handle(), i)); }
    Status get_state(std::size_t i, span<float> state) const noexcept {
        return detail::status(rtrnn_batch_get_state(handle(), i, state.data(), state.size()));
    }
    Status set_state(std::size_t i, span<const float> state) noexcept {
        return detail::status(rtrnn_batch_set_state(handle(), i, state.data(), state.size()));
    }

    std::size_t saved_bytes() const noexcept { return rtrnn_batch_saved_bytes(handle()); }
    Status save(std::size_t i, void* data, std::size_t bytes) const noexcept { return detail::status(rtrnn_batch_save(handle(), i, data, bytes)); }
    Status restore(std::size_t i, const void* data, std::size_t bytes) noexcept { return detail::status(rtrnn_batch_restore(handle(), i, data, bytes)); }
    Status set_hold_steps(std::uint64_t steps) noexcept { return detail::status(rtrnn_batch_set_hold_steps(handle(), steps)); }
    std::uint64_t limited_count(std::size_t i) const noexcept { return rtrnn_batch_limited_count(handle(), i); }
    std::uint64_t nonfinite_count(std::size_t i) const noexcept { return rtrnn_batch_nonfinite_count(handle(), i); }

    rtrnn_batch* handle() const noexcept { return handle_.get(); }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    std::unique_ptr<rtrnn_batch, detail::Free<rtrnn_batch, rtrnn_batch_free>> handle_;
};

using LoopOptions = rtrnn_loop_options;
using LoopAction = rtrnn_loop_action_info;
using LoopCounters = rtrnn_loop_counters;
using LoopTimes = rtrnn_loop_times;
enum class LoopTime : std::int32_t { step = RTRNN_LOOP_STEP, response = RTRNN_LOOP_RESPONSE, wake_up = RTRNN_LOOP_WAKE_UP, prepare = RTRNN_LOOP_PREPARE };

inline LoopOptions loop_options() noexcept {
    LoopOptions options;
    rtrnn_loop_options_init(&options, sizeof options);
    return options;
}

// A thread that steps a stream of its own once per period, from the latest observation to an action.
class Loop {
public:
    Loop() noexcept = default;
#if RTRNN_EXCEPTIONS
    explicit Loop(const Stream& stream, const LoopOptions& options = loop_options()) { detail::require(create(*this, stream, options)); }
#endif
    // Continues from the stream's state.
    static Status create(Loop& loop, const Stream& stream, const LoopOptions& options = loop_options()) noexcept {
        rtrnn_loop* made = nullptr;
        const rtrnn_status status = rtrnn_loop_create(stream.handle(), &options, &made);
        loop.handle_.reset(made);
        return detail::status(status);
    }

    Status start() noexcept { return detail::status(rtrnn_loop_start(handle())); }
    Status stop() noexcept { return detail::status(rtrnn_loop_stop(handle())); }
    bool running() const noexcept { return rtrnn_loop_running(handle()) != 0; }
    // What the system refused of priority, cpu and lock_memory, one note per line.
    const char* notes() const noexcept { return rtrnn_loop_notes(handle()); }
    std::size_t input_size() const noexcept { return rtrnn_loop_input_size(handle()); }
    std::size_t output_size() const noexcept { return rtrnn_loop_output_size(handle()); }

    Status observe(span<const float> x) noexcept { return detail::status(rtrnn_loop_observe(handle(), x.data(), x.size())); }
    Status action(span<float> y, LoopAction* info = nullptr) const noexcept {
        return detail::status(rtrnn_loop_action(handle(), y.data(), y.size(), info));
    }
    Status reset() noexcept { return detail::status(rtrnn_loop_reset(handle())); }
    LoopCounters counters() const noexcept {
        LoopCounters out{};
        rtrnn_loop_get_counters(handle(), &out);
        return out;
    }
    LoopTimes times(LoopTime which) const noexcept {
        LoopTimes out{};
        rtrnn_loop_get_times(handle(), static_cast<rtrnn_loop_time>(which), &out, nullptr);
        return out;
    }

    rtrnn_loop* handle() const noexcept { return handle_.get(); }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    std::unique_ptr<rtrnn_loop, detail::Free<rtrnn_loop, rtrnn_loop_free>> handle_;
};

}  // namespace api
}  // namespace rtrnn
#endif
