// rtrnn.hpp against the C interface. No header of the core here: its classes have the same names.
#include <rtrnn/rtrnn.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "saved_policy.hpp"

TEST_CASE("rtrnn.hpp: a plan describes itself, streams step with the bits of the C interface") {
    const std::vector<char> file = saved_policy();
    rtrnn::Plan plan(file.data(), file.size());
    CHECK(plan.count(rtrnn::Port::input) == 1);
    CHECK(std::string(plan.name(rtrnn::Port::input, 0)) == "x");
    CHECK(plan.shape(rtrnn::Port::input, 0)[0] == 11);
    CHECK(plan.size(rtrnn::Port::output, 0) == 5);
    CHECK(plan.count(rtrnn::Port::state) == 2);
    CHECK(std::string(plan.metadata("joints")) == "hip knee");
    CHECK(plan.metadata("none") == nullptr);

    rtrnn::Stream stream(plan), other(plan);
    std::array<float, 11> x{};
    std::vector<float> y(5), rows(5 * 4), xs;
    for (int t = 0; t < 4; ++t) {
        x.fill(0.25f * static_cast<float>(t));
        xs.insert(xs.end(), x.begin(), x.end());
        std::memcpy(other.input().data(), x.data(), sizeof x);
        CHECK(stream.step(x, y) == rtrnn::Status::ok);
        CHECK(stream.prepare() == rtrnn::Status::ok);
        CHECK(other.step() == rtrnn::Status::ok);
        CHECK(std::memcmp(y.data(), other.output().data(), 20) == 0);
    }
    rtrnn::Stream block(plan);
    CHECK(block.process(xs, rows, 4) == rtrnn::Status::ok);
    CHECK(std::memcmp(rows.data() + 15, y.data(), 20) == 0);

    std::vector<char> saved(stream.saved_bytes());
    CHECK(stream.save(saved.data(), saved.size()) == rtrnn::Status::ok);
    const rtrnn::Stream twin = stream.fork();
    CHECK(stream.reset() == rtrnn::Status::ok);
    CHECK(stream.state()[0] == 0);
    CHECK(stream.restore(saved.data(), saved.size()) == rtrnn::Status::ok);
    CHECK(std::memcmp(stream.state().data(), twin.state().data(), stream.state().size() * sizeof(float)) == 0);

    rtrnn::Batch batch(plan, 4);
    CHECK(batch.step(xs, rows) == rtrnn::Status::ok);
    CHECK(batch.count() == 4);

    x[3] = NAN;
    CHECK(stream.step(x, y) == rtrnn::Status::nonfinite_input);
    CHECK(!rtrnn::stepped(rtrnn::Status::nonfinite_input));
    CHECK(stream.nonfinite_count() == 1);
}

TEST_CASE("rtrnn.hpp: failures throw where something is made, and give a status everywhere else") {
    CHECK_THROWS_AS(rtrnn::Plan("/nonexistent.rtrnn"), rtrnn::Error);
    rtrnn::Plan plan;
    CHECK(!plan);
    CHECK(rtrnn::Plan::create(plan, "/nonexistent.rtrnn") == rtrnn::Status::io);
    CHECK(std::string(rtrnn::last_error()).find("nonexistent") != std::string::npos);
    CHECK_THROWS_AS(rtrnn::Stream{plan}, rtrnn::Error);
    rtrnn::Stream none;
    std::vector<float> values(3);
    CHECK(none.step() == rtrnn::Status::invalid_handle);
    CHECK(none.step(values, values) == rtrnn::Status::invalid_handle);
    CHECK(none.input().empty());

    const std::vector<char> file = saved_policy();
    const rtrnn::Override unknown[] = {{"nobody.weight_hh", "i16"}};
    rtrnn::Options options;
    options.overrides = unknown;
    try {
        const rtrnn::Plan refused(file.data(), file.size(), options);
        FAIL("an unknown matrix was accepted");
    } catch (const rtrnn::Error& error) {
        CHECK(error.status() == rtrnn::Status::invalid_argument);
        CHECK(std::string(error.what()).find("nobody") != std::string::npos);
    }
    const rtrnn::Plan good(file.data(), file.size());
    rtrnn::Stream stream(good);
    const rtrnn::Stream moved = std::move(stream);
    CHECK(moved.handle());
    CHECK(stream.step() == rtrnn::Status::invalid_handle);   // NOLINT(bugprone-use-after-move)
    CHECK(rtrnn::Loop(moved).input_size() == 11);
}
