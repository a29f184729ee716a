// rtrnn.h: plans.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "capi/calls.hpp"
#include "graph/file.hpp"

namespace {

using rtrnn::Error;
using rtrnn::ErrorKind;
using rtrnn::capi::fail;
using rtrnn::capi::guarded;
using rtrnn::capi::valid;

std::string text(const char* value, const char* fallback) { return value && *value ? value : fallback; }

rtrnn::PlanOptions plan_options(const rtrnn_options* asked) {
    rtrnn::PlanOptions options;
    if (!asked) return options;
    const rtrnn_options given = rtrnn::capi::read_options(*asked, rtrnn_options RTRNN_OPTIONS_INIT, offsetof(rtrnn_options, limits), "rtrnn_options");
    options.weights = text(given.weights, "f32");
    options.isa = text(given.isa, "");
    if (given.override_count && !given.overrides) throw Error(ErrorKind::invalid_argument, "options: overrides is NULL");
    for (std::size_t i = 0; i < given.override_count; ++i) {
        const rtrnn_override& one = given.overrides[i];
        if (!one.matrix || !one.weights) throw Error(ErrorKind::invalid_argument, "options: an override holds NULL");
        options.overrides[one.matrix] = one.weights;
    }
    if (given.limits) options.limits = given.limits;
    options.threads.count = static_cast<int>(std::clamp<std::uint32_t>(given.threads, 1, rtrnn::max_threads + 1));
    if (given.cpus && given.threads > 1 && given.threads <= rtrnn::max_threads) options.threads.cpus.assign(given.cpus, given.cpus + given.threads - 1);
    if (given.spin_ms != 0) options.threads.spin_ms = given.spin_ms;
    if (given.delta) {
        if (!(*given.delta >= 0)) throw Error(ErrorKind::invalid_argument, "options: delta is not a threshold from 0 on");
        options.delta = *given.delta;
    }
    return options;
}

void make(const rtrnn::Graph& graph, const rtrnn_options* options, rtrnn_plan** plan) {
    auto made = std::make_unique<rtrnn_plan>(std::make_shared<const rtrnn::Plan>(graph, plan_options(options)));
    made->metadata.assign(graph.metadata().begin(), graph.metadata().end());
    *plan = made.release();
}

const std::vector<rtrnn::Slot>* slots(const rtrnn_plan* plan, rtrnn_port port) noexcept RTRNN_NONBLOCKING {
    if (!valid(plan)) return nullptr;
    switch (port) {
        case RTRNN_INPUT: return &plan->plan->inputs();
        case RTRNN_OUTPUT: return &plan->plan->outputs();
        case RTRNN_STATE: return &plan->plan->states();
    }
    return nullptr;
}

const rtrnn::Slot* slot(const rtrnn_plan* plan, rtrnn_port port, std::size_t i) noexcept RTRNN_NONBLOCKING {
    const std::vector<rtrnn::Slot>* all = slots(plan, port);
    return all && i < all->size() ? all->data() + i : nullptr;
}

const std::pair<std::string, std::string>* entry(const rtrnn_plan* plan, std::size_t i) noexcept RTRNN_NONBLOCKING {
    return valid(plan) && i < plan->metadata.size() ? plan->metadata.data() + i : nullptr;
}

}  // namespace

extern "C" {

rtrnn_status rtrnn_plan_load(const char* path, const rtrnn_options* options, rtrnn_plan** plan) noexcept {
    if (!plan) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_plan_load: the address for the plan is NULL");
    *plan = nullptr;
    if (!path) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_plan_load: path is NULL");
    return guarded([&] { make(rtrnn::load_graph(path), options, plan); });
}

rtrnn_status rtrnn_plan_load_memory(const void* data, size_t bytes, const rtrnn_options* options, rtrnn_plan** plan) noexcept {
    if (!plan) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_plan_load_memory: the address for the plan is NULL");
    *plan = nullptr;
    if (!data) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_plan_load_memory: data is NULL");
    return guarded([&] { make(rtrnn::parse_graph(data, bytes), options, plan); });
}

rtrnn_status rtrnn_plan_free(rtrnn_plan* plan) noexcept { return rtrnn::capi::release(plan, "rtrnn_plan_free: not a plan, or freed before"); }

size_t rtrnn_plan_port_count(const rtrnn_plan* plan, rtrnn_port port) noexcept {
    const auto* all = slots(plan, port);
    return all ? all->size() : 0;
}
const char* rtrnn_plan_port_name(const rtrnn_plan* plan, rtrnn_port port, size_t i) noexcept {
    const rtrnn::Slot* one = slot(plan, port, i);
    return one ? one->name.c_str() : nullptr;
}
size_t rtrnn_plan_port_size(const rtrnn_plan* plan, rtrnn_port port, size_t i) noexcept {
    const rtrnn::Slot* one = slot(plan, port, i);
    return one ? one->size : 0;
}
size_t rtrnn_plan_port_rank(const rtrnn_plan* plan, rtrnn_port port, size_t i) noexcept {
    const rtrnn::Slot* one = slot(plan, port, i);
    return one ? one->shape.size() : 0;
}
const int64_t* rtrnn_plan_port_shape(const rtrnn_plan* plan, rtrnn_port port, size_t i) noexcept {
    const rtrnn::Slot* one = slot(plan, port, i);
    return one ? one->shape.data() : nullptr;
}

size_t rtrnn_plan_metadata_count(const rtrnn_plan* plan) noexcept { return valid(plan) ? plan->metadata.size() : 0; }
const char* rtrnn_plan_metadata_key(const rtrnn_plan* plan, size_t i) noexcept {
    const auto* one = entry(plan, i);
    return one ? one->first.c_str() : nullptr;
}
const char* rtrnn_plan_metadata_text(const rtrnn_plan* plan, size_t i) noexcept {
    const auto* one = entry(plan, i);
    return one ? one->second.c_str() : nullptr;
}
const char* rtrnn_plan_metadata(const rtrnn_plan* plan, const char* key) noexcept {
    if (!key) return nullptr;
    for (std::size_t i = 0; const auto* one = entry(plan, i); ++i)
        if (std::strcmp(one->first.c_str(), key) == 0) return one->second.c_str();
    return nullptr;
}

uint64_t rtrnn_plan_fingerprint(const rtrnn_plan* plan) noexcept { return valid(plan) ? plan->plan->fingerprint() : 0; }
uint64_t rtrnn_plan_structure(const rtrnn_plan* plan) noexcept { return valid(plan) ? plan->plan->structure() : 0; }
const char* rtrnn_plan_isa(const rtrnn_plan* plan) noexcept { return valid(plan) ? plan->plan->kernels().name : nullptr; }
size_t rtrnn_plan_constant_bytes(const rtrnn_plan* plan) noexcept { return valid(plan) ? plan->plan->constant_bytes() : 0; }

}  // extern "C"
