#include "graph/json.hpp"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <stdexcept>

namespace rtrnn::json {
namespace {

// Bytes of the UTF-8 sequence at `at`, or 0 when it is not one (RFC 3629: no overlong forms, no surrogates).
std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u; };
    const auto follows = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
    const unsigned lead = byte(0), second = byte(1);
    if (lead < 0x80) return 1;
    if (lead < 0xC2) return 0;
    if (lead < 0xE0) return follows(1) ? 2 : 0;
    if (lead < 0xF0) {
        if (!follows(1) || !follows(2) || (lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F)) return 0;
        return 3;
    }
    if (lead < 0xF5) {
        if (!follows(1) || !follows(2) || !follows(3) || (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) return 0;
        return 4;
    }
    return 0;
}

class Parser {
public:
    Parser(std::string_view text, int max_depth) : text_(text), depth_left_(max_depth) {}

    Value document() {
        Value value = parse_value();
        skip_space();
        if (at_ != text_.size()) fail("text after the end of the document");
        return value;
    }

private:
    [[noreturn]] void fail(const std::string& what) const {
        throw std::invalid_argument("JSON, byte " + std::to_string(at_) + ": " + what);
    }

    void skip_space() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
    }

    char peek() {
        if (at_ >= text_.size()) fail("unexpected end");
        return text_[at_];
    }

    bool take(char c) {
        skip_space();
        if (at_ < text_.size() && text_[at_] == c) {
            ++at_;
            return true;
        }
        return false;
    }

    void expect(char c) {
        if (!take(c)) fail(std::string("expected '") + c + "'");
    }

    bool word(std::string_view w) {
        if (text_.substr(at_, w.size()) != w) return false;
        at_ += w.size();
        return true;
    }

    Value parse_value() {
        skip_space();
        switch (peek()) {
            case '{': return nested([this] { return Value(object()); });
            case '[': return nested([this] { return Value(array()); });
            case '"': return Value(string());
            default: break;
        }
        if (word("true")) return Value(true);
        if (word("false")) return Value(false);
        if (word("null")) return Value();
        return number();
    }

    template <class F>
    Value nested(F parse_container) {
        if (depth_left_-- <= 0) fail("nested too deeply");
        Value value = parse_container();
        ++depth_left_;
        return value;
    }

    Object object() {
        Object members;
        std::set<std::string> keys;
        expect('{');
        if (take('}')) return members;
        do {
            skip_space();
            if (peek() != '"') fail("expected a member's name");
            std::string key = string();
            if (!keys.insert(key).second) fail("repeated name \"" + key + "\"");
            expect(':');
            members.emplace_back(std::move(key), parse_value());
        } while (take(','));
        expect('}');
        return members;
    }

    Array array() {
        Array items;
        expect('[');
        if (take(']')) return items;
        do items.push_back(parse_value());
        while (take(','));
        expect(']');
        return items;
    }

