// Mailbox: the latest of a sequence of float vectors, handed from one writing thread to any number of readers without a lock.
//
// A ring of slots, each guarded by a sequence number (a seqlock). The writer never waits for anybody and never writes the slot that
// readers are sent to, so a reader does not wait for a writer that was interrupted half-way, whatever their priorities; it repeats
// only when the writer went once around the ring while it was copying. Every word is atomic, stored with release and loaded with
// acquire order: a reader that saw a word of a later message also sees that its slot's sequence number has changed.
// (Boehm, "Can Seqlocks Get Along With Programming Language Memory Models?", 2012.)
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "rtrnn/realtime.h"

namespace rtrnn {

// What travels with a message.
struct MailboxStamp {
    std::uint64_t sequence = 0;   // messages written so far, this one included; 0: none yet
    std::int64_t time_ns = 0;
    std::uint64_t note = 0;       // the writer's own
};

class Mailbox {
public:
    explicit Mailbox(std::size_t floats) : floats_(floats), lines_per_slot_((header_words + (floats + 1) / 2 + line_words - 1) / line_words),
                                           lines_(new Line[slots * lines_per_slot_]()) {}

    // Real-time safe and wait-free. One thread at a time.
    void write(const float* values, std::int64_t time_ns, std::uint64_t note = 0) noexcept RTRNN_NONBLOCKING {
        const std::uint64_t sequence = latest_.load(std::memory_order_relaxed) + 1;
        Line* slot = slot_of(sequence);
        at(slot, 0).store(0, std::memory_order_relaxed);
        at(slot, 1).store(static_cast<std::uint64_t>(time_ns), std::memory_order_release);
        at(slot, 2).store(note, std::memory_order_release);
        for (std::size_t i = 0; i < floats_; i += 2) {
            std::uint64_t word = 0;
            std::memcpy(&word, values + i, (floats_ - i < 2 ? 1 : 2) * sizeof(float));
            at(slot, header_words + i / 2).store(word, std::memory_order_release);
        }
        at(slot, 0).store(sequence, std::memory_order_release);
        latest_.store(sequence, std::memory_order_release);
    }

    // The latest message, whole. Real-time safe and lock-free; any thread. `values` is undefined where the sequence is 0.
    MailboxStamp read(float* values) const noexcept RTRNN_NONBLOCKING {
        for (;;) {
            const std::uint64_t sequence = latest_.load(std::memory_order_acquire);
            if (sequence == 0) return {};
            const Line* slot = slot_of(sequence);
            if (at(slot, 0).load(std::memory_order_acquire) != sequence) continue;
            const std::uint64_t time = at(slot, 1).load(std::memory_order_acquire), note = at(slot, 2).load(std::memory_order_acquire);
            for (std::size_t i = 0; i < floats_; i += 2) {
                const std::uint64_t word = at(slot, header_words + i / 2).load(std::memory_order_acquire);
                std::memcpy(values + i, &word, (floats_ - i < 2 ? 1 : 2) * sizeof(float));
            }
            if (at(slot, 0).load(std::memory_order_relaxed) == sequence) return {sequence, static_cast<std::int64_t>(time), note};
        }
    }

    std::size_t size() const noexcept RTRNN_NONBLOCKING { return floats_; }

private:
    using Word = std::atomic<std::uint64_t>;
    static_assert(Word::is_always_lock_free);
    static constexpr std::size_t slots = 4, header_words = 3, line_words = 8;
    struct alignas(line_words * sizeof(std::uint64_t)) Line {
        Word words[line_words];
    };

    static Word& at(Line* slot, std::size_t i) noexcept RTRNN_NONBLOCKING { return slot[i / line_words].words[i % line_words]; }
    static const Word& at(const Line* slot, std::size_t i) noexcept RTRNN_NONBLOCKING { return slot[i / line_words].words[i % line_words]; }
    Line* slot_of(std::uint64_t sequence) const noexcept RTRNN_NONBLOCKING { return lines_.get() + sequence % slots * lines_per_slot_; }

    std::size_t floats_, lines_per_slot_;
    std::unique_ptr<Line[]> lines_;
    alignas(64) Word latest_{0};
};

}  // namespace rtrnn
