#include "graph/graph.hpp"

#include <cmath>
#include <cstring>

#include "ops/op.hpp"

namespace rtrnn {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorKind::invalid_graph, message); }

std::string quoted(const std::string& name) { return "'" + name + "'"; }

void check_shape(const Shape& shape, const std::string& owner, std::int64_t limit = Graph::max_value_elements) {
    if (shape.empty() || shape.size() > Graph::max_rank)
        fail(owner + ": a shape must have 1 to " + std::to_string(Graph::max_rank) + " dimensions, found " + std::to_string(shape.size()));
    std::int64_t count = 1;
    for (const std::int64_t d : shape) {
        if (d < 1) fail(owner + ": every dimension must be at least 1, found shape " + to_string(shape));
        if (d > limit / count) fail(owner + ": shape " + to_string(shape) + " is larger than " + std::to_string(limit) + " elements");
        count *= d;
    }
}

template <class T>
const T* attribute(const Node& node, const std::string& key, const char* type) {
    const auto found = node.attributes.find(key);
    if (found == node.attributes.end()) return nullptr;
    if (const T* value = std::get_if<T>(&found->second)) return value;
    fail("node " + quoted(node.name) + " (" + node.op + "): attribute '" + key + "' must be " + type);
}

// FNV-1a over 64-bit words; a name for contents, not a defence against forgery.
class Hash {
public:
    void word(std::uint64_t value) {
        state_ ^= value;
        state_ *= 0x100000001B3ull;
        state_ ^= state_ >> 29;
    }
    void bytes(const void* data, std::size_t size) {
        const char* at = static_cast<const char*>(data);
        word(size);
        for (; size >= 8; at += 8, size -= 8) {
            std::uint64_t value;
            std::memcpy(&value, at, 8);
            word(value);
        }
        std::uint64_t rest = 0;
        std::memcpy(&rest, at, size);
        word(rest);
    }
    void text(const std::string& s) { bytes(s.data(), s.size()); }
    void shape(const Shape& s) { bytes(s.data(), s.size() * sizeof s[0]); }
    std::uint64_t value() const { return state_; }

    void operator()(std::int64_t v) { word(static_cast<std::uint64_t>(v)); }
    void operator()(double v) { bytes(&v, sizeof v); }
    void operator()(const std::string& v) { text(v); }
    template <class T>
    void operator()(const std::vector<T>& v) {
        word(v.size());
        for (const T& item : v) (*this)(item);
    }

private:
    std::uint64_t state_ = 0xCBF29CE484222325ull;
};

}  // namespace

std::int64_t element_count(const Shape& shape) {
    std::int64_t count = 1;
    for (const std::int64_t d : shape) count *= d;
    return count;
}

std::string to_string(const Shape& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

std::int64_t Node::integer(const std::string& key, std::int64_t fallback) const {
    const auto* value = attribute<std::int64_t>(*this, key, "an integer");
    return value ? *value : fallback;
}

double Node::real(const std::string& key, double fallback) const {
    const auto found = attributes.find(key);
    if (found == attributes.end()) return fallback;
    if (const auto* i = std::get_if<std::int64_t>(&found->second)) return static_cast<double>(*i);
    return *attribute<double>(*this, key, "a number");
}

std::string Node::text(const std::string& key, const std::string& fallback) const {
    const auto* value = attribute<std::string>(*this, key, "a string");
    return value ? *value : fallback;
}

std::vector<std::int64_t> Node::integers(const std::string& key) const {
    const auto* value = attribute<std::vector<std::int64_t>>(*this, key, "a list of integers");
    return value ? *value : std::vector<std::int64_t>();
}

std::vector<double> Node::reals(const std::string& key) const {
    const auto found = attributes.find(key);
    if (found == attributes.end()) return {};
    if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&found->second)) return {ints->begin(), ints->end()};
    return *attribute<std::vector<double>>(*this, key, "a list of numbers");
}

std::vector<std::string> Node::texts(const std::string& key) const {
    const auto found = attributes.find(key);
    if (found == attributes.end()) return {};
    if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&found->second); ints && ints->empty()) return {};
    return *attribute<std::vector<std::string>>(*this, key, "a list of strings");
}

