// How several timesteps are computed together: which calls can be made for all of them at once, and which must wait for the timestep before.
//
// The calls of a step, in their order, fall into segments. A state that is read before its next value is written ties all calls between the
// two into a sequential segment, which runs timestep by timestep; everything else (an encoder, a head, the input sums of a cell that
// starts a sequential segment) is done for all timesteps, call by call. In each arena the calls keep their order, so that temporaries
// may share memory as in a step.
#pragma once

#include <cstddef>
#include <vector>

#include "plan/lowering.hpp"

namespace rtrnn {

struct Segment {
    std::vector<Call> calls;
    bool sequential = false;
    ManyKernel input = nullptr;         // sequential: what the first call, a cell, does for all timesteps; the call itself is then what remains
    std::vector<std::size_t> fed;       // states that the segment reads and writes: passed on from timestep to timestep as it runs
    std::vector<std::size_t> settled;   // states written by earlier segments and first read here: passed on before it runs
};

// `calls` with symbolic Refs, in the order of a step.
std::vector<Segment> find_segments(const std::vector<const PendingCall*>& calls, const Placement& placement);

}  // namespace rtrnn