    unsigned hex4() {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i) {
            const char c = peek();
            ++at_;
            if (c >= '0' && c <= '9') code = code * 16 + static_cast<unsigned>(c - '0');
            else if (c >= 'a' && c <= 'f') code = code * 16 + static_cast<unsigned>(c - 'a' + 10);
            else if (c >= 'A' && c <= 'F') code = code * 16 + static_cast<unsigned>(c - 'A' + 10);
            else fail("expected four hexadecimal digits");
        }
        return code;
    }

    static void append_utf8(std::string& out, unsigned code) {
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += static_cast<char>(0xC0 | (code >> 6));
            out += static_cast<char>(0x80 | (code & 0x3F));
        } else if (code < 0x10000) {
            out += static_cast<char>(0xE0 | (code >> 12));
            out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        } else {
            out += static_cast<char>(0xF0 | (code >> 18));
            out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
            out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        }
    }

    std::string string() {
        std::string out;
        ++at_;
        for (;;) {
            const char c = peek();
            ++at_;
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) fail("control character in a string");
            if (c != '\\') {
                const std::size_t length = utf8_length(text_, --at_);
                if (length == 0) fail("a string that is not UTF-8");
                out += text_.substr(at_, length);
                at_ += length;
                continue;
            }
            const char e = peek();
            ++at_;
            switch (e) {
                case '"': case '\\': case '/': out += e; break;
                case 'b': out += '\b'; break;
                case 'f': out += '\f'; break;
                case 'n': out += '\n'; break;
                case 'r': out += '\r'; break;
                case 't': out += '\t'; break;
                case 'u': {
                    unsigned code = hex4();
                    if (code >= 0xD800 && code < 0xDC00) {
                        if (!word("\\u")) fail("lone surrogate");
                        const unsigned low = hex4();
                        if (low < 0xDC00 || low > 0xDFFF) fail("lone surrogate");
                        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    } else if (code >= 0xDC00 && code < 0xE000) {
                        fail("lone surrogate");
                    }
                    append_utf8(out, code);
                    break;
                }
                default: fail("unknown escape");
            }
        }
    }

    bool digits() {
        const std::size_t begin = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        return at_ != begin;
    }

    Value number() {
        const std::size_t begin = at_;
        bool integral = true;
        if (at_ < text_.size() && text_[at_] == '-') ++at_;
        const std::size_t first = at_;
        if (!digits()) fail("expected a value");
        if (text_[first] == '0' && at_ - first > 1) fail("a number must not start with 0");
        if (at_ < text_.size() && text_[at_] == '.') {
            ++at_;
            integral = false;
            if (!digits()) fail("expected digits");
        }
        if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
            ++at_;
            integral = false;
            if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
            if (!digits()) fail("expected digits");
        }
        const char* from = text_.data() + begin;
        const char* to = text_.data() + at_;
        if (integral) {
            std::int64_t value = 0;
            if (std::from_chars(from, to, value).ec == std::errc()) return Value(value);
            fail("integer out of range");
        }
        const double value = std::strtod(std::string(from, to).c_str(), nullptr);
        if (!std::isfinite(value)) fail("number out of range");
        return Value(value);
    }

    std::string_view text_;
    std::size_t at_ = 0;
    int depth_left_;
};

void write_string(const std::string& text, std::string& out) {
    out += '"';
    for (const char c : text) {
        switch (c) {
            case '"': out += "\\\""; break;
            case '\\': out += "\\\\"; break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    char escape[8];
                    std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
                    out += escape;
                } else {
                    out += c;
                }
        }
    }
    out += '"';
}

void write_double(double value, std::string& out) {
    if (!std::isfinite(value)) {
        out += std::isnan(value) ? "\"nan\"" : value > 0 ? "\"inf\"" : "\"-inf\"";
        return;
    }
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.17g", value);
    for (char* c = digits; *c; ++c)
        if (*c == ',') *c = '.';   // a caller's locale
    out += digits;
    if (std::string_view(digits).find_first_of(".e") == std::string_view::npos) out += ".0";
}

void write_value(const Value& value, std::string& out) {
    struct Writer {
        std::string& out;
        void operator()(std::nullptr_t) const { out += "null"; }
        void operator()(bool b) const { out += b ? "true" : "false"; }
        void operator()(std::int64_t i) const { out += std::to_string(i); }
        void operator()(double d) const { write_double(d, out); }
        void operator()(const std::string& s) const { write_string(s, out); }
        void operator()(const Array& items) const {
            out += '[';
            for (std::size_t i = 0; i < items.size(); ++i) {
                if (i) out += ',';
                write_value(items[i], out);
            }
            out += ']';
        }
        void operator()(const Object& members) const {
            out += '{';
            for (std::size_t i = 0; i < members.size(); ++i) {
                if (i) out += ',';
                write_string(members[i].first, out);
                out += ':';
                write_value(members[i].second, out);
            }
            out += '}';
        }
    };
    std::visit(Writer{out}, value.data());
}

}  // namespace

const Value* Value::find(std::string_view key) const {
    const Object* members = as<Object>();
    if (!members) return nullptr;
    for (const auto& member : *members)
        if (member.first == key) return &member.second;
    return nullptr;
}

Value parse(std::string_view text, int max_depth) { return Parser(text, max_depth).document(); }

std::string write(const Value& value) {
    std::string out;
    write_value(value, out);
    return out;
}

}  // namespace rtrnn::json