void Graph::claim(const std::string& name, const char* what) const {
    if (name.empty()) fail(std::string(what) + ": the name is empty");
    if (name.size() > 1024) fail(std::string(what) + ": a name is longer than 1024 bytes");
    if (values_.count(name)) fail(std::string(what) + " " + quoted(name) + ": the name is taken");
    if (values_.size() >= max_names) fail("more than " + std::to_string(max_names) + " values");
}

void Graph::add_input(const std::string& name, const Shape& shape) {
    claim(name, "input");
    check_shape(shape, "input " + quoted(name));
    values_[name] = {ValueKind::input, inputs_.size(), 0, shape};
    inputs_.push_back({name, shape});
}

void Graph::add_tensor(const std::string& name, const Shape& shape, std::shared_ptr<const float> data) {
    claim(name, "tensor");
    if (name == "__metadata__") fail("tensor '__metadata__': the name is reserved by the file format");
    check_shape(shape, "tensor " + quoted(name), max_elements);
    values_[name] = {ValueKind::tensor, tensors_.size(), 0, shape};
    tensors_.push_back({name, shape, std::move(data)});
}

void Graph::add_tensor(const std::string& name, const Shape& shape, const float* data) {
    claim(name, "tensor");
    check_shape(shape, "tensor " + quoted(name), max_elements);
    const auto count = static_cast<std::size_t>(element_count(shape));
    std::shared_ptr<float> copy(new float[count], std::default_delete<float[]>());
    std::memcpy(copy.get(), data, count * sizeof(float));
    add_tensor(name, shape, std::shared_ptr<const float>(copy));
}

void Graph::add_state(const std::string& name, const Shape& shape, const std::string& initial) {
    claim(name, "state");
    check_shape(shape, "state " + quoted(name));
    if (!initial.empty()) {
        const Tensor* tensor = find_tensor(initial);
        if (!tensor) fail("state " + quoted(name) + ": its initial value " + quoted(initial) + " is not a tensor");
        if (tensor->shape != shape)
            fail("state " + quoted(name) + ": expected an initial value of shape " + to_string(shape) + ", found " + to_string(tensor->shape));
    }
    values_[name] = {ValueKind::state, states_.size(), 0, shape};
    states_.push_back({name, shape, initial, ""});
}

void Graph::add_node(Node node) {
    const std::string owner = "node " + quoted(node.name) + " (" + node.op + ")";
    const Op* op = find_op(node.op);
    if (!op) throw Error(ErrorKind::unsupported, owner + ": unknown op; known are " + op_names());
    const std::size_t given = node.inputs.size();
    if (given < op->min_inputs || given > op->max_inputs)
        fail(owner + ": expected " + std::to_string(op->min_inputs) + " to " + std::to_string(op->max_inputs) + " inputs, found " + std::to_string(given));
    if (node.outputs.size() != op->outputs)
        fail(owner + ": expected " + std::to_string(op->outputs) + " outputs, found " + std::to_string(node.outputs.size()));
    std::vector<Shape> shapes;
    for (std::size_t i = 0; i < given; ++i) {
        if (node.inputs[i].empty()) {
            if (i < op->min_inputs) fail(owner + ": input " + std::to_string(i) + " is required");
            shapes.emplace_back();
            continue;
        }
        const auto found = values_.find(node.inputs[i]);
        if (found == values_.end()) fail(owner + ": input " + std::to_string(i) + " " + quoted(node.inputs[i]) + " is not defined before this node");
        shapes.push_back(found->second.shape);
    }
    ShapeRule rule(*this, node, shapes);
    op->infer(rule);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
        claim(node.outputs[i], "node output");
        for (std::size_t j = 0; j < i; ++j)
            if (node.outputs[i] == node.outputs[j]) fail(owner + ": two outputs are called " + quoted(node.outputs[i]));
        check_shape(rule.outputs.at(i), owner + ", output " + quoted(node.outputs[i]));
    }
    for (std::size_t i = 0; i < node.outputs.size(); ++i)
        values_[node.outputs[i]] = {ValueKind::node, nodes_.size(), i, rule.outputs[i]};
    nodes_.push_back(std::move(node));
}

