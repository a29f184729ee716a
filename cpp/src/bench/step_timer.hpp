// Steps of a Plan, timed without Python: what a C++ control loop pays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "stream/stream.hpp"

namespace rtrnn {

// What of a step is timed: all of it; or, of a prepare followed by a step, the one or the other.
enum class TimedPart { step, prepare, finish };

// Floats of a row: all inputs in declared order. Throws Error (invalid_argument) when `rows` are not whole rows, at least one.
std::size_t row_size(const Plan& plan, const std::vector<float>& rows);
// Throws Error (invalid_argument): the network does not stay finite.
[[noreturn]] void refuse_nonfinite();

// A Stream that is fed the rows of a table in turn. A step copies its row in, runs, and copies the outputs out, as
// rtrnn_stream_step_copy does.
class StepTimer {
public:
    // `rows` holds whole rows, each all inputs in declared order. Throws Error (invalid_argument) for another size.
    StepTimer(std::shared_ptr<const Plan> plan, std::vector<float> rows);

    // `count` steps. Throws Error (invalid_argument) when the network does not stay finite: then nothing is timed.
    void block(std::size_t count);
    // `count` steps; the nanoseconds of each one's timed part, from before to after it.
    void singles(std::size_t count, TimedPart part, std::int64_t* ns);

    const Stream& stream() const noexcept { return stream_; }
    // The outputs of the last step, one after the other.
    const std::vector<float>& outputs() const noexcept { return outputs_; }

private:
    bool step() noexcept;

    Stream stream_;
    std::vector<float> rows_, outputs_;
    std::size_t row_size_, next_ = 0;
};

}  // namespace rtrnn
