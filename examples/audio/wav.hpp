// Mono WAV files: 16-bit PCM and 32-bit float in, 32-bit float out.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

struct Sound {
    std::uint32_t rate = 48000;
    std::vector<float> samples;
};

template <class T>
T read_le(const std::vector<char>& bytes, std::size_t at) {
    if (at > bytes.size() || bytes.size() - at < sizeof(T)) throw std::runtime_error("the WAV file ends early");
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof value);   // WAV files are little-endian, as are the machines this runs on
    return value;
}

inline Sound read_wav(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be read");
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (bytes.size() < 12 || std::memcmp(bytes.data(), "RIFF", 4) != 0 || std::memcmp(bytes.data() + 8, "WAVE", 4) != 0)
        throw std::runtime_error(path + ": not a WAV file");
    Sound sound;
    std::uint16_t format = 0, bits = 0;
    for (std::size_t at = 12; at + 8 <= bytes.size();) {
        const std::size_t size = read_le<std::uint32_t>(bytes, at + 4), begin = at + 8;
        if (std::memcmp(bytes.data() + at, "fmt ", 4) == 0) {
            format = read_le<std::uint16_t>(bytes, begin);
            const auto channels = read_le<std::uint16_t>(bytes, begin + 2);
            sound.rate = read_le<std::uint32_t>(bytes, begin + 4);
            bits = read_le<std::uint16_t>(bytes, begin + 14);
            if (format == 0xfffe) format = read_le<std::uint16_t>(bytes, begin + 24);
            if (channels != 1 || !((format == 1 && bits == 16) || (format == 3 && bits == 32)))
                throw std::runtime_error(path + ": expected one channel of 16-bit PCM or 32-bit float");
        } else if (std::memcmp(bytes.data() + at, "data", 4) == 0) {
            if (!bits) throw std::runtime_error(path + ": no format before the samples");
            if (size > bytes.size() - begin) throw std::runtime_error(path + ": ends early");
            sound.samples.resize(size / (bits / 8));
            for (std::size_t i = 0; i < sound.samples.size(); ++i)
                sound.samples[i] = format == 3 ? read_le<float>(bytes, begin + 4 * i) : static_cast<float>(read_le<std::int16_t>(bytes, begin + 2 * i)) / 32768.0f;
            return sound;
        }
        at = begin + size + size % 2;
    }
    throw std::runtime_error(path + ": holds no samples");
}

inline void write_wav(const std::string& path, const Sound& sound) {
    std::ofstream file(path, std::ios::binary);
    const auto put = [&](auto value) { file.write(reinterpret_cast<const char*>(&value), sizeof value); };
    const auto size = static_cast<std::uint32_t>(sound.samples.size() * sizeof(float));
    file.write("RIFF", 4), put(36 + size), file.write("WAVEfmt ", 8), put(std::uint32_t{16});
    put(std::uint16_t{3}), put(std::uint16_t{1}), put(sound.rate), put(sound.rate * 4), put(std::uint16_t{4}), put(std::uint16_t{32});
    file.write("data", 4), put(size), file.write(reinterpret_cast<const char*>(sound.samples.data()), static_cast<std::streamsize>(size));
    if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}
