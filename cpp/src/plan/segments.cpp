#include "plan/segments.hpp"

#include <algorithm>

namespace rtrnn {
namespace {

constexpr std::size_t none = static_cast<std::size_t>(-1);

bool touches(const PendingCall& call, int buffer, bool writing) {
    const Ref* refs = static_cast<const Ref*>(call.args);
    for (std::size_t i = 0; i < call.refs; ++i)
        if (!refs[i].base && buffer_of(refs[i]) == buffer && ((call.writes >> i & 1) != 0) == writing) return true;
    return false;
}

struct Feedback {
    std::size_t first_read = none, last_write = 0;
    bool is_loop() const { return first_read != none && first_read <= last_write; }
};

// Whether the cell that starts a sequential segment can form its input sums for all timesteps first.
bool input_is_free(const std::vector<const PendingCall*>& calls, std::size_t first, std::size_t last, const Segment& segment, const Placement& placement) {
    const PendingCall& call = *calls[first];
    if (!call.cell || call.phase != Phase::split || call.parts > 1) return false;   // only these have room for sums
    if (!call.cell->many.input) return false;
    const CellArgs& cell = *static_cast<const CellArgs*>(call.args);
    if (cell.x.base) return true;
    const int x = buffer_of(cell.x);
    if (placement.buffers[static_cast<std::size_t>(x)].region == Region::input) return true;   // and a Ref that is not used looks like the first one
    for (const std::size_t state : segment.fed)
        if (placement.states[state] == x) return false;
    return std::none_of(calls.begin() + static_cast<std::ptrdiff_t>(first), calls.begin() + static_cast<std::ptrdiff_t>(last),
                        [&](const PendingCall* other) { return touches(*other, x, true); });
}

}  // namespace

std::vector<Segment> find_segments(const std::vector<const PendingCall*>& calls, const Placement& placement) {
    std::vector<Feedback> states(placement.states.size());
    for (std::size_t i = 0; i < calls.size(); ++i)
        for (std::size_t s = 0; s < states.size(); ++s) {
            if (states[s].first_read == none && touches(*calls[i], placement.states[s], false)) states[s].first_read = i;
            if (touches(*calls[i], placement.next_states[s], true)) states[s].last_write = i;
        }

    std::vector<Segment> segments;
    for (std::size_t first = 0, last; first < calls.size(); first = last) {
        Segment segment;
        last = first + 1;
        const auto reads_first = [&](std::size_t call, const auto& which) {
            return std::any_of(states.begin(), states.end(), [&](const Feedback& state) { return state.first_read == call && which(state); });
        };
        const auto starts_loop = [](const Feedback& state) { return state.is_loop(); };
        const auto is_written_here = [&](const Feedback& state) { return state.last_write >= first; };   // so it must be passed on in between
        if (reads_first(first, starts_loop)) {
            segment.sequential = true;
            for (std::size_t i = first; i < last; ++i)
                for (const Feedback& state : states)
                    if (state.is_loop() && state.first_read == i) last = std::max(last, state.last_write + 1);
        } else {
            while (last < calls.size() && !reads_first(last, starts_loop) && !reads_first(last, is_written_here)) ++last;
        }
        for (std::size_t s = 0; s < states.size(); ++s) {
            if (states[s].first_read == none || states[s].first_read < first || states[s].first_read >= last) continue;
            (states[s].last_write >= first ? segment.fed : segment.settled).push_back(s);
        }
        for (std::size_t i = first; i < last; ++i) segment.calls.push_back({calls[i]->kernel, calls[i]->args, calls[i]->many, 1, nullptr});
        if (segment.sequential && input_is_free(calls, first, last, segment, placement)) {
            segment.input = calls[first]->cell->many.input;
            segment.calls.front().kernel = calls[first]->cell->recur;
        }
        segments.push_back(std::move(segment));
    }
    return segments;
}

}  // namespace rtrnn
