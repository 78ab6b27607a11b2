// Teams, barriers, the treatment of denormals, and scratch memory, by themselves. A program of its own, without
// OpenMP, so that it can be built with the address sanitizer or the thread sanitizer, which knows our pool alone.

#include "../team.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "../memory.h"

namespace {

int cases = 0;

void expect(bool holds, const char* what) {
    ++cases;
    if (holds) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::exit(1);
}

void every_rank_works_once() {
    for (int threads : {-1, 0, 1, 2, 3, 7}) {
        std::vector<int> calls(8, 0), sizes(8, 0);
        saiki::run_team(threads, [&](int rank, int size) {
            ++calls[static_cast<std::size_t>(rank)];
            sizes[static_cast<std::size_t>(rank)] = size;
        });
        const int size = sizes[0];
        expect(1 <= size && size <= (threads > 1 ? threads : 1), "1 ≤ size ≤ max(threads, 1)");
        for (int rank = 0; rank < 8; ++rank) {
            expect(calls[static_cast<std::size_t>(rank)] == (rank < size), "each rank of the team, and no other, is called once");
            expect(sizes[static_cast<std::size_t>(rank)] == (rank < size ? size : 0), "all are told the same size");
        }
    }
}

/// Each round, each member writes its number and reads its neighbour's: without the barrier they would not agree, and
/// the thread sanitizer would say so.
void a_barrier_separates_rounds() {
    for (int threads : {1, 2, 3, 5}) {
        saiki::Barrier barrier;
        std::vector<int> numbers(5, 0), wrong(5, 0);
        saiki::run_team(threads, [&](int rank, int size) {
            for (int round = 1; round <= 2000; ++round) {
                numbers[static_cast<std::size_t>(rank)] = round * 10 + rank;
                barrier.wait(size);
                const int next = (rank + 1) % size;
                wrong[static_cast<std::size_t>(rank)] += numbers[static_cast<std::size_t>(next)] != round * 10 + next;
                barrier.wait(size);
            }
        });
        for (int count : wrong) expect(count == 0, "a barrier lets nobody through before all have come");
    }
}

void callers_do_not_meet() {
    std::vector<std::thread> callers;
    std::vector<long> sums(4, 0);
    for (std::size_t caller = 0; caller < sums.size(); ++caller)
        callers.emplace_back([&sums, caller] {
            for (int k = 0; k < 300; ++k) {
                saiki::Scratch scratch;
                saiki::Barrier barrier;
                long* parts = scratch.take<long>(3);
                int members = 0;
                saiki::run_team(3, [&](int rank, int size) {
                    parts[rank] = rank + 1;
                    barrier.wait(size);
                    if (rank == 0) members = size;
                });
                long sum = 0;
                for (int rank = 0; rank < members; ++rank) sum += parts[rank];
                sums[caller] += sum == members * (members + 1) / 2;
            }
        });
    for (std::thread& caller : callers) caller.join();
    for (long sum : sums) expect(sum == 300, "teams of several callers work side by side");
}

void a_member_works_alone() {
    int sizes[2] = {0, 0};
    saiki::run_team(2, [&](int rank, int) {
        saiki::run_team(2, [&, rank](int, int size) { sizes[rank] = size; });
    });
    expect(sizes[0] == 1 && sizes[1] <= 1, "who is in a team already gets no second one");
}

void a_forked_child_has_a_team() {
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        saiki::Scratch scratch;
        scratch.take<char>(100);
        int ranks[2] = {0, 0};
        saiki::run_team(2, [&](int rank, int) { ranks[rank] = 1; });
        _exit(ranks[0] == 1 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    expect(status == 0, "a forked child has a team of its own");
}

void denormals_are_flushed_and_come_back() {
    volatile float smallest = std::numeric_limits<float>::min(), half = 0.5f;
    volatile double smallest_double = std::numeric_limits<double>::min();
    const auto halved = [&] { return smallest * half; };
    expect(halved() > 0, "denormals are numbers outside");
#if defined(__SSE2__) || defined(__aarch64__)
    volatile float denormal = halved();
    {
        const saiki::FlushDenormals flush;
        volatile float result = halved();
        volatile double result_double = smallest_double * 0.5;
        expect(result == 0 && result_double == 0, "results are flushed");
        result = denormal * 4;
        expect(result == 0, "operands are flushed");
        {
            const saiki::FlushDenormals again;
        }
        result = halved();
        expect(result == 0, "an inner one restores the outer one's setting");
    }
#endif
    expect(halved() > 0, "and numbers again behind it");
}

void scratch_is_aligned_and_ones_own() {
    for (int round = 0; round < 3; ++round) {
        saiki::Scratch scratch;
        std::vector<unsigned char*> buffers;
        std::vector<std::size_t> counts = {0, 1, 63, 64, 65, 4097, 100'000, 5'000'000, std::size_t{80} << 20};
        for (std::size_t count : counts) {
            unsigned char* buffer = scratch.take<unsigned char>(count);
            expect(buffer && reinterpret_cast<std::uintptr_t>(buffer) % 64 == 0, "a buffer is 64-byte aligned");
            std::memset(buffer, static_cast<int>(buffers.size()), count);
            buffers.push_back(buffer);
        }
        for (std::size_t k = 0; k < counts.size(); ++k)
            if (counts[k] > 0)
                expect(buffers[k][0] == k && buffers[k][counts[k] - 1] == k, "buffers do not overlap");
    }
    for (std::size_t count : {SIZE_MAX, SIZE_MAX / 8, SIZE_MAX / 2, SIZE_MAX / 8 - 100}) {
        bool refused = false;
        try {
            saiki::Scratch scratch;
            scratch.take<double>(count);
        } catch (const std::bad_alloc&) {
            refused = true;
        }
        expect(refused, "more than there can be is refused");
    }
}

}  // namespace

int main() {
    denormals_are_flushed_and_come_back();
    scratch_is_aligned_and_ones_own();
    every_rank_works_once();
    a_barrier_separates_rounds();
    a_member_works_alone();
    callers_do_not_meet();
    a_forked_child_has_a_team();
    std::printf("%d cases\n", cases);
}
