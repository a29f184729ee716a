#include "saved_policy.hpp"

#include "graph/file.hpp"
#include "networks.hpp"

std::vector<char> saved_policy(const char* op) {
    rtrnn::Graph graph = rtrnn::testing::policy(op);
    graph.metadata()["joints"] = "hip knee";
    graph.metadata()["rate"] = "50";
    return rtrnn::serialize_graph(graph);
}
