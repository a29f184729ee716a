// Misuse of rtrnn.h gives a status, never a crash. Built a second time with RTRNN_CHECK_HANDLES and the address sanitizer, where any read of
// freed memory ends the program.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "rtrnn/rtrnn.h"
#include "saved_policy.hpp"

namespace {

// Every function on a handle, with arguments that are right but for the handle.
void expect_refused(rtrnn_plan* plan, rtrnn_stream* stream, rtrnn_batch* batch, rtrnn_loop* loop) {
    float x[64] = {}, y[64] = {};
    const rtrnn_const_span in = {x, 11};
    const rtrnn_span out = {y, 5};
    alignas(float) char bytes[4096] = {};
    rtrnn_stream* made = reinterpret_cast<rtrnn_stream*>(bytes);
    rtrnn_batch* made_batch = reinterpret_cast<rtrnn_batch*>(bytes);
    rtrnn_loop* made_loop = reinterpret_cast<rtrnn_loop*>(bytes);
    const rtrnn_status refused[] = {
        rtrnn_stream_create(plan, RTRNN_ON_NONFINITE_ERROR, &made),
        rtrnn_batch_create(plan, 2, RTRNN_ON_NONFINITE_ERROR, &made_batch),
        rtrnn_stream_step(stream),
        rtrnn_stream_step_copy(stream, x, 11, y, 5),
        rtrnn_stream_prepare(stream),
        rtrnn_stream_reset(stream),
        rtrnn_stream_process(stream, &in, 1, &out, 1, 1, nullptr),
        rtrnn_stream_get_state(stream, y, 42),
        rtrnn_stream_set_state(stream, y, 42),
        rtrnn_stream_save(stream, bytes, sizeof bytes),
        rtrnn_stream_restore(stream, bytes, sizeof bytes),
        rtrnn_stream_restore_any_weights(stream, bytes, sizeof bytes),
        rtrnn_stream_swap(stream, stream),
        rtrnn_stream_set_hold_steps(stream, 3),
        rtrnn_batch_set_hold_steps(batch, 3),
        rtrnn_batch_step(batch, &in, 1, &out, 1, nullptr),
        rtrnn_batch_prepare(batch),
        rtrnn_batch_reset(batch, 0),
        rtrnn_batch_get_state(batch, 0, y, 42),
        rtrnn_batch_set_state(batch, 0, y, 42),
        rtrnn_batch_save(batch, 0, bytes, sizeof bytes),
        rtrnn_batch_restore(batch, 0, bytes, sizeof bytes),
        rtrnn_loop_create(stream, nullptr, &made_loop),
        rtrnn_loop_start(loop),
        rtrnn_loop_stop(loop),
        rtrnn_loop_observe(loop, x, 11),
        rtrnn_loop_action(loop, y, 5, nullptr),
        rtrnn_loop_reset(loop),
    };
    for (const rtrnn_status status : refused) CHECK(status == RTRNN_INVALID_HANDLE);
    CHECK(made == nullptr);
    CHECK(made_batch == nullptr);
    CHECK(made_loop == nullptr);
    made = reinterpret_cast<rtrnn_stream*>(bytes);
    CHECK(rtrnn_stream_fork(stream, &made) == RTRNN_INVALID_HANDLE);
    CHECK(made == nullptr);
    made_batch = reinterpret_cast<rtrnn_batch*>(bytes);
    CHECK(rtrnn_batch_fork(batch, &made_batch) == RTRNN_INVALID_HANDLE);
    CHECK(made_batch == nullptr);

    for (const rtrnn_port port : {RTRNN_INPUT, RTRNN_OUTPUT, RTRNN_STATE}) {
        CHECK(rtrnn_plan_port_count(plan, port) == 0);
        CHECK(rtrnn_plan_port_name(plan, port, 0) == nullptr);
        CHECK(rtrnn_plan_port_size(plan, port, 0) == 0);
        CHECK(rtrnn_plan_port_rank(plan, port, 0) == 0);
        CHECK(rtrnn_plan_port_shape(plan, port, 0) == nullptr);
    }
    CHECK(rtrnn_plan_metadata_count(plan) == 0);
    CHECK(rtrnn_plan_metadata_key(plan, 0) == nullptr);
    CHECK(rtrnn_plan_metadata_text(plan, 0) == nullptr);
    CHECK(rtrnn_plan_metadata(plan, "joints") == nullptr);
    CHECK(rtrnn_plan_fingerprint(plan) == 0);
    CHECK(rtrnn_plan_structure(plan) == 0);
    CHECK(rtrnn_plan_isa(plan) == nullptr);
    CHECK(rtrnn_plan_constant_bytes(plan) == 0);
    CHECK(rtrnn_stream_input_count(stream) == 0);
    CHECK(rtrnn_stream_input_size(stream, 0) == 0);
    CHECK(rtrnn_stream_input(stream, 0) == nullptr);
    CHECK(rtrnn_stream_output_count(stream) == 0);
    CHECK(rtrnn_stream_output_size(stream, 0) == 0);
    CHECK(rtrnn_stream_output(stream, 0) == nullptr);
    CHECK(rtrnn_stream_state_size(stream) == 0);
    CHECK(rtrnn_stream_state(stream) == nullptr);
    CHECK(rtrnn_stream_saved_bytes(stream) == 0);
    CHECK(rtrnn_stream_steps(stream) == 0);
    CHECK(rtrnn_stream_nonfinite_count(stream) == 0);
    CHECK(rtrnn_stream_held_in_a_row(stream) == 0);
    CHECK(rtrnn_stream_limited_count(stream) == 0);
    CHECK(rtrnn_stream_memory_bytes(stream) == 0);
    CHECK(rtrnn_batch_count(batch) == 0);
    CHECK(rtrnn_batch_saved_bytes(batch) == 0);
    CHECK(rtrnn_batch_nonfinite_count(batch, 0) == 0);
    CHECK(rtrnn_batch_limited_count(batch, 0) == 0);
    CHECK(rtrnn_loop_running(loop) == 0);
    CHECK(rtrnn_loop_input_size(loop) == 0);
    CHECK(rtrnn_loop_output_size(loop) == 0);
    CHECK(std::strcmp(rtrnn_loop_notes(loop), "") == 0);
}

struct Handles {
    rtrnn_plan* plan = nullptr;
    rtrnn_stream* stream = nullptr;
    rtrnn_batch* batch = nullptr;
    rtrnn_loop* loop = nullptr;

