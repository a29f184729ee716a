// Convolution (the machine-learning kind: the kernel is not flipped) of x (C, spatial..) with weight (O, C / groups, kernel..),
// over one to three spatial axes. Attributes as in ONNX: strides, dilations, pads (all begins, then all ends), groups.
//
// Windows of x are gathered as rows of a matrix, and the linear kernel multiplies them by the weights; what needs no rearranging is
// not rearranged. Many small groups (depthwise layers) would be as many small products: there all products are formed
// elementwise and added tap by tap.
#include <algorithm>

#include "ops/linear/linear.hpp"
#include "ops/list.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

constexpr std::int64_t few_groups = 8;          // each is one product
constexpr std::int64_t large_group = 256;       // weights; a product of at least this many is worth a call of its own
constexpr std::int64_t narrow = 16;             // output positions, below which the elementwise loop would be too short

struct Geometry {
    std::int64_t channels, outputs, groups;
    std::vector<std::int64_t> in, kernel, stride, dilation, begin, end;

    std::int64_t group_channels() const { return channels / groups; }
    std::int64_t group_outputs() const { return outputs / groups; }
    std::size_t axes() const { return in.size(); }
    std::int64_t padded(std::size_t i) const { return in[i] + begin[i] + end[i]; }
    std::int64_t extent(std::size_t i) const { return (kernel[i] - 1) * dilation[i] + 1; }
    std::int64_t out(std::size_t i) const { return (padded(i) - extent(i)) / stride[i] + 1; }
    std::int64_t taps() const { return element_count(kernel); }
    std::int64_t positions() const {
        std::int64_t count = 1;
        for (std::size_t i = 0; i < axes(); ++i) count *= out(i);
        return count;
    }
};

Geometry geometry(const Node& node, const Shape& x, const Shape& weight) {
    const std::size_t n = x.size() - 1;
    const auto listed = [&](const char* key, std::int64_t fallback, std::size_t count) {
        std::vector<std::int64_t> values = node.integers(key);
        if (values.empty()) values.assign(count, fallback);
        return values;
    };
    const std::vector<std::int64_t> pads = listed("pads", 0, 2 * n);
    Geometry g{x[0], weight[0], node.integer("groups", 1), {x.begin() + 1, x.end()}, {weight.begin() + 2, weight.end()},
               listed("strides", 1, n), listed("dilations", 1, n), {}, {}};
    const auto middle = pads.begin() + static_cast<std::ptrdiff_t>(std::min(n, pads.size()));
    g.begin.assign(pads.begin(), middle);
    g.end.assign(middle, pads.end());
    return g;
}

// Inputs: x, weight, bias.
void infer(ShapeRule& rule) {
    const Shape& x = rule.inputs[0];
    const Shape& weight = rule.inputs[1];
    const Node& node = rule.node;
    if (x.size() < 2 || x.size() > 4)
        rule.fail("x '" + node.inputs[0] + "': expected shape (channels, size), with one to three sizes, found " + to_string(x));
    if (weight.size() != x.size() + 1)
        rule.fail("weight '" + node.inputs[1] + "': expected shape (output channels, channels / groups, kernel) with " + std::to_string(x.size() - 1) +
                  " kernel sizes, found " + to_string(weight));
    rule.expect_tensor(1, "weight");
    rule.expect_tensor(2, "bias");
    rule.expect(2, "bias", {weight[0]});

    const Geometry g = geometry(node, x, weight);
    if (g.groups < 1 || g.channels % g.groups != 0 || g.outputs % g.groups != 0)
        rule.fail("groups " + std::to_string(g.groups) + " does not divide " + std::to_string(g.channels) + " channels and " +
                  std::to_string(g.outputs) + " output channels");
    if (weight[1] != g.group_channels())
        rule.fail("weight '" + node.inputs[1] + "': expected " + std::to_string(g.group_channels()) + " channels for each group, found shape " + to_string(weight));
    const auto check = [&](const char* key, const std::vector<std::int64_t>& values, std::int64_t least) {
        if (values.size() != g.axes()) rule.fail(std::string(key) + ": expected a number for each of " + std::to_string(g.axes()) + " axes (pads: two)");
        for (const std::int64_t v : values)
            if (v < least || v > Graph::max_value_elements) rule.fail(std::string(key) + ": " + std::to_string(v) + " is not possible");
    };
    check("strides", g.stride, 1);
    check("dilations", g.dilation, 1);
    check("pads", g.begin, 0);
    check("pads", g.end, 0);

    Shape y{g.outputs};
    std::int64_t windows = g.channels;   // elements of all windows, which are gathered side by side
    const auto grow = [&](std::int64_t by) {
        if (by > Graph::max_value_elements / windows)
            rule.fail("its windows hold more than " + std::to_string(Graph::max_value_elements) + " elements");
        windows *= by;
    };
    for (std::size_t i = 0; i < g.axes(); ++i) {
        if (g.extent(i) > g.padded(i))
            rule.fail("axis " + std::to_string(i + 1) + " of x '" + node.inputs[0] + "': the kernel spans " + std::to_string(g.extent(i)) +
                      " elements, the padded input has " + std::to_string(g.padded(i)));
        y.push_back(g.out(i));
        grow(g.kernel[i]);
        grow(g.out(i));
    }
    rule.outputs = {y};
}

