// A layer forward over a packed ragged batch: the loop over time, written once for every cell.
#pragma once

#include "cells/forward.h"
#include "memory.h"
#include "plan.h"
#include "team.h"

namespace saiki::SAIKI_TARGET {

/// What the crews of a direction share.
template <class T, class P>
struct ForwardShared {
    const Forward<T>* run;
    const Packed<T, P>* packed;
    Time<T> time;
    View<T> gates;   // training: the saved rows; inference: room for a chunk of steps of each lane, by the lane's rows
    View<T> c;       // LSTM (B, Hp): c_0; in inference then c_t
    View<T> inner;   // GRU that resets before (B, H)
    View<T> h;       // Jordan in inference (2 B, Hp), two steps in turn
};

/// How many rows of W x + b are computed in one go: W is read once for them all, and they are still in the second-level
/// cache when their steps come.
template <class T>
std::size_t chunk_rows(const Sizes<T>& z) {
    const std::size_t fit = (std::size_t(256) << 10) / (z.G * z.Hp * sizeof(T));
    return fit < 96 ? 96 : fit;
}

/// Rows times panels, whole vectors of the result stored.
template <class T, class P>
__attribute__((noinline)) void product(Piece<T> rows_of, std::size_t rows, const Columns<P>& b, Span panels, const T* start,
                                       View<T> to) {
    multiply(&rows_of, 1, 0, rows, b, 0, panels, start, 0, [&](std::size_t p, std::size_t row, std::size_t count, const T* sums, std::size_t sums_row) {
        const std::size_t vectors = b.vectors_of(p);
        for (std::size_t m = 0; m < count; ++m)
            for (std::size_t v = 0; v < vectors; ++v)
                store(to(row + m) + (p * b.per_panel + v) * width<T>, load(sums + m * sums_row + v * width<T>));
    });
}

/// One thread's part of one lane.
template <class Cell, class T, class P>
void forward_lane(const Spec& spec, const Batch<T>& batch, const ForwardShared<T, P>& shared, const Lane& lane, Barrier& barrier) {
    const Sizes<T> z(spec);
    const Forward<T>& run = *shared.run;
    const Packed<T, P>& packed = *shared.packed;
    const Time<T>& time = shared.time;
    const Cell cell(spec, packed.peepholes);
    const bool train = run.saved != nullptr, jordan = spec.family == Family::jordan, lstm = spec.family == Family::lstm;
    const bool in_saved = train && (lstm || spec.family == Family::gru);  // the gates' rows; Elman and Jordan keep none
    const bool whole = lane.from == 0 && lane.to == static_cast<std::size_t>(time.steps ? time.sizes[0] : 0);
    const std::size_t saved_row = saved_columns<T>(spec), kept = spec.family == Family::jordan ? 0 : z.G * z.Hp;
    const std::size_t lane_rows = lane.to - lane.from;
    const auto mine = [&](const auto& columns) { return share(columns.panels(), lane.rank, lane.size); };
    const auto upto = [&](std::size_t n) { return n < lane.to ? n : lane.to; };  // of n rows, those that end before lane.to
    const auto h_at = [&](std::size_t t, std::size_t s) -> View<T> {  // where step t, taken s-th, puts h
        if (!jordan) return {run.output + time.offsets[t] * run.output_stride, run.output_stride};
        if (train) return {run.saved + time.offsets[t] * saved_row, saved_row};
        return {shared.h(s % 2 * time.live(0)), shared.h.row};
    };
    const auto y_at = [&](std::size_t t) -> View<T> { return {run.output + time.offsets[t] * run.output_stride, run.output_stride}; };
    const auto c_at = [&](std::size_t t) -> View<T> { return train ? View<T>{run.saved + time.offsets[t] * saved_row + kept, saved_row} : shared.c; };

    const View<T> room = shared.gates;  // this lane's own, where the gates' rows are not kept
    const std::size_t most = chunk_rows(z);
    for (std::size_t s0 = 0, s1; s0 < time.steps; s0 = s1) {
        // the chunk: steps s0 … s1
        std::size_t rows = 0;
        for (s1 = s0; s1 < time.steps; ++s1) {
            const std::size_t more = whole ? time.live(time.at(s1)) : lane_rows;
            if (s1 > s0 && rows + more > most) break;
            rows += more;
        }
        const std::size_t t_low = time.reverse ? time.at(s1 - 1) : s0, t_high = time.reverse ? time.at(s0) : s1 - 1;
        const auto gates_at = [&](std::size_t t) -> View<T> {
            if (in_saved) return {run.saved + time.offsets[t] * saved_row, saved_row};
            if (whole) return {room(time.offsets[t] - time.offsets[t_low]), room.row};
            return {room((t - t_low) * lane_rows) - lane.from * room.row, room.row};
        };
        // W x + b
        if (whole) {
            const std::size_t first = time.offsets[t_low];
            product<T, P>({batch.data + first * z.I, z.I, 1, z.I}, time.offsets[t_high + 1] - first, packed.input, mine(packed.input),
                          packed.bias, gates_at(t_low));
        } else {
            const Span panels = mine(packed.input);
            for (std::size_t p = panels.from; p < panels.to; ++p)
                for (std::size_t t = t_low; t <= t_high; ++t) {
                    const std::size_t end = upto(time.live(t));
                    if (end <= lane.from) continue;
                    const View<T> to = gates_at(t);
                    product<T, P>({batch.data + (time.offsets[t] + lane.from) * z.I, z.I, 1, z.I}, end - lane.from, packed.input,
                                  {p, p + 1}, packed.bias, {to(lane.from), to.row});
                }
        }
        barrier.wait(lane.size);

        for (std::size_t s = s0; s < s1; ++s) {
            const std::size_t t = time.at(s), live = upto(time.live(t)), known = upto(time.known(s));
            ForwardStep<T> step;
            step.gates = gates_at(t);
            step.keep = train;
            step.h = h_at(t, s);
            step.y = y_at(t);
            if (lstm) step.c = c_at(t);
            step.inner = Cell::second == Second::inner ? shared.inner
                         : train && spec.family == Family::gru ? View<T>{run.saved + time.offsets[t] * saved_row + kept, saved_row}
                                                               : View<T>{};
            // first the rows that were running a step ago, then those that begin here
            for (int part = 0; part < 2; ++part) {
                const std::size_t from = part && known > lane.from ? known : lane.from, to = part ? live : known;
                if (to <= from) continue;
                View<T> y_prev;
                if (part == 0) {
                    const std::size_t before = time.at(s - 1);
                    const View<T> h = h_at(before, s - 1), c = lstm ? c_at(before) : View<T>{};
                    step.h_prev = {h.base, h.row};
                    step.c_prev = {c.base, c.row};
                    y_prev = y_at(before);
                } else {
                    step.h_prev = {run.first[0], z.H};
                    step.c_prev = {shared.c.base, shared.c.row};
                    y_prev = {const_cast<T*>(run.first[1]), z.K};
                }
                Piece<T> pieces[2];
                std::size_t count = 0;
                if (!jordan || spec.hidden_feedback) pieces[count++] = {step.h_prev(from), step.h_prev.row, 1, z.H};
                if (jordan) pieces[count++] = {y_prev(from), y_prev.row, 1, z.K};
                const Columns<P>& b = packed.main;
                const std::size_t a_block = b.vectors / z.blocks;  // vectors of a block
                const T* start = Cell::from_input ? step.gates(from) : packed.main_start;
                if (Cell::second == Second::inner) start = nullptr;
                // the saved rows that the next chunk fills, if the weights leave room for them in the cache
                Stream stream;
                if (part == 0 && in_saved && packed.bytes <= (std::size_t(1) << 20) && s + (s1 - s0) < time.steps) {
                    const std::size_t soon = time.at(s + (s1 - s0)), end = upto(time.live(soon));
                    if (end > lane.from) stream = {run.saved + (time.offsets[soon] + lane.from) * saved_row, (end - lane.from) * saved_row * sizeof(T)};
                }
                multiply(pieces, count, 0, to - from, b, 0, mine(b), start, Cell::from_input ? step.gates.row : 0,
                         [&](std::size_t p, std::size_t row, std::size_t rows, const T* sums, std::size_t sums_row) {
                             const std::size_t block = p * b.per_panel / a_block, blocks = b.vectors_of(p) / a_block;
                             for (std::size_t m = 0; m < rows; ++m) cell.finish(step, from + row + m, block, blocks, sums + m * sums_row);
                         },
                         stream);
            }
            barrier.wait(lane.size);
            if constexpr (Cell::second != Second::none) {
                const Columns<P>& b = packed.second;
                for (int part = 0; part < (Cell::second == Second::inner ? 2 : 1); ++part) {
                    std::size_t from = lane.from, to = live;
                    if (Cell::second == Second::inner) {  // h_{t-1} is wanted again
                        from = part && known > lane.from ? known : lane.from, to = part ? live : known;
                        if (part == 0 && s > 0) {
                            const View<T> h = h_at(time.at(s - 1), s - 1);
                            step.h_prev = {h.base, h.row};
                        } else {
                            step.h_prev = {run.first[0], z.H};
                        }
                    }
                    if (to <= from) continue;
                    const View<T>& a = Cell::second == Second::inner ? step.inner : step.h;
                    const Piece<T> piece{a(from), a.row, 1, z.H};
                    multiply(&piece, 1, 0, to - from, b, 0, mine(b), Cell::second == Second::hidden ? packed.bias_y : nullptr, 0,
                             [&](std::size_t p, std::size_t row, std::size_t rows, const T* sums, std::size_t sums_row) {
                                 for (std::size_t m = 0; m < rows; ++m)
                                     cell.finish_second(step, from + row + m, p * b.per_panel, b.vectors_of(p), sums + m * sums_row);
                             });
                }
                barrier.wait(lane.size);
            }
        }
    }

    // the states after each sequence's last step
    if (lane.rank) return;
    const auto copy = [](const T* from, T* to, std::size_t n) { __builtin_memcpy(to, from, n * sizeof(T)); };
    for (std::size_t t = 0; t < time.steps; ++t) {
        const std::size_t ending = time.reverse ? (t == 0 ? 0 : time.live(t)) : t + 1 < time.steps ? time.live(t + 1) : 0;
        const std::size_t s = time.reverse ? time.steps - 1 - t : t;
        for (std::size_t j = ending > lane.from ? ending : lane.from; j < upto(time.live(t)); ++j) {
            copy(h_at(t, s)(j), run.last[0] + j * z.H, z.H);
            if (lstm) copy(c_at(t)(j), run.last[1] + j * z.H, z.H);
            if (jordan) copy(y_at(t)(j), run.last[1] + j * z.K, z.K);
        }
        if (time.reverse) break;
    }
}

/// A cell's weights that a step reads, and what it computes.
template <class T>
Work work_of(const Spec& spec, const Time<T>& time, std::size_t weight_size) {
    const Sizes<T> z(spec);
    const std::size_t B = time.steps ? time.live(0) : 0, N = time.steps ? time.rows() : 0;
    const bool jordan = spec.family == Family::jordan;
    const std::size_t numbers = z.G * z.H * z.H + (jordan ? 2 * z.H * z.K : 0);
    const std::size_t per_panel = z.G == 1 ? panel_vectors : 1;
    Work w{B, N, time.steps, numbers * weight_size, 0, (z.blocks + per_panel - 1) / per_panel};
    if (time.steps) w.operations = 2.0 * static_cast<double>(numbers + z.G * z.H * z.I) * static_cast<double>(N) / static_cast<double>(time.steps);
    return w;
}

template <class T, class P>
void forward_packed(const Spec& spec, const Batch<T>& batch, const Forward<T>* runs, std::size_t run_count, int threads) {
    const Sizes<T> z(spec);
    Scratch scratch;
    const std::size_t B = batch.steps ? static_cast<std::size_t>(batch.sizes[0]) : 0;
    const Offsets offsets(batch.sizes, batch.steps, scratch);
    if (!batch.steps) return;

    const bool lstm = spec.family == Family::lstm, jordan = spec.family == Family::jordan;
    const bool before = spec.family == Family::gru && !spec.reset_after;
    const Work work = work_of(spec, Time<T>{batch.sizes, offsets, batch.steps, false}, sizeof(P));
    threads = useful_threads(work, run_count, threads);

    Packed<T, P> packed[2] = {{spec, nullptr}, {spec, nullptr}};
    ForwardShared<T, P> shared[2];
    // a lane's chunk has at most chunk_rows rows, or those of one step; lanes of one direction are at most `threads`
    const std::size_t chunk = chunk_rows(z) > B ? chunk_rows(z) : B;
    for (std::size_t r = 0; r < run_count; ++r) {
        char* memory = static_cast<char*>(const_cast<void*>(runs[r].packed));
        if (!memory) memory = scratch.take<char>(packed[r].bytes);
        packed[r] = Packed<T, P>(spec, memory);
        const bool in_saved = runs[r].saved && (lstm || spec.family == Family::gru);
        if (runs[r].saved) expect_to_fill(runs[r].saved, batch.rows * saved_columns<T>(spec) * sizeof(T));
        shared[r].run = runs + r;
        shared[r].packed = packed + r;
        shared[r].time = {batch.sizes, offsets, batch.steps, runs[r].reverse};
        if (!in_saved) shared[r].gates = {scratch.take<T>(static_cast<std::size_t>(threads) * chunk * z.G * z.Hp), z.G * z.Hp};
        if (lstm) {
            shared[r].c = {scratch.take<T>(B * z.Hp), z.Hp};
            for (std::size_t j = 0; j < B; ++j)
                for (std::size_t u = 0; u < z.Hp; ++u) shared[r].c(j)[u] = u < z.H ? runs[r].first[1][j * z.H + u] : T(0);
        }
        if (before) shared[r].inner = {scratch.take<T>(B * z.H), z.H};
        if (jordan && !runs[r].saved) shared[r].h = {scratch.take<T>(2 * B * z.Hp), z.Hp};
    }

    Barrier all;
    Barrier crews[max_threads];
    run_team(threads, [&](int rank, int size) {
        const FlushDenormals flush;
        bool waiting = false;
        for (std::size_t r = 0; r < run_count; ++r) {
            if (runs[r].packed) continue;
            packed[r].fill(spec, runs[r].parameters, rank, size);
            waiting = true;
        }
        if (waiting) all.wait(size);
        Lane lanes[2];
        const std::size_t count = lanes_of(work, shared[0].time, run_count, rank, size, lanes);
        for (std::size_t l = 0; l < count; ++l) {
            const Lane& lane = lanes[l];
            ForwardShared<T, P> own = shared[lane.run];
            own.gates.base += own.gates.base ? static_cast<std::size_t>(lane.barrier) * chunk * own.gates.row : 0;
            const auto walk = [&](auto cell) {
                forward_lane<typename decltype(cell)::type, T, P>(spec, batch, own, lane, crews[lane.barrier]);
            };
            with_forward_cell<T>(spec, walk);
        }
    });
}

}  // namespace saiki::SAIKI_TARGET
