// Cells and the linear layer: equal bits on every ISA, at every tile width and in both forms; close to double.
#include <doctest/doctest.h>

#include "kernels_cells.hpp"

using namespace kernels_test;

namespace {

const std::vector<std::pair<int, int>> sizes = [] {
    std::vector<std::pair<int, int>> s;
    for (int n = 1; n <= 70; ++n) s.emplace_back((n * 37) % 71 + 1, n);
    s.insert(s.end(), {{1, 1}, {3, 100}, {130, 17}, {257, 33}, {64, 128}, {200, 40}, {129, 129}});
    return s;
}();

void check_everywhere(CellCase cell, std::uint64_t seed) {
    cell.fill(seed);
    CAPTURE(static_cast<int>(cell.kind));
    CAPTURE(cell.input_size);
    CAPTURE(cell.hidden_size);
    bool intact = true;
    const auto expected = run_cell(scalar(), cell, 8, Run::step, &intact);
    for (const KernelTable* table : all_tables()) {
        CAPTURE(std::string(table->name));
        for (int width : {8, 16, 32}) {
            CAPTURE(width);
            for (Run run : {Run::step, Run::prepare_finish, Run::input_recur}) {
                CHECK(same_bits(run_cell(*table, cell, width, run, &intact), expected));
            }
        }
    }
    CHECK(intact);
    const auto exact = cell_in_double(cell);
    double worst = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) worst = std::max(worst, std::fabs(expected[i] - exact[i]) / (1 + std::fabs(exact[i])));
    CHECK(worst < 4e-6);
}

void check_sizes(CellCase cell) {
    std::uint64_t seed = 1;
    for (const auto& [input_size, hidden_size] : sizes) {
        cell.input_size = input_size;
        cell.hidden_size = hidden_size;
        check_everywhere(cell, seed++);
    }
}

CellCase cell_of(CellKind kind) {
    CellCase cell{};
    cell.kind = kind;
    return cell;
}

constexpr Activation softsign{UnaryKind::softsign, 0, 0}, hard_sigmoid{UnaryKind::hard_sigmoid, 0.2f, 0.5f},
    elu{UnaryKind::elu, 0.7f, 0}, scaled_tanh{UnaryKind::scaled_tanh, 1.2f, 0.8f}, affine{UnaryKind::affine, 0.3f, 0.1f},
    sigmoid{UnaryKind::sigmoid, 0, 0}, relu{UnaryKind::relu, 0, 0}, tanh_{UnaryKind::tanh, 0, 0};

}  // namespace

TEST_CASE("kernels: standard rnn, gru, gru_before and lstm") {
    for (CellKind kind : {CellKind::rnn, CellKind::gru, CellKind::gru_before, CellKind::lstm}) check_sizes(cell_of(kind));
}

TEST_CASE("kernels: cells with other activations and clip") {
    CellCase rnn = cell_of(CellKind::rnn);
    rnn.activations = {relu};
    check_sizes(rnn);
    rnn.activations = {elu};
    rnn.clip = 0.5f;
    check_sizes(rnn);
    for (CellKind kind : {CellKind::gru, CellKind::gru_before}) {
        CellCase gru = cell_of(kind);
        gru.activations = {hard_sigmoid, softsign, tanh_};
        check_sizes(gru);
        gru.activations = {sigmoid, scaled_tanh, tanh_};
        gru.clip = 0.75f;
        check_sizes(gru);
    }
    CellCase lstm = cell_of(CellKind::lstm);
    lstm.activations = {hard_sigmoid, affine, softsign};
    lstm.clip = 1.5f;
    check_sizes(lstm);
}

TEST_CASE("kernels: lstm with peepholes, with input_forget and with both") {
    for (int options = 1; options < 4; ++options) {
        CellCase lstm = cell_of(CellKind::lstm);
        lstm.peephole = (options & 1) != 0;
        lstm.input_forget = (options & 2) != 0;
        check_sizes(lstm);
    }
}

