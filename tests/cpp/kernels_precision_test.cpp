// Matrices of fewer bits: sums against exact integer arithmetic written out once more, cells against double, and equal bits on
// every ISA, at every tile width and in both forms.
#include <doctest/doctest.h>

#include <cfloat>
#include <cmath>
#include <limits>

#include "error.hpp"
#include "kernels_cells.hpp"

using namespace kernels_test;

namespace {

constexpr Precision integer_precisions[] = {Precision::i16, Precision::i8, Precision::i8_state};
constexpr Precision float_precisions[] = {Precision::f16, Precision::bf16};
constexpr Precision reduced[] = {Precision::f16, Precision::bf16, Precision::i16, Precision::i8, Precision::i8_state};

std::int64_t operand_limit(Precision precision) { return precision == Precision::i8_state ? 127 : 8191; }

// A row of integers and its scale, from the definition in cpp/README.md.
struct IntegerRow {
    std::vector<std::int64_t> values;
    float scale;
};

IntegerRow integer_row(const float* row, int cols, Precision precision) {
    const double limit = precision == Precision::i16 ? 32767 : 127;
    const double room = static_cast<double>(2147483647 / operand_limit(precision));
    double largest = 0, sum = 0;
    for (int i = 0; i < cols; ++i) {
        largest = std::max(largest, std::fabs(static_cast<double>(row[i])));
        sum += std::fabs(static_cast<double>(row[i]));
    }
    IntegerRow out{std::vector<std::int64_t>(static_cast<std::size_t>(cols), 0), 0.0f};
    if (largest == 0) return out;
    out.scale = std::max(static_cast<float>(std::max(largest / limit, sum / (room - cols / 2.0 - 1))), FLT_MIN);
    for (int i = 0; i < cols; ++i) out.values[static_cast<std::size_t>(i)] = std::llrint(static_cast<double>(row[i]) / out.scale);
    return out;
}

struct IntegerVector {
    std::vector<std::int64_t> values;
    float unit;
};

IntegerVector integer_vector(const float* x, int n, Precision precision) {
    const auto limit = static_cast<float>(operand_limit(precision));
    float largest = 0x1p-100f;
    for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
    IntegerVector out{{}, largest / limit};
    const float scale = limit / largest;
    for (int i = 0; i < n; ++i) out.values.push_back(std::llrint(static_cast<double>(x[i]) * static_cast<double>(scale)));
    return out;
}

// The value nearest to x with `digits` significant bits, and with no bit below 2^lowest.
float round_to(float x, int digits, int lowest) {
    if (x == 0) return x;
    const int place = std::max(std::ilogb(x) - digits + 1, lowest);
    return static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(static_cast<double>(x), -place)), place));
}
float round_weight(float x, Precision precision) { return precision == Precision::f16 ? round_to(x, 11, -24) : round_to(x, 8, -133); }

struct Layer {
    int rows, cols, batch;
    std::vector<float> x, weight, bias;
};

std::vector<float> run_layer(const KernelTable& table, const Layer& layer, Precision precision, int width, bool* intact = nullptr) {
    Arena arena;
    rtrnn::LinearArgs a{};
    a.x = arena.put(layer.x);
    a.y = arena.space(static_cast<std::size_t>(layer.batch * layer.rows));
    a.x_quantized = arena.space(quantized_room(layer.cols));
    const TestMatrix weight(table, precision, layer.weight, layer.rows, layer.cols, width, 0, 1, TileShape::linear);
    const auto bias = pack(layer.bias, layer.rows, 1, width, 0, 1);
    a.weight = weight.get();
    a.bias = bias.data();
    a.rows = layer.rows;
    a.cols = layer.cols;
    a.width = width;
    a.batch = layer.batch;
    a.activation = {UnaryKind::identity, 0, 0};
    table.any.linear(&a, arena.data());
    if (intact != nullptr && !arena.intact()) *intact = false;
    return arena.get(a.y, static_cast<std::size_t>(layer.batch * layer.rows));
}

