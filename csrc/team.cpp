// Teams of threads. torch's OpenMP workers spin for milliseconds after each of torch's operators, in the hope of the
// next one: a second pool beside them would have to fight for the cores. So where the process has an OpenMP runtime,
// its team is used, through the entry point that GCC's `#pragma omp parallel` calls and LLVM's and Intel's runtimes
// offer too. It is looked up by name, because nothing here links OpenMP or torch. Elsewhere we keep a pool of our own.
#include "team.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <pthread.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace saiki {
namespace {

void relax() {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");  // `yield` does nothing on most cores; this waits about as long as x86's pause
#endif
}

/// Looks until done() holds: `spins` times at once, about 10 µs for 256, then giving the core away between looks, for
/// the thread that is waited for may need it.
template <class Done>
void spin_until(const Done& done, int spins = 256) {
    for (int k = 0; k < spins; ++k) {
        if (done()) return;
        relax();
    }
    while (!done()) std::this_thread::yield();
}

struct Job {
    void (*work)(const void* of, int rank, int size);
    const void* of;
    int threads;  // asked for

    // Of our own pool: how many members there are, and how many besides the caller are not done.
    int size = 1;
    std::atomic<int> running{0};

    void run(int rank, int members) const noexcept { work(of, rank, members); }
};

// --- OpenMP's team ---------------------------------------------------------------------------------------------------

struct OpenMP {
    void (*parallel)(void (*)(void*), void*, unsigned threads, unsigned flags);
    int (*thread)();
    int (*threads)();
    int (*max_threads)();
    int (*in_parallel)();
};

/// The runtime that symbols of this process resolve to (torch loads its own for all to see), or null.
const OpenMP* openmp() {
    static OpenMP found;
    static std::atomic<bool> known{false};
    static std::mutex looking;
    if (known.load(std::memory_order_acquire)) return &found;
    // Looked for anew while there is none: torch may be imported later.
    void* parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel");
    void* thread = dlsym(RTLD_DEFAULT, "omp_get_thread_num");
    void* threads = dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    void* max_threads = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    void* in_parallel = dlsym(RTLD_DEFAULT, "omp_in_parallel");
    if (!parallel || !thread || !threads || !max_threads || !in_parallel) return nullptr;
    const std::lock_guard lock(looking);
    if (!known.load(std::memory_order_relaxed)) {
        found = {reinterpret_cast<void (*)(void (*)(void*), void*, unsigned, unsigned)>(parallel),
                 reinterpret_cast<int (*)()>(thread), reinterpret_cast<int (*)()>(threads),
                 reinterpret_cast<int (*)()>(max_threads), reinterpret_cast<int (*)()>(in_parallel)};
        known.store(true, std::memory_order_release);
    }
    return &found;
}

void run_on_openmp(const OpenMP& runtime, Job& job) {
    struct Call {
        const OpenMP& runtime;
        const Job& job;
    } call{runtime, job};
    // Never fewer threads than torch's operators use: GCC's runtime ends the workers that a smaller team leaves out
    // and starts them again for the next larger one. Those beyond ours go straight to the end of the region.
    const int threads = std::max(job.threads, runtime.max_threads());
    runtime.parallel(
        [](void* data) {
            const Call& here = *static_cast<const Call*>(data);
            const int rank = here.runtime.thread();
            const int size = std::min(here.runtime.threads(), here.job.threads);
            if (rank < size) here.job.run(rank, size);
        },
        &call, static_cast<unsigned>(threads), 0);
}

// --- Our own pool ----------------------------------------------------------------------------------------------------

/// A thread that waits for jobs, for as long as the process lives.
class Worker {
public:
    Worker() { std::thread([this] { live(); }).detach(); }  // may throw std::system_error

    void start(Job& job, int rank) {
        rank_ = rank;
        job_.store(&job, std::memory_order_release);
        job_.notify_one();
    }

private:
    void live();

