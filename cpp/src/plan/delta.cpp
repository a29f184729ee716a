#include "plan/delta.hpp"

#include <cmath>

namespace rtrnn {
namespace {

// Writes one cell out.
class Cell {
public:
    Cell(const Graph& source, Graph& graph, const Node& node, double threshold, std::vector<std::pair<std::string, std::string>>& next)
        : source_(source), graph_(graph), node_(node), threshold_(threshold), next_(next), first_weight_(node.op == "lstm" ? 3 : 2),
          hidden_(source.shape(node.outputs[node.op == "lstm" ? 1 : 0])[0]) {}

    void write() {
        x_ = sums("x", node_.inputs[0], 0);
        h_ = sums("h", node_.inputs[1], 1);
        if (node_.op == "rnn") write_rnn();
        else if (node_.op == "gru") write_gru();
        else write_lstm();
    }

private:
    // W operand + bias, kept up to date.
    std::string sums(const std::string& which, const std::string& operand, std::size_t matrix) {
        const std::string& weight = node_.inputs[first_weight_ + matrix];
        const Shape shape = source_.shape(weight);
        const std::string used = node_.name + ".delta_" + which, sum = node_.name + ".delta_sum_" + which;
        const std::size_t bias = first_weight_ + 2 + matrix;
        graph_.add_state(used, {shape[1]});
        graph_.add_state(sum, {shape[0]}, node_.has_input(bias) ? node_.inputs[bias] : "");
        graph_.add_node({"delta_linear", sum, {operand, used, sum, weight}, {sum + ".next", used + ".next"}, {{"threshold", threshold_}}});
        next_.push_back({used, used + ".next"});
        next_.push_back({sum, sum + ".next"});
        return sum + ".next";
    }

    std::string node(const std::string& op, std::vector<std::string> inputs, Attributes attributes = {}, const std::string& output = "") {
        const std::string name = node_.name + ".delta." + std::to_string(count_++);
        const std::string value = output.empty() ? name : output;
        graph_.add_node({op, name, std::move(inputs), {value}, std::move(attributes)});
        return value;
    }

    std::string gate(const std::string& sums, std::int64_t i) {
        return node("slice", {sums}, {{"axis", std::int64_t{0}}, {"start", i * hidden_}, {"stop", (i + 1) * hidden_}});
    }

    // The activation `i` of a sum, clipped before if the cell clips.
    std::string activated(std::string sum, std::size_t i, const char* standard, bool clipped = true, const std::string& output = "") {
        const double clip = node_.real("clip", 0);
        if (clip > 0 && clipped) sum = node("clip", {sum}, {{"alpha", -clip}, {"beta", clip}});
        const auto names = node_.texts("activations");
        Attributes attributes;
        if (const auto alpha = node_.reals("alpha"); !alpha.empty()) attributes["alpha"] = alpha[i];
        if (const auto beta = node_.reals("beta"); !beta.empty()) attributes["beta"] = beta[i];
        return node(names.empty() ? standard : names[i], {sum}, attributes, output);
    }

    std::string both(std::int64_t i) { return node("add", {gate(x_, i), gate(h_, i)}); }

    void write_rnn() { activated(node("add", {x_, h_}), 0, "tanh", true, node_.outputs[0]); }

    void write_gru() {
        const std::string r = activated(both(0), 0, "sigmoid"), z = activated(both(1), 0, "sigmoid");
        const std::string n = activated(node("add", {gate(x_, 2), node("mul", {r, gate(h_, 2)})}), 1, "tanh");
        node("add", {n, node("mul", {z, node("sub", {node_.inputs[1], n})})}, {}, node_.outputs[0]);
    }

    void write_lstm() {
        const std::string i = activated(both(0), 0, "sigmoid"), f = activated(both(1), 0, "sigmoid");
        const std::string g = activated(both(2), 1, "tanh"), o = activated(both(3), 0, "sigmoid");
        const std::string& c = node("add", {node("mul", {f, node_.inputs[2]}), node("mul", {i, g})}, {}, node_.outputs[1]);
        const bool projects = node_.has_input(7);
        const std::string h = node("mul", {o, activated(c, 2, "tanh", false)}, {}, projects ? "" : node_.outputs[0]);
        if (projects) node("linear", {h, node_.inputs[7]}, {}, node_.outputs[0]);
    }

    const Graph& source_;
    Graph& graph_;
    const Node& node_;
    const double threshold_;
    std::vector<std::pair<std::string, std::string>>& next_;
    const std::size_t first_weight_;
    const std::int64_t hidden_;
    std::string x_, h_;
    int count_ = 0;
};

bool can_be_written_out(const Node& node) {
    if (node.text("direction", "forward") == "reverse") return false;
    if (node.op == "rnn") return true;
    if (node.op == "gru") return node.text("reset", "after") == "after";
    return node.op == "lstm" && !node.has_input(8) && node.integer("input_forget", 0) == 0;
}

}  // namespace

Graph with_delta_updates(const Graph& graph, double threshold) {
    if (!(threshold >= 0 && std::isfinite(threshold))) throw Error(ErrorKind::invalid_argument, "delta: expected a threshold from 0 on");
    Graph out;
    std::vector<std::pair<std::string, std::string>> next;
    for (const Input& input : graph.inputs()) out.add_input(input.name, input.shape);
    for (const Tensor& tensor : graph.tensors()) out.add_tensor(tensor.name, tensor.shape, tensor.data);
    for (const State& state : graph.states()) {
        out.add_state(state.name, state.shape, state.initial);
        next.push_back({state.name, state.next});
    }
    for (const Node& node : graph.nodes()) {
        if (can_be_written_out(node)) Cell(graph, out, node, threshold, next).write();
        else out.add_node(node);
    }
    for (const auto& [state, value] : next) out.set_next(state, value);
    for (const Output& output : graph.outputs()) out.add_output(output.name, output.value);
    out.metadata() = graph.metadata();
    return out;
}

}  // namespace rtrnn