std::vector<float> exact_layer(const Layer& layer, Precision precision) {
    std::vector<float> y;
    for (int b = 0; b < layer.batch; ++b) {
        const IntegerVector x = integer_vector(layer.x.data() + b * layer.cols, layer.cols, precision);
        for (int row = 0; row < layer.rows; ++row) {
            const IntegerRow w = integer_row(layer.weight.data() + row * layer.cols, layer.cols, precision);
            std::int64_t sum = 0, size = 0;
            for (std::size_t i = 0; i < w.values.size(); ++i) {
                sum += w.values[i] * x.values[i];
                size += std::abs(w.values[i]) * operand_limit(precision);
            }
            REQUIRE(size <= std::numeric_limits<std::int32_t>::max());   // whatever the operand, in whatever order
            y.push_back(std::fma(static_cast<float>(sum), w.scale * x.unit, layer.bias[static_cast<std::size_t>(row)]));
        }
    }
    return y;
}

template <class F>
void on_every_table(const F& check) {
    for (const KernelTable* table : all_tables()) {
        CAPTURE(std::string(table->name));
        for (int width : {8, 16, 32}) {
            CAPTURE(width);
            check(*table, width);
        }
    }
}

Layer random_layer(int rows, int cols, std::uint64_t seed, float range = 2.0f) {
    Random random(seed);
    Layer layer{rows, cols, 1 + static_cast<int>(seed % 3), {}, {}, {}};
    layer.x = random.vector(static_cast<std::size_t>(layer.batch * cols), range);
    layer.weight = random.vector(static_cast<std::size_t>(rows * cols));
    layer.bias = random.vector(static_cast<std::size_t>(rows));
    return layer;
}

const std::vector<std::pair<int, int>> layer_sizes = [] {
    std::vector<std::pair<int, int>> s;
    for (int n = 1; n <= 130; ++n) s.emplace_back((n * 37) % 71 + 1, n);
    s.insert(s.end(), {{1, 1}, {33, 257}, {130, 3}, {7, 2000}});
    return s;
}();

}  // namespace

TEST_CASE("kernels: integer matrices give the exact sums") {
    for (Precision precision : integer_precisions) {
        CAPTURE(static_cast<int>(precision));
        std::uint64_t seed = 1;
        for (const auto& [rows, cols] : layer_sizes) {
            CAPTURE(rows);
            CAPTURE(cols);
            const Layer layer = random_layer(rows, cols, seed++);
            const auto expected = exact_layer(layer, precision);
            bool intact = true;
            on_every_table([&](const KernelTable& table, int width) { CHECK(same_bits(run_layer(table, layer, precision, width, &intact), expected)); });
            CHECK(intact);
        }
    }
}

TEST_CASE("kernels: f16 and bf16 matrices give the bits of f32 with the rounded weights") {
    for (Precision precision : float_precisions) {
        CAPTURE(static_cast<int>(precision));
        std::uint64_t seed = 1;
        for (const auto& [rows, cols] : layer_sizes) {
            CAPTURE(rows);
            CAPTURE(cols);
            Layer layer = random_layer(rows, cols, seed++);
            if (seed % 4 == 0)
                for (float& w : layer.weight) w *= 1e-6f;   // below f16's normal numbers
            Layer rounded = layer;
            for (float& w : rounded.weight) w = round_weight(w, precision);
            const auto expected = run_layer(scalar(), rounded, Precision::f32, 8);
            bool intact = true;
            on_every_table([&](const KernelTable& table, int width) { CHECK(same_bits(run_layer(table, layer, precision, width, &intact), expected)); });
            CHECK(intact);
        }
    }
}

