// The choice of the kernels, and one number for the bits of all of them that must be the same on any machine.
#include <doctest/doctest.h>

#include <cstdlib>

#include "error.hpp"
#include "kernels_cells.hpp"

using namespace kernels_test;

namespace {

std::string message_of(std::string_view requested) {
    try {
        rtrnn::select_kernels(requested);
    } catch (const rtrnn::Error& error) {
        CHECK(error.kind() == rtrnn::ErrorKind::invalid_argument);
        return error.what();
    }
    return "";
}

class Environment {
public:
    explicit Environment(const char* value) {
        const char* old = std::getenv("RTRNN_ISA");
        had_ = old != nullptr;
        if (had_) old_ = old;
        value ? setenv("RTRNN_ISA", value, 1) : unsetenv("RTRNN_ISA");
    }
    ~Environment() { had_ ? setenv("RTRNN_ISA", old_.c_str(), 1) : unsetenv("RTRNN_ISA"); }

private:
    bool had_;
    std::string old_;
};

}  // namespace

TEST_CASE("kernels: an ISA is chosen by name, by the environment, or the best there is") {
    const auto available = rtrnn::available_isas();
    REQUIRE(!available.empty());
    CHECK(available.back() == "scalar");
    for (const std::string& name : available) {
        CHECK(rtrnn::select_kernels(name).name == name);
        const Environment environment(name.c_str());
        CHECK(rtrnn::select_kernels("").name == name);
        CHECK(rtrnn::select_kernels("scalar").name == std::string("scalar"));
    }
    const Environment environment(nullptr);
    CHECK(rtrnn::select_kernels("").name == available.front());
}

TEST_CASE("kernels: an unknown and an unavailable ISA are errors that list what there is") {
    CHECK(message_of("sse9").find("\"sse9\" is unknown; available: ") != std::string::npos);
    for (const char* name : {"avx512vnni", "avx512", "avx2", "neon"}) {
        if (rtrnn::find_kernels(name) == nullptr) CHECK(message_of(name).find("is not available on this machine; available: ") != std::string::npos);
    }
    CHECK(rtrnn::find_kernels("sse9") == nullptr);
    const Environment environment("altivec");
    CHECK(message_of("").find("RTRNN_ISA: \"altivec\" is unknown") != std::string::npos);
}

TEST_CASE("kernels: tile widths are ones the kernels have") {
    for (const KernelTable* table : all_tables()) {
        for (auto cell : {rtrnn::Cell::linear, rtrnn::Cell::rnn, rtrnn::Cell::gru, rtrnn::Cell::lstm}) {
            for (int rows : {1, 8, 9, 16, 17, 32, 33, 64, 1000}) {
                for (int precision = 0; precision < rtrnn::precisions; ++precision) {
                    const int width = table->tile_width(cell, static_cast<rtrnn::Precision>(precision), rows, rows);
                    CHECK((width == 8 || width == 16 || width == 32));
                }
            }
        }
    }
}

// The value changes whenever a formula or an order of summation does: on purpose, or this test has found it.
TEST_CASE("kernels: the bits of one fixed computation are those of every other machine") {
    for (const KernelTable* table : all_tables()) {
        CAPTURE(std::string(table->name));
        Hash hash;
        bool intact = true;
        for (CellKind kind : {CellKind::rnn, CellKind::gru, CellKind::gru_before, CellKind::lstm}) {
            for (int hidden_size : {3, 16, 45, 100}) {
                CellCase cell{};
                cell.kind = kind;
                cell.input_size = hidden_size + 5;
                cell.hidden_size = hidden_size;
                cell.fill(static_cast<std::uint64_t>(hidden_size));
                hash.add(run_cell(*table, cell, 8, Run::step, &intact));
            }
        }
        std::vector<float> x;
        for (std::uint64_t b = 0; b < (1ull << 32); b += 1000003) x.push_back(from_bits(static_cast<std::uint32_t>(b)));
        Random random(9);
        const auto other = random.vector(x.size(), 4.0f);
        const auto n = static_cast<std::int32_t>(x.size());
        for (const auto& f : kernels_reference::unary_functions) {
            for (const auto& values : {x, other}) {
                Arena arena;
                const Ref in = arena.put(values);
                rtrnn::UnaryArgs a{in, arena.space(x.size()), n, {f.kind, f.alpha, f.beta}};
                table->unary(&a, arena.data());
                hash.add(arena.get(a.y, x.size()));
            }
        }
        for (int kind = 0; kind < static_cast<int>(rtrnn::BinaryKind::count); ++kind) {
            Arena arena;
            rtrnn::BinaryArgs a{{x.data(), 0}, {other.data(), 0}, arena.space(x.size()), static_cast<rtrnn::BinaryKind>(kind), 1, n, 0, 1, 0, 1};
            table->binary(&a, arena.data());
            hash.add(arena.get(a.y, x.size()));
        }
        for (int kind = 0; kind < static_cast<int>(rtrnn::ReduceKind::count); ++kind) {
            Arena arena;
            rtrnn::ReduceArgs a{{other.data(), 0}, arena.space(1), static_cast<rtrnn::ReduceKind>(kind), 1, n, 1};
            table->reduce(&a, arena.data());
            hash.add(arena.get(a.y, 1));
        }
        {
            Arena arena;
            rtrnn::SoftmaxArgs s{{other.data(), 0}, arena.space(300), 3, 100};
            rtrnn::LayerNormArgs l{{other.data(), 0}, arena.space(300), x.data(), other.data(), 3, 100, 1e-5f};
            table->softmax(&s, arena.data());
            table->layer_norm(&l, arena.data());
            hash.add(arena.get(s.y, 300));
            hash.add(arena.get(l.y, 300));
        }
        CHECK(intact);
        CHECK(hash.value() == 5503255649604662918u);
    }
}
