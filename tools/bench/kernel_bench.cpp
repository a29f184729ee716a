// Time of one step of a gru and an lstm, per ISA and tile width: what tile_width is chosen by.
//
//   kernel_bench [--all-widths] [--activations] [--linear]
//
// Each step depends on the one before, as in a stream: h_out is the next step's h. Medians over 31 rounds of
// at least 200 us, the ISAs and widths interleaved, so that a drift of the clock meets all alike.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/dispatch.hpp"

namespace {

using rtrnn::Cell;
using rtrnn::KernelTable;
using rtrnn::UnaryKind;

double now_ns() {
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// 64-byte aligned, as the Plan's weights and arena are.
struct Buffer {
    explicit Buffer(std::size_t floats) : data(static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64))) {
        for (std::size_t i = 0; i < floats; ++i) data[i] = static_cast<float>(static_cast<int>(i * 7919 % 2003) - 1001) * 1e-4f;
    }
    ~Buffer() { std::free(data); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    float* data;
};

struct Candidate {
    const KernelTable* table;
    int width;
    bool chosen;
    std::vector<double> ns;
};

// Two steps, h to h' and back, so that nothing is copied between them.
void run(const KernelTable& table, Cell cell, const rtrnn::CellArgs& there, const rtrnn::CellArgs& back, float* arena, long steps) {
    const rtrnn::Kernel step = cell == Cell::gru ? table.gru.step : table.lstm.step;
    for (long i = 0; i < steps; i += 2) {
        step(&there, arena);
        step(&back, arena);
    }
}

void bench_cell(Cell cell, int input_size, int hidden_size, bool all_widths) {
    const int gates = cell == Cell::gru ? 3 : 4;
    const std::size_t padded = static_cast<std::size_t>((hidden_size + 31) / 32 * 32);
    const Buffer weight_ih(padded * gates * input_size), weight_hh(padded * gates * hidden_size);
    const Buffer bias_ih(padded * gates), bias_hh(padded * gates), arena(static_cast<std::size_t>(input_size) + 64 + 4 * padded);
    const std::ptrdiff_t h = (input_size + 15) / 16 * 16, step_size = static_cast<std::ptrdiff_t>(padded);

    std::vector<Candidate> candidates;
    for (const std::string& name : rtrnn::available_isas()) {
        if (name == "scalar") continue;
        const KernelTable* table = rtrnn::find_kernels(name);
        const int chosen = table->tile_width(cell, hidden_size, input_size + hidden_size);
        for (int width : {8, 16, 32}) {
            if (width == chosen || all_widths) candidates.push_back({table, width, width == chosen, {}});
        }
    }
    for (int round = 0; round < 31; ++round) {
        for (Candidate& c : candidates) {
            rtrnn::CellArgs a{};
            a.x = {nullptr, 0};
            a.h = {nullptr, h};
            a.c = {nullptr, h + step_size};
            a.h_out = {nullptr, h + 2 * step_size};
            a.c_out = {nullptr, h + 3 * step_size};
            a.weight_ih = weight_ih.data;
            a.weight_hh = weight_hh.data;
            a.bias_ih = bias_ih.data;
            a.bias_hh = bias_hh.data;
            a.input_size = input_size;
            a.recurrent_size = a.hidden_size = hidden_size;
            a.width = c.width;
            a.standard = true;
            rtrnn::CellArgs back = a;
            std::swap(back.h, back.h_out);
            std::swap(back.c, back.c_out);
            const double first = now_ns();
            run(*c.table, cell, a, back, arena.data, 4);
            const long steps = std::max(8L, static_cast<long>(2e5 / std::max(1.0, (now_ns() - first) / 4))) / 2 * 2;
            const double begin = now_ns();
            run(*c.table, cell, a, back, arena.data, steps);
            c.ns.push_back((now_ns() - begin) / static_cast<double>(steps));
        }
    }
    const double bytes = 4.0 * gates * hidden_size * (input_size + hidden_size);
    for (Candidate& c : candidates) {
        std::sort(c.ns.begin(), c.ns.end());
        const double ns = c.ns[c.ns.size() / 2];
        std::printf("%-5s %4d x %-4d %-7s width %2d%c %10.1f ns %8.1f GB/s\n", cell == Cell::gru ? "gru" : "lstm", input_size,
                    hidden_size, c.table->name, c.width, c.chosen ? '*' : ' ', ns, bytes / ns);
    }
}

// The layers of a small head: throughput of one linear layer called again and again.
void bench_linear(int cols, int rows) {
    const std::size_t padded = static_cast<std::size_t>((rows + 31) / 32 * 32);
    const Buffer weights(padded * static_cast<std::size_t>(cols)), bias(padded), arena(static_cast<std::size_t>(cols) + padded + 16);
    for (const std::string& name : rtrnn::available_isas()) {
        if (name == "scalar") continue;
        const KernelTable* table = rtrnn::find_kernels(name);
        for (int width : {8, 16, 32}) {
            const rtrnn::LinearArgs a{{nullptr, 0}, {nullptr, (cols + 15) / 16 * 16}, weights.data, bias.data, rows, cols, width, 1,
                                      {UnaryKind::elu, 1, 0}};
            const int repeats = 1 + 2000000 / (rows * cols + 500);
            double best = 1e30;
            for (int round = 0; round < 15; ++round) {
                const double begin = now_ns();
                for (int i = 0; i < repeats; ++i) table->linear(&a, arena.data);
                best = std::min(best, (now_ns() - begin) / repeats);
            }
            const bool chosen = width == table->tile_width(Cell::linear, rows, cols);
            std::printf("linear %3d to %-3d elu %-7s width %2d%c %8.1f ns %8.1f GB/s\n", cols, rows, name.c_str(), width,
                        chosen ? '*' : ' ', best, 4.0 * rows * cols / best);
        }
    }
}

// A chain of one function on 16 values: latency plus the cost of the call; and over 1024, per value.
void bench_unary() {
    const Buffer arena(2048);
    for (const std::string& name : rtrnn::available_isas()) {
        const KernelTable* table = rtrnn::find_kernels(name);
        const std::pair<UnaryKind, const char*> kinds[] = {{UnaryKind::identity, "identity"}, {UnaryKind::tanh, "tanh"},
                                                           {UnaryKind::sigmoid, "sigmoid"}, {UnaryKind::exp, "exp"},
                                                           {UnaryKind::elu, "elu"}, {UnaryKind::gelu, "gelu"}};
        for (const auto& [kind, label] : kinds) {
            double ns[2];
            for (int part = 0; part < 2; ++part) {
                const int n = part == 0 ? 8 : 1024;
                const rtrnn::UnaryArgs a{{nullptr, 0}, {nullptr, 0}, n, {kind, 1, 0}};
                const int repeats = part == 0 ? 20000 : 400;
                double best = 1e30;
                for (int round = 0; round < 15; ++round) {
                    for (int i = 0; i < n; ++i) arena.data[i] = 0.01f * static_cast<float>(i % 100);
                    const double begin = now_ns();
                    for (int i = 0; i < repeats; ++i) table->unary(&a, arena.data);
                    best = std::min(best, (now_ns() - begin) / repeats);
                }
                ns[part] = part == 0 ? best : best / n;
            }
            std::printf("%-7s %-9s chained 8: %6.1f ns   stream: %6.3f ns per value\n", name.c_str(), label, ns[0], ns[1]);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    bool all_widths = false, activations = false, linear = false;
    for (int i = 1; i < argc; ++i) {
        all_widths = all_widths || std::strcmp(argv[i], "--all-widths") == 0;
        activations = activations || std::strcmp(argv[i], "--activations") == 0;
        linear = linear || std::strcmp(argv[i], "--linear") == 0;
    }
    if (activations) bench_unary();
    if (linear) {
        const int layers[][2] = {{64, 12}, {48, 20}, {64, 32}, {32, 64}, {64, 64}, {128, 128}, {64, 256}, {256, 128}};
        for (const auto& layer : layers) bench_linear(layer[0], layer[1]);
    }
    for (Cell cell : {Cell::gru, Cell::lstm}) {
        for (int size : {8, 16, 32, 64, 128, 256}) bench_cell(cell, size <= 64 ? size : 64, size, all_widths);
    }
}
