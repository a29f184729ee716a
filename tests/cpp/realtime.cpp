// What a step promises while it runs, checked on every golden network (together: every op), ISA and precision, alone and in batches,
// through C++ and C: nothing is allocated, no page is touched for the first time, the floating-point control word is the caller's,
// and no system call is made: a child process does all of it under seccomp's strict mode, where any kills it, and a million
// steps of one network. Then each promise is broken on purpose, which the same checks must see.
//
// realtime [--emulated]: under an emulator, which makes system calls and touches pages of its own, neither is checked.
#include <cfenv>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/file.hpp"
#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "ops/list.hpp"
#include "plan/delta.hpp"
#include "rtrnn/rtrnn.h"
#include "stream/stream.hpp"

// The C library's own functions behind counters. operator new is built on malloc or aligned_alloc, and so counted as well.
static std::size_t allocations = 0;
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t size) { return ++allocations, __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) { return ++allocations, __libc_calloc(count, size); }
void* realloc(void* memory, std::size_t size) { return ++allocations, __libc_realloc(memory, size); }
void* memalign(std::size_t alignment, std::size_t size) { return ++allocations, __libc_memalign(alignment, size); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return ++allocations, __libc_memalign(alignment, size); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
    ++allocations;
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : 12;
}
void free(void* memory) {
    ++allocations;
    __libc_free(memory);
}
}

namespace {

using namespace rtrnn;
namespace fs = std::filesystem;

// A way to break the promise, for the checks to see; called beside every step.
void (*vice)() = nullptr;
char* untouched = nullptr;

void allocate() { std::free(std::malloc(16)); }
void allocate_by_new() {
    int* volatile memory = new int(1);
    delete memory;
}
void allocate_aligned() {
    struct alignas(64) Line {
        float lanes[16];
    };
    Line* volatile memory = new Line;
    delete memory;
}
void call_the_system() { syscall(SYS_getppid); }
void touch_a_page() {
    *untouched = 1;
    untouched += sysconf(_SC_PAGESIZE);
}
void round_upwards() { std::fesetround(FE_UPWARD); }

std::uint32_t control_word() {
    std::fenv_t environment;
    std::fegetenv(&environment);
#if defined(__x86_64__)
    return environment.__mxcsr & ~0x3fu;   // without what operations leave behind
#elif defined(__aarch64__)
    return environment.__fpcr;
#else
#error "where is the control word?"
#endif
}

void set_control_bits(std::uint32_t bits) {
    std::fenv_t environment;
    std::fegetenv(&environment);
#if defined(__x86_64__)
    environment.__mxcsr |= bits;
#else
    environment.__fpcr |= bits;
#endif
    std::fesetenv(&environment);
}
#if defined(__x86_64__)
constexpr std::uint32_t flush_results = 0x8000, flush_operands = 0x40;   // denormal ones are zero
#else
constexpr std::uint32_t flush_results = 1u << 24, flush_operands = flush_results;
#endif

// One plan's streams and a batch, with the buffers that their calls need.
class Subject {
public:
    Subject(const std::vector<char>& file, const Graph& graph, const std::string& isa, const std::string& weights, int threads = 1) {
        PlanOptions options;
        options.weights = weights;
        options.isa = isa;
        options.threads.count = threads;
        options.threads.smallest_part_bytes = 1;
        plan_ = std::make_shared<const Plan>(graph, options);
        for (const OnNonFinite policy : {OnNonFinite::error, OnNonFinite::hold, OnNonFinite::propagate})
            streams_.push_back(std::make_unique<Stream>(plan_, policy));
        rtrnn_options c_options = RTRNN_OPTIONS_INIT;
        c_options.weights = weights.c_str();
        c_options.isa = isa.c_str();
        rtrnn_plan* c_plan = nullptr;
        if (rtrnn_plan_load_memory(file.data(), file.size(), &c_options, &c_plan) != RTRNN_OK ||
            rtrnn_stream_create(c_plan, RTRNN_ON_NONFINITE_ERROR, &stream_) != RTRNN_OK ||
            rtrnn_batch_create(c_plan, batch_size, RTRNN_ON_NONFINITE_HOLD, &batch_) != RTRNN_OK) {
            std::fprintf(stderr, "%s\n", rtrnn_last_error());
            std::exit(1);
        }
        rtrnn_plan_free(c_plan);
        const auto room = [](const std::vector<Slot>& slots, std::vector<std::vector<float>>& floats, std::size_t& total) {
            for (const Slot& slot : slots) {
                floats.emplace_back(slot.size * batch_size, 0.25f);
                total += slot.size;
            }
        };
        std::size_t x_size = 0, y_size = 0;
        room(plan_->inputs(), in_, x_size);
        room(plan_->outputs(), out_, y_size);
        for (std::vector<float>& values : in_) {
            inputs_.push_back(values.data());
            input_spans_.push_back({values.data(), values.size()});
        }
        for (std::vector<float>& values : out_) {
            outputs_.push_back(values.data());
            output_spans_.push_back({values.data(), values.size()});
        }
        x_.assign(x_size, 0.5f);
        y_.assign(y_size, 0.0f);
        state_.assign(plan_->state_size(), 0.0f);
        saved_.assign(rtrnn_stream_saved_bytes(stream_) / sizeof(std::uint64_t) + 1, 0);
    }
    ~Subject() {
        rtrnn_stream_free(stream_);
        rtrnn_batch_free(batch_);
    }
    Subject(const Subject&) = delete;