    explicit Handles(const char* op = "gru") {
        const std::vector<char> file = saved_policy(op);
        REQUIRE(rtrnn_plan_load_memory(file.data(), file.size(), nullptr, &plan) == RTRNN_OK);
        REQUIRE(rtrnn_stream_create(plan, RTRNN_ON_NONFINITE_ERROR, &stream) == RTRNN_OK);
        REQUIRE(rtrnn_batch_create(plan, 3, RTRNN_ON_NONFINITE_ERROR, &batch) == RTRNN_OK);
        REQUIRE(rtrnn_loop_create(stream, nullptr, &loop) == RTRNN_OK);
    }
    void free() {
        CHECK(rtrnn_plan_free(plan) == RTRNN_OK);
        CHECK(rtrnn_stream_free(stream) == RTRNN_OK);
        CHECK(rtrnn_batch_free(batch) == RTRNN_OK);
        CHECK(rtrnn_loop_free(loop) == RTRNN_OK);
    }
};

}  // namespace

TEST_CASE("misuse: NULL handles, and steps before anything is loaded") {
    expect_refused(nullptr, nullptr, nullptr, nullptr);
    CHECK(rtrnn_plan_free(nullptr) == RTRNN_OK);
    CHECK(rtrnn_stream_free(nullptr) == RTRNN_OK);
    CHECK(rtrnn_batch_free(nullptr) == RTRNN_OK);
    CHECK(rtrnn_loop_free(nullptr) == RTRNN_OK);
}

TEST_CASE("misuse: handles of another kind") {
    Handles h;
    expect_refused(reinterpret_cast<rtrnn_plan*>(h.stream), reinterpret_cast<rtrnn_stream*>(h.plan), reinterpret_cast<rtrnn_batch*>(h.stream),
                   reinterpret_cast<rtrnn_loop*>(h.batch));
    CHECK(rtrnn_stream_free(reinterpret_cast<rtrnn_stream*>(h.plan)) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_stream_step(h.stream) == RTRNN_OK);
    h.free();
}

