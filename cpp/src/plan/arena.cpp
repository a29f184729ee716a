#include "plan/arena.hpp"

#include <algorithm>
#include <limits>

namespace rtrnn {
namespace {

constexpr std::size_t vector_floats = cache_line / sizeof(float);

std::size_t offset_in(const Ref& ref) { return static_cast<std::size_t>(ref.offset & 0xFFFFFFFF); }

struct Life {
    std::size_t first = std::numeric_limits<std::size_t>::max();
    std::size_t last = 0;

    void touch(std::size_t time) {
        first = std::min(first, time);
        last = std::max(last, time);
    }
    bool overlaps(const Life& other) const { return first <= other.last && other.first <= last; }
};

}  // namespace

std::size_t assign_temporaries(const std::vector<PendingCall>& calls, const Placement& placement, std::size_t base, std::vector<std::size_t>& offsets) {
    // Recurrent sums are all formed at the end of prepare: time `split`, between the prepare nodes and the rest.
    std::size_t prepare_count = 0;
    for (const PendingCall& call : calls) prepare_count += call.phase == Phase::prepare && !call.beside_previous;
    const std::size_t split = prepare_count;
    std::vector<Life> lives(placement.buffers.size());
    std::size_t prepare_time = 0, finish_time = split + 1;   // of the next call that does not run beside others
    for (const PendingCall& call : calls) {
        std::size_t& next = call.phase == Phase::prepare ? prepare_time : finish_time;
        const std::size_t time = call.beside_previous ? next - 1 : next++;
        const Ref* refs = static_cast<const Ref*>(call.args);
        const CellArgs& cell = *static_cast<const CellArgs*>(call.args);   // what a split call's arguments are
        for (std::size_t i = 0; i < call.refs; ++i) {
            if (refs[i].base) continue;
            Life& life = lives[static_cast<std::size_t>(buffer_of(refs[i]))];
            life.touch(time);
            if (call.phase == Phase::split && (&refs[i] == &cell.h || &refs[i] == &cell.prepared || &refs[i] == &cell.h_quantized)) life.touch(split);
        }
    }

    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < placement.buffers.size(); ++i) {
        const Buffer& buffer = placement.buffers[i];
        if (buffer.region == Region::temporary && buffer.parent < 0 && lives[i].first <= lives[i].last) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return placement.buffers[a].size > placement.buffers[b].size; });

    struct Taken { std::size_t begin, end, buffer; };
    std::vector<Taken> taken;
    std::size_t used = 0;
    for (const std::size_t buffer : order) {
        const std::size_t size = (static_cast<std::size_t>(placement.buffers[buffer].size) + vector_floats - 1) / vector_floats * vector_floats;
        std::size_t begin = 0;
        for (const Taken& other : taken)   // sorted by begin: the first gap that is large enough
            if (lives[other.buffer].overlaps(lives[buffer]) && other.begin < begin + size) begin = std::max(begin, other.end);
        const Taken entry{begin, begin + size, buffer};
        taken.insert(std::upper_bound(taken.begin(), taken.end(), entry, [](const Taken& a, const Taken& b) { return a.begin < b.begin; }), entry);
        offsets[buffer] = base + begin;
        used = std::max(used, entry.end);
    }
    return used;
}

void resolve_refs(PendingCall& call, const std::vector<std::size_t>& offsets) {
    Ref* refs = static_cast<Ref*>(call.args);
    for (std::size_t i = 0; i < call.refs; ++i)
        if (!refs[i].base) refs[i].offset = static_cast<std::ptrdiff_t>(offsets[static_cast<std::size_t>(buffer_of(refs[i]))] + offset_in(refs[i]));
}

}  // namespace rtrnn
