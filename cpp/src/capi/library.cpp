// rtrnn.h: the library itself, its messages and its freed handles.
#include <array>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include "capi/calls.hpp"
#include "kernels/dispatch.hpp"

namespace {

// One per thread of creation; no step ever writes it.
thread_local std::string last_error;

rtrnn_status status_of(rtrnn::ErrorKind kind) noexcept {
    switch (kind) {
        case rtrnn::ErrorKind::invalid_graph:
        case rtrnn::ErrorKind::invalid_file: return RTRNN_INVALID_FILE;
        case rtrnn::ErrorKind::unsupported: return RTRNN_UNSUPPORTED;
        case rtrnn::ErrorKind::invalid_argument: return RTRNN_INVALID_ARGUMENT;
        case rtrnn::ErrorKind::io: return RTRNN_IO;
    }
    return RTRNN_INTERNAL;
}

}  // namespace

namespace rtrnn::capi {

rtrnn_status fail(rtrnn_status status, const char* message) noexcept {
    try {
        last_error = message;
    } catch (...) {
        last_error.clear();
    }
    return status;
}

rtrnn_status failed_with_exception() noexcept {
    try {
        throw;
    } catch (const Error& error) {
        return fail(::status_of(error.kind()), error.what());
    } catch (const std::bad_alloc&) {
        return fail(RTRNN_OUT_OF_MEMORY, "out of memory");
    } catch (const std::length_error&) {   // more than any memory could hold
        return fail(RTRNN_OUT_OF_MEMORY, "out of memory");
    } catch (const std::system_error& error) {
        return fail(RTRNN_SYSTEM, error.what());
    } catch (const std::exception& error) {
        return fail(RTRNN_INTERNAL, error.what());
    } catch (...) {
        return fail(RTRNN_INTERNAL, "an unknown exception");
    }
}

#if defined(RTRNN_CHECK_HANDLES)
namespace {

struct Freed {
    void* handle = nullptr;
    void (*destroy)(void*) = nullptr;
};

// The last handles that were freed.
struct Graveyard {
    std::mutex mutex;
    std::array<Freed, 4096> freed;
    std::size_t next = 0;
    ~Graveyard() {
        for (const Freed& one : freed)
            if (one.handle) one.destroy(one.handle);
    }
};

}  // namespace

void keep_freed(void* handle, void (*destroy)(void*)) {
    static Graveyard graveyard;
    const std::lock_guard<std::mutex> lock(graveyard.mutex);
    Freed& oldest = graveyard.freed[graveyard.next++ % graveyard.freed.size()];
    if (oldest.handle) oldest.destroy(oldest.handle);
    oldest = {handle, destroy};
}
#endif

}  // namespace rtrnn::capi

extern "C" {

const char* rtrnn_version(void) noexcept { return RTRNN_VERSION; }
uint32_t rtrnn_abi_version(void) noexcept { return RTRNN_ABI_VERSION; }
const char* rtrnn_last_error(void) noexcept { return last_error.c_str(); }

const char* rtrnn_status_text(rtrnn_status status) noexcept {
    switch (status) {
        case RTRNN_OK: return "ok";
        case RTRNN_HELD: return "held: a NaN or infinity was met, the last good outputs are repeated";
        case RTRNN_NONFINITE_INPUT: return "an input is NaN or infinite";
        case RTRNN_NONFINITE_RESULT: return "an output or a state would become NaN or infinite";
        case RTRNN_BUSY: return "another thread is using the handle";
        case RTRNN_INVALID_ARGUMENT: return "an argument is NULL, of a wrong size or unknown";
        case RTRNN_INVALID_HANDLE: return "the handle is NULL, freed or of another kind";
        case RTRNN_STATE_MISMATCH: return "the state belongs to another network";
        case RTRNN_STATE_DAMAGED: return "no saved state, or a damaged one";
        case RTRNN_INVALID_FILE: return "no .rtrnn file, or a damaged one";
        case RTRNN_UNSUPPORTED: return "not supported";
        case RTRNN_IO: return "the file could not be read";
        case RTRNN_OUT_OF_MEMORY: return "out of memory";
        case RTRNN_SYSTEM: return "the system refused what is needed";
        case RTRNN_INTERNAL: return "an error inside rtrnn";
    }
    return "an unknown status";
}

const char* rtrnn_isa_available(size_t i) noexcept {
    try {
        const auto names = rtrnn::available_isas();
        return i < names.size() ? rtrnn::find_kernels(names[i])->name : nullptr;
    } catch (...) {
        return nullptr;
    }
}

}  // extern "C"
