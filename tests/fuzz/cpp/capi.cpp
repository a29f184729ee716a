// Any sequence of C calls, with any sizes, indices, floats and NULLs: each answers with a status, touches only the memory that it was
// given, and no value that is not finite reaches a state. The bytes of the test case say which calls with which arguments.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "../../cpp/networks.hpp"
#include "graph/file.hpp"
#include "rtrnn/rtrnn.h"

namespace {

constexpr std::size_t x_size = 5, y_size = 3, batch_size = 2;

class Bytes {
public:
    Bytes(const std::uint8_t* data, std::size_t size) : at_(data), left_(size) {}
    bool empty() const { return left_ == 0; }
    std::uint8_t byte() { return left_ ? (--left_, *at_++) : 0; }
    // Mostly the right one, else a small or a huge one.
    std::size_t size(std::size_t right) {
        const std::uint8_t b = byte();
        return b < 200 ? right : b < 240 ? b - 200u : SIZE_MAX / (b - 239u);
    }
    // Exactly as long as the right size, on the heap, so that a byte too far is seen.
    std::vector<float> floats(std::size_t count) {
        std::vector<float> values(count);
        for (float& value : values) {
            const std::uint8_t kind = byte();
            value = kind < 4 ? static_cast<float>(NAN) : kind < 8 ? static_cast<float>(INFINITY) : kind < 12 ? 1e38f : (kind - 128) / 64.0f;
        }
        return values;
    }