    // Every real-time call of C++ and C.
    void use(int rounds) noexcept {
        for (int t = 0; t < rounds; ++t) {
            for (const auto& stream : streams_) {
                fill(*stream, t);
                stream->step();
                if (vice) vice();
                if (t % 2) stream->prepare();
                if (t % 16 == 15) {
                    if (!state_.empty()) std::memcpy(state_.data(), stream->state(), state_.size() * sizeof(float));
                    stream->set_state(state_.data());
                    stream->process(inputs_.data(), outputs_.data(), batch_size, nullptr);
                    stream->checkpoint();
                    stream->step();
                    stream->rollback();
                }
                if (t % 32 == 31) stream->reset();
                if (plan_->inputs().size() == 1 && plan_->outputs().size() == 1) stream->step(x_.data(), y_.data());
            }
            rtrnn_stream_step(stream_);
            rtrnn_stream_step_copy(stream_, x_.data(), x_.size(), y_.data(), y_.size());
            rtrnn_stream_prepare(stream_);
            rtrnn_batch_step(batch_, input_spans_.data(), input_spans_.size(), output_spans_.data(), output_spans_.size(), nullptr);
            if (t % 2) rtrnn_batch_prepare(batch_);
            if (t % 16 == 15) {
                rtrnn_stream_get_state(stream_, state_.data(), state_.size());
                rtrnn_stream_set_state(stream_, state_.data(), state_.size());
                rtrnn_stream_save(stream_, saved_.data(), rtrnn_stream_saved_bytes(stream_));
                rtrnn_stream_restore(stream_, saved_.data(), rtrnn_stream_saved_bytes(stream_));
                rtrnn_stream_process(stream_, input_spans_.data(), input_spans_.size(), output_spans_.data(), output_spans_.size(), batch_size, nullptr);
                rtrnn_batch_get_state(batch_, 1, state_.data(), state_.size());
                rtrnn_batch_set_state(batch_, 1, state_.data(), state_.size());
                rtrnn_batch_save(batch_, 1, saved_.data(), rtrnn_batch_saved_bytes(batch_));
                rtrnn_batch_restore(batch_, 1, saved_.data(), rtrnn_batch_saved_bytes(batch_));
                rtrnn_batch_reset(batch_, 1);
                rtrnn_stream_reset(stream_);
            }
        }
    }

    void step(int count) noexcept {
        for (int t = 0; t < count; ++t) {
            streams_[0]->step();
            if (vice) vice();
        }
    }

    // Outputs and states of `count` steps from the start.
    std::vector<float> run(int count) {
        std::vector<float> values;
        noise_ = 1;
        Stream& stream = *streams_[0];
        stream.reset();
        for (int t = 0; t < count; ++t) {
            fill(stream, t + 1);
            stream.step();
            for (std::size_t i = 0; i < plan_->outputs().size(); ++i)
                values.insert(values.end(), stream.output(i), stream.output(i) + plan_->outputs()[i].size);
        }
        values.insert(values.end(), stream.state(), stream.state() + plan_->state_size());
        return values;
    }

private:
    static constexpr std::size_t batch_size = 3;

    // Some inputs are denormal, and one step in 37 has a NaN.
    void fill(Stream& stream, int t) noexcept {
        for (std::size_t i = 0; i < plan_->inputs().size(); ++i) {
            float* x = stream.input(i);
            for (std::size_t k = 0; k < plan_->inputs()[i].size; ++k) {
                noise_ = noise_ * 1664525u + 1013904223u;
                // a quarter is denormal, the others lie below 1 in magnitude: sign, exponent and fraction, so that no rounding mode matters
                const std::uint32_t exponent = noise_ >> 30 ? 127 - 16 + (noise_ >> 28) : 0, fraction = noise_ >> 5 & 0x7fffff;
                const std::uint32_t bits = (noise_ << 31) | exponent << 23 | fraction;
                std::memcpy(&x[k], &bits, sizeof bits);
            }
            if (t % 37 == 0) x[0] = std::numeric_limits<float>::quiet_NaN();
        }
    }

