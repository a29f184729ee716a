// What the kernel tests share: random numbers that are the same everywhere, packing, an arena with guards.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/dispatch.hpp"

namespace kernels_test {

using rtrnn::KernelTable;
using rtrnn::Ref;

// Integer arithmetic only: the same values on every machine (splitmix64).
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint32_t bits() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
    }
    // in [-range, range)
    float uniform(float range = 1.0f) {
        return range * (static_cast<float>(static_cast<std::int32_t>(bits()) / 256) / 8388608.0f);
    }
    std::vector<float> vector(std::size_t n, float range = 1.0f) {
        std::vector<float> v(n);
        for (float& x : v) x = uniform(range);
        return v;
    }

private:
    std::uint64_t state_;
};

inline std::uint32_t bits_of(float x) {
    std::uint32_t b;
    std::memcpy(&b, &x, sizeof b);
    return b;
}
inline float from_bits(std::uint32_t b) {
    float x;
    std::memcpy(&x, &b, sizeof x);
    return x;
}

// Equal in every bit, except that any NaN equals any other: its bits are the CPU's choice.
inline bool same_bits(float a, float b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!same_bits(a[i], b[i])) return false;
    }
    return true;
}

// FNV-1a over the bits, NaNs made one.
class Hash {
public:
    void add(const std::vector<float>& values) {
        for (float x : values) {
            std::uint32_t b = x != x ? 0x7fc00000u : bits_of(x);
            for (int i = 0; i < 4; ++i, b >>= 8) value_ = (value_ ^ (b & 255u)) * 0x100000001b3u;
        }
    }
    std::uint64_t value() const { return value_; }

private:
    std::uint64_t value_ = 0xcbf29ce484222325u;
};

// Buffers in one arena, none aligned, each followed by NaN guards: reading one spoils a result, writing one
// is found by intact().
class Arena {
public:
    Ref put(const std::vector<float>& values) {
        const Ref ref = space(values.size());
        std::memcpy(data_.data() + ref.offset, values.data(), values.size() * sizeof(float));
        return ref;
    }
    Ref space(std::size_t n) {
        guard();
        const Ref ref{nullptr, static_cast<std::ptrdiff_t>(data_.size())};
        data_.resize(data_.size() + n, from_bits(pattern));
        return ref;
    }
    // Call when all buffers are there.
    float* data() {
        if (!closed_) guard();
        closed_ = true;
        return data_.data();
    }
    std::vector<float> get(Ref ref, std::size_t n) const {
        return {data_.begin() + ref.offset, data_.begin() + ref.offset + static_cast<std::ptrdiff_t>(n)};
    }
    bool intact() const {
        for (std::size_t i : guards_) {
            if (bits_of(data_[i]) != pattern) return false;
        }
        return true;
    }

private:
    static constexpr std::uint32_t pattern = 0x7fdeadbeu;

    void guard() {
        const std::size_t n = 33 + data_.size() % 2;
        for (std::size_t i = 0; i < n; ++i) {
            guards_.push_back(data_.size());
            data_.push_back(from_bits(pattern));
        }
    }
    std::vector<float> data_;
    std::vector<std::size_t> guards_;
    bool closed_ = false;
};

// (gates * rows, cols) as [tile][col][gate][width], for the gates first .. first + count - 1.
inline std::vector<float> pack(const std::vector<float>& m, int rows, int cols, int width, int first, int count) {
    std::vector<float> packed;
    for (int tile = 0; tile < rows; tile += width) {
        for (int col = 0; col < cols; ++col) {
            for (int gate = first; gate < first + count; ++gate) {
                for (int row = tile; row < tile + width; ++row) {
                    packed.push_back(row < rows ? m[static_cast<std::size_t>((gate * rows + row) * cols + col)] : 0.0f);
                }
            }
        }
    }
    return packed;
}

inline std::vector<const KernelTable*> all_tables() {
    std::vector<const KernelTable*> tables;
    for (const std::string& name : rtrnn::available_isas()) tables.push_back(rtrnn::find_kernels(name));
    return tables;
}
inline const KernelTable& scalar() { return *rtrnn::find_kernels("scalar"); }

}  // namespace kernels_test
