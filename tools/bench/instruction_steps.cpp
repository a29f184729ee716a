// Takes a fixed number of steps of one network, for tools/bench/instructions to count under callgrind.
//
//   instruction_steps NETWORK step|prepare|finish COUNT
//   instruction_steps --build                              the compiler and the kind of build
//
// What is counted is counted_part: collection is toggled at its entry and exit.
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "networks.hpp"
#include "stream/stream.hpp"

namespace {

rtrnn::Status status = rtrnn::Status::ok;

}  // namespace

// Of external linkage and never inlined, so that callgrind knows it by its name.
extern "C" [[gnu::noinline]] void counted_part(rtrnn::Stream* stream, bool prepare) {
    if (prepare) stream->prepare();
    else status = stream->step();
}

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "--build") == 0) {
        std::printf("%s\n%s\n", RTRNN_COMPILER, RTRNN_BUILD_TYPE);
        return 0;
    }
    try {
        const std::string part = argc == 4 ? argv[2] : "";
        const int count = argc == 4 ? std::stoi(argv[3]) : 0;
        if (count < 1 || (part != "step" && part != "prepare" && part != "finish"))
            throw std::invalid_argument("usage: instruction_steps NETWORK step|prepare|finish COUNT");
        const rtrnn::Graph graph = rtrnn::benchmarks::named_network(argv[1]);
        const auto plan = std::make_shared<const rtrnn::Plan>(graph);
        rtrnn::Stream stream(plan);
        const std::vector<float> x = rtrnn::benchmarks::random_rows(graph, 1);
        std::memcpy(stream.input(0), x.data(), x.size() * sizeof(float));
        // Not counted: the first call of a function in a shared library looks it up.
        stream.prepare();
        status = stream.step();
        for (int i = 0; i < count; ++i) {
            if (part == "finish") stream.prepare();
            counted_part(&stream, part == "prepare");
            if (part == "prepare") status = stream.step();
            if (status != rtrnn::Status::ok) throw std::runtime_error("the network did not stay finite");
        }
        std::printf("%s %s\n", plan->kernels().name, argv[1]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "instruction_steps: %s\n", error.what());
        return 1;
    }
}
