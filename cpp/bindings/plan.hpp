// A Plan as Python has it: with what it was made from, so that it can be pickled.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "plan/plan.hpp"

struct PythonPlan : rtrnn::Plan {
    PythonPlan(std::shared_ptr<const rtrnn::Graph> graph_, rtrnn::PlanOptions options_)
        : Plan(*graph_, options_), graph(std::move(graph_)), options(std::move(options_)) {
        // The Graph's metadata may change later.
        const auto found = graph->metadata().find("rtrnn.limits");
        if (!options.limits) options.limits = found == graph->metadata().end() ? std::string() : found->second;
    }

    std::shared_ptr<const rtrnn::Graph> graph;
    rtrnn::PlanOptions options;
};