#if defined(RTRNN_CHECK_HANDLES)
TEST_CASE("misuse: handles that were freed, once or twice") {
    Handles h;
    h.free();
    expect_refused(h.plan, h.stream, h.batch, h.loop);
    CHECK(rtrnn_plan_free(h.plan) == RTRNN_INVALID_HANDLE);
    CHECK(std::string(rtrnn_last_error()).find("freed") != std::string::npos);
    CHECK(rtrnn_stream_free(h.stream) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_batch_free(h.batch) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_free(h.loop) == RTRNN_INVALID_HANDLE);
}
#endif

TEST_CASE("misuse: sizes that are not the network's, and NULL where there should be values, change nothing") {
    Handles h;
    // Heap memory of exactly the size that is claimed, so that a byte too many is seen.
    std::vector<float> x(11, 0.5f), y(5), longer(12), shorter(10), state(42), shorter_state(41);
    REQUIRE(rtrnn_stream_step_copy(h.stream, x.data(), 11, y.data(), 5) == RTRNN_OK);
    REQUIRE(rtrnn_stream_get_state(h.stream, state.data(), 42) == RTRNN_OK);
    const auto bad = RTRNN_INVALID_ARGUMENT;
    CHECK(rtrnn_stream_step_copy(h.stream, longer.data(), 12, y.data(), 5) == bad);
    CHECK(rtrnn_stream_step_copy(h.stream, shorter.data(), 10, y.data(), 5) == bad);
    CHECK(rtrnn_stream_step_copy(h.stream, x.data(), 11, y.data(), 4) == bad);
    CHECK(rtrnn_stream_step_copy(h.stream, nullptr, 11, y.data(), 5) == bad);
    CHECK(rtrnn_stream_step_copy(h.stream, nullptr, 0, nullptr, 0) == bad);
    CHECK(rtrnn_stream_step_copy(h.stream, x.data(), 11, nullptr, 5) == bad);
    CHECK(rtrnn_stream_set_state(h.stream, shorter_state.data(), 41) == bad);
    CHECK(rtrnn_stream_set_state(h.stream, nullptr, 42) == bad);
    CHECK(rtrnn_stream_get_state(h.stream, shorter_state.data(), 41) == bad);

    std::vector<float> xs(33), ys(15);
    const rtrnn_const_span in = {xs.data(), 33};
    const rtrnn_span out = {ys.data(), 15};
    CHECK(rtrnn_stream_process(h.stream, &in, 1, &out, 1, 4, nullptr) == bad);
    CHECK(rtrnn_stream_process(h.stream, &in, 1, &out, 1, SIZE_MAX / 8, nullptr) == bad);
    CHECK(rtrnn_stream_process(h.stream, &in, 2, &out, 1, 3, nullptr) == bad);
    CHECK(rtrnn_stream_process(h.stream, nullptr, 1, &out, 1, 3, nullptr) == bad);
    CHECK(rtrnn_stream_process(h.stream, &in, 1, nullptr, 1, 3, nullptr) == bad);
    for (const rtrnn_const_span wrong : {rtrnn_const_span{xs.data(), 32}, rtrnn_const_span{nullptr, 33}}) {
        CHECK(rtrnn_stream_process(h.stream, &wrong, 1, &out, 1, 3, nullptr) == bad);
        CHECK(rtrnn_batch_step(h.batch, &wrong, 1, &out, 1, nullptr) == bad);
    }
    for (const rtrnn_span wrong : {rtrnn_span{ys.data(), 10}, rtrnn_span{nullptr, 15}})
        CHECK(rtrnn_batch_step(h.batch, &in, 1, &wrong, 1, nullptr) == bad);
    CHECK(rtrnn_batch_reset(h.batch, 3) == bad);
    CHECK(rtrnn_batch_nonfinite_count(h.batch, 3) == 0);
    CHECK(rtrnn_batch_limited_count(h.batch, SIZE_MAX) == 0);
    CHECK(rtrnn_batch_get_state(h.batch, 3, state.data(), 42) == bad);
    CHECK(rtrnn_batch_set_state(h.batch, 0, state.data(), 41) == bad);
    std::vector<char> saved(rtrnn_batch_saved_bytes(h.batch));
    CHECK(rtrnn_batch_save(h.batch, 3, saved.data(), saved.size()) == bad);
    CHECK(rtrnn_batch_save(h.batch, 0, saved.data(), saved.size() - 1) == bad);
    CHECK(rtrnn_batch_save(h.batch, 0, nullptr, saved.size()) == bad);
    CHECK(rtrnn_batch_restore(h.batch, 3, saved.data(), saved.size()) == bad);
    CHECK(rtrnn_batch_restore(h.batch, 0, nullptr, saved.size()) == bad);
    CHECK(rtrnn_batch_restore(h.batch, 0, saved.data(), saved.size()) == RTRNN_STATE_DAMAGED);
    CHECK(rtrnn_stream_input(h.stream, 1) == nullptr);
    CHECK(rtrnn_stream_output_size(h.stream, SIZE_MAX) == 0);
    CHECK(rtrnn_plan_port_name(h.plan, static_cast<rtrnn_port>(77), 0) == nullptr);
    CHECK(rtrnn_plan_metadata(h.plan, nullptr) == nullptr);
    CHECK(rtrnn_isa_available(SIZE_MAX) == nullptr);
    CHECK(std::string(rtrnn_status_text(static_cast<rtrnn_status>(-5))) == "an unknown status");
    CHECK(std::memcmp(rtrnn_stream_state(h.stream), state.data(), 42 * sizeof(float)) == 0);
    CHECK(rtrnn_stream_steps(h.stream) == 1);
    // And what is right still is: no steps at all, no output wanted.
    const rtrnn_const_span no_in = {nullptr, 0};
    const rtrnn_span no_out = {nullptr, 0};
    CHECK(rtrnn_stream_process(h.stream, &no_in, 1, &no_out, 1, 0, nullptr) == RTRNN_OK);
    CHECK(rtrnn_stream_step_copy(h.stream, x.data(), 11, nullptr, 0) == RTRNN_OK);
    h.free();
}

