// One cell or linear layer with random weights, run through any table at any width, and its value in double.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels_reference.hpp"
#include "kernels_support.hpp"
#include "plan/packing.hpp"

namespace kernels_test {

using rtrnn::Activation;
using rtrnn::Precision;
using rtrnn::TileShape;
using rtrnn::UnaryKind;

// A packed matrix with the memory that it points to.
class TestMatrix {
public:
    // (gates * rows, cols), of which the gates first .. first + count - 1 are taken.
    TestMatrix(const KernelTable& table, Precision precision, const std::vector<float>& m, int rows, int cols, int width, int first, int count,
               TileShape shape) {
        const int widths = width == 8 ? 0 : width == 16 ? 1 : 2;
        const rtrnn::TileTable& tiles = table.tiles[static_cast<int>(precision)];
        matrix_ = {nullptr, nullptr, nullptr, tiles.sums[static_cast<int>(shape)][widths], tiles.arrange, precision};
        if (precision == Precision::f32) {
            floats_ = pack(m, rows, cols, width, first, count);
            matrix_.weights = floats_.data();
        } else {
            std::vector<int> gates;
            for (int gate = first; gate < first + count; ++gate) gates.push_back(gate);
            packed_ = rtrnn::pack_reduced(m.data(), rows, cols, width, gates, precision, tiles, "test");
            matrix_.weights = packed_.weights.data();
            matrix_.scale = packed_.scale.data();
            matrix_.start = packed_.start.data();
        }
    }
    TestMatrix(const TestMatrix&) = delete;
    const rtrnn::Matrix& get() const { return matrix_; }

private:
    std::vector<float> floats_;
    rtrnn::PackedMatrix packed_;
    rtrnn::Matrix matrix_;
};

// Floats that a quantised operand takes.
inline std::size_t quantized_room(int n) { return static_cast<std::size_t>((n + rtrnn::quantized_block - 1) / rtrnn::quantized_block * rtrnn::quantized_block / 2); }

inline TileShape shape_of(int gates) { return gates == 1 ? TileShape::linear : static_cast<TileShape>(gates); }

enum class CellKind { rnn, gru, gru_before, lstm };
enum class Run { step, prepare_finish, input_recur };

struct CellCase {
    CellKind kind;
    int input_size, hidden_size;
    std::vector<Activation> activations;   // empty: the standard ones
    float clip = 0.0f;
    bool peephole = false, input_forget = false;
    Precision ih = Precision::f32, hh = Precision::f32;
    bool any = false;   // through the kernels of any precision, even when both are f32

    std::vector<float> x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, peepholes;

    int gates() const { return kind == CellKind::rnn ? 1 : kind == CellKind::lstm ? 4 : 3; }

    void fill(std::uint64_t seed) {
        Random random(seed);
        const auto rows = static_cast<std::size_t>(gates() * hidden_size);
        const float scale = 2.0f / std::sqrt(static_cast<float>(hidden_size));
        x = random.vector(static_cast<std::size_t>(input_size), 2.0f);
        h = random.vector(static_cast<std::size_t>(hidden_size));
        c = random.vector(static_cast<std::size_t>(hidden_size), 2.0f);
        weight_ih = random.vector(rows * static_cast<std::size_t>(input_size), scale);
        weight_hh = random.vector(rows * static_cast<std::size_t>(hidden_size), scale);
        bias_ih = random.vector(rows);
        bias_hh = random.vector(rows);
        peepholes = random.vector(static_cast<std::size_t>(3 * hidden_size));
    }

