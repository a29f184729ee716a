// Counts every operator new of the process, so that a step that allocates is seen.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "networks.hpp"
#include "stream/batch.hpp"

namespace {

std::atomic<std::size_t> allocations{0}, frees{0};

void* counted(std::size_t size, std::size_t alignment) {
    ++allocations;
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment < sizeof(void*) ? sizeof(void*) : alignment, size ? size : 1) != 0) throw std::bad_alloc();
    return memory;
}

void counted_free(void* memory) {
    ++frees;
    std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) { return counted(size, static_cast<std::size_t>(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return counted(size, static_cast<std::size_t>(alignment)); }
void operator delete(void* memory) noexcept { counted_free(memory); }
void operator delete[](void* memory) noexcept { counted_free(memory); }
void operator delete(void* memory, std::size_t) noexcept { counted_free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { counted_free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { counted_free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { counted_free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { counted_free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { counted_free(memory); }

using namespace rtrnn;
using namespace rtrnn::testing;

TEST_CASE("step, prepare, reset, state calls and process allocate nothing") {
    for (const auto& [op, weights] : {std::pair{"rnn", "f32"}, {"gru", "f32"}, {"lstm", "f32"}, {"rnn", "i16"}, {"gru", "i16"}, {"lstm", "i16"},
                                      {"gru", "i8"}, {"lstm", "f16"}, {"gru", "bf16"}})
    for (const int threads : {1, 3}) {
        PlanOptions options{weights};
        options.threads.count = threads;
        options.threads.smallest_part_bytes = 1;
        const auto plan = std::make_shared<const Plan>(policy(op, 11, 64), options);
        Stream stream(plan, OnNonFinite::hold);
        std::vector<float> saved(plan->state_size()), xs(11 * 20, 0.25f), ys(5 * 20);
        const float* in = xs.data();
        float* out = ys.data();
        const std::size_t before = allocations;
        for (int t = 0; t < 1000; ++t) {
            stream.input(0)[0] = static_cast<float>(t);
            stream.step();
            if (t % 2) stream.prepare();
            if (t % 100 == 50) stream.input(0)[1] = NAN;
            if (t % 100 == 60) stream.input(0)[1] = 0;
        }
        std::memcpy(saved.data(), stream.state(), saved.size() * sizeof(float));
        stream.set_state(saved.data());
        stream.process(&in, &out, 20, nullptr);
        stream.reset();
        CHECK(allocations == before);
        Stream next(std::make_shared<const Plan>(policy(op, 11, 64)), OnNonFinite::hold);
        std::vector<char> bytes(stream.saved_bytes());
        const std::size_t made = allocations, freed = frees;
        for (int t = 0; t < 4; ++t) {
            CHECK(stream.swap(next));
            stream.step();
            stream.save(bytes.data());
            CHECK(stream.restore(bytes.data(), bytes.size()) == Restored::ok);
        }
        CHECK(allocations == made);
        CHECK(frees == freed);   // what a swap gives up is freed by whoever frees the other stream
        stream.reserve();
        const std::size_t reserved = allocations;
        stream.reserve();
        stream.process(&in, &out, 20, nullptr);
        CHECK(allocations == reserved);
        CHECK(stream.nonfinite_count() == 100);
        Stream twin(stream);   // what does allocate is seen
        CHECK(allocations > before);
    }
}

TEST_CASE("a step of a batch allocates nothing") {
    for (const char* weights : {"f32", "i16", "f16"}) {
        Batch batch(std::make_shared<const Plan>(policy("gru"), PlanOptions{weights}), 9, OnNonFinite::hold);
        std::vector<float> xs(11 * 9, 0.25f), ys(5 * 9);
        const float* in = xs.data();
        float* out = ys.data();
        const std::size_t before = allocations;
        for (int t = 0; t < 100; ++t) {
            xs[13] = t % 10 == 5 ? NAN : 0.5f;
            batch.step(&in, &out, nullptr);
            if (t % 2) batch.prepare();
            if (t % 30 == 9) batch.stream(4).reset();
        }
        CHECK(allocations == before);
        CHECK(batch.stream(1).nonfinite_count() == 10);
        Batch twin(batch);
        CHECK(allocations > before);
    }
}
