#include "policy_core.hpp"

#include <algorithm>

namespace {

std::size_t total(const rtrnn::Plan& plan, rtrnn::Port port) {
    std::size_t size = 0;
    for (std::size_t i = 0; i < plan.count(port); ++i) size += plan.size(port, i);
    return size;
}

}  // namespace

bool PolicyCore::configure(const std::string& model) {
    rtrnn::Plan plan;
    if (rtrnn::Plan::create(plan, model.c_str()) != rtrnn::Status::ok || rtrnn::Stream::create(stream_, plan) != rtrnn::Status::ok) {
        error_ = rtrnn::last_error();
        return false;
    }
    observation_.assign(total(plan, rtrnn::Port::input), 0.0f);
    command_.assign(total(plan, rtrnn::Port::output), 0.0f);
    return true;
}

void PolicyCore::activate() noexcept {
    stream_.reset();
    std::fill(command_.begin(), command_.end(), 0.0f);
}

bool PolicyCore::update() noexcept { return stream_.step(observation_, command_) == rtrnn::Status::ok; }
