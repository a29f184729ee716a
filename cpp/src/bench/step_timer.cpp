#include "bench/step_timer.hpp"

#include <cstring>
#include <string>

#include "bench/clock.hpp"
#include "error.hpp"

namespace rtrnn {

std::size_t row_size(const Plan& plan, const std::vector<float>& rows) {
    std::size_t size = 0;
    for (const Slot& slot : plan.inputs()) size += slot.size;
    if (size == 0 ? !rows.empty() : rows.empty() || rows.size() % size != 0)
        throw Error(ErrorKind::invalid_argument, "expected rows of " + std::to_string(size) + " inputs, found " + std::to_string(rows.size()) + " values");
    return size;
}

void refuse_nonfinite() {
    throw Error(ErrorKind::invalid_argument, "the network does not stay finite on random inputs: there is nothing to time");
}

StepTimer::StepTimer(std::shared_ptr<const Plan> plan, std::vector<float> rows)
    : stream_(std::move(plan)), rows_(std::move(rows)), row_size_(row_size(stream_.plan(), rows_)) {
    std::size_t out = 0;
    for (const Slot& slot : stream_.plan().outputs()) out += slot.size;
    outputs_.resize(out);
}

bool StepTimer::step() noexcept {
    const Plan& plan = stream_.plan();
    const float* row = rows_.data() + next_;
    next_ = next_ + row_size_ == rows_.size() ? 0 : next_ + row_size_;
    if (plan.inputs().size() == 1 && plan.outputs().size() == 1) return stream_.step(row, outputs_.data()) == Status::ok;
    for (std::size_t i = 0; i < plan.inputs().size(); ++i) {
        std::memcpy(stream_.input(i), row, plan.inputs()[i].size * sizeof(float));
        row += plan.inputs()[i].size;
    }
    if (stream_.step() != Status::ok) return false;
    float* out = outputs_.data();
    for (std::size_t i = 0; i < plan.outputs().size(); ++i) {
        std::memcpy(out, stream_.output(i), plan.outputs()[i].size * sizeof(float));
        out += plan.outputs()[i].size;
    }
    return true;
}

void StepTimer::block(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        if (!step()) refuse_nonfinite();
}

void StepTimer::singles(std::size_t count, TimedPart part, std::int64_t* ns) {
    bool finite = true;
    for (std::size_t i = 0; i < count; ++i) {
        if (part == TimedPart::finish) stream_.prepare();
        const auto begin = now_ns();
        if (part == TimedPart::prepare) {
            stream_.prepare();
            ns[i] = now_ns() - begin;
            finite = step() && finite;
        } else {
            finite = step() && finite;
            ns[i] = now_ns() - begin;
        }
    }
    if (!finite) refuse_nonfinite();
}

}  // namespace rtrnn
