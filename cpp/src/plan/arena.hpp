// Gives every temporary buffer a place in the arena; buffers whose lives do not overlap share memory.
#pragma once

#include <cstddef>
#include <vector>

#include "plan/lowering.hpp"

namespace rtrnn {

// Fills `offsets` (floats, by buffer number) for temporaries from `base` on; returns the floats needed. A buffer lives from the
// first to the last call that names it, in the order prepare nodes, recurrent sums, the rest, which covers `step` as well as
// `prepare` then `finish`; calls that run beside each other are one in this.
std::size_t assign_temporaries(const std::vector<PendingCall>& calls, const Placement& placement, std::size_t base, std::vector<std::size_t>& offsets);

// Replaces the symbolic Refs of a call's arguments by offsets into the arena.
void resolve_refs(PendingCall& call, const std::vector<std::size_t>& offsets);

}  // namespace rtrnn
