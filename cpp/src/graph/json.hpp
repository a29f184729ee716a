// A strict JSON reader and writer, of the size the .rtrnn header needs (RFC 8259).
//
// The core has no third-party dependency that a plain `cmake -S . -B build` would have to find or download, and a
// reader of hostile files wants its depth and its size bounded; both are what this one is for.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace rtrnn::json {

class Value;
using Array = std::vector<Value>;
using Object = std::vector<std::pair<std::string, Value>>;   // in order; a repeated key is an error

class Value {
public:
    using Data = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object>;

    Value() : data_(nullptr) {}
    template <class T>
    Value(T value) : data_(std::move(value)) {}

    template <class T>
    const T* as() const { return std::get_if<T>(&data_); }
    const Data& data() const { return data_; }
    // The member of an object, or null.
    const Value* find(std::string_view key) const;

private:
    Data data_;
};

// Throws std::invalid_argument with the position and the reason. Nesting is bounded at `max_depth`.
Value parse(std::string_view text, int max_depth = 32);
// Doubles are written so that they read back as the same number; NaN and infinity as the strings "nan", "inf", "-inf".
std::string write(const Value& value);

}  // namespace rtrnn::json
