// The C handles, for the bindings that make plans in C++ and hand them to C callers.
#pragma once

#include <memory>

#include "plan/plan.hpp"
#include "stream/batch.hpp"
#include "stream/stream.hpp"

struct rtrnn_plan {
    std::shared_ptr<const rtrnn::Plan> plan;
};

struct rtrnn_stream {
    rtrnn::Stream stream;
};

struct rtrnn_batch {
    rtrnn::Batch batch;
};
