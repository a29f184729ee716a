// What the functions of rtrnn.h have in common: handles, messages, sizes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "capi/capi.hpp"
#include "error.hpp"

namespace rtrnn::capi {

// Remembers why a call of this thread failed, and gives the status back. Not for [real-time] functions.
rtrnn_status fail(rtrnn_status status, const char* message) noexcept;

// The status of the exception being handled, its message remembered.
rtrnn_status failed_with_exception() noexcept;

// Runs `make`, which may throw.
template <class F>
rtrnn_status guarded(F make) noexcept {
    try {
        make();
        return RTRNN_OK;
    } catch (...) {
        return failed_with_exception();
    }
}

template <class Handle>
bool valid(const Handle* handle) noexcept RTRNN_NONBLOCKING {
    return handle && handle->mark == Handle::live;
}

// Keeps other threads out of a handle while it lives; false when one is in.
class Claim {
public:
    template <class Handle>
    explicit Claim(const Handle* handle) noexcept RTRNN_NONBLOCKING : busy_(handle->busy), entered_(busy_.enter()) {}
    ~Claim() noexcept RTRNN_NONBLOCKING {
        if (entered_) busy_.leave();
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    explicit operator bool() const noexcept RTRNN_NONBLOCKING { return entered_; }

private:
    Busy& busy_;
    const bool entered_;
};

#if defined(RTRNN_CHECK_HANDLES)
void keep_freed(void* handle, void (*destroy)(void*));
#endif

// Frees a handle. Its mark goes, so that a later use is found out for as long as the memory is not used again; with RTRNN_CHECK_HANDLES
// (debug builds) the last freed handles keep their memory, though not what they held.
template <class Handle>
rtrnn_status release(Handle* handle, const char* what) noexcept {
    if (!handle) return RTRNN_OK;
    if (!valid(handle)) return fail(RTRNN_INVALID_HANDLE, what);
    *static_cast<volatile std::uint32_t*>(&handle->mark) = 0;   // volatile: a write just before a delete would be dropped
#if defined(RTRNN_CHECK_HANDLES)
    return guarded([&] {
        { const Handle contents(std::move(*handle)); }
        keep_freed(handle, [](void* freed) { delete static_cast<Handle*>(freed); });
    });
#else
    delete handle;
    return RTRNN_OK;
#endif
}

// The options that a caller gave: those of an older header have a shorter struct, whose missing end is as in `defaults`; those of a newer one
// a longer struct, whose rest must be zero, since it asks for what this library does not know. `first` is the size that the struct began
// with. Throws Error.
template <class Options>
Options read_options(const Options& given, Options defaults, std::size_t first, const char* what) {
    constexpr std::size_t largest = 4096;
    const std::size_t size = given.struct_size;
    if (size < first || size > largest)
        throw Error(ErrorKind::invalid_argument, std::string(what) + ": struct_size is " + std::to_string(size) + ", expected " +
                                                     std::to_string(sizeof(Options)));
    std::memcpy(&defaults, &given, std::min(size, sizeof(Options)));
    const auto* bytes = reinterpret_cast<const unsigned char*>(&given);
    bool more = defaults.reserved != 0;
    for (std::size_t i = sizeof(Options); i < size; ++i) more = more || bytes[i];
    if (more) throw Error(ErrorKind::unsupported, std::string(what) + ": something is set that rtrnn " RTRNN_VERSION " does not know");
    return defaults;
}

// The statuses of a step have the same numbers on both sides.
inline rtrnn_status status_of(Status status) noexcept RTRNN_NONBLOCKING { return static_cast<rtrnn_status>(status); }

inline rtrnn_status status_of(Restored restored) noexcept RTRNN_NONBLOCKING {
    switch (restored) {
        case Restored::ok: return RTRNN_OK;
        case Restored::damaged: return RTRNN_STATE_DAMAGED;
        case Restored::mismatch: return RTRNN_STATE_MISMATCH;
        case Restored::nonfinite: return RTRNN_NONFINITE_INPUT;
    }
    return RTRNN_INTERNAL;
}

inline bool known(rtrnn_on_nonfinite policy) noexcept {
    return policy == RTRNN_ON_NONFINITE_ERROR || policy == RTRNN_ON_NONFINITE_HOLD || policy == RTRNN_ON_NONFINITE_PROPAGATE;
}

inline std::size_t total_size(const std::vector<Slot>& slots) {
    std::size_t size = 0;
    for (const Slot& slot : slots) size += slot.size;
    return size;
}

// Whether there is one span of `rows` rows for each slot; their addresses then are in `addresses`, which has room for them.
template <class Span, class Pointer>
bool take_spans(const std::vector<Slot>& slots, const Span* spans, std::size_t count, std::size_t rows, std::vector<Pointer>& addresses) noexcept
    RTRNN_NONBLOCKING {
    if (count != slots.size() || (!spans && count)) return false;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t size = slots[i].size;
        if (spans[i].size / size != rows || spans[i].size % size || (!spans[i].data && rows)) return false;
        addresses[i] = spans[i].data;
    }
    return true;
}

}  // namespace rtrnn::capi
