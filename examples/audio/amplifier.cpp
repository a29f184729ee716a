// A WAV file through a network of one input and one output per sample, block by block.
#include <rtrnn/rtrnn.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "wav.hpp"

namespace {

int run(const std::string& model, const std::string& in, const std::string& out, std::size_t block) {
    const rtrnn::Plan plan(model);
    if (plan.count(rtrnn::Port::input) != 1 || plan.size(rtrnn::Port::input, 0) != 1 || plan.count(rtrnn::Port::output) != 1 ||
        plan.size(rtrnn::Port::output, 0) != 1)
        throw std::runtime_error(model + ": expected a network of one input and one output per sample");
    rtrnn::Stream stream(plan, rtrnn::OnNonFinite::hold);   // a click is better than silence for the rest of the concert
    const Sound dry = read_wav(in);
    Sound wet = dry;
    std::vector<double> seconds;   // of each block
    seconds.reserve(dry.samples.size() / block + 1);
    for (std::size_t at = 0; at < dry.samples.size(); at += block) {
        const std::size_t n = std::min(block, dry.samples.size() - at);
        const auto before = std::chrono::steady_clock::now();
        const rtrnn::Status status = stream.process({dry.samples.data() + at, n}, {wet.samples.data() + at, n}, n);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
        if (!rtrnn::stepped(status)) throw std::runtime_error(rtrnn::to_string(status));
        if (n == block) seconds.push_back(took.count());
    }
    write_wav(out, wet);
    if (!seconds.empty()) {
        std::sort(seconds.begin(), seconds.end());
        const double sound = static_cast<double>(block) / wet.rate;
        std::printf("%zu samples at %u Hz, blocks of %zu: real-time factor %.1f at the median, %.1f for the slowest block\n", wet.samples.size(), wet.rate,
                    block, sound / seconds[seconds.size() / 2], sound / seconds.back());
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const long block = argc == 5 ? std::strtol(argv[4], nullptr, 10) : 64;
    if (argc < 4 || argc > 5 || block < 1) {
        std::fprintf(stderr, "usage: %s amplifier.rtrnn in.wav out.wav [samples per block]\n", argv[0]);
        return 2;
    }
    try {
        return run(argv[1], argv[2], argv[3], static_cast<std::size_t>(block));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