    std::vector<Activation> used_activations() const {
        if (!activations.empty()) return activations;
        const Activation f{UnaryKind::sigmoid, 0, 0}, g{UnaryKind::tanh, 0, 0};
        return kind == CellKind::rnn ? std::vector<Activation>{g} : std::vector<Activation>{f, g, g};
    }
};

// h' then, for an lstm, c'. Sets *intact to false when the kernel wrote outside its buffers.
inline std::vector<float> run_cell(const KernelTable& table, const CellCase& cell, int width, Run run, bool* intact) {
    const int hidden = cell.hidden_size;
    const int gates = cell.gates();
    const int padded = (hidden + width - 1) / width * width;
    const bool before = cell.kind == CellKind::gru_before;
    Arena arena;
    rtrnn::CellArgs a{};
    a.x = arena.put(cell.x);
    a.h = arena.put(cell.h);
    a.c = arena.put(cell.c);
    a.h_out = arena.space(cell.h.size());
    a.c_out = arena.space(cell.c.size());
    a.prepared = arena.space(static_cast<std::size_t>(gates * padded));
    a.scratch = arena.space(static_cast<std::size_t>(3 * padded));
    a.x_quantized = arena.space(quantized_room(cell.input_size));
    a.h_quantized = arena.space(quantized_room(hidden));
    const int hh_gates = before ? 2 : gates;
    const TestMatrix weight_ih(table, cell.ih, cell.weight_ih, hidden, cell.input_size, width, 0, gates, shape_of(gates));
    const TestMatrix weight_hh(table, cell.hh, cell.weight_hh, hidden, hidden, width, 0, hh_gates, shape_of(hh_gates));
    const TestMatrix weight_hn(table, cell.hh, cell.weight_hh, hidden, hidden, width, before ? 2 : 0, 1, TileShape::reset);
    const auto bias_ih = pack(cell.bias_ih, hidden, 1, width, 0, gates);
    const auto bias_hh = pack(cell.bias_hh, hidden, 1, width, 0, gates);
    const auto peepholes = pack(cell.peepholes, hidden, 1, width, 0, 3);
    a.weight_ih = weight_ih.get();
    a.weight_hh = weight_hh.get();
    a.weight_hn = weight_hn.get();
    a.bias_ih = bias_ih.data();
    a.bias_hh = bias_hh.data();
    a.peephole = cell.peephole ? peepholes.data() : nullptr;
    a.input_size = cell.input_size;
    a.recurrent_size = a.hidden_size = hidden;
    a.width = width;
    const auto activations = cell.used_activations();
    std::copy(activations.begin(), activations.end(), a.activation);
    a.clip = cell.clip;
    a.input_forget = cell.input_forget;
    a.standard = cell.activations.empty() && cell.clip == 0.0f && !cell.peephole && !cell.input_forget;

    const bool any = cell.any || cell.ih != Precision::f32 || cell.hh != Precision::f32;
    const rtrnn::MatrixKernels& all = any ? table.any : table.f32;
    const rtrnn::CellKernels& kernels = cell.kind == CellKind::rnn  ? all.rnn
                                        : cell.kind == CellKind::gru ? all.gru
                                        : before                     ? all.gru_before
                                                                     : all.lstm;
    if (run == Run::step) {
        kernels.step(&a, arena.data());
    } else if (run == Run::input_recur) {
        kernels.many.input(&a, arena.data(), 0, 1);
        kernels.recur(&a, arena.data());
    } else {
        kernels.prepare(&a, arena.data());
        kernels.finish(&a, arena.data());
    }
    if (!arena.intact()) *intact = false;
    std::vector<float> result = arena.get(a.h_out, cell.h.size());
    if (cell.kind == CellKind::lstm) {
        const auto c = arena.get(a.c_out, cell.c.size());
        result.insert(result.end(), c.begin(), c.end());
    }
    return result;
}

// The same in double, from the equations.
inline std::vector<double> cell_in_double(const CellCase& cell) {
    const int hidden = cell.hidden_size;
    const auto activations = cell.used_activations();
    const auto dot = [&](const std::vector<float>& w, const std::vector<float>& bias, int row, const auto& v) {
        double sum = bias[static_cast<std::size_t>(row)];
        for (std::size_t i = 0; i < v.size(); ++i) sum += static_cast<double>(w[row * v.size() + i]) * v[i];
        return sum;
    };
    const auto in = [&](int gate, int j) { return dot(cell.weight_ih, cell.bias_ih, gate * hidden + j, cell.x); };
    const auto rec = [&](int gate, int j) { return dot(cell.weight_hh, cell.bias_hh, gate * hidden + j, cell.h); };
    const auto f = [&](int which, double sum) {
        if (cell.clip > 0) sum = kernels_reference::clip(sum, -cell.clip, cell.clip);
        const Activation& a = activations[static_cast<std::size_t>(which)];
        return kernels_reference::unary(a.kind, sum, a.alpha, a.beta);
    };
    std::vector<double> h_out, c_out, reset_h;
    if (cell.kind == CellKind::gru_before) {
        for (int j = 0; j < hidden; ++j) reset_h.push_back(f(0, in(0, j) + rec(0, j)) * cell.h[j]);
    }
    for (int j = 0; j < hidden; ++j) {
        const double h = cell.h[j], c = cell.c[j];
        if (cell.kind == CellKind::rnn) {
            h_out.push_back(f(0, in(0, j) + rec(0, j)));
        } else if (cell.kind == CellKind::lstm) {
            const auto p = [&](int k) { return cell.peephole ? cell.peepholes[k * hidden + j] : 0.0f; };
            const double i = f(0, in(0, j) + rec(0, j) + p(0) * c);
            const double forget = cell.input_forget ? 1 - i : f(0, in(1, j) + rec(1, j) + p(1) * c);
            const double next = forget * c + i * f(1, in(2, j) + rec(2, j));
            const double o = f(0, in(3, j) + rec(3, j) + p(2) * next);
            const Activation& squash = activations[2];
            h_out.push_back(o * kernels_reference::unary(squash.kind, next, squash.alpha, squash.beta));
            c_out.push_back(next);
        } else {
            const double r = f(0, in(0, j) + rec(0, j));
            const double z = f(0, in(1, j) + rec(1, j));
            const double recurrent = cell.kind == CellKind::gru
                                         ? r * rec(2, j)
                                         : dot(cell.weight_hh, cell.bias_hh, 2 * hidden + j, reset_h);
            const double n = f(1, in(2, j) + recurrent);
            h_out.push_back((1 - z) * n + z * h);
        }
    }
    h_out.insert(h_out.end(), c_out.begin(), c_out.end());
    return h_out;
}

}  // namespace kernels_test
