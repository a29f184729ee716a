// A Stream's saved state: a header, the outputs, the states; floats and integers as they lie in memory, in the machine's byte order.
#include <cstddef>
#include <cstring>

#include "stream/stream.hpp"

namespace rtrnn {
namespace {

constexpr char kind_and_version[8] = {'r', 't', 'r', 'n', 'n', 's', 't', '1'};

struct Header {
    char kind[8];
    std::uint64_t structure, fingerprint;   // of the Plan's Graph
    std::uint64_t outputs, states;          // floats that follow
    std::uint64_t held_in_a_row;
    std::uint64_t checksum;                 // of all the rest
};
static_assert(sizeof(Header) == 56);

// Each step is a bijection of the sum and of the word, so that damage to any one word shows for certain.
std::uint64_t checksum(std::uint64_t sum, const char* data, std::size_t bytes) noexcept {
    while (bytes > 0) {
        std::uint64_t word = 0;
        const std::size_t size = bytes < sizeof word ? bytes : sizeof word;
        std::memcpy(&word, data, size);
        sum = (sum ^ word) * 0x9E3779B97F4A7C15ull;
        sum ^= sum >> 32;
        data += size;
        bytes -= size;
    }
    return sum;
}

std::uint64_t checksum(const Header& header, const char* payload, std::size_t bytes) noexcept {
    const auto* start = reinterpret_cast<const char*>(&header);
    return checksum(checksum(bytes, start, offsetof(Header, checksum)), payload, bytes);
}

std::size_t output_floats(const Plan& plan) noexcept {
    std::size_t size = 0;
    for (const Slot& slot : plan.outputs()) size += slot.size;
    return size;
}

}  // namespace

std::size_t Stream::saved_bytes() const noexcept { return sizeof(Header) + (output_floats(*plan_) + plan_->state_size()) * sizeof(float); }

void Stream::save(void* data) const noexcept {
    Header header{{}, plan_->structure(), plan_->fingerprint(), output_floats(*plan_), plan_->state_size(), counters_.held_in_a_row.get(), 0};
    std::memcpy(header.kind, kind_and_version, sizeof header.kind);
    char* const payload = static_cast<char*>(data) + sizeof header;
    char* at = payload;
    for (const Slot& slot : plan_->outputs()) {
        std::memcpy(at, arena_.get() + slot.offset, slot.size * sizeof(float));
        at += slot.size * sizeof(float);
    }
    std::memcpy(at, states(), plan_->state_size() * sizeof(float));
    header.checksum = checksum(header, payload, (header.outputs + header.states) * sizeof(float));
    std::memcpy(data, &header, sizeof header);
}

Restored Stream::restore(const void* data, std::size_t bytes, bool any_weights) noexcept {
    Header header;
    if (bytes < sizeof header) return Restored::damaged;
    std::memcpy(&header, data, sizeof header);
    const char* const payload = static_cast<const char*>(data) + sizeof header;
    const std::size_t floats = (bytes - sizeof header) / sizeof(float);
    if (std::memcmp(header.kind, kind_and_version, sizeof header.kind) != 0 || bytes != sizeof header + floats * sizeof(float) ||
        header.outputs > floats || header.states != floats - header.outputs || header.checksum != checksum(header, payload, floats * sizeof(float)))
        return Restored::damaged;
    if (header.structure != plan_->structure() || (!any_weights && header.fingerprint != plan_->fingerprint()) || header.outputs != output_floats(*plan_) ||
        header.states != plan_->state_size())
        return Restored::mismatch;
    float* const values = arena_.get() + plan_->arena_size();
    std::memcpy(values, payload, floats * sizeof(float));
    if (on_nonfinite_ != OnNonFinite::propagate && !plan_->kernels().all_finite(values, floats)) return Restored::nonfinite;
    const float* at = values;
    for (const Slot& slot : plan_->outputs()) {
        std::memcpy(arena_.get() + slot.offset, at, slot.size * sizeof(float));
        at += slot.size;
    }
    std::memcpy(states(), at, plan_->state_size() * sizeof(float));
    counters_.held_in_a_row.set(header.held_in_a_row);
    prepared_ = false;
    return Restored::ok;
}

}  // namespace rtrnn