TEST_CASE("misuse: loading and creating with wrong arguments leaves NULL and a message") {
    const std::vector<char> file = saved_policy();
    const auto load = [&](const rtrnn_options* options, std::size_t bytes) {
        rtrnn_plan* plan = reinterpret_cast<rtrnn_plan*>(8);
        const rtrnn_status status = rtrnn_plan_load_memory(file.data(), bytes, options, &plan);
        if (status != RTRNN_OK) {
            CHECK(plan == nullptr);
            CHECK(*rtrnn_last_error());
        }
        rtrnn_plan_free(plan);
        return status;
    };
    CHECK(load(nullptr, file.size()) == RTRNN_OK);
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{7}, std::size_t{100}, file.size() - 1}) CHECK(load(nullptr, bytes) == RTRNN_INVALID_FILE);
    rtrnn_options options = RTRNN_OPTIONS_INIT;
    CHECK(load(&options, file.size()) == RTRNN_OK);
    options.struct_size = 0;
    CHECK(load(&options, file.size()) == RTRNN_INVALID_ARGUMENT);
    options.struct_size = offsetof(rtrnn_options, limits);   // of the first header: what lies behind it is not read
    options.limits = "no limits at all";
    CHECK(load(&options, file.size()) == RTRNN_OK);
    options.struct_size = sizeof options;
    CHECK(load(&options, file.size()) != RTRNN_OK);
    options.struct_size = SIZE_MAX;
    CHECK(load(&options, file.size()) == RTRNN_INVALID_ARGUMENT);
    options = RTRNN_OPTIONS_INIT;
    options.weights = "f8";
    CHECK(load(&options, file.size()) == RTRNN_UNSUPPORTED);
    options = RTRNN_OPTIONS_INIT;
    options.isa = "mmx";
    CHECK(load(&options, file.size()) == RTRNN_INVALID_ARGUMENT);
    options = RTRNN_OPTIONS_INIT;
    options.override_count = 1;
    CHECK(load(&options, file.size()) == RTRNN_INVALID_ARGUMENT);
    const rtrnn_override holds_null = {"layer0.weight_hh", nullptr};
    options.overrides = &holds_null;
    CHECK(load(&options, file.size()) == RTRNN_INVALID_ARGUMENT);
    options = RTRNN_OPTIONS_INIT;
    for (const std::uint32_t threads : {65u, 0xFFFFFFFFu}) {
        options.threads = threads;
        CHECK(load(&options, file.size()) == RTRNN_INVALID_ARGUMENT);
    }
    options.threads = 2;
    options.spin_ms = -1;
    CHECK(load(&options, file.size()) == RTRNN_INVALID_ARGUMENT);
    for (const double delta : {-1.0, static_cast<double>(NAN)}) {
        options = RTRNN_OPTIONS_INIT;
        options.delta = &delta;
        CHECK(load(&options, file.size()) == RTRNN_INVALID_ARGUMENT);
    }
    // A newer caller's struct: zeros at its end ask for nothing, anything else for what this library does not know.
    struct {
        rtrnn_options known;
        std::uint64_t more;
    } newer = {RTRNN_OPTIONS_INIT, 0};
    newer.known.struct_size = sizeof newer;
    CHECK(load(&newer.known, file.size()) == RTRNN_OK);
    newer.more = 1;
    CHECK(load(&newer.known, file.size()) == RTRNN_UNSUPPORTED);

    rtrnn_plan* plan = nullptr;
    CHECK(rtrnn_plan_load(nullptr, nullptr, &plan) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_plan_load("x", nullptr, nullptr) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_plan_load_memory(nullptr, 5, nullptr, &plan) == RTRNN_INVALID_ARGUMENT);
    Handles h;
    rtrnn_stream* stream = nullptr;
    rtrnn_batch* batch = nullptr;
    CHECK(rtrnn_stream_create(h.plan, RTRNN_ON_NONFINITE_ERROR, nullptr) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_stream_create(h.plan, static_cast<rtrnn_on_nonfinite>(9), &stream) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_stream_fork(h.stream, nullptr) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_batch_create(h.plan, 0, RTRNN_ON_NONFINITE_ERROR, &batch) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_batch_create(h.plan, SIZE_MAX, RTRNN_ON_NONFINITE_ERROR, &batch) == RTRNN_OUT_OF_MEMORY);
    CHECK(batch == nullptr);
    h.free();
}

