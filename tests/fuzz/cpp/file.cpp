// A .rtrnn file of any bytes is refused by an exception, or it is a network that can be planned, stepped and written again.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "error.hpp"
#include "graph/file.hpp"
#include "stream/stream.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const char* const precisions[] = {"f32", "f16", "bf16", "i16", "i8"};
    try {
        const rtrnn::Graph graph = rtrnn::parse_graph(data, size);
        const std::vector<char> written = rtrnn::serialize_graph(graph);
        if (rtrnn::parse_graph(written.data(), written.size()).fingerprint() != graph.fingerprint()) __builtin_trap();
        rtrnn::PlanOptions options;
        options.weights = precisions[size % 5];
        const auto plan = std::make_shared<const rtrnn::Plan>(graph, options);
        if (plan->arena_size() > std::size_t{1} << 20) return 0;
        rtrnn::Stream stream(plan, rtrnn::OnNonFinite::error);
        for (int t = 0; t < 2; ++t) {
            for (std::size_t i = 0; i < plan->inputs().size(); ++i)
                for (std::size_t k = 0; k < plan->inputs()[i].size; ++k) stream.input(i)[k] = 0.25f * static_cast<float>(t);
            if (stream.step() != rtrnn::Status::ok) continue;
            for (std::size_t k = 0; k < plan->state_size(); ++k)
                if (!std::isfinite(stream.state()[k])) __builtin_trap();
            stream.prepare();
        }
    } catch (const rtrnn::Error&) {
    }
    return 0;
}
