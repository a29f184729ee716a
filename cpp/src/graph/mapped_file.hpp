// A whole file, read-only: memory-mapped on POSIX systems, read into memory elsewhere.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace rtrnn {

class MappedFile {
public:
    // Throws Error(io) naming the path and the system's reason.
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const char* data() const { return data_; }
    std::size_t size() const { return size_; }

private:
    const char* data_ = nullptr;
    std::size_t size_ = 0;
    std::vector<char> copy_;
};

// Writes beside `path` and renames, so that readers see the old file or the new one. Throws Error(io).
void write_file_atomically(const std::string& path, const std::vector<char>& bytes);

}  // namespace rtrnn
