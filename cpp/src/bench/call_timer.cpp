#include "bench/call_timer.hpp"

#include <cstring>

#include "bench/clock.hpp"
#include "bench/step_timer.hpp"
#include "stream/float_mode.hpp"

namespace rtrnn {

CallTimer::CallTimer(std::shared_ptr<const Plan> plan, std::vector<float> rows)
    : plan_(std::move(plan)), rows_(std::move(rows)), row_size_(row_size(*plan_, rows_)), arena_(aligned_array<float>(plan_->arena_size())) {
    if (plan_->state_size()) std::memcpy(arena_.get() + plan_->state_offset(), plan_->initial_state(), plan_->state_size() * sizeof(float));
}

void CallTimer::steps(std::size_t count, std::int64_t* ns) {
    const FloatMode mode;
    const Plan& plan = *plan_;
    const CommitArgs& commit = plan.commit(false);
    float* const arena = arena_.get();
    for (std::size_t done = 0; done < count; ++done) {
        auto last = now_ns();
        const float* row = rows_.data() + next_;
        next_ = next_ + row_size_ == rows_.size() ? 0 : next_ + row_size_;
        bool finite = true;
        for (const Slot& slot : plan.inputs()) {
            finite = plan.kernels().take(row, arena + slot.offset, slot.size) && finite;
            row += slot.size;
        }
        auto now = now_ns();
        const std::int64_t taken_in = now - last;
        for (const Call& call : plan.step_calls()) {
            last = now;
            call.kernel(call.args, arena);
            now = now_ns();
            *ns++ = now - last;
        }
        last = now;
        finite = plan.kernels().commit(commit, arena, nullptr, true) && finite;
        *ns++ = taken_in + now_ns() - last;
        if (!finite) refuse_nonfinite();
        // Every step is an even one here: the new states go where it reads them.
        if (plan.state_size()) std::memcpy(arena + plan.state_offset(), arena + commit.states.offset, plan.state_size() * sizeof(float));
        if (plan.limit_count() != Plan::no_count) arena[plan.state_offset() + plan.limit_count()] = 0;
    }
}

}  // namespace rtrnn
