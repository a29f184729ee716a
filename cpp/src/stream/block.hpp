// Block: memory in which a Stream takes several timesteps together, an arena for each, call by call where no feedback forbids it
// (plan/segments). The bits are those of as many steps.
#pragma once

#include <cstddef>

#include "plan/plan.hpp"

namespace rtrnn {

// The next timesteps of a sequence: row `first` of all inputs and outputs, and from there `step` rows (1 or -1) on.
struct Rows {
    const float* const* inputs;
    float* const* outputs;
    std::ptrdiff_t first, step;
};

class RTRNN_EXPORT Block {
public:
    // Whether a sequence gains by it: when something but step-by-step calls is left.
    static bool pays(const Plan& plan);

    explicit Block(const Plan& plan);   // of a Plan that outlives it

    std::size_t capacity() const noexcept RTRNN_NONBLOCKING { return capacity_; }

    // Takes `count` <= capacity() timesteps from `states` and leaves those of the last one there, and its outputs in `outputs`, laid out as in a
    // committed block. False, with nothing changed, when `check` and anything on the way is not finite.
    bool run(const Rows& rows, std::size_t count, float* states, float* outputs, bool check) noexcept RTRNN_NONBLOCKING;

    std::size_t memory_bytes() const noexcept RTRNN_NONBLOCKING { return capacity_ * stride_ * sizeof(float); }

private:
    void run(const Segment& segment, std::size_t count) noexcept RTRNN_NONBLOCKING;
    void pass_on(const std::vector<std::size_t>& states, std::size_t to) noexcept RTRNN_NONBLOCKING;
    float* arena(std::size_t t) noexcept RTRNN_NONBLOCKING { return memory_.get() + t * stride_; }

    const Plan& plan_;
    std::size_t stride_, capacity_;
    AlignedArray<float> memory_;
};

}  // namespace rtrnn