TEST_CASE("kernels: every f16 and bf16 number is widened exactly") {
    for (Precision precision : float_precisions) {
        for (std::uint32_t first = 0; first < 0x10000; first += 512) {
            std::vector<float> values;
            for (std::uint32_t bits = first; bits < first + 512; ++bits) {
                const int exponent = static_cast<int>(precision == Precision::f16 ? bits >> 10 & 31 : bits >> 7 & 255);
                const int fraction = static_cast<int>(precision == Precision::f16 ? bits & 1023 : bits & 127);
                const int top = precision == Precision::f16 ? 31 : 255, digits = precision == Precision::f16 ? 10 : 7, bias = top / 2;
                if (exponent == top) continue;   // infinities and NaNs are refused when weights are packed
                const double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias - digits) : std::ldexp(fraction + (1 << digits), exponent - bias - digits);
                values.push_back(static_cast<float>(bits & 0x8000 ? -magnitude : magnitude));
            }
            if (values.empty()) continue;
            const auto rows = static_cast<int>(values.size());
            const Layer layer{rows, 1, 1, {1.0f}, values, std::vector<float>(values.size(), 0.0f)};
            for (float& v : values) v += 0.0f;   // 0 + -0 is 0
            on_every_table([&](const KernelTable& table, int width) { CHECK(same_bits(run_layer(table, layer, precision, width), values)); });
        }
    }
}

TEST_CASE("kernels: no sum of integers overflows, however large weights and operands are") {
    for (Precision precision : integer_precisions) {
        for (int cols : {1, 2, 3, 8, 9, 64, 65, 257, 2064, 2065, 5000, 131088}) {
            CAPTURE(cols);
            Layer layer = random_layer(3, cols, static_cast<std::uint64_t>(cols));
            layer.batch = 1;
            layer.x.assign(static_cast<std::size_t>(cols), 3.5f);
            for (int i = 0; i < cols; ++i) {
                layer.weight[static_cast<std::size_t>(i)] = 0.75f;
                layer.weight[static_cast<std::size_t>(cols + i)] = -0.75f;
                layer.weight[static_cast<std::size_t>(2 * cols + i)] = i % 2 ? 1e30f : -1e30f;
            }
            const auto expected = exact_layer(layer, precision);
            const double integer = std::min(127.0, (static_cast<double>(2147483647 / operand_limit(precision)) - cols / 2.0 - 1) / cols);   // of one weight, at the coarsest
            CHECK(std::fabs(expected[0] / (0.75 * 3.5 * cols + layer.bias[0]) - 1) < 0.5 / integer);
            on_every_table([&](const KernelTable& table, int width) { CHECK(same_bits(run_layer(table, layer, precision, width), expected)); });
        }
    }
}

// What the bound on a row's sum is for: the same kernel on rows that are scaled by their largest weight alone.
TEST_CASE("kernels: integers beyond the bound on a row's sum do overflow") {
    constexpr int cols = 64;
    const std::vector<std::int16_t> weights(8 * cols, 32767);
    const std::vector<float> scale(8, 1.0f), bias(8, 0.0f);
    for (const KernelTable* table : all_tables()) {
        Arena arena;
        rtrnn::LinearArgs a{};
        a.x = arena.put(std::vector<float>(cols, 1.0f));
        a.y = arena.space(8);
        a.x_quantized = arena.space(quantized_room(cols));
        a.weight = {weights.data(), scale.data(), nullptr, table->tiles[static_cast<int>(Precision::i16)].sums[static_cast<int>(TileShape::linear)][0],
                    nullptr, Precision::i16};
        a.bias = bias.data();
        a.rows = a.width = 8;
        a.cols = cols;
        a.batch = 1;
        a.activation = {UnaryKind::identity, 0, 0};
        table->any.linear(&a, arena.data());
        CHECK(arena.get(a.y, 1)[0] < 0);
    }
}

TEST_CASE("kernels: zeros, denormals and huge operands are quantised like any other") {
    const auto with_x = [](std::vector<float> x) {
        Layer layer = random_layer(19, static_cast<int>(x.size()), 3);
        layer.batch = 1;
        layer.x = std::move(x);
        return layer;
    };
    for (Precision precision : integer_precisions) {
        for (int cols : {1, 2, 31, 32, 33, 70}) {
            const auto n = static_cast<std::size_t>(cols);
            std::vector<float> denormal(n, 1e-41f), huge(n, -1e30f), mixed(n, 1e-30f), largest(n, FLT_MAX);
            mixed[n - 1] = 1e30f;
            for (const auto& x : {std::vector<float>(n, 0.0f), std::vector<float>(n, -0.0f), denormal, huge, mixed, largest}) {
                const Layer layer = with_x(x);
                const auto expected = exact_layer(layer, precision);
                if (x[0] == 0) CHECK(same_bits(expected, layer.bias));
                on_every_table([&](const KernelTable& table, int width) { CHECK(same_bits(run_layer(table, layer, precision, width), expected)); });
            }
        }
    }
}

