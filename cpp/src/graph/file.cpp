#include "graph/file.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "graph/json.hpp"
#include "graph/mapped_file.hpp"

namespace rtrnn {
namespace {

constexpr std::int64_t format_version = 1;
constexpr std::size_t max_header = std::size_t{100} << 20;
constexpr std::size_t data_alignment = 64;
const char* const graph_key = "rtrnn.graph";

// -- writing -----------------------------------------------------------------------------------------

template <class T>
json::Value list(const std::vector<T>& items) {
    json::Array array;
    for (const T& item : items) array.emplace_back(item);
    return array;
}

// A non-finite number has no JSON form, and a list's type must survive being empty: both are written as {"type": ..}.


json::Value attribute_to_json(const Attribute& attribute) {
    struct Writer {
        json::Value operator()(std::int64_t v) const { return v; }
        json::Value operator()(double v) const { return json::Object{{"float", v}}; }
        json::Value operator()(const std::string& v) const { return v; }
        json::Value operator()(const std::vector<std::int64_t>& v) const { return json::Object{{"ints", list(v)}}; }
        json::Value operator()(const std::vector<double>& v) const { return json::Object{{"floats", list(v)}}; }
        json::Value operator()(const std::vector<std::string>& v) const { return json::Object{{"strings", list(v)}}; }
    };
    return std::visit(Writer{}, attribute);
}

json::Value graph_to_json(const Graph& graph) {
    json::Array inputs, outputs, states, nodes;
    for (const Input& input : graph.inputs())
        inputs.emplace_back(json::Object{{"name", input.name}, {"shape", list(input.shape)}});
    for (const Output& output : graph.outputs())
        outputs.emplace_back(json::Object{{"name", output.name}, {"value", output.value}});
    for (const State& state : graph.states())
        states.emplace_back(json::Object{{"name", state.name}, {"shape", list(state.shape)}, {"initial", state.initial}, {"next", state.next}});
    for (const Node& node : graph.nodes()) {
        json::Object attributes;
        for (const auto& [key, value] : node.attributes) attributes.emplace_back(key, attribute_to_json(value));
        nodes.emplace_back(json::Object{{"op", node.op}, {"name", node.name}, {"inputs", list(node.inputs)},
                                        {"outputs", list(node.outputs)}, {"attributes", std::move(attributes)}});
    }
    return json::Object{{"version", format_version}, {"inputs", inputs}, {"outputs", outputs}, {"states", states}, {"nodes", nodes}};
}

void put_u64(std::vector<char>& out, std::uint64_t value) {
    for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

// -- reading -----------------------------------------------------------------------------------------

class Reader {
public:
    Reader(const char* data, std::size_t size, std::shared_ptr<const void> owner, const std::string& source)
        : data_(data), size_(size), owner_(std::move(owner)), source_(source) {}

    Graph read() {
        try {
            return read_container();
        } catch (const Error& error) {
            throw Error(ErrorKind::invalid_file, source_ + ": " + error.what());
        } catch (const std::invalid_argument& error) {
            throw Error(ErrorKind::invalid_file, source_ + ": " + error.what());
        }
    }

private:
    [[noreturn]] static void fail(const std::string& message) { throw Error(ErrorKind::invalid_file, message); }

    Graph read_container() {
        if (size_ == 0) fail("the file is empty; expected a .rtrnn file");
        if (size_ < 8) fail("the file has " + std::to_string(size_) + " bytes; a .rtrnn file has at least 8");
        std::uint64_t header_size = 0;
        for (int i = 7; i >= 0; --i) header_size = header_size << 8 | static_cast<unsigned char>(data_[i]);
        if (header_size < 2 || header_size > max_header || data_[std::min<std::size_t>(8, size_ - 1)] != '{')
            fail("not a .rtrnn file: it does not start with the header of a safetensors container");
        if (header_size > size_ - 8)
            fail("truncated: the header claims " + std::to_string(header_size) + " bytes, " + std::to_string(size_ - 8) + " are left");
        header_ = json::parse(std::string_view(data_ + 8, header_size));
        payload_ = data_ + 8 + header_size;
        payload_size_ = size_ - 8 - header_size;
        const auto* entries = header_.as<json::Object>();
        if (!entries) fail("the header is not a JSON object");
        const json::Value* metadata = header_.find("__metadata__");
        const std::string* text = metadata ? member_text(*metadata, graph_key) : nullptr;
        if (!text) fail("a safetensors file without an rtrnn graph in it (no '" + std::string(graph_key) + "' in __metadata__)");
        graph_json_ = json::parse(*text);
        check_version();
        read_tensors(*entries);
        for (const auto& [key, value] : *metadata->as<json::Object>()) {
            const std::string* entry = value.as<std::string>();
            if (!entry) fail("metadata '" + key + "' is not a string");
            if (key != graph_key) graph_.metadata()[key] = *entry;
        }
        read_graph();
        graph_.validate();
        return std::move(graph_);
    }

    static const std::string* member_text(const json::Value& object, std::string_view key) {
        const json::Value* value = object.find(key);
        return value ? value->as<std::string>() : nullptr;
    }

    void check_version() const {
        const json::Value* version = graph_json_.find("version");
        const std::int64_t* number = version ? version->as<std::int64_t>() : nullptr;
        if (!number) fail("the graph has no format version");
        if (*number != format_version)
            fail("format version " + std::to_string(*number) + "; this release reads version " + std::to_string(format_version));
    }

    static std::vector<std::int64_t> integers(const json::Value* value, const std::string& owner) {
        const json::Array* array = value ? value->as<json::Array>() : nullptr;
        if (!array) fail(owner + ": expected a list of integers");
        std::vector<std::int64_t> out;
        for (const json::Value& item : *array) {
            const std::int64_t* number = item.as<std::int64_t>();
            if (!number) fail(owner + ": expected a list of integers");
            out.push_back(*number);
        }
        return out;
    }

    static std::string text(const json::Value& object, std::string_view key, const std::string& owner) {
        const std::string* value = member_text(object, key);
        if (!value) fail(owner + ": expected a string '" + std::string(key) + "'");
        return *value;
    }

    static std::vector<std::string> texts(const json::Value* value, const std::string& owner) {
        const json::Array* array = value ? value->as<json::Array>() : nullptr;
        if (!array) fail(owner + ": expected a list of strings");
        std::vector<std::string> out;
        for (const json::Value& item : *array) {
            const std::string* string = item.as<std::string>();
            if (!string) fail(owner + ": expected a list of strings");
            out.push_back(*string);
        }
        return out;
    }

    void read_tensors(const json::Object& entries) {
        struct Extent { std::int64_t begin, end; const std::string* name; };
        std::vector<Extent> extents;
        for (const auto& [name, entry] : entries) {
            if (name == "__metadata__") continue;
            const std::string owner = "tensor '" + name + "'";
            const std::string dtype = text(entry, "dtype", owner);
            if (dtype != "F32") fail(owner + ": expected dtype F32, found " + dtype);
            const Shape shape = integers(entry.find("shape"), owner);
            const std::vector<std::int64_t> offsets = integers(entry.find("data_offsets"), owner);
            if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0])
                fail(owner + ": expected data_offsets [begin, end]");
            if (static_cast<std::uint64_t>(offsets[1]) > payload_size_)
                fail(owner + ": its data ends at byte " + std::to_string(offsets[1]) + " of " + std::to_string(payload_size_) + " (truncated file?)");
            std::int64_t count = 1;
            for (const std::int64_t d : shape) {
                if (d < 1 || d > Graph::max_elements / count) fail(owner + ": shape " + to_string(shape) + " is not possible");
                count *= d;
            }
            const std::int64_t bytes = offsets[1] - offsets[0];
            if (bytes != count * 4)
                fail(owner + ": shape " + to_string(shape) + " needs " + std::to_string(count * 4) + " bytes, found " + std::to_string(bytes));
            extents.push_back({offsets[0], offsets[1], &name});
            add_tensor(name, shape, payload_ + offsets[0]);
        }
        std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
        std::int64_t at = 0;
        for (const Extent& extent : extents) {
            if (extent.begin != at)
                fail("tensor '" + *extent.name + "': expected its data to begin at byte " + std::to_string(at) + ", found " + std::to_string(extent.begin));
            at = extent.end;
        }
        if (static_cast<std::uint64_t>(at) != payload_size_)
            fail("the tensors end at byte " + std::to_string(at) + " of " + std::to_string(payload_size_));
    }

