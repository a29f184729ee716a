#include "plan/packing.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "error.hpp"
#include "plan/options.hpp"

namespace rtrnn {
namespace {

// A magnitude below 65520 as f16, rounded to nearest even.
std::uint16_t half_bits(double magnitude) {
    if (magnitude == 0) return 0;
    const int exponent = std::max(std::ilogb(magnitude), -14);   // of the smallest normal number at least
    return static_cast<std::uint16_t>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)) + ((exponent + 14) << 10));
}

std::uint16_t brain_float_bits(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), raw, raw + sizeof value);
}

double largest_weight(Precision precision) {
    switch (precision) {
        case Precision::f16: return 65520 * (1 - DBL_EPSILON);             // rounds to 65504
        case Precision::bf16: return 0x1.ffp127 * (1 - DBL_EPSILON);       // rounds to 0x1.fep127
        default: return FLT_MAX;
    }
}

double integer_limit(Precision precision) { return precision == Precision::i16 ? 32767 : 127; }

// What a row's integers may add up to in magnitude.
std::int64_t magnitude_sum(Precision precision) { return 0x7fffffff / (precision == Precision::i8_state ? quantized_limit_8 : quantized_limit); }

constexpr std::int64_t max_integer_cols = 0x7fffffff / quantized_limit / 2;

// The row's scale; rounding may add half to each integer, which the sum's bound leaves room for.
float row_scale(const float* row, std::int64_t cols, Precision precision) {
    double largest = 0, sum = 0;
    for (std::int64_t col = 0; col < cols; ++col) {
        const double magnitude = std::fabs(static_cast<double>(row[col]));
        largest = std::max(largest, magnitude);
        sum += magnitude;
    }
    if (largest == 0) return 0;
    const double room = static_cast<double>(magnitude_sum(precision)) - 0.5 * static_cast<double>(cols) - 1;
    return std::max(static_cast<float>(std::max(largest / integer_limit(precision), sum / room)), FLT_MIN);
}

}  // namespace

std::vector<float> pack_matrix(const float* weight, std::int64_t rows, std::int64_t cols, std::int64_t width, const std::vector<int>& gates) {
    const std::int64_t tiles = tile_count(rows, width);
    std::vector<float> packed(static_cast<std::size_t>(tiles * cols * width) * gates.size());
    float* out = packed.data();
    for (std::int64_t tile = 0; tile < tiles; ++tile)
        for (std::int64_t col = 0; col < cols; ++col)
            for (const int gate : gates) {
                const std::int64_t count = std::min(width, rows - tile * width);
                for (std::int64_t i = 0; i < count; ++i) out[i] = weight[(gate * rows + tile * width + i) * cols + col];
                out += width;
            }
    return packed;
}

std::vector<float> pack_vector(const float* bias, std::int64_t rows, std::int64_t width, const std::vector<int>& gates) {
    if (bias) return pack_matrix(bias, rows, 1, width, gates);
    return std::vector<float>(static_cast<std::size_t>(tile_count(rows, width) * width) * gates.size());
}

PackedMatrix pack_reduced(const float* weight, std::int64_t rows, std::int64_t cols, std::int64_t width, const std::vector<int>& gates,
                          Precision precision, const TileTable& tiles, const std::string& label) {
    const bool integers = precision >= Precision::i16;
    if (integers && cols > max_integer_cols)
        throw Error(ErrorKind::unsupported, label + ": rows of " + std::to_string(cols) + " weights; " + precision_name(precision) +
                                                " takes at most " + std::to_string(max_integer_cols) + "; f32, f16 and bf16 take any number");
    PackedMatrix packed;
    const std::int64_t step = tiles.group;
    packed.weights.reserve(static_cast<std::size_t>(tile_count(rows, width) * width * (cols + step - 1)) * gates.size() * (precision >= Precision::i8 ? 1 : 2));
    for (std::int64_t tile = 0; tile < rows; tile += width) {
        std::vector<float> scale;
        std::vector<std::int64_t> total(gates.size() * static_cast<std::size_t>(width), 0);
        for (const int gate : gates)
            for (std::int64_t row = tile; row < tile + width; ++row)
                scale.push_back(integers && row < rows ? row_scale(weight + (gate * rows + row) * cols, cols, precision) : 0);
        const auto at = [&](std::size_t gate, std::int64_t row, std::int64_t col) {
            if (row >= rows || col >= cols) return 0.0f;
            const float value = weight[(gates[gate] * rows + row) * cols + col];
            if (!(std::fabs(static_cast<double>(value)) <= largest_weight(precision)))
                throw Error(ErrorKind::unsupported, label + ": weight " + std::to_string(value) + " at row " + std::to_string(gates[gate] * rows + row) +
                                                        ", column " + std::to_string(col) + " does not fit " + precision_name(precision));
            return value;
        };
        for (std::int64_t first = 0; first < cols; first += step)
            for (std::size_t gate = 0; gate < gates.size(); ++gate)
                for (std::int64_t row = tile; row < tile + width; ++row)
                    for (std::int64_t col = first; col < first + step; ++col) {
                        const float value = at(gate, row, col);
                        const std::size_t at_row = gate * static_cast<std::size_t>(width) + static_cast<std::size_t>(row - tile);
                        const double s = scale[at_row];
                        const double integer = s == 0 ? 0 : std::nearbyint(value / s);
                        total[at_row] += static_cast<std::int64_t>(integer);
                        if (precision == Precision::f16)
                            append(packed.weights, static_cast<std::uint16_t>(half_bits(std::fabs(static_cast<double>(value))) | (std::signbit(value) ? 0x8000u : 0)));
                        else if (precision == Precision::bf16)
                            append(packed.weights, brain_float_bits(value));
                        else if (precision == Precision::i16)
                            append(packed.weights, static_cast<std::int16_t>(integer));
                        else
                            append(packed.weights, static_cast<std::int8_t>(integer));
                    }
        if (integers) packed.scale.insert(packed.scale.end(), scale.begin(), scale.end());
        if (tiles.raise != 0)
            for (const std::int64_t sum : total) packed.start.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(-sum * tiles.raise)));
    }
    return packed;
}

}  // namespace rtrnn
