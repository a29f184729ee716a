#include "stream/block.hpp"

#include <algorithm>
#include <cstring>

#include "stream/float_mode.hpp"

namespace rtrnn {
namespace {

constexpr std::size_t most_timesteps = 48;   // whole panels of every width (kernels/panels.inl)
constexpr std::size_t block_floats = (1 << 18) / sizeof(float);   // about what a core's own cache takes beside the weights

}  // namespace

bool Block::pays(const Plan& plan) {
    if (block_floats / odd_lines(plan.arena_size()) < 4) return false;
    for (const Segment& segment : plan.segments()) {
        if (segment.input) return true;
        if (!segment.sequential && std::any_of(segment.calls.begin(), segment.calls.end(), [](const Call& call) { return call.many != nullptr; })) return true;
    }
    return false;
}

Block::Block(const Plan& plan)
    : plan_(plan), stride_(odd_lines(plan.arena_size())), capacity_(std::clamp<std::size_t>(block_floats / stride_, 1, most_timesteps)),
      memory_(aligned_array<float>(stride_ * capacity_)) {}

void Block::pass_on(const std::vector<std::size_t>& states, std::size_t to) noexcept {
    for (const std::size_t state : states) {
        const Slot& slot = plan_.states()[state];
        std::memcpy(arena(to) + slot.offset, arena(to - 1) + slot.offset + plan_.committed_size(), slot.size * sizeof(float));
    }
}

void Block::run(const Segment& segment, std::size_t count) noexcept {
    for (std::size_t t = 1; t < count; ++t) pass_on(segment.settled, t);
    const auto stride = static_cast<std::ptrdiff_t>(stride_);
    const auto timesteps = static_cast<std::int32_t>(count);
    if (!segment.sequential) {
        for (const Call& call : segment.calls) run_many(call, arena(0), stride, timesteps);
        return;
    }
    if (segment.input) segment.input(segment.calls.front().args, arena(0), stride, timesteps);
    for (std::size_t t = 0; t < count; ++t) {
        if (t > 0) pass_on(segment.fed, t);
        for (const Call& call : segment.calls) call.kernel(call.args, arena(t));
    }
}

bool Block::run(const Rows& rows, std::size_t count, float* states, float* outputs, bool check) noexcept {
    const KernelTable& kernels = plan_.kernels();
    const CommitArgs& commit = plan_.commit(false);
    for (std::size_t t = 0; t < count; ++t) {
        const std::ptrdiff_t row = rows.first + static_cast<std::ptrdiff_t>(t) * rows.step;
        for (std::size_t i = 0; i < plan_.inputs().size(); ++i) {
            const Slot& slot = plan_.inputs()[i];
            std::memcpy(arena(t) + slot.offset, rows.inputs[i] + row * static_cast<std::ptrdiff_t>(slot.size), slot.size * sizeof(float));
        }
        if (check && !kernels.all_finite(arena(t), plan_.input_size())) return false;
    }
    std::memcpy(arena(0) + plan_.state_offset(), states, plan_.state_size() * sizeof(float));
    {
        const FloatMode mode;
        for (const Segment& segment : plan_.segments()) run(segment, count);
    }
    for (std::size_t t = 0; check && t < count; ++t)
        if (!is_finite(kernels, commit, arena(t))) return false;
    for (std::size_t t = 0; t < count; ++t) {
        const std::ptrdiff_t row = rows.first + static_cast<std::ptrdiff_t>(t) * rows.step;
        for (std::size_t i = 0; i < plan_.outputs().size(); ++i) {
            const Slot& slot = plan_.outputs()[i];
            std::memcpy(rows.outputs[i] + row * static_cast<std::ptrdiff_t>(slot.size), arena(t) + commit.transfers[i].from, slot.size * sizeof(float));
        }
    }
    const float* const last = arena(count - 1);
    for (std::size_t i = 0; i < plan_.outputs().size(); ++i) {
        const Slot& slot = plan_.outputs()[i];
        std::memcpy(outputs + (slot.offset - plan_.committed_offset()), last + commit.transfers[i].from, slot.size * sizeof(float));
    }
    std::memcpy(states, last + plan_.state_offset() + plan_.committed_size(), plan_.state_size() * sizeof(float));
    return true;
}

}  // namespace rtrnn
