// A team of threads for one call, the barrier inside it, and the treatment of denormal numbers. The code is in
// team.cpp, compiled for the baseline machine; what is here is always inlined, so that no kernel's object file holds a
// copy that the linker could give to another instruction set.
#pragma once

#include <atomic>

namespace saiki {

/// The loop behind run_team; `work` is called as work(of, rank, size) and must not throw.
void run_team(int threads, void (*work)(const void* of, int rank, int size), const void* of);

/// Run work(rank, size), rank = 0 .. size-1, on `size` threads at once and return when all are done; rank 0 is the
/// caller. 1 ≤ size ≤ max(threads, 1), and less than `threads` where there are no more threads to have, or where the
/// caller is itself a member of a team: so what is computed must not depend on `size`, and a Barrier is told it.
/// In a process that has an OpenMP runtime (torch brings one) this is OpenMP's own team, see team.cpp.
template <class Work>
[[gnu::always_inline]] inline void run_team(int threads, const Work& work) {
    run_team(
        threads, [](const void* of, int rank, int size) { (*static_cast<const Work*>(of))(rank, size); }, &work);
}

/// Where the threads of a team wait for one another. Shared by them, so made before the team starts.
class Barrier {
public:
    Barrier();
    Barrier(const Barrier&) = delete;
    Barrier& operator=(const Barrier&) = delete;

    /// Return once `size` threads, all giving the same size, have called; what they wrote before, all of them see.
    /// Free if size ≤ 1. Spins for some microseconds, then yields the core between looks.
    [[gnu::always_inline]] void wait(int size) {
        if (size > 1) wait_for_others(size);
    }

private:
    void wait_for_others(int size);

    // A cache line each: the threads that spin on the round are not disturbed by those that still arrive.
    alignas(64) std::atomic<int> arrived_;
    alignas(64) std::atomic<int> round_;
};

/// While it lives, this thread's denormal numbers, read and computed, count as 0: on x86 one costs over a hundred
/// cycles. The caller's setting comes back at the end. One for each thread of a team, inside its work.
class FlushDenormals {
public:
    FlushDenormals();
    ~FlushDenormals();
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

private:
    unsigned long long before_;
};

}  // namespace saiki
