// AVX-512 with VNNI, which adds the products of integers in one instruction. Everything else is avx512's.
#include "../kernels.hpp"

#include <immintrin.h>

// GCC's own header gives its intrinsics an undefined operand on purpose and then warns of it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace rtrnn {
namespace {

#include "avx512.inl"

[[gnu::always_inline]] inline Vec8Sums add_products(Vec8Sums sum, Vec8Pairs w, Vec8Pairs x) {
    return {_mm256_dpwssd_epi32(sum.v, w.v, x.v)};
}
[[gnu::always_inline]] inline Vec16Sums add_products(Vec16Sums sum, Vec16Pairs w, Vec16Pairs x) {
    return {_mm512_dpwssd_epi32(sum.v, w.v, x.v)};
}

#include "../integer_tiles.inl"

// Four products of an unsigned byte and a signed one, added to a lane.
[[gnu::always_inline]] inline Vec8Sums add_bytes(Vec8Sums sum, Vec8Pairs w, Vec8Pairs bytes) {
    return {_mm256_dpbusd_epi32(sum.v, bytes.v, w.v)};
}
[[gnu::always_inline]] inline Vec16Sums add_bytes(Vec16Sums sum, Vec16Pairs w, Vec16Pairs bytes) {
    return {_mm512_dpbusd_epi32(sum.v, bytes.v, w.v)};
}
template <class Sum, class W, class X>
[[gnu::always_inline]] inline Sum add_bytes(Sum sum, PairWeights<W> w, X bytes) {
    return {add_bytes(sum.lo, w.lo, bytes), add_bytes(sum.hi, w.hi, bytes)};
}

[[gnu::always_inline]] inline Vec8Sums times_256(Vec8Sums a) { return {_mm256_slli_epi32(a.v, 8)}; }
[[gnu::always_inline]] inline Vec16Sums times_256(Vec16Sums a) { return {_mm512_slli_epi32(a.v, 8)}; }
template <class Sum>
[[gnu::always_inline]] inline Sum times_256(Sum a) {
    return {times_256(a.lo), times_256(a.hi)};
}

// The instruction multiplies signed weights by unsigned bytes. So an operand is raised until it is positive, and what that adds to
// a row is taken off where its sum starts (Matrix::start). One of 14 bits, raised by 8192, is two bytes, 256 upper + lower:
// a weight that has been loaded is multiplied by both. Everything is modulo 2^32, which the true sum fits. What lies behind
// the operand's last value is raised as well, and is multiplied by weights that are zero.
template <int planes>
constexpr std::int16_t raise = planes == 1 ? 128 : 8192;

// Four operands become their lower, then their upper bytes.
void split_bytes(std::int16_t* values, std::int32_t count) noexcept RTRNN_NONBLOCKING {
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
    for (std::int32_t i = 0; i < count; i += quantized_block) {
        const __m512i x = _mm512_add_epi16(_mm512_loadu_si512(values + i), _mm512_set1_epi16(raise<2>));
        _mm512_storeu_si512(values + i, _mm512_shuffle_epi8(x, order));
    }
}

// Operands become bytes, in the first half of their room.
void narrow_to_bytes(std::int16_t* values, std::int32_t count) noexcept RTRNN_NONBLOCKING {
    for (std::int32_t i = 0; i < count; i += quantized_block) {
        const __m512i x = _mm512_add_epi16(_mm512_loadu_si512(values + i), _mm512_set1_epi16(raise<1>));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(values + i / 2), _mm512_cvtepi16_epi8(x));
    }
}

template <int planes, int gates, class V>
void byte_tile(const Matrix& m, std::int32_t tile, const Operand& x, std::int32_t cols, const float* bias, float* sums) noexcept RTRNN_NONBLOCKING {
    using Int = typename V::Int;
    constexpr int partials = integer_partials<planes * gates, V>;
    constexpr int quad = gates * V::lanes * 4;   // weights
    int quads = (cols + 3) / 4;
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(tile) * gates * V::lanes;
    const std::int8_t* weights = static_cast<const std::int8_t*>(m.weights) + static_cast<std::ptrdiff_t>(tile) * quads * quad;
    const std::int16_t* bytes = static_cast<const std::int16_t*>(x.values);
    Int lower[gates][partials], upper[gates][partials];
    Repeat<gates>::call([&](auto g) {
        Repeat<partials>::call([&](auto p) { lower[g.value][p.value] = upper[g.value][p.value] = Int::zero(); });
        lower[g.value][0] = Int::load(m.start + row + g.value * V::lanes);
    });
    const auto add_quad = [&](auto p) __attribute__((always_inline)) {
        const std::int16_t* const four = bytes + 2 * planes * p.value;
        const auto low = V::splat_pair(four);
        Repeat<gates>::call([&](auto g) {
            const auto w = V::load_pairs(reinterpret_cast<const std::int16_t*>(weights + p.value * quad + g.value * V::lanes * 4));
            lower[g.value][p.value] = add_bytes(lower[g.value][p.value], w, low);
            if constexpr (planes == 2) upper[g.value][p.value] = add_bytes(upper[g.value][p.value], w, V::splat_pair(four + 2));
        });
    };
    for (; quads >= partials; quads -= partials) {
        Repeat<partials>::call(add_quad);
        weights += partials * quad;
        bytes += 2 * planes * partials;
    }
    Repeat<partials - 1>::call([&](auto p) {
        if (p.value < quads) add_quad(p);
    });
    const V unit = V::splat(x.unit);
    Repeat<gates>::call([&](auto g) {
        Int total = lower[g.value][0];
        Repeat<partials - 1>::call([&](auto p) { total = total + lower[g.value][p.value + 1]; });
        if constexpr (planes == 2) {
            Int high = upper[g.value][0];
            Repeat<partials - 1>::call([&](auto p) { high = high + upper[g.value][p.value + 1]; });
            total = total + times_256(high);
        }
        const V factor = V::load(m.scale + row + g.value * V::lanes) * unit;
        store(sums + g.value * V::lanes, fma(to_float(total), factor, V::load(bias + g.value * V::lanes)));
    });
}

template <int planes, int gates>
constexpr void set_byte_shape(TileSums (&row)[tile_widths]) {
    row[0] = byte_tile<planes, gates, Width8>;
    row[1] = byte_tile<planes, gates, Width16>;
    row[2] = byte_tile<planes, gates, Width32>;
}

template <int planes>
constexpr TileTable byte_tiles() {
    TileTable table{};
    table.group = 4;
    table.raise = raise<planes>;
    table.arrange = planes == 1 ? narrow_to_bytes : split_bytes;
    set_byte_shape<planes, 1>(table.sums[static_cast<int>(TileShape::linear)]);
    set_byte_shape<planes, 1>(table.sums[static_cast<int>(TileShape::reset)]);
    set_byte_shape<planes, 2>(table.sums[static_cast<int>(TileShape::two)]);
    set_byte_shape<planes, 3>(table.sums[static_cast<int>(TileShape::three)]);
    set_byte_shape<planes, 4>(table.sums[static_cast<int>(TileShape::four)]);
    return table;
}

constexpr IntegerTiles tiles = {integer_tiles<std::int16_t>(), byte_tiles<2>(), byte_tiles<1>()};

}  // namespace

const IntegerTiles* integer_tiles_avx512vnni() noexcept { return &tiles; }

}  // namespace rtrnn
