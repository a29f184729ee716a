#include "stream/batch.hpp"

#include <algorithm>
#include <cstring>

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
    for (std::size_t n = 0; n < size(); ++n) streams_[n].take_counts(other.streams_[n]);
}

void Batch::run(const std::vector<Call>& calls, std::size_t first, std::size_t count) noexcept RTRNN_NONBLOCKING {
    for (const Call& call : calls)
        run_many(call, memory_.get() + first * stride_, static_cast<std::ptrdiff_t>(stride_), static_cast<std::int32_t>(count));
}

void Batch::prepare(std::size_t first, std::size_t count) noexcept RTRNN_NONBLOCKING {
    const bool none = std::none_of(&streams_[first], &streams_[first] + count, [](const Stream& stream) { return stream.prepared_; });
    if (none) run(plan_->prepare_calls(), first, count);
    for (Stream* stream = &streams_[first]; stream != &streams_[first] + count; ++stream) {
        if (!none) stream->prepare();
        stream->prepared_ = true;
    }
}

void Batch::prepare() noexcept RTRNN_NONBLOCKING {
    for (std::size_t first = 0; first < size(); first += turn_) prepare(first, std::min(turn_, size() - first));
}

Status Batch::step(const float* const* inputs, float* const* outputs, std::size_t* failed_at) noexcept RTRNN_NONBLOCKING {
    const Plan& plan = *plan_;
    const auto finite = plan.kernels().all_finite;
    const bool check = streams_.front().on_nonfinite() != OnNonFinite::propagate;
    Status worst = Status::ok;
    // Counts it; false when it fails the step.
    const auto refuse = [&](std::size_t n, Status why) noexcept RTRNN_NONBLOCKING {
        worst = status_[n] = streams_[n].reject(why);
        if (worst != Status::held && failed_at) *failed_at = n;
        return worst == Status::held;
    };

    for (std::size_t n = 0; n < size(); ++n) {
        float* const arena = memory_.get() + n * stride_;
        for (std::size_t i = 0; i < plan.inputs().size(); ++i) {
            const Slot& slot = plan.inputs()[i];
            std::memcpy(arena + slot.offset, inputs[i] + n * slot.size, slot.size * sizeof(float));
        }
        status_[n] = Status::ok;
        if (check && !finite(arena, plan.input_size()) && !refuse(n, Status::nonfinite_input)) return worst;
    }
    for (std::size_t first = 0; first < size(); first += turn_) {
        const std::size_t count = std::min(turn_, size() - first);
        const bool prepared = std::any_of(&streams_[first], &streams_[first] + count, [](const Stream& stream) { return stream.prepared_; });
        if (prepared) prepare(first, count);
        run(prepared ? plan.finish_calls() : plan.step_calls(), first, count);
    }
    bool failed = false;
    for (std::size_t n = 0; n < size(); ++n) {
        streams_[n].prepared_ = false;
        if (!check || failed || status_[n] != Status::ok) continue;
        const float* const pending = memory_.get() + n * stride_ + plan.pending_offset();
        failed = !finite(pending, plan.committed_size()) && !refuse(n, Status::nonfinite_result);
    }
    if (failed) return worst;
    for (std::size_t n = 0; n < size(); ++n) {
        if (status_[n] == Status::ok) streams_[n].commit();
        for (std::size_t i = 0; i < plan.outputs().size(); ++i) {
            const Slot& slot = plan.outputs()[i];
            std::memcpy(outputs[i] + n * slot.size, streams_[n].output(i), slot.size * sizeof(float));
        }
    }
    return worst;
}

}  // namespace rtrnn
