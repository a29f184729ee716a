#include "graph/mapped_file.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "error.hpp"

#if defined(_WIN32)
#include <process.h>

#include <filesystem>
#define RTRNN_GETPID _getpid
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define RTRNN_GETPID getpid
#endif

namespace rtrnn {
namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
    throw Error(ErrorKind::io, path + ": " + what + ": " + std::strerror(errno));
}

// Paths are UTF-8 everywhere; Windows' own fopen would take them for the code page's.
std::FILE* open_file(const std::string& path, bool write) {
#if defined(_WIN32)
    return _wfopen(std::filesystem::u8path(path).c_str(), write ? L"wb" : L"rb");
#else
    return std::fopen(path.c_str(), write ? "wb" : "rb");
#endif
}

// Puts a written file in the place of another one; false when the system refuses.
bool replace_file(const std::string& path, const std::string& written) {
#if defined(_WIN32)
    std::error_code refused;
    std::filesystem::rename(std::filesystem::u8path(written), std::filesystem::u8path(path), refused);
    if (!refused) return true;
    std::filesystem::remove(std::filesystem::u8path(written), refused);
    return false;
#else
    if (std::rename(written.c_str(), path.c_str()) == 0) return true;
    std::remove(written.c_str());
    return false;
#endif
}

}  // namespace

#if defined(_WIN32)

MappedFile::MappedFile(const std::string& path) {
    std::FILE* file = open_file(path, false);
    if (!file) fail(path, "cannot open");
    char chunk[65536];
    std::size_t got;
    while ((got = std::fread(chunk, 1, sizeof chunk, file)) > 0) copy_.insert(copy_.end(), chunk, chunk + got);
    std::fclose(file);
    data_ = copy_.data();
    size_ = copy_.size();
}

MappedFile::~MappedFile() = default;

#else

MappedFile::MappedFile(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail(path, "cannot open");
    struct stat info;
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        if (S_ISDIR(info.st_mode)) errno = EISDIR;
        ::close(descriptor);
        fail(path, "cannot read");
    }
    size_ = static_cast<std::size_t>(info.st_size);
    if (size_ > 0) {
        void* mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (mapping == MAP_FAILED) {
            ::close(descriptor);
            fail(path, "cannot map");
        }
        data_ = static_cast<const char*>(mapping);
    }
    ::close(descriptor);
}

MappedFile::~MappedFile() {
    if (data_) ::munmap(const_cast<char*>(data_), size_);
}

#endif

void write_file_atomically(const std::string& path, const std::vector<char>& bytes) {
    const std::string temporary = path + ".tmp" + std::to_string(RTRNN_GETPID());
    std::FILE* file = open_file(temporary, true);
    if (!file) fail(path, "cannot write");
    const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    if (std::fclose(file) != 0 || !written) {
        std::remove(temporary.c_str());
        fail(path, "cannot write");
    }
    if (!replace_file(path, temporary)) fail(path, "cannot rename the written file");
}

}  // namespace rtrnn