    // In place when the bytes are mapped and aligned for float, else a copy.
    void add_tensor(const std::string& name, const Shape& shape, const char* bytes) {
        if (owner_ && reinterpret_cast<std::uintptr_t>(bytes) % alignof(float) == 0) {
            graph_.add_tensor(name, shape, std::shared_ptr<const float>(owner_, reinterpret_cast<const float*>(bytes)));
            return;
        }
        const auto count = static_cast<std::size_t>(element_count(shape));
        std::shared_ptr<float> copy(new float[count], std::default_delete<float[]>());
        std::memcpy(copy.get(), bytes, count * sizeof(float));
        graph_.add_tensor(name, shape, std::shared_ptr<const float>(copy));
    }

    const json::Array& section(const char* key) const {
        const json::Value* value = graph_json_.find(key);
        const json::Array* array = value ? value->as<json::Array>() : nullptr;
        if (!array) fail(std::string("the graph has no list '") + key + "'");
        return *array;
    }

    static double real_from_json(const json::Value& value, const std::string& owner) {
        if (const auto* d = value.as<double>()) return *d;
        if (const auto* i = value.as<std::int64_t>()) return static_cast<double>(*i);
        if (const auto* s = value.as<std::string>()) {
            if (*s == "inf") return HUGE_VAL;
            if (*s == "-inf") return -HUGE_VAL;
        }
        fail(owner + ": expected a number, \"inf\" or \"-inf\"");
    }