void Graph::set_next(const std::string& state, const std::string& value) {
    const auto found = values_.find(state);
    if (found == values_.end() || found->second.kind != ValueKind::state) fail(quoted(state) + " is not a state");
    const Shape& given = shape(value);
    State& target = states_[found->second.index];
    if (given != target.shape)
        fail("state " + quoted(state) + ": expected a next value of shape " + to_string(target.shape) + ", found " + quoted(value) + " of shape " + to_string(given));
    target.next = value;
}

void Graph::add_output(const std::string& name, const std::string& value) {
    if (name.empty()) fail("output: the name is empty");
    for (const Output& output : outputs_)
        if (output.name == name) fail("output " + quoted(name) + ": the name is taken");
    if (!has_value(value)) fail("output " + quoted(name) + ": there is no value " + quoted(value));
    outputs_.push_back({name, value});
}

void Graph::set_output(std::size_t i, const std::string& value) {
    Output& output = outputs_.at(i);
    if (shape(value) != output_shape(i)) fail("output " + quoted(output.name) + ": expected a value of shape " + to_string(output_shape(i)));
    output.value = value;
}

void Graph::validate() const {
    if (outputs_.empty()) fail("the graph has no output");
    for (const State& state : states_)
        if (state.next.empty()) fail("state " + quoted(state.name) + ": no next value is set");
    for (const Tensor& tensor : tensors_) {
        const std::int64_t count = element_count(tensor.shape);
        for (std::int64_t i = 0; i < count; ++i)
            if (!std::isfinite(tensor.data.get()[i]))
                fail("tensor " + quoted(tensor.name) + ": element " + std::to_string(i) + " is not finite");
    }
}

const Value& Graph::value(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) fail("there is no value " + quoted(name));
    return found->second;
}

const Tensor* Graph::find_tensor(const std::string& name) const {
    const auto found = values_.find(name);
    return found != values_.end() && found->second.kind == ValueKind::tensor ? &tensors_[found->second.index] : nullptr;
}

bool Graph::is_causal() const {
    for (const Node& node : nodes_)
        if (node.text("direction", "forward") == "reverse") return false;
    return true;
}

std::uint64_t Graph::fingerprint() const {
    Hash hash;
    for (const Input& input : inputs_) hash.text(input.name), hash.shape(input.shape);
    for (const Output& output : outputs_) hash.text(output.name), hash.text(output.value);
    for (const State& state : states_) hash.text(state.name), hash.shape(state.shape), hash.text(state.initial), hash.text(state.next);
    for (const Tensor& tensor : tensors_) {
        hash.text(tensor.name), hash.shape(tensor.shape);
        hash.bytes(tensor.data.get(), static_cast<std::size_t>(element_count(tensor.shape)) * sizeof(float));
    }
    for (const Node& node : nodes_) {
        hash.text(node.op), hash(node.inputs), hash(node.outputs);
        for (const auto& [key, value] : node.attributes) hash.text(key), std::visit(hash, value);
    }
    return hash.value();
}

std::uint64_t Graph::structure() const {
    Hash hash;
    std::unordered_map<std::string, std::size_t> tensors;   // numbered in the order in which they are met
    const auto reference = [&](const std::string& name) {
        if (name.empty()) return hash.word(~std::uint64_t{0});
        const Value& found = value(name);
        const bool tensor = found.kind == ValueKind::tensor;
        hash.word(static_cast<std::uint64_t>(found.kind));
        hash.word(tensor ? tensors.emplace(name, tensors.size()).first->second : found.index);
        hash.word(found.output);
        hash.shape(found.shape);
    };
    for (const Input& input : inputs_) hash.text(input.name), hash.shape(input.shape);
    for (const Node& node : nodes_) {
        hash.text(node.op), hash.word(node.inputs.size());
        for (const std::string& input : node.inputs) reference(input);
        for (const auto& [key, value] : node.attributes) hash.text(key), std::visit(hash, value);
    }
    for (const State& state : states_) hash.text(state.name), hash.shape(state.shape), reference(state.next);
    for (const Output& output : outputs_) hash.text(output.name), reference(output.value);
    return hash.value();
}

}  // namespace rtrnn