// For each tap and output position (taps outermost) the element of a channel that it reads; -1 in the padding.
std::vector<std::int64_t> window_elements(const Geometry& g) {
    const std::int64_t taps = g.taps(), positions = g.positions();
    std::vector<std::int64_t> elements(static_cast<std::size_t>(taps * positions));
    for (std::int64_t t = 0; t < taps; ++t)
        for (std::int64_t p = 0; p < positions; ++p) {
            std::int64_t element = 0, step = 1, tap = t, position = p;
            for (std::size_t i = g.axes(); i-- > 0;) {
                const std::int64_t at = position % g.out(i) * g.stride[i] + tap % g.kernel[i] * g.dilation[i] - g.begin[i];
                position /= g.out(i);
                tap /= g.kernel[i];
                element = element < 0 || at < 0 || at >= g.in[i] ? -1 : element + at * step;
                step *= g.in[i];
            }
            elements[static_cast<std::size_t>(t * positions + p)] = element;
        }
    return elements;
}

class Convolution {
public:
    Convolution(Lowering& lowering, const PlanNode& node)
        : lowering_(lowering), node_(node), g_(geometry(*node.source, lowering.shape(node.inputs[0]), lowering.shape(node.inputs[1]))),
          elements_(window_elements(g_)), weight_(lowering.weights(node, 1)), bias_(lowering.weights(node, 2)), y_(lowering.out(node, 0)) {
        taps_ = g_.taps();
        positions_ = g_.positions();
        channel_size_ = element_count(g_.in);
        x_ = lowering.in(node, 0);
        if (std::find(elements_.begin(), elements_.end(), -1) != elements_.end()) x_ = followed_by_zero(x_);
    }

    void lower() {
        const std::int64_t group_size = g_.group_outputs() * g_.group_channels() * taps_;
        const bool elementwise = g_.groups > few_groups && group_size < large_group &&
                                 group_size * g_.groups <= Graph::max_value_elements / positions_;
        elementwise ? lower_elementwise() : lower_products();
    }

private:
    // Element `e` of channel `c` in x_, where the zero is behind the last channel.
    std::int32_t source(std::int64_t c, std::int64_t tap, std::int64_t position) const {
        const std::int64_t e = elements_[static_cast<std::size_t>(tap * positions_ + position)];
        return static_cast<std::int32_t>(e < 0 ? g_.channels * channel_size_ : c * channel_size_ + e);
    }

    Ref followed_by_zero(Ref x) {
        const std::int64_t n = g_.channels * channel_size_;
        const Ref joined = lowering_.scratch(n + 1);
        lowering_.copy(x, joined, n);
        lowering_.copy({lowering_.constant(std::vector<float>{0.0f}), 0}, part(joined, n), 1);
        return joined;
    }

    static Ref part(Ref whole, std::int64_t offset) {
        if (whole.base) return {whole.base + offset, 0};
        return {nullptr, whole.offset + offset};
    }

    // x_ rearranged; a view where the elements lie side by side.
    Ref arranged(const std::vector<std::int32_t>& indices) {
        for (std::size_t i = 0; i < indices.size(); ++i)
            if (indices[i] != indices[0] + static_cast<std::int32_t>(i)) return lowering_.gathered(x_, indices);
        return part(x_, indices[0]);
    }