    static Attribute attribute_from_json(const json::Value& value, const std::string& owner) {
        if (const auto* i = value.as<std::int64_t>()) return *i;
        if (const auto* s = value.as<std::string>()) return *s;
        if (const json::Value* f = value.find("float")) return real_from_json(*f, owner);
        if (const json::Value* ints = value.find("ints")) return integers(ints, owner);
        if (const json::Value* strings = value.find("strings")) return texts(strings, owner);
        if (const json::Value* floats = value.find("floats")) {
            std::vector<double> out;
            const json::Array* array = floats->as<json::Array>();
            if (!array) fail(owner + ": expected a list of numbers");
            for (const json::Value& item : *array) out.push_back(real_from_json(item, owner));
            return out;
        }
        fail(owner + ": not an attribute");
    }

    void read_graph() {
        for (const json::Value& input : section("inputs"))
            graph_.add_input(text(input, "name", "input"), integers(input.find("shape"), "input"));
        for (const json::Value& state : section("states"))
            graph_.add_state(text(state, "name", "state"), integers(state.find("shape"), "state"), text(state, "initial", "state"));
        for (const json::Value& item : section("nodes")) {
            Node node;
            node.op = text(item, "op", "node");
            node.name = text(item, "name", "node");
            const std::string owner = "node '" + node.name + "'";
            node.inputs = texts(item.find("inputs"), owner);
            node.outputs = texts(item.find("outputs"), owner);
            const json::Value* attributes = item.find("attributes");
            const json::Object* members = attributes ? attributes->as<json::Object>() : nullptr;
            if (!members) fail(owner + ": no attributes");
            for (const auto& [key, value] : *members)
                node.attributes[key] = attribute_from_json(value, owner + ", attribute '" + key + "'");
            graph_.add_node(std::move(node));
        }
        for (const json::Value& state : section("states"))
            graph_.set_next(text(state, "name", "state"), text(state, "next", "state"));
        for (const json::Value& output : section("outputs"))
            graph_.add_output(text(output, "name", "output"), text(output, "value", "output"));
    }

    const char* data_;
    std::size_t size_;
    std::shared_ptr<const void> owner_;
    std::string source_;
    json::Value header_, graph_json_;
    const char* payload_ = nullptr;
    std::size_t payload_size_ = 0;
    Graph graph_;
};

}  // namespace

std::vector<char> serialize_graph(const Graph& graph) {
    graph.validate();
    json::Object header;
    json::Object metadata{{graph_key, json::write(graph_to_json(graph))}};
    for (const auto& [key, value] : graph.metadata())
        if (key != graph_key) metadata.emplace_back(key, value);
    header.emplace_back("__metadata__", std::move(metadata));
    std::int64_t offset = 0;
    for (const Tensor& tensor : graph.tensors()) {
        const std::int64_t end = offset + element_count(tensor.shape) * 4;
        header.emplace_back(tensor.name, json::Object{{"dtype", std::string("F32")}, {"shape", list(tensor.shape)},
                                                      {"data_offsets", list(std::vector<std::int64_t>{offset, end})}});
        offset = end;
    }
    std::string text = json::write(header);
    text.append((data_alignment - (8 + text.size()) % data_alignment) % data_alignment, ' ');
    std::vector<char> out;
    out.reserve(8 + text.size() + static_cast<std::size_t>(offset));
    put_u64(out, text.size());
    out.insert(out.end(), text.begin(), text.end());
    for (const Tensor& tensor : graph.tensors()) {
        const char* bytes = reinterpret_cast<const char*>(tensor.data.get());
        out.insert(out.end(), bytes, bytes + element_count(tensor.shape) * 4);
    }
    return out;
}

Graph parse_graph(const void* data, std::size_t size, const std::string& source) {
    return Reader(static_cast<const char*>(data), size, nullptr, source).read();
}

Graph load_graph(const std::string& path) {
    auto file = std::make_shared<MappedFile>(path);
    return Reader(file->data(), file->size(), file, path).read();
}

void save_graph(const Graph& graph, const std::string& path) {
    const std::vector<char> bytes = serialize_graph(graph);
    write_file_atomically(path, bytes);
}

}  // namespace rtrnn
