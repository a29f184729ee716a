// Every golden network (tests/golden, see tools/golden) must give the stored bits on whatever ISA runs, with and without threads. The same files are
// read on x86 and, under emulation, on Arm, so equal bits here are equal bits everywhere.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "graph/file.hpp"
#include "kernels/dispatch.hpp"
#include "stream/sequence.hpp"

using namespace rtrnn;
namespace fs = std::filesystem;

namespace {

fs::path golden_dir() {
    const char* dir = std::getenv("RTRNN_GOLDEN_DIR");
    return dir ? dir : RTRNN_GOLDEN_DIR;
}

std::vector<float> read_floats(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    REQUIRE_MESSAGE(file.good(), path.string());
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<float> out(bytes.size() / sizeof(float));
    std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
    return out;
}

}  // namespace

TEST_CASE("goldens give the stored bits") {
    std::size_t count = 0, reduced_count = 0;
    for (const auto& entry : fs::directory_iterator(golden_dir())) {
        if (entry.path().extension() != ".rtrnn") continue;
        ++count;
        fs::path base = entry.path();
        const Graph graph = load_graph(base.string());
        const auto x = read_floats(base.replace_extension(".x.f32"));
        base.replace_extension("").replace_extension("");
        std::size_t width = 0;
        for (const Input& input : graph.inputs()) width += static_cast<std::size_t>(element_count(input.shape));
        const std::size_t steps = x.size() / width;
        REQUIRE(steps * width == x.size());
        // Each input's whole sequence, one after the other; outputs likewise.
        std::vector<const float*> inputs;
        std::size_t at = 0;
        for (const Input& input : graph.inputs()) {
            inputs.push_back(x.data() + at);
            at += steps * static_cast<std::size_t>(element_count(input.shape));
        }
        for (const char* weights : {"f32", "f16", "bf16", "i16", "i8"}) {
            const bool reduced = std::strcmp(weights, "f32") != 0;
            const fs::path bits = base.string() + (reduced ? std::string(".") + weights : "") + ".y.f32";
            if (reduced && !fs::exists(bits)) continue;
            reduced_count += reduced;
            const auto expected = read_floats(bits);
            for (const int threads : {1, 3}) {
                PlanOptions options{weights};
                options.threads.count = threads;
                options.threads.smallest_part_bytes = 1;   // whatever can be divided is
                const Sequence sequence(graph, options, OnNonFinite::propagate);
                std::vector<std::size_t> sizes;
                at = 0;
                for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
                    sizes.push_back(at);
                    at += static_cast<std::size_t>(element_count(graph.output_shape(i))) * (sequence.is_per_timestep(i) ? steps : 1);
                }
                REQUIRE(at == expected.size());
                std::vector<float> y(at);
                std::vector<float*> outputs;
                for (const std::size_t offset : sizes) outputs.push_back(y.data() + offset);
                CHECK(sequence.run(inputs, outputs, steps, nullptr) == Status::ok);
                CHECK_MESSAGE(std::memcmp(y.data(), expected.data(), at * sizeof(float)) == 0, bits.string());
            }
        }
    }
    CHECK(count >= 20);
    CHECK(reduced_count >= 32);
}