    std::vector<char> rest() {
        std::vector<char> all;
        while (!empty()) all.push_back(static_cast<char>(byte()));
        return all;
    }

private:
    const std::uint8_t* at_;
    std::size_t left_;
};

// The last is the first in another precision, so that streams of the two can be swapped.
rtrnn_plan* load(const char* cell, const char* weights, const char* limits = nullptr) {
    const std::vector<char> file = rtrnn::serialize_graph(rtrnn::testing::policy(cell, x_size, 9, y_size));
    rtrnn_options options = RTRNN_OPTIONS_INIT;
    options.weights = weights;
    options.limits = limits;
    rtrnn_plan* plan = nullptr;
    if (rtrnn_plan_load_memory(file.data(), file.size(), &options, &plan) != RTRNN_OK) __builtin_trap();
    return plan;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static rtrnn_plan* const plans[] = {load("gru", "f32"), load("lstm", "i16"), load("rnn", "i8", R"({"y": {"min": -1, "max_change": 0.25}})"),
                                        load("gru", "i16")};
    Bytes bytes(data, size);
    const rtrnn_plan* plan = plans[bytes.byte() % 4];
    const auto policy = static_cast<rtrnn_on_nonfinite>(bytes.byte() % 2);   // error, hold
    rtrnn_stream *stream = nullptr, *fork = nullptr;
    rtrnn_batch* batch = nullptr;
    if (rtrnn_stream_create(plan, policy, &stream) != RTRNN_OK || rtrnn_batch_create(plan, batch_size, RTRNN_ON_NONFINITE_HOLD, &batch) != RTRNN_OK)
        __builtin_trap();
    const std::size_t state_size = rtrnn_stream_state_size(stream), saved_bytes = rtrnn_stream_saved_bytes(stream);
    std::vector<float> saved((saved_bytes + 3) / 4);
    std::size_t failed_at = 0;
    for (int calls = 0; !bytes.empty() && calls < 64; ++calls) {
        switch (bytes.byte() % 28) {
            case 0: rtrnn_stream_step(stream); break;
            case 1: {
                const auto x = bytes.floats(x_size);
                std::vector<float> y(y_size);
                const std::size_t n = bytes.size(x_size), m = bytes.size(y_size);
                const rtrnn_status status = rtrnn_stream_step_copy(stream, x.data(), n, y.data(), m);
                if ((n != x_size || m != y_size) != (status == RTRNN_INVALID_ARGUMENT)) __builtin_trap();
                break;
            }
            case 2: rtrnn_stream_prepare(stream); break;
            case 3: rtrnn_stream_reset(stream); break;
            case 4: {
                const std::size_t steps = bytes.byte() % 40;
                const auto x = bytes.floats(x_size * steps);
                std::vector<float> y(y_size * steps);
                const rtrnn_const_span in = {x.data(), bytes.size(x.size())};
                const rtrnn_span out = {y.data(), bytes.size(y.size())};
                rtrnn_stream_process(stream, &in, bytes.size(1), &out, bytes.size(1), in.size == x.size() && out.size == y.size() ? bytes.size(steps) : steps, &failed_at);
                break;
            }
            case 5: {
                const auto state = bytes.floats(state_size);
                rtrnn_stream_set_state(stream, state.data(), bytes.size(state_size));
                break;
            }
            case 6: {
                std::vector<float> state(state_size);
                rtrnn_stream_get_state(stream, state.data(), bytes.size(state_size));
                break;
            }
            case 7: rtrnn_stream_save(stream, saved.data(), bytes.size(saved_bytes)); break;
            case 8: rtrnn_stream_restore(stream, saved.data(), bytes.size(saved_bytes)); break;
            case 9: reinterpret_cast<unsigned char*>(saved.data())[bytes.byte() % saved_bytes] ^= bytes.byte(); break;
            case 10:
                if (fork) rtrnn_stream_free(fork);
                rtrnn_stream_fork(stream, &fork);
                break;
            case 11:
                if (fork) std::swap(fork, stream);
                break;
            case 12: {
                const auto x = bytes.floats(x_size * batch_size);
                std::vector<float> y(y_size * batch_size);
                const rtrnn_const_span in = {x.data(), bytes.size(x.size())};
                const rtrnn_span out = {y.data(), bytes.size(y.size())};
                rtrnn_batch_step(batch, &in, bytes.size(1), &out, bytes.size(1), &failed_at);
                break;
            }
            case 13: rtrnn_batch_prepare(batch); break;
            case 14: rtrnn_batch_reset(batch, bytes.size(1)); break;
            case 15: {
                const auto state = bytes.floats(state_size);
                rtrnn_batch_set_state(batch, bytes.size(1), state.data(), bytes.size(state_size));
                break;
            }
            case 16: {
                std::vector<float> state(state_size);
                rtrnn_batch_get_state(batch, bytes.size(1), state.data(), bytes.size(state_size));
                break;
            }
            case 17: {
                const auto port = static_cast<rtrnn_port>(bytes.byte() % 5);
                const std::size_t i = bytes.size(0);
                rtrnn_plan_port_count(plan, port);
                const char* name = rtrnn_plan_port_name(plan, port, i);
                if (name && std::strlen(name) == 0) __builtin_trap();
                const std::int64_t* shape = rtrnn_plan_port_shape(plan, port, i);
                std::int64_t elements = 1;
                for (std::size_t k = 0; k < rtrnn_plan_port_rank(plan, port, i); ++k) elements *= shape[k];
                if (shape && static_cast<std::size_t>(elements) != rtrnn_plan_port_size(plan, port, i)) __builtin_trap();
                break;
            }
            case 18:   // NULL and handles of another kind
                rtrnn_stream_step(nullptr);
                rtrnn_stream_step(reinterpret_cast<rtrnn_stream*>(batch));
                rtrnn_batch_prepare(reinterpret_cast<rtrnn_batch*>(stream));
                rtrnn_stream_set_state(stream, nullptr, state_size);
                rtrnn_stream_step_copy(stream, nullptr, x_size, nullptr, 0);
                rtrnn_stream_process(stream, nullptr, 1, nullptr, 1, 1, nullptr);
                rtrnn_batch_step(batch, nullptr, 1, nullptr, 1, nullptr);
                break;
            case 19: {   // a file of these bytes
                rtrnn_plan* other = nullptr;
                const std::vector<char> file = bytes.rest();
                rtrnn_plan_load_memory(file.data(), file.size(), nullptr, &other);
                rtrnn_plan_free(other);
                break;
            }
            case 20: {
                rtrnn_stream* other = nullptr;
                const std::size_t which = bytes.byte() % 4;
                if (rtrnn_stream_create(plans[which], RTRNN_ON_NONFINITE_ERROR, &other) != RTRNN_OK) __builtin_trap();
                const bool alike = rtrnn_plan_structure(plans[which]) == rtrnn_plan_structure(plan);
                if (rtrnn_stream_swap(stream, other) != (alike ? RTRNN_OK : RTRNN_STATE_MISMATCH)) __builtin_trap();
                rtrnn_stream_step(other);
                rtrnn_stream_free(other);
                break;
            }
            case 21: rtrnn_stream_set_hold_steps(stream, bytes.size(2)); break;
            case 22: rtrnn_stream_restore_any_weights(stream, saved.data(), bytes.size(saved_bytes)); break;
            case 23: rtrnn_batch_set_hold_steps(batch, bytes.size(2)); break;
            case 24: {
                if (rtrnn_stream_held_in_a_row(stream) > rtrnn_stream_nonfinite_count(stream)) __builtin_trap();
                if (rtrnn_stream_limited_count(stream) > rtrnn_stream_steps(stream)) __builtin_trap();
                rtrnn_batch_nonfinite_count(batch, bytes.size(1));
                rtrnn_batch_limited_count(batch, bytes.size(1));
                break;
            }
            case 25: {
                rtrnn_batch* twin = nullptr;
                if (rtrnn_batch_fork(batch, &twin) != RTRNN_OK) __builtin_trap();
                rtrnn_batch_free(batch);
                batch = twin;
                break;
            }
            case 26: {   // a loop with any options, not started
                rtrnn_loop_options loop_options;
                rtrnn_loop_options_init(&loop_options, sizeof loop_options);
                const auto watchdog = bytes.floats(y_size);
                loop_options.struct_size = bytes.size(sizeof loop_options);
                if (loop_options.struct_size > sizeof loop_options && loop_options.struct_size <= 4096) break;   // it would be read
                loop_options.period_ns = static_cast<std::int64_t>(bytes.size(1000));
                loop_options.deadline_ns = static_cast<std::int64_t>(bytes.size(0));
                loop_options.stale_ns = static_cast<std::int64_t>(bytes.size(0));
                loop_options.watchdog = watchdog.data();
                if (bytes.size(y_size) == y_size) loop_options.watchdog_size = y_size;
                rtrnn_loop* loop = nullptr;
                if (rtrnn_loop_create(stream, &loop_options, &loop) != RTRNN_OK) break;
                const auto x = bytes.floats(x_size);
                std::vector<float> y(y_size);
                rtrnn_loop_action_info info;
                rtrnn_loop_observe(loop, x.data(), bytes.size(x_size));
                rtrnn_loop_action(loop, y.data(), bytes.size(y_size), &info);
                rtrnn_loop_times times;
                rtrnn_loop_get_times(loop, static_cast<rtrnn_loop_time>(bytes.byte()), &times, nullptr);
                rtrnn_histogram_upper_ns(bytes.size(0));
                rtrnn_loop_reset(loop);
                rtrnn_loop_free(loop);
                break;
            }
            case 27: {   // options of these bytes
                static const std::vector<char> file = rtrnn::serialize_graph(rtrnn::testing::policy("gru", x_size, 9, y_size));
                rtrnn_options options = RTRNN_OPTIONS_INIT;
                static const char* const precisions[] = {"f32", "f16", "bf16", "i16", "i8", "i8a14", "", "f64"};
                options.weights = precisions[bytes.byte() % 8];
                options.threads = bytes.byte() % 4;
                std::vector<char> text = bytes.rest();
                text.push_back('\0');
                options.limits = text.data();
                rtrnn_plan* other = nullptr;
                rtrnn_stream* limited = nullptr;
                if (rtrnn_plan_load_memory(file.data(), file.size(), &options, &other) != RTRNN_OK) break;
                if (rtrnn_stream_create(other, RTRNN_ON_NONFINITE_ERROR, &limited) != RTRNN_OK) __builtin_trap();
                for (int t = 0; t < 3; ++t)
                    if (rtrnn_stream_step(limited) > RTRNN_NONFINITE_RESULT) __builtin_trap();
                rtrnn_stream_free(limited);
                rtrnn_plan_free(other);
                break;
            }
        }
        for (std::size_t i = 0; i < state_size; ++i)
            if (!std::isfinite(rtrnn_stream_state(stream)[i])) __builtin_trap();
    }
    rtrnn_stream_free(stream);
    rtrnn_stream_free(fork);
    rtrnn_batch_free(batch);
    return 0;
}
