// Where the time of a step goes: each kernel call of a Plan, timed within whole steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "plan/plan.hpp"

namespace rtrnn {

// Walks a Plan's calls over an arena of its own, reading the clock between them; a Stream, and what a step costs there, stay as they are.
class CallTimer {
public:
    // `rows` holds whole rows, each all inputs in declared order, which are fed in turn. Throws Error (invalid_argument) for another size.
    CallTimer(std::shared_ptr<const Plan> plan, std::vector<float> rows);

    // `count` steps: for each the nanoseconds of every call of Plan::step_calls(), then of what surrounds them (the input taken in and
    // checked, the new state checked and committed); the clock's own time is in each. Throws Error (invalid_argument) when the network
    // does not stay finite.
    void steps(std::size_t count, std::int64_t* ns);

    const Plan& plan() const noexcept { return *plan_; }

private:
    std::shared_ptr<const Plan> plan_;
    std::vector<float> rows_;
    std::size_t row_size_, next_ = 0;
    AlignedArray<float> arena_;
};

}  // namespace rtrnn
