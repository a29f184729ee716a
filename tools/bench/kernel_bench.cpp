// Time of one step of a gru and an lstm, per ISA and tile width: what tile_width is chosen by.
//
//   kernel_bench [--precisions] [--finish] [--all-isas] [--all-widths] [--activations] [--linear]
//
// Each step depends on the one before, as in a stream: h_out is the next step's h. Medians over 31 rounds of
// at least 200 us, the ISAs and widths interleaved, so that a drift of the clock meets all alike.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "kernels/dispatch.hpp"
#include "plan/packing.hpp"

namespace {

using rtrnn::Cell;
using rtrnn::KernelTable;
using rtrnn::Precision;
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

constexpr const char* precision_names[] = {"f32", "f16", "bf16", "i16", "i8"};   // i8_state: i8's recurrent matrix

struct Candidate {
    const KernelTable* table;
    Precision precision;
    int width;
    bool chosen;
    std::vector<double> ns;
    rtrnn::CellArgs there, back;
    std::deque<Buffer> bytes;
    std::deque<std::vector<float>> scales;
    std::deque<std::vector<std::int32_t>> starts;
};

rtrnn::Matrix packed_matrix(Candidate& c, Precision precision, const Buffer& floats, int rows, int cols, int gates) {
    const auto shape = gates == 1 ? rtrnn::TileShape::linear : static_cast<rtrnn::TileShape>(gates);
    const int widths = c.width == 8 ? 0 : c.width == 16 ? 1 : 2;
    const rtrnn::TileTable& tiles = c.table->tiles[static_cast<int>(precision)];
    const rtrnn::TileSums sums = tiles.sums[static_cast<int>(shape)][widths];
    if (precision == Precision::f32) return {floats.data, nullptr, nullptr, sums, nullptr, precision};
    std::vector<int> taken;
    for (int gate = 0; gate < gates; ++gate) taken.push_back(gate);
    rtrnn::PackedMatrix packed = rtrnn::pack_reduced(floats.data, rows, cols, c.width, taken, precision, tiles, "bench");
    // Aligned like a Plan's.
    c.bytes.emplace_back((packed.weights.size() + 3) / 4);
    std::memcpy(c.bytes.back().data, packed.weights.data(), packed.weights.size());
    c.scales.push_back(std::move(packed.scale));
    c.starts.push_back(std::move(packed.start));
    return {c.bytes.back().data, c.scales.back().data(), c.starts.back().data(), sums, tiles.arrange, precision};
}

// What is run: whole steps, or what is left of one after prepare.
void run(const Candidate& c, Cell cell, bool finish, float* arena, long steps) {
    const rtrnn::MatrixKernels& kernels = c.precision == Precision::f32 ? c.table->f32 : c.table->any;
    const rtrnn::CellKernels& forms = cell == Cell::gru ? kernels.gru : kernels.lstm;
    const rtrnn::Kernel kernel = finish ? forms.finish : forms.step;
    // Two steps, h to h' and back, so that nothing is copied between them.
    for (long i = 0; i < steps; i += 2) {
        kernel(&c.there, arena);
        kernel(&c.back, arena);
    }
}

struct Options {
    bool all_widths = false, all_isas = false, all_precisions = false, finish = false;
};

void bench_cell(Cell cell, int input_size, int hidden_size, const Options& options) {
    const int gates = cell == Cell::gru ? 3 : 4;
    const std::size_t padded = static_cast<std::size_t>((hidden_size + 31) / 32 * 32);
    const Buffer weight_ih(padded * gates * input_size), weight_hh(padded * gates * hidden_size);
    const std::ptrdiff_t h = (input_size + 15) / 16 * 16, step_size = static_cast<std::ptrdiff_t>(padded);
    const Buffer bias_ih(padded * gates), bias_hh(padded * gates), arena(2 * static_cast<std::size_t>(h) + 64 + (5 + gates) * padded);

    std::deque<Candidate> candidates;
    for (const std::string& name : rtrnn::available_isas()) {
        if (name == "scalar") continue;
        const KernelTable* table = rtrnn::find_kernels(name);
        for (int p = 0; p < (options.all_precisions ? static_cast<int>(std::size(precision_names)) : 1); ++p) {
            const auto precision = static_cast<Precision>(p);
            const int chosen = table->tile_width(cell, precision, hidden_size, input_size + hidden_size);
            for (int width : {8, 16, 32}) {
                if (width == chosen || options.all_widths) candidates.push_back({table, precision, width, width == chosen, {}, {}, {}, {}, {}, {}});
            }
        }
        if (!options.all_isas) break;
    }
    for (Candidate& c : candidates) {
        rtrnn::CellArgs a{};
        a.x = {nullptr, 0};
        a.h = {nullptr, h};
        a.c = {nullptr, h + step_size};
        a.h_out = {nullptr, h + 2 * step_size};
        a.c_out = {nullptr, h + 3 * step_size};
        a.h_quantized = {nullptr, h + 4 * step_size};
        a.prepared = {nullptr, h + 5 * step_size};
        a.x_quantized = {nullptr, h + (5 + gates) * step_size};
        a.weight_ih = packed_matrix(c, c.precision, weight_ih, hidden_size, input_size, gates);
        a.weight_hh = packed_matrix(c, c.precision == Precision::i8 ? Precision::i8_state : c.precision, weight_hh, hidden_size, hidden_size, gates);
        a.bias_ih = bias_ih.data;
        a.bias_hh = bias_hh.data;
        a.input_size = input_size;
        a.recurrent_size = a.hidden_size = hidden_size;
        a.width = c.width;
        a.standard = true;
        c.there = c.back = a;
        std::swap(c.back.h, c.back.h_out);
        std::swap(c.back.c, c.back.c_out);
    }
    for (int round = 0; round < 31; ++round) {
        for (Candidate& c : candidates) {
            const double first = now_ns();
            run(c, cell, options.finish, arena.data, 4);
            const long steps = std::max(8L, static_cast<long>(2e5 / std::max(1.0, (now_ns() - first) / 4))) / 2 * 2;
            const double begin = now_ns();
            run(c, cell, options.finish, arena.data, steps);
            c.ns.push_back((now_ns() - begin) / static_cast<double>(steps));
        }
    }
    double f32_ns = 0;
    for (Candidate& c : candidates) {
        std::sort(c.ns.begin(), c.ns.end());
        const double ns = c.ns[c.ns.size() / 2];
        if (c.precision == Precision::f32 && (f32_ns == 0 || ns < f32_ns)) f32_ns = ns;
    }
    for (const Candidate& c : candidates) {
        const double ns = c.ns[c.ns.size() / 2];
        const double element = c.precision == Precision::f32 ? 4 : c.precision == Precision::i8 ? 1 : 2;
        const double bytes = element * gates * hidden_size * ((options.finish ? 0 : hidden_size) + input_size);
        std::printf("%-5s %4d x %-4d %-10s %-4s width %2d%c %10.1f ns %8.1f GB/s %6.2f x f32\n", cell == Cell::gru ? "gru" : "lstm", input_size,
                    hidden_size, c.table->name, precision_names[static_cast<int>(c.precision)], c.width, c.chosen ? '*' : ' ', ns, bytes / ns,
                    f32_ns / ns);
    }
    std::fflush(stdout);
}

// The layers of a small head: throughput of one linear layer called again and again.
void bench_linear(int cols, int rows) {
    const std::size_t padded = static_cast<std::size_t>((rows + 31) / 32 * 32);
    const Buffer weights(padded * static_cast<std::size_t>(cols)), bias(padded), arena(static_cast<std::size_t>(cols) + padded + 16);
    for (const std::string& name : rtrnn::available_isas()) {
        if (name == "scalar") continue;
        const KernelTable* table = rtrnn::find_kernels(name);
        for (int width : {8, 16, 32}) {
            const rtrnn::LinearArgs a{{nullptr, 0}, {nullptr, (cols + 15) / 16 * 16}, {nullptr, 0}, {weights.data, nullptr, nullptr, nullptr, nullptr, Precision::f32},
                                      bias.data, rows, cols, width, 1, {UnaryKind::elu, 1, 0}};
            const int repeats = 1 + 2000000 / (rows * cols + 500);
            double best = 1e30;
            for (int round = 0; round < 15; ++round) {
                const double begin = now_ns();
                for (int i = 0; i < repeats; ++i) table->f32.linear(&a, arena.data);
                best = std::min(best, (now_ns() - begin) / repeats);
            }
            const bool chosen = width == table->tile_width(Cell::linear, Precision::f32, rows, cols);
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
    bool activations = false, linear = false;
    Options options;
    for (int i = 1; i < argc; ++i) {
        const auto is = [&](const char* name) { return std::strcmp(argv[i], name) == 0; };
        options.all_widths = options.all_widths || is("--all-widths");
        options.all_isas = options.all_isas || is("--all-isas");
        options.all_precisions = options.all_precisions || is("--precisions");
        options.finish = options.finish || is("--finish");
        activations = activations || is("--activations");
        linear = linear || is("--linear");
    }
    if (activations) bench_unary();
    if (linear) {
        const int layers[][2] = {{64, 12}, {48, 20}, {64, 32}, {32, 64}, {64, 64}, {128, 128}, {64, 256}, {256, 128}};
        for (const auto& layer : layers) bench_linear(layer[0], layer[1]);
    }
    for (Cell cell : {Cell::gru, Cell::lstm}) {
        for (int size : {8, 16, 32, 64, 128, 256, 512, 1024}) bench_cell(cell, size <= 64 ? size : 64, size, options);
    }
}
