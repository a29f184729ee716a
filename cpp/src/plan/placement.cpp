#include "plan/placement.hpp"

#include "ops/shape/indices.hpp"

namespace rtrnn {
namespace {

class Placer {
public:
    Placer(const Graph& graph, const std::vector<PlanNode>& program) : graph_(graph), program_(program) {}

    Placement run() {
        placement_.elided.assign(program_.size(), false);
        for (const Input& input : graph_.inputs()) placement_.inputs.push_back(place_new(input.name, Region::input));
        for (const State& state : graph_.states()) placement_.states.push_back(place_new(state.name, Region::state));
        for (std::size_t i = 0; i < program_.size(); ++i) place_node(i);
        for (const State& state : graph_.states())
            placement_.next_states.push_back(place_target(state.next, Region::next_state));
        for (const Output& output : graph_.outputs())
            place_output(output.value);
        return std::move(placement_);
    }

private:
    std::int64_t size_of(const std::string& value) const { return element_count(graph_.shape(value)); }

    int place_new(const std::string& value, Region region) {
        const int buffer = placement_.add_buffer(size_of(value), region);
        placement_.values[value] = {buffer, 0};
        return buffer;
    }

    void place_node(std::size_t index) {
        const PlanNode& node = program_[index];
        if (is_rearrangement(*node.source) && place_view(node)) {
            placement_.elided[index] = true;
            return;
        }
        if (node.is("concat") && joins_whole_blocks(node)) {
            const int buffer = place_new(node.outputs[0], Region::temporary);
            std::int64_t offset = 0;
            for (const std::string& part : node.inputs) {
                if (!adopt(part, buffer, offset)) placement_.joins[index].push_back({part, {buffer, offset}, size_of(part)});
                offset += size_of(part);
            }
            placement_.elided[index] = true;
            return;
        }
        for (const std::string& value : node.outputs) place_new(value, Region::temporary);
    }

    // The result's elements lie side by side in the operand.
    bool place_view(const PlanNode& node) {
        const auto from = placement_.values.find(node.inputs[0]);
        if (from == placement_.values.end()) return false;   // a tensor
        const std::vector<std::int32_t> indices = rearrangement(*node.source, graph_.shape(node.inputs[0]), graph_.shape(node.outputs[0]));
        for (std::size_t i = 0; i < indices.size(); ++i)
            if (indices[i] != indices[0] + static_cast<std::int32_t>(i)) return false;
        placement_.values[node.outputs[0]] = {from->second.buffer, from->second.offset + indices[0]};
        return true;
    }

    bool joins_whole_blocks(const PlanNode& node) const {
        const Shape& y = graph_.shape(node.outputs[0]);
        for (std::int64_t axis = 0; axis < node.source->integer("axis", 0); ++axis)
            if (y[static_cast<std::size_t>(axis)] != 1) return false;
        return true;
    }

    // Makes the value's own buffer a part of `target`, so that its producer writes it there.
    bool adopt(const std::string& value, int target, std::int64_t offset) {
        const auto found = placement_.values.find(value);
        if (found == placement_.values.end()) return false;
        Buffer& buffer = placement_.buffers[static_cast<std::size_t>(found->second.buffer)];
        if (buffer.region != Region::temporary || buffer.parent >= 0 || found->second.offset != 0 || buffer.size != size_of(value)) return false;
        buffer.parent = target;
        buffer.parent_offset = offset;
        return true;
    }

    int place_target(const std::string& value, Region region) {
        const int target = placement_.add_buffer(size_of(value), region);
        if (!adopt(value, target, 0)) placement_.final_moves.push_back({value, {target, 0}, size_of(value)});
        return target;
    }

    // An output that is a next state, or a part of one, is copied from there.
    void place_output(const std::string& value) {
        if (const auto found = placement_.values.find(value); found != placement_.values.end()) {
            const Place place = placement_.resolve(found->second);
            if (placement_.buffers[static_cast<std::size_t>(place.buffer)].region == Region::next_state) {
                placement_.outputs.push_back(placement_.add_buffer(size_of(value), Region::output));
                placement_.output_sources.push_back(place);
                return;
            }
        }
        placement_.outputs.push_back(place_target(value, Region::output));
        placement_.output_sources.push_back({placement_.outputs.back(), 0});
    }

    const Graph& graph_;
    const std::vector<PlanNode>& program_;
    Placement placement_;
};

}  // namespace

int Placement::add_buffer(std::int64_t size, Region region) {
    buffers.push_back({size, region});
    return static_cast<int>(buffers.size()) - 1;
}

Place Placement::resolve(Place place) const {
    while (buffers[static_cast<std::size_t>(place.buffer)].parent >= 0) {
        const Buffer& buffer = buffers[static_cast<std::size_t>(place.buffer)];
        place.offset += buffer.parent_offset;
        place.buffer = buffer.parent;
    }
    return place;
}

Placement place_values(const Graph& graph, const std::vector<PlanNode>& program) { return Placer(graph, program).run(); }

}  // namespace rtrnn