    std::shared_ptr<const Plan> plan_;
    std::vector<std::unique_ptr<Stream>> streams_;
    rtrnn_stream* stream_ = nullptr;
    rtrnn_batch* batch_ = nullptr;
    std::vector<std::vector<float>> in_, out_;
    std::vector<const float*> inputs_;
    std::vector<float*> outputs_;
    std::vector<rtrnn_const_span> input_spans_;
    std::vector<rtrnn_span> output_spans_;
    std::vector<float> x_, y_, state_;
    std::vector<std::uint64_t> saved_;
    std::uint32_t noise_ = 1;
};

using Subjects = std::vector<std::unique_ptr<Subject>>;

Subjects subjects_of(const Graph& graph) {
    const std::vector<char> file = serialize_graph(graph);
    Subjects list;
    for (const std::string& isa : available_isas())
        for (const char* weights : {"f32", "f16", "bf16", "i16", "i8"}) list.push_back(std::make_unique<Subject>(file, graph, isa, weights));
    return list;
}

void use_all(const Subjects& subjects, int rounds) {
    for (const auto& subject : subjects) subject->use(rounds);
}

std::size_t allocations_of(const Subjects& subjects, int rounds) {
    const std::size_t before = allocations;
    use_all(subjects, rounds);
    return allocations - before;
}

// The kernel may take a page away now and then: the least of three tries counts.
long page_faults_of(const Subjects& subjects, int rounds) {
    long least = -1;
    for (int attempt = 0; attempt < 3 && least != 0; ++attempt) {
        rusage before{}, after{};
        getrusage(RUSAGE_THREAD, &before);
        use_all(subjects, rounds);
        getrusage(RUSAGE_THREAD, &after);
        const long faults = after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt;
        if (least < 0 || faults < least) least = faults;
    }
    return least;
}

enum class Verdict { clean, killed, no_seccomp };

Verdict verdict_of(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) return Verdict::no_seccomp;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? Verdict::clean : Verdict::killed;
}

// In a child that may make no system call but to end.
template <class Work>
Verdict confined(const Work& work) {
    const pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) syscall(SYS_exit, 2);
        work();
        syscall(SYS_exit, 0);
    }
    return verdict_of(child);
}

// The same for work on what `make` makes in the child, threads included: they do not survive a fork. Strict mode would take the CPU's clock
// away, by which a step tells for how long it has waited for its workers, and end one thread alone: a filter forbids the calls.
template <class Make, class Work>
Verdict confined_beside_threads(const Make& make, const Work& work) {
    const pid_t child = fork();
    if (child == 0) {
        const auto made = make();
        sock_filter rules[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
                               BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
        const sock_fprog program{sizeof rules / sizeof *rules, rules};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) syscall(SYS_exit_group, 2);
        work(made);
        syscall(SYS_exit_group, 0);
    }
    return verdict_of(child);
}

int faults = 0;

void expect(bool good, const std::string& network, const char* what) {
    if (good) return;
    std::printf("%s: %s\n", network.c_str(), what);
    ++faults;
}

// The caller's control word is as it was after every kind of call, whatever it was, and changes no bit.
void check_control_word(const std::string& name, const Subjects& subjects) {
    const std::uint32_t usual = control_word();
    use_all(subjects, 2);
    expect(control_word() == usual, name, "the floating-point control word was changed");
    for (const auto& subject : subjects) {
        const std::vector<float> expected = subject->run(8);
        for (const auto& [rounding, bits] : {std::pair{FE_TONEAREST, flush_results}, {FE_TONEAREST, flush_operands}, {FE_UPWARD, 0u}, {FE_DOWNWARD, 0u},
                                             {FE_TOWARDZERO, flush_results | flush_operands}}) {
            std::fesetround(rounding);
            set_control_bits(bits);
            const std::uint32_t before = control_word();
            const std::vector<float> values = subject->run(8);
            subject->use(2);
            const bool kept = control_word() == before;
            std::fesetenv(FE_DFL_ENV);
            expect(kept, name, "the caller's floating-point control word was changed");
            expect(values.size() == expected.size() && std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)) == 0, name,
                   "the caller's floating-point control word changes bits");
        }
    }
}

