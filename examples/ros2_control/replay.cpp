// Drives the controller's core over a file of float32 observations, as the controller manager would, and prints the bits of its commands.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "policy_core.hpp"

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s policy.rtrnn observations.f32\n", argv[0]);
        return 2;
    }
    PolicyCore core;
    if (!core.configure(argv[1])) {
        std::fprintf(stderr, "%s\n", core.error().c_str());
        return 1;
    }
    std::ifstream file(argv[2], std::ios::binary);
    if (!file) {
        std::fprintf(stderr, "%s: cannot be read\n", argv[2]);
        return 1;
    }
    core.activate();
    const rtrnn::span<float> x = core.observation();
    while (file.read(reinterpret_cast<char*>(x.data()), static_cast<std::streamsize>(x.size() * sizeof(float)))) {
        if (!core.update()) {
            std::fprintf(stderr, "an observation is not finite\n");
            return 1;
        }
        for (std::size_t i = 0; i < core.command().size(); ++i) {
            std::uint32_t bits;
            std::memcpy(&bits, &core.command()[i], sizeof bits);
            std::printf("%s%08" PRIx32, i ? " " : "", bits);
        }
        std::printf("\n");
        core.idle();
    }
    return 0;
}