TEST_CASE("kernels: a NaN or an infinity in a quantised operand makes every sum NaN") {
    for (Precision precision : integer_precisions) {
        for (int cols : {1, 2, 15, 16, 17, 33, 70}) {
            for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()}) {
                for (int at : {0, cols / 2, cols - 1}) {
                    Layer layer = random_layer(11, cols, 5);
                    layer.batch = 1;
                    layer.x.assign(static_cast<std::size_t>(cols), 0.0f);
                    layer.x[static_cast<std::size_t>(at)] = bad;
                    on_every_table([&](const KernelTable& table, int width) {
                        for (float y : run_layer(table, layer, precision, width)) CHECK(std::isnan(y));
                    });
                }
            }
        }
    }
}

namespace {

// The cell that the integers stand for: weights and operands are what quantisation made of them.
CellCase dequantized(CellCase cell) {
    const auto weights = [&](std::vector<float>& m, int cols, Precision precision) {
        for (std::size_t row = 0; row < m.size() / static_cast<std::size_t>(cols); ++row) {
            float* w = m.data() + row * static_cast<std::size_t>(cols);
            if (precision < Precision::i16) {
                for (int i = 0; i < cols; ++i) w[i] = precision == Precision::f32 ? w[i] : round_weight(w[i], precision);
                continue;
            }
            const IntegerRow integers = integer_row(w, cols, precision);
            for (int i = 0; i < cols; ++i) w[i] = static_cast<float>(integers.values[static_cast<std::size_t>(i)]) * integers.scale;
        }
    };
    weights(cell.weight_ih, cell.input_size, cell.ih);
    weights(cell.weight_hh, cell.hidden_size, cell.hh);
    return cell;
}

std::vector<float> dequantized(const std::vector<float>& x, Precision precision) {
    const IntegerVector integers = integer_vector(x.data(), static_cast<int>(x.size()), precision);
    std::vector<float> out;
    for (std::int64_t v : integers.values) out.push_back(static_cast<float>(v) * integers.unit);
    return out;
}

void check_cell(CellCase cell, std::uint64_t seed) {
    cell.fill(seed);
    CAPTURE(static_cast<int>(cell.kind));
    CAPTURE(static_cast<int>(cell.ih));
    CAPTURE(static_cast<int>(cell.hh));
    CAPTURE(cell.input_size);
    CAPTURE(cell.hidden_size);
    bool intact = true;
    const auto expected = run_cell(scalar(), cell, 8, Run::step, &intact);
    on_every_table([&](const KernelTable& table, int width) {
        for (Run run : {Run::step, Run::prepare_finish}) CHECK(same_bits(run_cell(table, cell, width, run, &intact), expected));
    });
    CHECK(intact);

    // The update itself reads the state as it is: only the products read it quantised. So h is exact where they do, and the rest
    // of the difference is bounded by half a unit.
    CellCase exact = dequantized(cell);
    if (cell.ih >= Precision::i16) exact.x = dequantized(exact.x, cell.ih);
    if (cell.hh >= Precision::i16) exact.h = dequantized(exact.h, cell.hh);
    const auto values = cell_in_double(exact);
    const double unit = cell.hh == Precision::i8_state ? 1.0 / 127 : 1.0 / 8191;
    const double tolerance = cell.hh < Precision::i16                                             ? 4e-6
                             : cell.kind == CellKind::gru_before                                  ? 8 * unit
                             : cell.kind == CellKind::gru                                         ? 0.6 * unit
                                                                                                  : 4e-6;
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) worst = std::max(worst, std::fabs(expected[i] - values[i]) / (1 + std::fabs(values[i])));
    CHECK(worst < tolerance);
}

}  // namespace