TEST_CASE("kernels: the general path of a cell gives the standard path's bits") {
    for (CellKind kind : {CellKind::rnn, CellKind::gru, CellKind::lstm}) {
        CellCase standard = cell_of(kind);
        standard.input_size = 21;
        standard.hidden_size = 43;
        standard.fill(5);
        CellCase general = standard;
        general.activations = standard.used_activations();
        bool intact = true;
        CHECK(same_bits(run_cell(scalar(), standard, 8, Run::step, &intact), run_cell(scalar(), general, 8, Run::step, &intact)));
    }
}

TEST_CASE("kernels: linear") {
    std::uint64_t seed = 1;
    for (const auto& [cols, rows] : sizes) {
        Random random(seed++);
        const int batch = 1 + static_cast<int>(seed % 3);
        CAPTURE(rows);
        CAPTURE(cols);
        const auto x = random.vector(static_cast<std::size_t>(batch * cols), 2.0f);
        const auto weight = random.vector(static_cast<std::size_t>(rows * cols));
        const auto bias = random.vector(static_cast<std::size_t>(rows));
        for (const Activation& activation : {Activation{UnaryKind::identity, 0, 0}, elu, relu, tanh_}) {
            std::vector<float> expected;
            for (const KernelTable* table : all_tables()) {
                for (int width : {8, 16, 32}) {
                    Arena arena;
                    rtrnn::LinearArgs a{};
                    a.x = arena.put(x);
                    a.y = arena.space(static_cast<std::size_t>(batch * rows));
                    const TestMatrix weights(*table, Precision::f32, weight, rows, cols, width, 0, 1, TileShape::linear);
                    const auto biases = pack(bias, rows, 1, width, 0, 1);
                    a.weight = weights.get();
                    a.bias = biases.data();
                    a.rows = rows;
                    a.cols = cols;
                    a.width = width;
                    a.batch = batch;
                    a.activation = activation;
                    table->f32.linear(&a, arena.data());
                    CHECK(arena.intact());
                    const auto y = arena.get(a.y, static_cast<std::size_t>(batch * rows));
                    if (expected.empty()) expected = y;
                    CHECK(same_bits(y, expected));
                }
            }
            for (int i = 0; i < batch * rows; ++i) {
                double sum = bias[i % rows], size = std::fabs(sum);
                for (int k = 0; k < cols; ++k) {
                    const double product = static_cast<double>(weight[(i % rows) * cols + k]) * x[i / rows * cols + k];
                    sum += product;
                    size += std::fabs(product);
                }
                const double exact = kernels_reference::unary(activation.kind, sum, activation.alpha, activation.beta);
                CHECK(std::fabs(expected[i] - exact) < 1e-6 * (1 + size));
            }
        }
    }
}

// The order in which a row is summed, written out once more, plainly.
TEST_CASE("kernels: a row of a linear layer is summed in the documented order") {
    for (int cols : {1, 2, 3, 4, 5, 31, 127, 128, 129, 131, 256, 300}) {
        Random random(static_cast<std::uint64_t>(cols));
        const auto x = random.vector(static_cast<std::size_t>(cols));
        const auto weight = random.vector(static_cast<std::size_t>(cols));
        const float bias = random.uniform();
        float total = 0.0f;
        for (int begin = 0; begin < cols; begin += 128) {
            float p[4] = {begin == 0 ? bias : 0.0f, 0.0f, 0.0f, 0.0f};
            for (int col = begin; col < std::min(cols, begin + 128); ++col) p[col % 4] = std::fma(weight[col], x[col], p[col % 4]);
            const float value = (p[0] + p[1]) + (p[2] + p[3]);
            total = begin == 0 ? value : total + value;
        }
        for (const KernelTable* table : all_tables()) {
            Arena arena;
            rtrnn::LinearArgs a{};
            a.x = arena.put(x);
            a.y = arena.space(1);
            const TestMatrix weights(*table, Precision::f32, weight, 1, cols, 8, 0, 1, TileShape::linear);
            const auto biases = pack({bias}, 1, 1, 8, 0, 1);
            a.weight = weights.get();
            a.bias = biases.data();
            a.rows = a.batch = 1;
            a.cols = cols;
            a.width = 8;
            a.activation = {UnaryKind::identity, 0, 0};
            table->f32.linear(&a, arena.data());
            CHECK(same_bits(arena.get(a.y, 1)[0], total));
        }
    }
}