    int rank_ = 0;
    std::atomic<Job*> job_{nullptr};
};

thread_local bool in_team = false;

void Worker::live() {
    in_team = true;
    for (;;) {
        Job* job = nullptr;
        for (int k = 0; k < 4096 && !job; ++k) {  // the next job of a busy caller comes within some microseconds
            job = job_.load(std::memory_order_acquire);
            if (!job) relax();
        }
        if (!job) {
            job_.wait(nullptr, std::memory_order_acquire);
            job = job_.load(std::memory_order_acquire);
        }
        job->run(rank_, job->size);
        job_.store(nullptr, std::memory_order_relaxed);
        job->running.fetch_sub(1, std::memory_order_release);  // from here on the job may be gone
    }
}

/// The workers that nobody uses at the moment. A caller takes the ones it needs, so callers do not meet.
class Pool {
public:
    /// Up to `count` workers; fewer if the system gives no more threads.
    std::vector<Worker*> take(std::size_t count) {
        const std::lock_guard lock(mutex_);
        std::vector<Worker*> taken;
        taken.reserve(count);
        while (taken.size() < count) {
            if (idle_.empty()) {
                try {
                    idle_.reserve(made_ + 1);  // so that giving back cannot fail
                    idle_.push_back(new Worker);
                } catch (const std::exception&) {  // no memory, or std::system_error: no threads
                    break;
                }
                ++made_;
            }
            taken.push_back(idle_.back());
            idle_.pop_back();
        }
        return taken;
    }

    void give_back(const std::vector<Worker*>& workers) {
        const std::lock_guard lock(mutex_);
        idle_.insert(idle_.end(), workers.rbegin(), workers.rend());  // the same caller gets the same ranks next time
    }

private:
    std::mutex mutex_;
    std::vector<Worker*> idle_;
    std::size_t made_ = 0;
};

// Never deleted: its workers run until the process ends.
std::atomic<Pool*> pool{nullptr};
std::atomic<bool> forked{false};

Pool& our_pool() {
    Pool* current = pool.load(std::memory_order_acquire);
    if (current) return *current;
    Pool* fresh = new Pool;
    if (pool.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;
    return *current;
}

// fork() copies the caller's thread alone. A child has none of our workers; and GCC's OpenMP, which still believes in
// its own, would wait for them forever, so a child is served by a pool of ours.
void in_forked_child() {
    pool.store(nullptr);
    forked.store(true);
}
[[maybe_unused]] const int watching_forks = pthread_atfork(nullptr, nullptr, in_forked_child);

void run_on_our_own(Job& job) {
    std::vector<Worker*> workers;
    try {
        workers = our_pool().take(static_cast<std::size_t>(job.threads - 1));
    } catch (const std::bad_alloc&) {
        // alone then
    }
    job.size = 1 + static_cast<int>(workers.size());
    job.running.store(job.size - 1, std::memory_order_relaxed);
    for (std::size_t k = 0; k < workers.size(); ++k) workers[k]->start(job, static_cast<int>(k) + 1);
    in_team = true;
    job.run(0, job.size);
    in_team = false;
    spin_until([&] { return job.running.load(std::memory_order_acquire) == 0; });
    if (!workers.empty()) our_pool().give_back(workers);
}

}  // namespace

void run_team(int threads, void (*work)(const void* of, int rank, int size), const void* of) {
    if (threads <= 1 || in_team) return work(of, 0, 1);
    const OpenMP* runtime = forked.load(std::memory_order_relaxed) ? nullptr : openmp();
    if (runtime && runtime->in_parallel()) return work(of, 0, 1);
    Job job{work, of, threads};
    if (runtime)
        run_on_openmp(*runtime, job);
    else
        run_on_our_own(job);
}

Barrier::Barrier() : arrived_(0), round_(0) {}

void Barrier::wait_for_others(int size) {
    const int round = round_.load(std::memory_order_relaxed);  // it cannot pass before this thread has arrived
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
        arrived_.store(0, std::memory_order_relaxed);
        round_.store(static_cast<int>(static_cast<unsigned>(round) + 1), std::memory_order_release);
    } else {
        spin_until([&] { return round_.load(std::memory_order_acquire) != round; });
    }
}

#if defined(__SSE2__)
constexpr unsigned flush = 0x8040;  // flush results to zero, and take denormal operands for zero
FlushDenormals::FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(static_cast<unsigned>(before_) | flush); }
FlushDenormals::~FlushDenormals() {
    // Only our two bits: the exception flags raised meanwhile stay, as they would after any arithmetic.
    _mm_setcsr((_mm_getcsr() & ~flush) | (static_cast<unsigned>(before_) & flush));
}
#elif defined(__aarch64__)
constexpr unsigned long long flush = 1ull << 24;  // FPCR.FZ, both ways
FlushDenormals::FlushDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    __asm__ volatile("msr fpcr, %0" : : "r"(before_ | flush) : "memory");
}
FlushDenormals::~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before_) : "memory"); }
#else
FlushDenormals::FlushDenormals() : before_(0) {}
FlushDenormals::~FlushDenormals() = default;
#endif

}  // namespace saiki
