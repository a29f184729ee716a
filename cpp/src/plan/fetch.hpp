// What `finish` reads first is brought into the first cache level at the end of `prepare`, in the idle time.
#pragma once

#include <cstddef>
#include <vector>

#include "plan/constants.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {

// Constants of the Plan, in whole cache lines.
struct Fetch {
    const char* begin;
    std::size_t bytes;
};

// The weights of the calls that finish makes, in the order in which it reads them, as far as they find room in a cache of this size
// beside the state and all else.
std::vector<Fetch> read_first(const std::vector<PendingCall>& calls, const KernelTable& kernels, const Constants& constants, std::size_t cache_bytes);

inline void fetch(const std::vector<Fetch>& pieces) noexcept RTRNN_NONBLOCKING {
    for (const Fetch& piece : pieces)
        for (const char *p = piece.begin, *end = p + piece.bytes; p < end; p += cache_line) __builtin_prefetch(p);
}

}  // namespace rtrnn