    // For each group the windows (positions, channels of the group * taps) times its weights: (positions, outputs of the group).
    void lower_products() {
        const std::int64_t cols = g_.group_channels() * taps_, rows = g_.group_outputs();
        std::vector<std::int32_t> indices;
        indices.reserve(static_cast<std::size_t>(g_.groups * positions_ * cols));
        for (std::int64_t group = 0; group < g_.groups; ++group)
            for (std::int64_t p = 0; p < positions_; ++p)
                for (std::int64_t c = 0; c < g_.group_channels(); ++c)
                    for (std::int64_t t = 0; t < taps_; ++t) indices.push_back(source(group * g_.group_channels() + c, t, p));
        const Ref windows = arranged(indices);

        const bool in_place = positions_ == 1 || (g_.groups == 1 && rows == 1);   // position by position is channel by channel
        const Ref products = in_place ? y_ : lowering_.scratch(g_.outputs * positions_);
        for (std::int64_t group = 0; group < g_.groups; ++group)
            emit_linear(lowering_, part(windows, group * positions_ * cols), part(products, group * positions_ * rows), weight_ + group * rows * cols,
                        bias_ ? bias_ + group * rows : nullptr, rows, cols, positions_, node_.activation);
        if (in_place) return;

        std::vector<std::int32_t> order;
        order.reserve(static_cast<std::size_t>(g_.outputs * positions_));
        for (std::int64_t o = 0; o < g_.outputs; ++o)
            for (std::int64_t p = 0; p < positions_; ++p) order.push_back(static_cast<std::int32_t>((o / rows * positions_ + p) * rows + o % rows));
        GatherArgs args{};
        args.x = products;
        args.y = y_;
        args.index = lowering_.constant(order);
        args.n = static_cast<std::int32_t>(order.size());
        lowering_.emit(lowering_.kernels.gather, args);
    }

    // Products (channels of a group * taps, outputs, positions), added over the first axis in its order; then the bias.
    void lower_elementwise() {
        const std::int64_t terms = g_.group_channels() * taps_, size = g_.outputs * positions_;
        std::vector<std::int32_t> indices;
        std::vector<float> weights;
        const bool spread = positions_ < narrow;
        for (std::int64_t term = 0; term < terms; ++term)
            for (std::int64_t o = 0; o < g_.outputs; ++o) {
                const std::int64_t c = o / g_.group_outputs() * g_.group_channels() + term / taps_;
                weights.insert(weights.end(), static_cast<std::size_t>(spread ? positions_ : 1), weight_[o * terms + term]);
                for (std::int64_t p = 0; p < positions_; ++p) indices.push_back(source(c, term % taps_, p));
            }
        const Ref products = terms == 1 ? y_ : lowering_.scratch(terms * size);
        const Ref factors{lowering_.constant(weights), 0};
        if (spread)
            binary(BinaryKind::mul, arranged(indices), factors, products, 1, terms * size);
        else
            binary(BinaryKind::mul, arranged(indices), factors, products, terms * g_.outputs, positions_);
        if (terms > 1) {
            ReduceArgs args{};
            args.x = products;
            args.y = y_;
            args.kind = ReduceKind::sum;
            args.outer = 1;
            args.reduce = static_cast<std::int32_t>(terms);
            args.inner = static_cast<std::int32_t>(size);
            lowering_.emit(lowering_.kernels.reduce, args);
        }
        if (bias_) add_bias(spread);
        if (node_.activation) {
            UnaryArgs args{};
            args.x = y_;
            args.y = y_;
            args.n = static_cast<std::int32_t>(size);
            args.activation = *node_.activation;
            lowering_.emit(lowering_.kernels.unary, args);
        }
    }

    void add_bias(bool spread) {
        std::vector<float> bias;
        for (std::int64_t o = 0; o < g_.outputs; ++o) bias.insert(bias.end(), static_cast<std::size_t>(spread ? positions_ : 1), bias_[o]);
        const Ref terms{lowering_.constant(bias), 0};
        spread ? binary(BinaryKind::add, y_, terms, y_, 1, g_.outputs * positions_) : binary(BinaryKind::add, y_, terms, y_, g_.outputs, positions_);
    }

    // y (outer, n) = a op b, with b (outer, 1), or (n) when outer is 1.
    void binary(BinaryKind kind, Ref a, Ref b, Ref y, std::int64_t outer, std::int64_t n) {
        BinaryArgs args{};
        args.a = a;
        args.b = b;
        args.y = y;
        args.kind = kind;
        args.outer = static_cast<std::int32_t>(outer);
        args.n = static_cast<std::int32_t>(n);
        args.a_outer = args.n;
        args.a_inner = 1;
        args.b_outer = 1;
        args.b_inner = outer == 1 ? 1 : 0;
        lowering_.emit(lowering_.kernels.binary, args);
    }

    Lowering& lowering_;
    const PlanNode& node_;
    const Geometry g_;
    const std::vector<std::int64_t> elements_;
    const float* weight_;
    const float* bias_;
    Ref x_, y_;
    std::int64_t taps_, positions_, channel_size_;
};

void lower(Lowering& lowering, const PlanNode& node) { Convolution(lowering, node).lower(); }

}  // namespace

void add_conv_ops(std::vector<Op>& list) { list.push_back({"conv", 2, 3, 1, infer, lower}); }

}  // namespace rtrnn