TEST_CASE("misuse: saved states of another network, cut short, or changed") {
    Handles h, other("lstm");
    std::vector<char> saved(rtrnn_stream_saved_bytes(h.stream)), theirs(rtrnn_stream_saved_bytes(other.stream));
    REQUIRE(rtrnn_stream_save(h.stream, saved.data(), saved.size()) == RTRNN_OK);
    REQUIRE(rtrnn_stream_save(other.stream, theirs.data(), theirs.size()) == RTRNN_OK);
    CHECK(rtrnn_stream_save(h.stream, saved.data(), saved.size() - 1) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_stream_save(h.stream, nullptr, saved.size()) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_stream_restore(h.stream, theirs.data(), theirs.size()) == RTRNN_STATE_MISMATCH);
    CHECK(rtrnn_stream_restore(h.stream, saved.data(), saved.size() - 4) == RTRNN_STATE_DAMAGED);
    CHECK(rtrnn_stream_restore(h.stream, saved.data(), 3) == RTRNN_STATE_DAMAGED);
    CHECK(rtrnn_stream_restore(h.stream, saved.data() + 1, saved.size() - 1) == RTRNN_STATE_DAMAGED);
    CHECK(rtrnn_stream_restore(h.stream, nullptr, 0) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_stream_restore(h.stream, saved.data(), saved.size()) == RTRNN_OK);
    const float nan = NAN;
    std::memcpy(saved.data() + saved.size() - sizeof nan, &nan, sizeof nan);
    CHECK(rtrnn_stream_restore(h.stream, saved.data(), saved.size()) == RTRNN_STATE_DAMAGED);   // the checksum is not that of a NaN
    CHECK(rtrnn_stream_state(h.stream)[41] == 0);
    h.free();
    other.free();
}

TEST_CASE("messages belong to the thread whose call failed, and no step leaves one") {
    rtrnn_plan* plan = nullptr;
    CHECK(rtrnn_plan_load("/first.rtrnn", nullptr, &plan) == RTRNN_IO);
    std::thread([] {
        CHECK(std::string(rtrnn_last_error()).empty());
        rtrnn_plan* mine = nullptr;
        CHECK(rtrnn_plan_load("/second.rtrnn", nullptr, &mine) == RTRNN_IO);
        CHECK(std::string(rtrnn_last_error()).find("/second.rtrnn") != std::string::npos);
    }).join();
    CHECK(rtrnn_stream_step(nullptr) == RTRNN_INVALID_HANDLE);
    CHECK(std::string(rtrnn_last_error()).find("/first.rtrnn") != std::string::npos);
}
