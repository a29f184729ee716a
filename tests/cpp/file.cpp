#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "graph/file.hpp"
#include "graph/json.hpp"
#include "networks.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

std::string refusal(const std::vector<char>& bytes) {
    try {
        parse_graph(bytes.data(), bytes.size(), "test");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::invalid_file);
        return error.what();
    }
    return "";
}

bool mentions(const std::string& message, const char* part) { return message.find(part) != std::string::npos; }

// A container around a graph's JSON and tensor entries, well-formed or not.
std::vector<char> container(const std::string& header, std::size_t payload) {
    std::vector<char> bytes;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i)));
    bytes.insert(bytes.end(), header.begin(), header.end());
    bytes.resize(bytes.size() + payload);
    return bytes;
}

const std::string minimal_graph =
    R"({\"version\":1,\"inputs\":[{\"name\":\"x\",\"shape\":[2]}],\"outputs\":[{\"name\":\"y\",\"value\":\"x\"}],\"states\":[],\"nodes\":[]})";

std::string header_with(const std::string& entries, const std::string& graph = minimal_graph) {
    return R"({"__metadata__":{"rtrnn.graph":")" + graph + R"("})" + entries + "}";
}

}  // namespace

TEST_CASE("a graph survives the file bit for bit") {
    Graph graph = policy("lstm");
    graph.metadata()["joint_names"] = "hip, \"knee\"\n\xC3\xA4";
    graph.add_node({"clip", "limit", {"y"}, {"limited"}, {{"alpha", -1.0 / 3}, {"beta", HUGE_VAL}}});
    graph.add_output("limited", "limited");
    const std::vector<char> bytes = serialize_graph(graph);
    const Graph copy = parse_graph(bytes.data(), bytes.size());
    CHECK(copy.fingerprint() == graph.fingerprint());
    CHECK(copy.metadata() == graph.metadata());
    CHECK(serialize_graph(copy) == bytes);
    std::uint64_t header_size;
    std::memcpy(&header_size, bytes.data(), 8);
    CHECK((8 + header_size) % 64 == 0);   // tensors begin on a cache line
}

TEST_CASE("every truncation is refused") {
    const std::vector<char> bytes = serialize_graph(policy("gru", 3, 2, 1));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const std::string message = refusal({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)});
        CHECK(!message.empty());
        if (message.empty()) break;
    }
    CHECK(mentions(refusal({}), "empty"));
    std::vector<char> longer = bytes;
    longer.push_back(0);
    CHECK(mentions(refusal(longer), "end at byte"));
}

TEST_CASE("a flipped bit is refused or gives another valid graph, and never crashes") {
    const std::vector<char> bytes = serialize_graph(policy("gru", 3, 2, 1));
    Random random(9);
    for (int i = 0; i < 4000; ++i) {
        std::vector<char> damaged = bytes;
        const auto at = static_cast<std::size_t>((random.next() + 1) / 2 * static_cast<float>(bytes.size() - 1));
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << (i % 8)));
        refusal(damaged);
    }
}

TEST_CASE("tensor entries are checked before use") {
    CHECK(refusal(container(header_with(""), 0)).empty());
    CHECK(mentions(refusal(container(header_with(R"(,"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]})"), 8)), "expected dtype F32, found F64"));
    CHECK(mentions(refusal(container(header_with(R"(,"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), 4)), "needs 8 bytes, found 4"));
    CHECK(mentions(refusal(container(header_with(R"(,"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), 8)), "expected its data to begin at byte 0"));
    CHECK(mentions(refusal(container(header_with(R"(,"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), 4)), "truncated"));
    CHECK(mentions(refusal(container(header_with(R"(,"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), 4)), "not possible"));
    CHECK(mentions(refusal(container(header_with(R"(,"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]})"), 4)), "not possible"));
    CHECK(mentions(refusal(container(header_with(R"(,"w":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999]})"), 4)), "truncated"));
    CHECK(mentions(refusal(container(header_with(R"(,"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), 4)), "taken"));
    CHECK(mentions(refusal(container(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4)), "without an rtrnn graph"));
    std::string newer = minimal_graph;
    newer.replace(newer.find(":1,"), 3, ":2,");
    CHECK(mentions(refusal(container(header_with("", newer), 0)), "format version 2"));
}

TEST_CASE("JSON: what is not JSON is refused") {
    for (const char* text : {"", "{", "[1,]", "{\"a\":1,}", "01", "1.", "\"\\x\"", "\"\\ud800\"", "nul", "1 2", "{\"a\":1,\"a\":2}", "1e999", "99999999999999999999", "\"a\nb\"",
                             "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\""})
        CHECK_THROWS_AS(json::parse(text), std::invalid_argument);
    CHECK_THROWS_AS(json::parse(std::string(100000, '[')), std::invalid_argument);
    const json::Value value = json::parse(R"( {"a": [1, -2.5e3, true, null, "\u00e4\ud83d\ude00\n"]} )");
    CHECK(json::write(value) == "{\"a\":[1,-2500.0,true,null,\"\xC3\xA4\xF0\x9F\x98\x80\\u000a\"]}");
    CHECK(*json::parse(json::write(json::Value(0.1))).as<double>() == 0.1);
}

TEST_CASE("missing files and folders are named") {
    for (const char* path : {"/nonexistent/file.rtrnn", "/"}) {
        try {
            load_graph(path);
            FAIL("expected an error");
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::io);
            CHECK(mentions(error.what(), path));
        }
    }
}
