// Heap memory aligned for whole cache lines and vectors, zeroed.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace rtrnn {

constexpr std::size_t cache_line = 64;

struct AlignedDelete {
    void operator()(void* p) const noexcept { ::operator delete(p, std::align_val_t(cache_line)); }
};

template <class T>
using AlignedArray = std::unique_ptr<T[], AlignedDelete>;

// `count` zeroed elements of a trivial type; every page is touched, so that a later access cannot fault.
template <class T>
AlignedArray<T> aligned_array(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + cache_line - 1) / cache_line * cache_line;
    void* memory = ::operator new(bytes ? bytes : cache_line, std::align_val_t(cache_line));
    std::memset(memory, 0, bytes);
    return AlignedArray<T>(static_cast<T*>(memory));
}

// From one arena to the next of many, in floats: an odd number of cache lines, so that the same value of all of them is spread over all
// sets of a cache.
constexpr std::size_t odd_lines(std::size_t floats) {
    constexpr std::size_t line = cache_line / sizeof(float);
    return ((floats + line - 1) / line | 1) * line;
}

// Memory that may be somebody else's.
struct ArenaDelete {
    bool owned = true;
    void operator()(float* p) const noexcept {
        if (owned) AlignedDelete()(p);
    }
};
using Arena = std::unique_ptr<float[], ArenaDelete>;

}  // namespace rtrnn
