#include "stream/batch.hpp"

#include <algorithm>
#include <cstring>

#include "stream/float_mode.hpp"

namespace rtrnn {
namespace {

constexpr std::size_t largest_turn = 64, smallest_turn = 12;
constexpr std::size_t turn_floats = (1 << 19) / sizeof(float);   // about what a core's own cache takes beside the weights

}  // namespace

Batch::Batch(std::shared_ptr<const Plan> plan, std::size_t count, OnNonFinite on_nonfinite)
    : plan_(std::move(plan)), stride_(odd_lines(Stream::total_floats(*plan_))),
      turn_(std::clamp(turn_floats / stride_, smallest_turn, largest_turn)), memory_(aligned_array<float>(stride_ * count)),
      status_(count, Status::ok) {
    streams_.reserve(count);
    for (std::size_t n = 0; n < count; ++n) streams_.push_back(Stream(plan_, on_nonfinite, memory_.get() + n * stride_));
}

Batch::Batch(const Batch& other) : Batch(other.plan_, other.size(), other.streams_.front().on_nonfinite()) {
    std::memcpy(memory_.get(), other.memory_.get(), stride_ * size() * sizeof(float));
    for (std::size_t n = 0; n < size(); ++n) {
        Stream& mine = streams_[n];
        const Stream& theirs = other.streams_[n];
        mine.prepared_ = theirs.prepared_;
        mine.odd_ = theirs.odd_;
        mine.hold_steps_ = theirs.hold_steps_;
        mine.counters_ = theirs.counters_;
    }
}

void Batch::run(const std::vector<Call>& calls, std::size_t first, std::size_t count) noexcept {
    const FloatMode mode;
    for (const Call& call : calls)
        run_many(call, arena(first), static_cast<std::ptrdiff_t>(stride_), static_cast<std::int32_t>(count));
}

void Batch::prepare(std::size_t first, std::size_t count) noexcept {
    for (std::size_t n = first; n < first + count; ++n) make_even(streams_[n]);
    const bool none = std::none_of(&streams_[first], &streams_[first] + count, [](const Stream& stream) { return stream.prepared_; });
    if (none) run(plan_->prepare_calls(), first, count);
    for (Stream* stream = &streams_[first]; stream != &streams_[first] + count; ++stream) {
        if (!none) stream->prepare();
        stream->prepared_ = true;
    }
}

void Batch::prepare() noexcept {
    for (std::size_t first = 0; first < size(); first += turn_) prepare(first, std::min(turn_, size() - first));
}

// All Streams of a Batch take even steps, so that one list of calls serves them; one that was stepped by itself is brought back.
void Batch::make_even(Stream& stream) noexcept {
    if (!stream.odd_) return;
    const float* const states = stream.states();
    stream.odd_ = false;
    std::memcpy(stream.states(), states, plan_->state_size() * sizeof(float));
}

// Of the first `count` Streams, in a step that failed.
void Batch::take_back_holds(std::size_t count) noexcept {
    for (std::size_t n = 0; n < count; ++n)
        if (status_[n] == Status::held) streams_[n].counters_.held_in_a_row.set(streams_[n].counters_.held_in_a_row.get() - 1);
}

Status Batch::step(const float* const* inputs, float* const* outputs, std::size_t* failed_at) noexcept {
    const Plan& plan = *plan_;
    const KernelTable& kernels = plan.kernels();
    const bool check = streams_.front().on_nonfinite() != OnNonFinite::propagate;
    Status worst = Status::ok;
    // Counts it; false when it fails the step.
    const auto refuse = [&](std::size_t n, Status why) noexcept RTRNN_NONBLOCKING {
        worst = status_[n] = streams_[n].reject(why);
        if (worst != Status::held && failed_at) *failed_at = n;
        return worst == Status::held;
    };

    for (std::size_t n = 0; n < size(); ++n) {
        make_even(streams_[n]);
        status_[n] = Status::ok;
        bool finite = true;
        for (std::size_t i = 0; i < plan.inputs().size(); ++i) {
            const std::size_t size = plan.inputs()[i].size;
            finite = kernels.take(inputs[i] + n * size, streams_[n].input(i), size) && finite;
        }
        if (check && !finite && !refuse(n, Status::nonfinite_input)) return take_back_holds(n), worst;
    }
    for (std::size_t first = 0; first < size(); first += turn_) {
        const std::size_t count = std::min(turn_, size() - first);
        const bool prepared = std::any_of(&streams_[first], &streams_[first] + count, [](const Stream& stream) { return stream.prepared_; });
        if (prepared) prepare(first, count);
        run(prepared ? plan.finish_calls() : plan.step_calls(), first, count);
    }
    const CommitArgs& commit = plan.commit(false);
    bool failed = false;
    for (std::size_t n = 0; n < size(); ++n) {
        streams_[n].prepared_ = false;
        if (!check || failed || status_[n] != Status::ok) continue;
        failed = !is_finite(kernels, commit, arena(n)) && !refuse(n, Status::nonfinite_result);
    }
    if (failed) return take_back_holds(size()), worst;
    for (std::size_t n = 0; n < size(); ++n) {
        if (status_[n] == Status::ok) {
            kernels.commit(commit, arena(n), nullptr, false);
            std::memcpy(arena(n) + plan.state_offset(), arena(n) + commit.states.offset, plan.state_size() * sizeof(float));
            streams_[n].accept(1);
        }
        for (std::size_t i = 0; i < plan.outputs().size(); ++i) {
            const std::size_t size = plan.outputs()[i].size;
            std::memcpy(outputs[i] + n * size, streams_[n].output(i), size * sizeof(float));
        }
    }
    return worst;
}

}  // namespace rtrnn
