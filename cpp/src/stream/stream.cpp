#include "stream/stream.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "stream/float_mode.hpp"

namespace rtrnn {
namespace {

std::unique_ptr<Workers> workers_of(const Plan& plan) { return plan.worker_size() ? std::make_unique<Workers>(plan.threads(), plan.worker_size()) : nullptr; }

}  // namespace

std::size_t Stream::total_floats(const Plan& plan) { return plan.arena_size() + plan.committed_size(); }

Stream::Stream(std::shared_ptr<const Plan> plan, OnNonFinite on_nonfinite)
    : plan_(std::move(plan)), arena_(aligned_array<float>(total_floats(*plan_)).release()), workers_(workers_of(*plan_)), on_nonfinite_(on_nonfinite) {
    reset();
}

Stream::Stream(std::shared_ptr<const Plan> plan, OnNonFinite on_nonfinite, float* memory)
    : plan_(std::move(plan)), arena_(memory, ArenaDelete{false}), on_nonfinite_(on_nonfinite) {
    reset();
}

Stream::Stream(const Stream& other)
    : plan_(other.plan_), arena_(aligned_array<float>(total_floats(*plan_)).release()), workers_(workers_of(*plan_)), on_nonfinite_(other.on_nonfinite_),
      prepared_(other.prepared_), odd_(other.odd_), hold_steps_(other.hold_steps_), counters_(other.counters_) {
    std::memcpy(arena_.get(), other.arena_.get(), total_floats(*plan_) * sizeof(float));
}

void Stream::run(const std::vector<Call>& calls) noexcept RTRNN_NONBLOCKING {
    const FloatMode mode;
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
    const bool check = on_nonfinite_ != OnNonFinite::propagate;
    if (check && !plan_->kernels().all_finite(arena_.get(), plan_->input_size())) return refuse(Status::nonfinite_input, nullptr);
    return advance(nullptr);
}

Status Stream::step(const float* x, float* y) noexcept {
    const Plan& plan = *plan_;
    if (!plan.kernels().take(x, input(0), plan.inputs()[0].size) && on_nonfinite_ != OnNonFinite::propagate) return refuse(Status::nonfinite_input, y);
    return advance(y);
}

inline Status Stream::advance(float* y) noexcept {
    const Plan& plan = *plan_;
    const Plan::Turn& turn = plan.turn(odd_);
    run(prepared_ ? turn.finish : turn.step);
    prepared_ = false;
    if (!plan.kernels().commit(turn.commit, arena_.get(), y, on_nonfinite_ != OnNonFinite::propagate)) return refuse(Status::nonfinite_result, y);
    odd_ = !odd_;
    accept(1);
    return Status::ok;
}

// Out of line, as is what else a good step does not do: what surrounds a small network's kernel is felt.
[[gnu::noinline]] Status Stream::refuse(Status why, float* y) noexcept {
    const Status status = reject(why);
    if (status == Status::held && y != nullptr) std::memcpy(y, output(0), plan_->outputs()[0].size * sizeof(float));
    return status;
}

Status Stream::reject(Status status) noexcept {
    counters_.nonfinite.add(1);
    const bool hold = on_nonfinite_ == OnNonFinite::hold && (hold_steps_ == 0 || counters_.held_in_a_row.get() < hold_steps_);
    if (!hold) return status;
    counters_.held_in_a_row.add(1);
    return Status::held;
}

[[gnu::noinline]] void Stream::count_limited(std::uint64_t timesteps) noexcept {
    float& limited = states()[plan_->limit_count()];
    if (limited >= 1 && limited <= static_cast<float>(timesteps)) counters_.limited.add(static_cast<std::uint64_t>(limited));
    limited = 0;
}

void Stream::prepare() noexcept {
    if (prepared_) return;
    const Plan::Turn& turn = plan_->turn(odd_);
    run(turn.prepare);
    fetch(turn.fetch);
    prepared_ = true;
}

void Stream::warm() noexcept {
    prepare();
    // All of a step, but that nothing of it becomes visible.
    const Plan& plan = *plan_;
    plan.kernels().all_finite(arena_.get(), plan.input_size());
    run(plan.finish_calls(odd_));
    CommitArgs hidden = plan.commit(odd_);
    hidden.transfer_count = 0;
    plan.kernels().commit(hidden, arena_.get(), nullptr, true);
    // The step's temporaries may lie where prepare's results were.
    prepared_ = false;
    prepare();
}

void Stream::reset() noexcept {
    odd_ = false;
    prepared_ = false;
    counters_.held_in_a_row.set(0);
    std::memset(arena_.get() + plan_->committed_offset(), 0, plan_->committed_size() * sizeof(float));
    std::memcpy(states(), plan_->initial_state(), plan_->state_size() * sizeof(float));
}

bool Stream::set_state(const float* state) noexcept {
    if (on_nonfinite_ != OnNonFinite::propagate && !plan_->kernels().all_finite(state, plan_->state_size())) return false;
    std::memmove(states(), state, plan_->state_size() * sizeof(float));
    prepared_ = false;
    return true;
}

void Stream::reserve() {
    // A block is computed by one thread; workers help with single timesteps.
    if (!block_ && !workers_ && Block::pays(*plan_)) block_ = std::make_unique<Block>(*plan_);
}

Status Stream::process(const float* const* inputs, float* const* outputs, std::size_t count, std::size_t* failed_at, bool backwards) noexcept {
    checkpoint();
    const std::ptrdiff_t step = backwards ? -1 : 1;
    Status worst = Status::ok;
    for (std::size_t done = 0; done < count;) {
        const auto row = static_cast<std::ptrdiff_t>(backwards ? count - 1 - done : done);
        const std::size_t together = block_ ? std::min(block_->capacity(), count - done) : 1;
        done += together;
        if (together > 1 && block_->run({inputs, outputs, row, step}, together, states(), arena_.get() + plan_->committed_offset(), on_nonfinite_ != OnNonFinite::propagate)) {
            prepared_ = false;
            accept(together);
            continue;
        }
        // One by one; after a block that was refused this finds the timestep that is to blame.
        for (std::size_t k = 0; k < together; ++k) {
            const auto t = static_cast<std::size_t>(row + step * static_cast<std::ptrdiff_t>(k));
            const Status status = step_row(inputs, outputs, t);
            if (status == Status::held) {
                worst = status;
            } else if (status != Status::ok) {
                rollback();
                if (failed_at) *failed_at = t;
                return status;
            }
        }
    }
    return worst;
}

Status Stream::step_row(const float* const* inputs, float* const* outputs, std::size_t t) noexcept {
    for (std::size_t i = 0; i < plan_->inputs().size(); ++i) {
        const Slot& slot = plan_->inputs()[i];
        std::memcpy(arena_.get() + slot.offset, inputs[i] + t * slot.size, slot.size * sizeof(float));
    }
    const Status status = step();
    if (status != Status::ok && status != Status::held) return status;
    for (std::size_t i = 0; i < plan_->outputs().size(); ++i) {
        const Slot& slot = plan_->outputs()[i];
        std::memcpy(outputs[i] + t * slot.size, arena_.get() + slot.offset, slot.size * sizeof(float));
    }
    return status;
}

// A checkpoint is laid out like the committed block.
void Stream::checkpoint() noexcept {
    const std::size_t outputs = plan_->state_offset() - plan_->committed_offset();
    float* checkpoint = arena_.get() + plan_->arena_size();
    std::memcpy(checkpoint, arena_.get() + plan_->committed_offset(), outputs * sizeof(float));
    std::memcpy(checkpoint + outputs, states(), plan_->state_size() * sizeof(float));
    checkpoint_counters_ = counters_;
}

void Stream::rollback() noexcept {
    const std::size_t outputs = plan_->state_offset() - plan_->committed_offset();
    const float* checkpoint = arena_.get() + plan_->arena_size();
    std::memcpy(arena_.get() + plan_->committed_offset(), checkpoint, outputs * sizeof(float));
    std::memcpy(states(), checkpoint + outputs, plan_->state_size() * sizeof(float));
    checkpoint_counters_.nonfinite = counters_.nonfinite;   // what was met was met
    counters_ = checkpoint_counters_;
    prepared_ = false;
}

bool Stream::swap(Stream& other) noexcept {
    if (!plan_->same_structure(*other.plan_) || !arena_.get_deleter().owned || !other.arena_.get_deleter().owned) return false;
    if (&other == this) return true;
    // Inputs and outputs lie in front of the states.
    std::memcpy(other.arena_.get(), arena_.get(), plan_->state_offset() * sizeof(float));
    std::memcpy(other.states(), states(), plan_->state_size() * sizeof(float));
    plan_.swap(other.plan_);
    arena_.swap(other.arena_);
    block_.swap(other.block_);
    workers_.swap(other.workers_);
    std::swap(odd_, other.odd_);
    prepared_ = other.prepared_ = false;
    return true;
}

std::size_t Stream::memory_bytes() const noexcept {
    return sizeof *this + total_floats(*plan_) * sizeof(float) + (block_ ? block_->memory_bytes() : 0) + (workers_ ? workers_->memory_bytes() : 0);
}

}  // namespace rtrnn
