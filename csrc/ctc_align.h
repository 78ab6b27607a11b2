// The likeliest alignment of each utterance (Viterbi): the recursion of ctc.h with the largest in place of the sum, in
// logarithms and double precision. It runs once an utterance, not once a training step, so it is written plainly.
#pragma once

#include "ctc.h"

namespace saiki::SAIKI_TARGET {

/// One utterance, its rows of the work filled. `score` has room for two rows of 2L + 1 numbers, `back` for T of them.
template <class T>
void ctc_path(const CtcUtterance<T>& u, const std::int32_t* labels, double* score, std::uint8_t* back,
              std::int64_t* states, double* log_p) {
    constexpr double none = -__builtin_inf();
    const std::size_t S = 2 * u.L + 1;
    // ln p of what state s says at step t
    const auto said = [&](std::size_t t, std::size_t s) {
        const T* const row = u.row(t);
        const auto a = static_cast<double>(s % 2 ? row[ctc_labels<T> + s / 2] : row[ctc_blank]);
        return a > ctc_least || a != a ? a - log_of(static_cast<double>(row[ctc_sum])) : none;
    };
    double *before = score, *now = score + S;
    for (std::size_t s = 0; s < S; ++s) before[s] = s ? none : 0;  // as if a blank had been said before the first step
    for (std::size_t t = 0; t < u.T_; ++t) {
        const T* const row = u.row(t);
        const double divisor = log_of(static_cast<double>(row[ctc_sum]));
        for (std::size_t s = 0; s < S; ++s) {
            const auto a = static_cast<double>(s % 2 ? row[ctc_labels<T> + s / 2] : row[ctc_blank]);
            double best = before[s];
            std::uint8_t step = 0;
            if (s >= 1 && before[s - 1] > best) best = before[s - 1], step = 1;
            if (s >= 3 && s % 2 && labels[s / 2] != labels[s / 2 - 1] && before[s - 2] > best) best = before[s - 2], step = 2;
            now[s] = best + (a > ctc_least || a != a ? a - divisor : none);
            back[t * S + s] = step;
        }
        double* const other = before;
        before = now, now = other;
    }
    std::size_t s = u.L && before[S - 2] > before[S - 1] ? S - 2 : S - 1;
    for (std::size_t t = u.T_; t-- > 0;) {
        states[t] = static_cast<std::int64_t>(s);
        log_p[t] = said(t, s);
        const std::uint8_t step = back[t * S + s];
        s -= step < s ? step : s;
    }
}

template <class T>
void ctc_paths(const Ctc<T>& c, const CtcPaths<T>& out, int threads) {
    const std::size_t columns = ctc_columns<T>(c.longest), S = 2 * c.longest + 1;
    threads = ctc_threads(threads, static_cast<double>(c.rows) * static_cast<double>(c.classes + 16 * c.longest + 8));
    const std::size_t workers = c.batch < static_cast<std::size_t>(threads) ? c.batch : static_cast<std::size_t>(threads);
    const std::size_t backs = blocks_of(c.steps * S, 64) * 64;
    Scratch scratch;
    T* const work = scratch.take<T>(c.rows * columns);
    double* const scores = scratch.take<double>(2 * S * workers);
    std::uint8_t* const back = scratch.take<std::uint8_t>(backs * workers);
    std::size_t rows_taken = 0, utterances_taken = 0, memory_taken = 0;
    Barrier barrier;
    run_team(threads, [&](int, int size) {
        const FlushDenormals flush;
        ctc_rows(c, work, columns, rows_taken, size);
        barrier.wait(size);
        std::size_t mine = workers;
        for (std::size_t next; (next = take_next(utterances_taken, 1)) < c.batch;) {
            const auto b = static_cast<std::size_t>(c.order[next]);
            if (mine == workers) mine = take_next(memory_taken, 1);
            CtcUtterance<T> u{};
            u.T_ = static_cast<std::size_t>(c.lengths[b]);
            u.L = c.label_starts[b + 1] - c.label_starts[b];
            u.starts = c.starts, u.place = next;
            u.work = work, u.columns = columns;
            ctc_path(u, c.labels + c.label_starts[b], scores + mine * 2 * S, back + mine * backs,
                     out.states + out.path_starts[b], out.log_p + out.path_starts[b]);
        }
    });
}

}  // namespace saiki::SAIKI_TARGET