void check_twins(const Subjects& subjects, bool emulated) {
    for (const auto& [broken, name] : {std::pair{allocate, "malloc"}, {allocate_by_new, "operator new"}, {allocate_aligned, "aligned operator new"}}) {
        vice = broken;
        expect(allocations_of(subjects, 1) > 0, name, "not seen");
    }
    vice = round_upwards;
    const std::uint32_t before = control_word();
    use_all(subjects, 1);
    expect(control_word() != before, "a changed rounding mode", "not seen");
    std::fesetenv(FE_DFL_ENV);
    if (!emulated) {
        const std::size_t pages = 4096;
        untouched = static_cast<char*>(mmap(nullptr, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        madvise(untouched, pages * 4096, MADV_NOHUGEPAGE);
        vice = touch_a_page;
        expect(page_faults_of(subjects, 1) > 0, "a page touched for the first time", "not seen");
        vice = call_the_system;
        expect(confined([&] { use_all(subjects, 1); }) == Verdict::killed, "a system call", "not seen");
    }
    vice = nullptr;
}

// Every check on one network; the number of plans.
std::size_t check_network(const std::string& name, const Graph& graph, bool emulated) {
    const int rounds = emulated ? 16 : 64;
    use_all(subjects_of(graph), 32);   // the code's own pages are there now; those of the streams below are new
    const Subjects subjects = subjects_of(graph);
    if (!emulated) expect(page_faults_of(subjects, rounds) == 0, name, "a step touched a page for the first time");
    expect(allocations_of(subjects, rounds) == 0, name, "a step allocated");
    check_control_word(name, subjects);
    if (!emulated) expect(confined([&] { use_all(subjects, rounds); }) == Verdict::clean, name, "a step made a system call, or there is no seccomp");
    return subjects.size();
}

// Streams with workers: the thread that steps waits for them by looking, and sleeping workers are not woken by the system.
void check_threads(bool emulated) {
    const Graph graph = testing::policy("gru", 11, 64);
    const std::vector<char> file = serialize_graph(graph);
    const auto make = [&] {
        Subjects list;
        for (const char* weights : {"f32", "i16"}) list.push_back(std::make_unique<Subject>(file, graph, available_isas().front(), weights, 3));
        return list;
    };
    use_all(make(), 32);
    const Subjects subjects = make();
    const char* const name = "streams with threads";
    if (!emulated) expect(page_faults_of(subjects, 64) == 0, name, "a step touched a page for the first time");
    expect(allocations_of(subjects, 64) == 0, name, "a step allocated");
    check_control_word(name, subjects);
    if (emulated) return;
    const auto work = [](const Subjects& made) { use_all(made, 200); };
    expect(confined_beside_threads(make, work) == Verdict::clean, name, "a step made a system call, or there is no seccomp");
    vice = call_the_system;
    expect(confined_beside_threads(make, work) == Verdict::killed, "a system call beside threads", "not seen");
    vice = nullptr;
}

void check_a_million_steps_and_twins(bool emulated) {
    const Subjects subjects = subjects_of(testing::policy("gru", 8, 8, 2));
    if (!emulated) expect(confined([&] { subjects.front()->step(1000000); }) == Verdict::clean, "a million steps", "a system call");
    check_twins(subjects, emulated);
}

// What no golden network has.
Graph remaining_ops() {
    Graph graph;
    graph.add_input("x", {3, 1});
    graph.add_node({"identity", "same", {"x"}, {"same"}, {}});
    graph.add_node({"expand", "wide", {"same"}, {"wide"}, {{"shape", std::vector<std::int64_t>{3, 4}}}});
    graph.add_output("y", "wide");
    return graph;
}

}  // namespace

int main(int argc, char** argv) {
    const bool emulated = argc > 1 && std::strcmp(argv[1], "--emulated") == 0;
    std::map<std::string, Graph> networks;
    networks.emplace("remaining ops", remaining_ops());
    networks.emplace("delta updates", with_delta_updates(testing::policy("lstm"), 0.1));
    for (const auto& entry : fs::directory_iterator(RTRNN_GOLDEN_DIR))
        if (entry.path().extension() == ".rtrnn") networks.emplace(entry.path().stem().string(), load_graph(entry.path().string()));

    std::set<std::string> unseen;
    std::vector<Op> ops;
    for (const auto add : op_families) add(ops);
    for (const Op& op : ops) unseen.insert(op.name);
    std::size_t combinations = 0;
    for (const auto& [name, graph] : networks) {
        for (const Node& node : graph.nodes()) unseen.erase(node.op);
        combinations += check_network(name, graph, emulated);
    }
    for (const std::string& op : unseen) expect(false, op, "no network here has this op");
    check_threads(emulated);
    check_a_million_steps_and_twins(emulated);
    if (emulated) std::printf("SKIPPED: system calls and page faults (this is an emulator)\n");
    std::printf("%zu plans, %d broken promises\n", combinations, faults);
    return faults != 0;
}