TEST_CASE("kernels: cells of every precision, and of two, on every ISA") {
    std::uint64_t seed = 1;
    for (CellKind kind : {CellKind::rnn, CellKind::gru, CellKind::gru_before, CellKind::lstm}) {
        for (Precision precision : reduced) {
            for (int n = 1; n <= 130; n += n < 40 ? 1 : 9) {
                CellCase cell{};
                cell.kind = kind;
                cell.input_size = (n * 37) % 71 + 1;
                cell.hidden_size = n;
                cell.ih = cell.hh = precision;
                if (n % 5 == 0) cell.ih = static_cast<Precision>(n / 5 % rtrnn::precisions);
                check_cell(cell, seed++);
            }
        }
    }
}

TEST_CASE("kernels: reduced cells with other activations, clip, peepholes and input_forget") {
    CellCase lstm{};
    lstm.kind = CellKind::lstm;
    lstm.input_size = 13;
    lstm.hidden_size = 41;
    lstm.ih = lstm.hh = Precision::i16;
    lstm.peephole = lstm.input_forget = true;
    lstm.clip = 1.5f;
    lstm.activations = {{UnaryKind::hard_sigmoid, 0.2f, 0.5f}, {UnaryKind::affine, 0.3f, 0.1f}, {UnaryKind::softsign, 0, 0}};
    check_cell(lstm, 1);
    CellCase gru{};
    gru.kind = CellKind::gru_before;
    gru.input_size = 13;
    gru.hidden_size = 41;
    gru.ih = gru.hh = Precision::i8;
    gru.activations = {{UnaryKind::hard_sigmoid, 0.2f, 0.5f}, {UnaryKind::relu, 0, 0}, {UnaryKind::tanh, 0, 0}};
    check_cell(gru, 2);
}

TEST_CASE("kernels: f32 through the kernels of any precision gives f32's bits") {
    for (CellKind kind : {CellKind::rnn, CellKind::gru, CellKind::gru_before, CellKind::lstm}) {
        CellCase cell{};
        cell.kind = kind;
        cell.input_size = 29;
        cell.hidden_size = 83;
        cell.fill(7);
        bool intact = true;
        const auto expected = run_cell(scalar(), cell, 8, Run::step, &intact);
        cell.any = true;
        on_every_table([&](const KernelTable& table, int width) { CHECK(same_bits(run_cell(table, cell, width, Run::step, &intact), expected)); });
    }
}

TEST_CASE("packing refuses weights that a precision cannot hold, and rows too long for 32 bits") {
    const auto message = [](const std::vector<float>& weight, int cols, Precision precision) -> std::string {
        try {
            rtrnn::pack_reduced(weight.data(), static_cast<std::int64_t>(weight.size()) / cols, cols, 8, {0}, precision,
                                scalar().tiles[static_cast<int>(precision)], "node 'a' (linear): weight 'w'");
        } catch (const rtrnn::Error& error) {
            CHECK(error.kind() == rtrnn::ErrorKind::unsupported);
            return error.what();
        }
        return "";
    };
    for (Precision precision : reduced) {
        CHECK(message({1, NAN, 3, 4}, 2, precision).find("node 'a' (linear): weight 'w': weight nan at row 0, column 1 does not fit") == 0);
        CHECK(message({1, 2, 3, INFINITY}, 2, precision).find("at row 1, column 1") != std::string::npos);
    }
    CHECK(message({65520.0f}, 1, Precision::f16).find("does not fit f16") != std::string::npos);
    CHECK(message({65519.0f}, 1, Precision::f16).empty());
    CHECK(message({FLT_MAX}, 1, Precision::bf16).find("does not fit bf16") != std::string::npos);
    CHECK(message({FLT_MAX}, 1, Precision::i16).empty());
    CHECK(message(std::vector<float>(131089, 1.0f), 131089, Precision::i16).find("rows of 131089 weights; i16 takes at most 131088") != std::string::npos);
    CHECK(message(std::vector<float>(131088, 1.0f), 131088, Precision::i16).empty());
}
