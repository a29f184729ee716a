#include "stream/stream.hpp"

#include <cstring>

namespace rtrnn {
namespace {

std::unique_ptr<Workers> workers_of(const Plan& plan) { return plan.worker_size() ? std::make_unique<Workers>(plan.threads(), plan.worker_size()) : nullptr; }

std::size_t total_floats(const Plan& plan) { return plan.arena_size() + plan.committed_size(); }

}  // namespace

Stream::Stream(std::shared_ptr<const Plan> plan, OnNonFinite on_nonfinite)
    : plan_(std::move(plan)), arena_(aligned_array<float>(total_floats(*plan_))), workers_(workers_of(*plan_)), on_nonfinite_(on_nonfinite) {
    reset();
}

Stream::Stream(const Stream& other)
    : plan_(other.plan_), arena_(aligned_array<float>(total_floats(*plan_))), workers_(workers_of(*plan_)), on_nonfinite_(other.on_nonfinite_), prepared_(other.prepared_),
      steps_(other.steps_), nonfinite_(other.nonfinite_) {
    std::memcpy(arena_.get(), other.arena_.get(), total_floats(*plan_) * sizeof(float));
}

void Stream::run(const std::vector<Call>& calls) noexcept RTRNN_NONBLOCKING {
    float* const arena = arena_.get();
    if (!workers_) {
        for (const Call& call : calls) call.kernel(call.args, arena);
        return;
    }
    for (const Call *call = calls.data(), *end = call + calls.size(); call != end; call += call->parts) {
        if (call->parts > 1) workers_->run(call, arena);
        else call->kernel(call->args, arena);
    }
}

Status Stream::step() noexcept {
    const Plan& plan = *plan_;
    float* arena = arena_.get();
    const bool check = on_nonfinite_ != OnNonFinite::propagate;
    if (check && !plan.kernels().all_finite(arena, plan.input_size())) return reject(Status::nonfinite_input);
    run(prepared_ ? plan.finish_calls() : plan.step_calls());
    prepared_ = false;
    const float* pending = arena + plan.pending_offset();
    if (check && !plan.kernels().all_finite(pending, plan.committed_size())) return reject(Status::nonfinite_result);
    std::memcpy(arena + plan.committed_offset(), pending, plan.committed_size() * sizeof(float));
    ++steps_;
    return Status::ok;
}

Status Stream::reject(Status status) noexcept {
    ++nonfinite_;
    return on_nonfinite_ == OnNonFinite::hold ? Status::held : status;
}

void Stream::prepare() noexcept {
    if (prepared_) return;
    run(plan_->prepare_calls());
    prepared_ = true;
}

void Stream::reset() noexcept {
    float* committed = arena_.get() + plan_->committed_offset();
    std::memset(committed, 0, plan_->committed_size() * sizeof(float));
    std::memcpy(arena_.get() + plan_->state_offset(), plan_->initial_state(), plan_->state_size() * sizeof(float));
    prepared_ = false;
}

bool Stream::set_state(const float* state) noexcept {
    if (on_nonfinite_ != OnNonFinite::propagate && !plan_->kernels().all_finite(state, plan_->state_size())) return false;
    std::memcpy(arena_.get() + plan_->state_offset(), state, plan_->state_size() * sizeof(float));
    prepared_ = false;
    return true;
}

Status Stream::process(const float* const* inputs, float* const* outputs, std::size_t count, std::size_t* failed_at) noexcept {
    const Plan& plan = *plan_;
    checkpoint();
    Status worst = Status::ok;
    for (std::size_t t = 0; t < count; ++t) {
        for (std::size_t i = 0; i < plan.inputs().size(); ++i) {
            const Slot& slot = plan.inputs()[i];
            std::memcpy(arena_.get() + slot.offset, inputs[i] + t * slot.size, slot.size * sizeof(float));
        }
        const Status status = step();
        if (status == Status::held) {
            worst = status;
        } else if (status != Status::ok) {
            rollback();
            if (failed_at) *failed_at = t;
            return status;
        }
        for (std::size_t i = 0; i < plan.outputs().size(); ++i) {
            const Slot& slot = plan.outputs()[i];
            std::memcpy(outputs[i] + t * slot.size, arena_.get() + slot.offset, slot.size * sizeof(float));
        }
    }
    return worst;
}

void Stream::checkpoint() noexcept {
    std::memcpy(arena_.get() + plan_->arena_size(), arena_.get() + plan_->committed_offset(), plan_->committed_size() * sizeof(float));
    checkpoint_steps_ = steps_;
}

void Stream::rollback() noexcept {
    std::memcpy(arena_.get() + plan_->committed_offset(), arena_.get() + plan_->arena_size(), plan_->committed_size() * sizeof(float));
    steps_ = checkpoint_steps_;
    prepared_ = false;
}

std::size_t Stream::memory_bytes() const noexcept { return sizeof *this + total_floats(*plan_) * sizeof(float) + (workers_ ? workers_->memory_bytes() : 0); }

}  // namespace rtrnn
