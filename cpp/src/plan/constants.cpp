#include "plan/constants.hpp"

#include <algorithm>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rtrnn {
namespace {

constexpr std::size_t huge_page = 2 * 1024 * 1024;

std::size_t rounded_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

Constants::Constants(std::size_t expected) : expected_(expected) {}

std::size_t Constants::bytes_at(const void* constant) const {
    const auto found = sizes_.find(constant);
    return found == sizes_.end() ? 0 : found->second;
}

void* Constants::take(std::size_t bytes) {
    const std::size_t lines = rounded_up(std::max<std::size_t>(bytes, 1), cache_line);
    if (used_ + lines > room_) begin_piece(std::max(lines, pieces_.empty() ? expected_ : expected_ / 4));
    std::byte* const memory = pieces_.back().get() + used_;
    std::memset(memory, 0, lines);   // vectors are read to their end
    used_ += lines;
    bytes_ += bytes;
    sizes_[memory] = bytes;
    return memory;
}

void Constants::begin_piece(std::size_t bytes) {
    const bool huge = bytes >= huge_page;
    const std::size_t alignment = huge ? huge_page : cache_line;
    room_ = rounded_up(bytes, alignment);
    pieces_.emplace_back(static_cast<std::byte*>(::operator new(room_, std::align_val_t(alignment))), Delete{alignment});
    used_ = 0;
#if defined(__linux__)
    if (huge) madvise(pieces_.back().get(), room_, MADV_HUGEPAGE);   // a hint: refused, the pages are small ones
#endif
}

}  // namespace rtrnn
