// Constants: what a Plan's kernels read and never write, side by side in the order in which it was added.
//
// In few pieces of memory, so that a large network can lie in huge pages where the system gives them: a GRU of 1024 units (13 MB)
// takes three quarters of the time.
#pragma once

#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <type_traits>
#include <vector>

#include "plan/aligned.hpp"

namespace rtrnn {

class Constants {
public:
    // Makes one piece of memory for `expected` bytes; what goes beyond takes further ones.
    explicit Constants(std::size_t expected);

    // A copy of `count` values, on cache lines of its own.
    template <class T>
    const T* add(const T* values, std::size_t count) {
        static_assert(std::is_trivially_copyable_v<T>);
        void* const memory = take(count * sizeof(T));
        if (count) std::memcpy(memory, values, count * sizeof(T));
        return static_cast<const T*>(memory);
    }

    // All that was added.
    std::size_t bytes() const { return bytes_; }
    // Of what was added at this place; 0 for any other.
    std::size_t bytes_at(const void* constant) const;

private:
    struct Delete {
        std::size_t alignment;
        void operator()(std::byte* p) const noexcept { ::operator delete(p, std::align_val_t(alignment)); }
    };
    using Piece = std::unique_ptr<std::byte[], Delete>;

    void* take(std::size_t bytes);
    void begin_piece(std::size_t bytes);

    std::vector<Piece> pieces_;
    std::size_t used_ = 0, room_ = 0;   // of the last piece
    std::size_t expected_, bytes_ = 0;
    std::map<const void*, std::size_t> sizes_;
};

}  // namespace rtrnn
