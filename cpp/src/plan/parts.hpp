// Calls whose matrices are large, cut by rows into parts that several cores compute at the same time.
//
// A part is a call of the same kernel on a range of whole tiles: each row is summed as before, so the bits stay, and run one after the
// other the parts are the whole call. Part p goes to the same core at every step, which so keeps its rows in its own cache.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "plan/lowering.hpp"

namespace rtrnn {

// Floats that go from a Stream's arena to a worker's memory, or back.
struct PartCopy {
    std::size_t arena, own, size;
};

// A part as a worker runs it: in memory of its own, so that a worker that comes late disturbs nobody.
struct RemotePart {
    Kernel kernel;
    AlignedArray<std::byte> args;        // Refs are into the worker's memory
    std::vector<PartCopy> in, out;
    std::size_t own_size;                // floats of the worker's memory that it needs
};

enum class CellForm { whole, prepare, finish };

// Replaces the calls that are worth it by parts, one behind the other, the second and later ones `beside_previous`.
void split_large_calls(Lowering& lowering, const ThreadOptions& threads);

// The worker's side of a part whose Refs are resolved.
std::unique_ptr<RemotePart> make_remote_part(const KernelTable& kernels, const PendingCall& call, CellForm form);

}  // namespace rtrnn
