// Who does what: a team's threads cut a layer's work into lanes.
//
// A lane is a direction and some of its rows, walked by a crew. A crew of one needs no barrier but reads all the weights
// at every step; a crew of several cuts the panels among itself, each part staying in its core's own cache, and meets at
// a barrier a step. Rows never meet and sums are never cut, so none of this shows in the numbers.
#pragma once

#include "layout.h"

namespace saiki::SAIKI_TARGET {

constexpr int max_threads = 64;

struct Lane {
    std::size_t run;  // which direction
    std::size_t from, to;  // rows j
    int rank, size;   // this thread's place in the crew
    int barrier;      // which of the team's barriers is the crew's
};

/// What the choice rests on.
struct Work {
    std::size_t batch, rows, steps;  // B, N, T
    std::size_t weight_bytes;        // what a step reads of one direction
    double operations;               // of a step of one direction with all rows, on average
    std::size_t panels;              // the most that can be cut
};

/// Whether a crew had better cut the rows than the units: each member then has rows enough to be busy with, long ones too, and the
/// weights all fit into its cache.
inline bool by_rows(const Work& w, int size) {
    constexpr std::size_t cache = 1 << 20;  // of a core's second level: half of what today's servers have
    return w.rows >= 4 * static_cast<std::size_t>(size) * w.steps && w.weight_bytes <= cache;  // four rows each, on average
}

/// How many threads are worth waking.
inline int useful_threads(const Work& w, std::size_t runs, int threads) {
    if (threads > max_threads) threads = max_threads;
    if (w.operations * static_cast<double>(w.steps * runs) < 1e6) return 1;  // some ten microseconds of work
    const int crew = threads / static_cast<int>(runs);
    if (crew > 1 && !by_rows(w, crew) && w.operations < 2e5) return static_cast<int>(runs);  // a barrier costs more than half a step
    return threads;
}

/// Of a crew of `size` on one direction: into how many groups of rows.
inline int row_groups(const Work& w, int size) {
    if (size == 1 || by_rows(w, size)) return size;
    for (int groups = 1; groups < size; ++groups)  // the fewest such that every member has a panel
        if (size % groups == 0 && static_cast<std::size_t>(size / groups) <= w.panels) return groups;
    return size;
}

/// Cut rows 0 … B into `groups` with nearly the same number of steps each; the i-th.
inline Span rows_of_group(const std::int64_t* sizes, std::size_t steps, std::size_t rows, std::size_t batch, int group, int groups) {
    if (groups == 1) return {0, batch};
    const auto cut = [&](int g) -> std::size_t {  // the first j such that rows 0 … j have g / groups of all steps
        if (g == 0) return 0;
        if (g == groups) return batch;
        std::size_t sum = 0, running = steps;
        for (std::size_t j = 0; j < batch; ++j) {
            while (running && static_cast<std::size_t>(sizes[running - 1]) <= j) --running;  // the j-th longest has this many steps
            if ((sum + running / 2) * static_cast<std::size_t>(groups) >= rows * static_cast<std::size_t>(g)) return j;
            sum += running;
        }
        return batch;
    };
    return {cut(group), cut(group + 1)};
}

/// This thread's lanes, one a direction that it works on; returns how many.
template <class T>
std::size_t lanes_of(const Work& w, const Time<T>& time, std::size_t runs, int rank, int size, Lane (&lanes)[2]) {
    const auto in_run = [&](std::size_t run, int first, int place, int crew) {
        const int groups = row_groups(w, crew), members = crew / groups;
        if (place >= groups * members) return false;
        const Span rows = rows_of_group(time.sizes, time.steps, w.rows, w.batch, place / members, groups);
        lanes[run] = {run, rows.from, rows.to, place % members, members, first + place / members * members};
        return true;
    };
    if (runs == 2 && size > 1) {
        const int half = size / 2;
        const std::size_t run = rank < half ? 0 : 1;
        if (!in_run(run, run ? half : 0, run ? rank - half : rank, run ? size - half : half)) return 0;
        lanes[0] = lanes[run];
        return 1;
    }
    std::size_t count = 0;
    for (std::size_t run = 0; run < runs; ++run)
        if (in_run(run, 0, rank, size)) lanes[count++] = lanes[run];
    return count;
}

}  // namespace saiki::SAIKI_TARGET
