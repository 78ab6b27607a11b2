// A layer backward: time walked the other way with the transposed weights, then each weight gradient as one product over
// all rows, and dx as another. Written once for every cell.
#pragma once

#include "cells/backward.h"
#include "forward.h"

namespace saiki::SAIKI_TARGET {

/// A direction's parameters for the way back: columns stay columns.
template <class T>
struct Returning {
    Columns<T> hidden;  // columns H: R, all gates; GRU that resets before: r z alone; Jordan: W_y, then R
    Columns<T> second;  // GRU that resets before: R_n; Jordan: V (columns K)
    T* peepholes;       // rows of Hp
    std::size_t bytes;

    Returning(const Spec& s, char* base) {
        const Sizes<T> z(s);
        const bool before = s.family == Family::gru && !s.reset_after, jordan = s.family == Family::jordan;
        std::size_t used = 0;
        const auto columns = [&](std::size_t depth, std::size_t vectors) {
            Columns<T> c;
            c.depth = depth, c.vectors = vectors, c.lanes = width<T>, c.base = reinterpret_cast<T*>(base + used);
            used += (c.size() * sizeof(T) + 63) / 64 * 64;
            return c;
        };
        hidden = columns(jordan ? z.K + (s.hidden_feedback ? z.H : 0) : (before ? 2 : z.G) * z.H, z.blocks);
        second = before || jordan ? columns(z.H, jordan ? z.k_blocks : z.blocks) : Columns<T>{};
        peepholes = reinterpret_cast<T*>(base + used);
        if (s.family == Family::lstm && s.peepholes) used += 3 * z.Hp * sizeof(T);
        bytes = used;
    }

    void fill(const Spec& s, const T* const* given, int rank, int size) const {
        const Sizes<T> z(s);
        const bool before = s.family == Family::gru && !s.reset_after, jordan = s.family == Family::jordan;
        const Span of_hidden = share(hidden.panels(), rank, size);
        if (jordan) {
            pack_straight(given[weight_hy], z.H, z.K, z.H, hidden, 0, of_hidden);
            if (given[weight_hh]) pack_straight(given[weight_hh], z.H, z.H, z.H, hidden, z.K, of_hidden);
            pack_straight(given[weight_yh], z.K, z.H, z.K, second, 0, share(second.panels(), rank, size));
        } else {
            pack_straight(given[weight_hh], z.H, (before ? 2 : z.G) * z.H, z.H, hidden, 0, of_hidden);
            if (before) pack_straight(given[weight_hh] + 2 * z.H * z.H, z.H, z.H, z.H, second, 0, share(second.panels(), rank, size));
        }
        if (rank == 0 && given[weight_ph])
            for (std::size_t g = 0; g < (s.learns_to_forget() ? 3u : 2u); ++g)
                for (std::size_t u = 0; u < z.Hp; ++u) peepholes[g * z.Hp + u] = u < z.H ? given[weight_ph][g * z.H + u] : T(0);
    }
};

/// Deltas as rows: the pieces of some gates' columns, one gate after another, padding passed over.
template <class T>
struct DeltaPieces {
    Piece<T>* pieces = nullptr;
    std::size_t count = 0;

    static std::size_t most(std::size_t blocks) { return blocks / panel_vectors + 2; }  // of a gate
    void add(const Deltas<T>& deltas, std::size_t vector, std::size_t units) {
        while (units) {
            const std::size_t fit = (panel_vectors - vector % panel_vectors) * width<T>, length = units < fit ? units : fit;
            pieces[count++] = {deltas.at(vector, 0), Deltas<T>::row, 1, length};
            units -= length;
            vector += panel_vectors - vector % panel_vectors;
        }
    }
};

/// What the crews of a direction share.
template <class T>
struct BackwardShared {
    const Backward<T>* run;
    const Returning<T>* weights;
    Time<T> time;
    Deltas<T> deltas;
    DeltaPieces<T> to_hidden;  // matching weights.hidden; Jordan: those of y, then those of h
    DeltaPieces<T> to_second;  // matching weights.second
    View<T> c0, dc;            // LSTM (B, Hp)
    View<T> carry;             // (B, Hp): at first ∂L/∂h of the last state
    View<T> carry_y;           // Jordan (B, Kp), likewise
    Piece<T>* moved;           // Jordan: room of this thread's own for to_hidden
};

/// One thread's part of one lane.
template <class Cell, class T>
void backward_lane(const Spec& spec, const BackwardShared<T>& shared, const Lane& lane, Barrier& barrier) {
    const Sizes<T> z(spec);
    const Backward<T>& run = *shared.run;
    const Returning<T>& weights = *shared.weights;
    const Time<T>& time = shared.time;
    const Cell cell(spec, weights.peepholes);
    const bool jordan = spec.family == Family::jordan, gru = spec.family == Family::gru;
    const std::size_t saved_row = saved_columns<T>(spec), kept = jordan ? 0 : z.G * z.Hp;
    const Span hidden = share(weights.hidden.panels(), lane.rank, lane.size), second = share(weights.second.panels(), lane.rank, lane.size);
    const auto upto = [&](std::size_t n) { return n < lane.to ? n : lane.to; };
    const auto saved_at = [&](std::size_t t, std::size_t behind) -> View<const T> {
        return {run.saved + time.offsets[t] * saved_row + behind, saved_row};
    };
    const auto output_at = [&](std::size_t t) -> View<const T> { return {run.output + time.offsets[t] * run.output_stride, run.output_stride}; };
    const std::size_t of_y = shared.to_hidden.count - (jordan && spec.hidden_feedback ? shared.to_second.count : 0);

    // every vector of finished sums of some rows goes to one of the cell's functions
    const auto nothing = [](std::size_t) {};
    const auto each = [](const Columns<T>& b, std::size_t from, const auto& begin, const auto& finish) {
        return [&b, from, &begin, &finish](std::size_t p, std::size_t row, std::size_t rows, const T* sums, std::size_t sums_row) {
            const std::size_t vectors = b.vectors_of(p);
            for (std::size_t m = 0; m < rows; ++m) {
                begin(from + row + m);
                for (std::size_t v = 0; v < vectors; ++v)
                    finish(from + row + m, p * b.per_panel + v, load(sums + m * sums_row + v * width<T>));
            }
        };
    };
    // the same for rows whose sums are known without a product
    const auto known_sums = [](const Columns<T>& b, Span panels, std::size_t from, std::size_t to, const View<T>& sums, const auto& begin,
                               const auto& finish) {
        for (std::size_t j = from; j < to; ++j) {
            begin(j);
            for (std::size_t v = panels.from * b.per_panel; v < panels.to * b.per_panel && v < b.vectors; ++v)
                finish(j, v, load(sums(j) + v * width<T>));
        }
    };

    for (std::size_t s = time.steps + 1; s-- > 0;) {  // s = 1 + the place of the step in forward order; 0: before the first
        const bool is_step = s > 0;
        const std::size_t t = is_step ? time.at(s - 1) : 0;
        const std::size_t live = is_step ? time.live(t) : 0;
        // rows of the step that came after in forward order: those that go on here, and those that began there
        const bool has_next = s < time.steps;
        const std::size_t t_next = has_next ? time.at(s) : 0;
        const std::size_t went_on = has_next ? (is_step ? time.known(s) : 0) : 0, next_live = has_next ? time.live(t_next) : 0;
        const std::size_t next_first = has_next ? time.offsets[t_next] : 0;

        BackwardStep<T> step;
        step.deltas = shared.deltas;
        step.dc = shared.dc;
        step.carry = shared.carry;
        // ∂L/∂ of the states before the first step, of the rows that began at the step after
        const std::size_t from = went_on > lane.from ? went_on : lane.from, to = upto(next_live);
        if (from < to) {
            const auto put = [&](T* base, std::size_t n) {
                return [base, n](std::size_t j, std::size_t v, Vec<T> d) {
                    const std::size_t left = n - v * width<T>;
                    store_units(base + j * n + v * width<T>, d, left < width<T> ? left : width<T>);
                };
            };
            if (run.d_first[0]) {
                const auto finish = put(run.d_first[0], z.H);
                const Piece<T>* pieces = jordan ? shared.to_hidden.pieces + of_y : shared.to_hidden.pieces;
                const std::size_t count = jordan ? shared.to_hidden.count - of_y : shared.to_hidden.count;
                multiply(static_cast<const Piece<T>*>(pieces), count, next_first + from, to - from, weights.hidden, jordan ? z.K : 0, hidden,
                         gru ? static_cast<const T*>(shared.carry(from)) : nullptr, shared.carry.row, each(weights.hidden, from, nothing, finish));
            }
            if (jordan && run.d_first[1]) {
                const auto finish = put(run.d_first[1], z.K);
                multiply(static_cast<const Piece<T>*>(shared.to_second.pieces), shared.to_second.count, next_first + from, to - from, weights.second, 0, second,
                         static_cast<const T*>(nullptr), 0, each(weights.second, from, nothing, finish));
            }
        }
        if (!is_step) break;

        step.first = time.offsets[t];
        step.saved = saved_at(t, 0);
        step.h = step.y = output_at(t);
        if (run.d_output) step.d_output = {run.d_output + time.offsets[t] * run.d_output_stride, run.d_output_stride};
        const std::size_t known = time.known(s - 1);  // of this step's rows, those that were running before it
        const auto before = [&](std::size_t j) {  // h_{t-1} and c_{t-1} of row j
            if (j < known) {
                const std::size_t t_prev = time.at(s - 2);
                step.h_prev = output_at(t_prev);
                step.c_prev = saved_at(t_prev, kept);
            } else {
                step.h_prev = {run.first[0], z.H};
                step.c_prev = {shared.c0.base, shared.c0.row};
            }
        };
        const std::size_t goes_on = upto(went_on), end = upto(live);
        // what the step after next reads of this lane, if the weights leave room for it in the cache
        Stream stream;
        if (s > 2 && weights.bytes <= (std::size_t(1) << 20) && saved_row) {
            const std::size_t soon = time.at(s - 3), rows = upto(time.live(soon));
            if (rows > lane.from) stream = {saved_at(soon, 0)(lane.from), (rows - lane.from) * saved_row * sizeof(T)};
        }
        const auto finish = [&](std::size_t j, std::size_t v, Vec<T> d) { cell.finish(step, j, v, d); };
        if constexpr (Cell::output_returns) {
            const auto finish_y = [&](std::size_t j, std::size_t v, Vec<T> d) { cell.finish_output(step, j, v, d); };
            if (goes_on > lane.from)
                multiply(static_cast<const Piece<T>*>(shared.to_second.pieces), shared.to_second.count, next_first + lane.from, goes_on - lane.from, weights.second, 0, second,
                         static_cast<const T*>(nullptr), 0, each(weights.second, lane.from, nothing, finish_y));
            known_sums(weights.second, second, goes_on > lane.from ? goes_on : lane.from, end, shared.carry_y, nothing, finish_y);
            barrier.wait(lane.size);
            // W_y δ^y of this step's rows, and where a next step was, R δ of its
            for (std::size_t k = 0; k < shared.to_hidden.count; ++k) {
                shared.moved[k] = shared.to_hidden.pieces[k];
                shared.moved[k].base += (k < of_y ? step.first : next_first) * Deltas<T>::row;
            }
            for (int part = 0; part < 2; ++part) {
                const std::size_t a = part && goes_on > lane.from ? goes_on : lane.from, b = part ? end : goes_on;
                if (a < b)
                    multiply(static_cast<const Piece<T>*>(shared.moved), part ? of_y : shared.to_hidden.count, a, b - a, weights.hidden, 0, hidden,
                             part ? static_cast<const T*>(shared.carry(a)) : nullptr, shared.carry.row,
                             each(weights.hidden, a, nothing, finish));
            }
            barrier.wait(lane.size);
            continue;
        }
        if (goes_on > lane.from)
            multiply(static_cast<const Piece<T>*>(shared.to_hidden.pieces), shared.to_hidden.count, next_first + lane.from, goes_on - lane.from, weights.hidden, 0, hidden,
                     gru ? static_cast<const T*>(shared.carry(lane.from)) : nullptr, shared.carry.row, each(weights.hidden, lane.from, before, finish), stream);
        known_sums(weights.hidden, hidden, goes_on > lane.from ? goes_on : lane.from, end, shared.carry, before, finish);
        barrier.wait(lane.size);
        if constexpr (Cell::reset_before) {
            const auto finish_reset = [&](std::size_t j, std::size_t v, Vec<T> d) { cell.finish_reset(step, j, v, d); };
            if (end > lane.from)
                multiply(static_cast<const Piece<T>*>(shared.to_second.pieces), shared.to_second.count, step.first + lane.from, end - lane.from, weights.second, 0, second,
                         static_cast<const T*>(nullptr), 0, each(weights.second, lane.from, before, finish_reset));
            barrier.wait(lane.size);
        }
    }
    if (spec.family == Family::lstm && run.d_first[1] && lane.rank == 0)
        for (std::size_t j = lane.from; j < lane.to; ++j) __builtin_memcpy(run.d_first[1] + j * z.H, shared.dc(j), z.H * sizeof(T));
}

/// Numbers that dW is the product of deltas with: some columns of rows, chunk by chunk. Row n's are at of(n).
template <class T>
struct Operand {
    enum class Kind { data, h_prev, y_prev, hidden, reset_h } kind;
    std::size_t columns;
};

/// Σ_n delta[n][u] · operand[n][k] for some gates, into rows of a parameter's gradient.
template <class T>
struct Contraction {
    const Backward<T>* run;
    Time<T> time;
    Deltas<T> deltas;
    Operand<T> operand;
    std::size_t gates;               // how many
    std::size_t first_vector[4];     // of each gate's deltas
    std::size_t units, blocks;       // of each gate
    T* out;                          // (gates · units, columns)
};

/// Copy rows n0 … n1 of the operand into panels.
template <class T>
void pack_operand(const Spec& spec, const Contraction<T>& c, const T* data, std::size_t n0, std::size_t n1, const Columns<T>& to, Span panels) {
    using Kind = typename Operand<T>::Kind;
    const Sizes<T> z(spec);
    const Time<T>& time = c.time;
    const std::size_t saved_row = saved_columns<T>(spec), columns = c.operand.columns;
    if (c.operand.kind == Kind::data) return pack_straight(data + n0 * z.I, z.I, n1 - n0, columns, to, 0, panels);
    if (c.operand.kind == Kind::hidden) return pack_straight(c.run->saved + n0 * saved_row, saved_row, n1 - n0, columns, to, 0, panels);
    const bool jordan = spec.family == Family::jordan;
    std::size_t t = 0;
    while (time.offsets[t + 1] <= n0) ++t;
    for (std::size_t n = n0; n < n1; ++t) {  // step by step: first the rows with a step before, then those without
        const std::size_t s = time.reverse ? time.steps - 1 - t : t, known = time.known(s);
        const std::size_t end = n1 < time.offsets[t + 1] ? n1 : time.offsets[t + 1];
        while (n < end) {
            const std::size_t j = n - time.offsets[t];
            const bool is_known = j < known;
            const std::size_t stop = is_known && time.offsets[t] + known < end ? time.offsets[t] + known : end;
            const T* from;
            std::size_t row;
            if (!is_known) {
                from = c.operand.kind == Kind::y_prev ? c.run->first[1] + j * z.K : c.run->first[0] + j * z.H;
                row = c.operand.kind == Kind::y_prev ? z.K : z.H;
            } else {
                const std::size_t n_prev = time.offsets[time.at(s - 1)] + j;
                const bool is_saved = jordan && c.operand.kind == Kind::h_prev;
                from = is_saved ? c.run->saved + n_prev * saved_row : c.run->output + n_prev * c.run->output_stride;
                row = is_saved ? saved_row : c.run->output_stride;
            }
            if (c.operand.kind != Kind::reset_h) {
                pack_straight(from, row, stop - n, columns, to, n - n0, panels);
            } else {  // r ∘ h_{t-1}, as forward had it
                for (std::size_t p = panels.from; p < panels.to; ++p)
                    for (std::size_t k = n; k < stop; ++k)
                        for (std::size_t v = 0, vectors = to.vectors_of(p); v < vectors; ++v) {
                            const std::size_t block = p * to.per_panel + v, u = block * width<T>, units = z.units(block);
                            const Vec<T> r = load(c.run->saved + k * saved_row + block * 3 * width<T>);
                            store(to.panel(p) + ((k - n0) * vectors + v) * width<T>, r * load_units(from + (k - n) * row + u, units));
                        }
            }
            n = stop;
        }
    }
}

/// This thread's part of a contraction over rows n0 … n1: `mine` of the vectors of units. Sums over chunks are added up
/// in memory, in the chunks' order.
template <class T>
void contract(const Contraction<T>& c, std::size_t n0, std::size_t n1, const Columns<T>& operand, Span mine) {
    constexpr std::size_t W = width<T>;
    constexpr std::size_t most = 4;  // panels of deltas that see a panel of the operand before the next is read
    struct Segment {
        Piece<T> piece;
        std::size_t units;
        T* out;
    };
    const std::size_t columns = c.operand.columns;
    for (std::size_t i = mine.from; i < mine.to;) {
        Segment segments[most];
        std::size_t count = 0;
        for (; i < mine.to && count < most; ++count) {
            const std::size_t gate = i / c.blocks, block = i % c.blocks, vector = c.first_vector[gate] + block;
            // neighbours in the same panel of deltas go together
            std::size_t together = panel_vectors - vector % panel_vectors;
            if (together > c.blocks - block) together = c.blocks - block;
            if (together > mine.to - i) together = mine.to - i;
            const std::size_t left = c.units - block * W;
            segments[count] = {{c.deltas.at(vector, n0), 1, Deltas<T>::row, n1 - n0},
                               left < together * W ? left : together * W,
                               c.out + (gate * c.units + block * W) * columns};
            i += together;
        }
        for (std::size_t p = 0; p < operand.panels(); ++p) {
            const std::size_t next = p + 1 < operand.panels() ? p + 1 : 0, vectors = operand.vectors_of(p);
            const std::size_t ahead = operand.vectors_of(next) * W * operand.depth / count;  // of the next panel, a segment's share
            for (std::size_t k = 0; k < count; ++k) {
                const Segment& segment = segments[k];
                multiply(&segment.piece, 1, 0, segment.units, operand, 0, Span{p, p + 1}, static_cast<const T*>(nullptr), 0,
                         [&](std::size_t, std::size_t row, std::size_t rows, const T* sums, std::size_t sums_row) {
                             for (std::size_t m = 0; m < rows; ++m)
                                 for (std::size_t v = 0; v < vectors; ++v) {
                                     const std::size_t column = (p * operand.per_panel + v) * W, left = columns - column;
                                     T* to = segment.out + (row + m) * columns + column;
                                     Vec<T> sum = load(sums + m * sums_row + v * W);
                                     if (n0) sum = load_units(to, left < W ? left : W) + sum;
                                     store_units(to, sum, left < W ? left : W);
                                 }
                         },
                         {operand.panel(next) + k * ahead, ahead * sizeof(T)});
            }
        }
    }
}

/// Σ_n of deltas, and of deltas times cell states for the peepholes: this thread's share of the blocks.
template <class T>
void sum_rows(const Spec& spec, const BackwardShared<T>& shared, int rank, int size) {
    constexpr std::size_t W = width<T>;
    const Sizes<T> z(spec);
    const Backward<T>& run = *shared.run;
    const std::size_t N = shared.time.rows();
    const auto sum = [&](T* out, std::size_t first_vector, std::size_t blocks, std::size_t units) {
        const Span mine = share(blocks, rank, size);
        for (std::size_t b = mine.from, together; b < mine.to; b += together) {  // neighbours in a panel share its lines
            together = panel_vectors - (first_vector + b) % panel_vectors;
            if (together > mine.to - b) together = mine.to - b;
            Vec<T> total[panel_vectors] = {};
            const T* delta = shared.deltas.at(first_vector + b, 0);
            for (std::size_t n = 0; n < N; ++n, delta += Deltas<T>::row)
                for (std::size_t v = 0; v < together; ++v) total[v] += load(delta + v * W);
            for (std::size_t v = 0; v < together; ++v) {
                const std::size_t u = (b + v) * W;
                store_units(out + u, total[v], units - u < W ? units - u : W);
            }
        }
    };
    if (T* out = run.d_parameters[bias])
        for (std::size_t g = 0; g < z.G; ++g) sum(out + g * z.H, g * z.blocks, z.blocks, z.H);
    if (T* out = run.d_parameters[bias_hn]) sum(out, 3 * z.blocks, z.blocks, z.H);
    if (T* out = run.d_parameters[bias_y]) sum(out, z.blocks, z.k_blocks, z.K);
    if (T* out = run.d_parameters[weight_ph]) {
        const bool forgets = spec.learns_to_forget();
        const std::size_t saved_row = saved_columns<T>(spec), kept = z.G * z.Hp;
        const Span mine = share(z.blocks, rank, size);
        const Time<T>& time = shared.time;
        for (std::size_t b = mine.from; b < mine.to; ++b) {
            Vec<T> i{}, f{}, o{};
            for (std::size_t t = 0; t < time.steps; ++t) {
                const std::size_t s = time.reverse ? time.steps - 1 - t : t, known = time.known(s);
                for (std::size_t j = 0; j < time.live(t); ++j) {
                    const std::size_t n = time.offsets[t] + j;
                    const Vec<T> c_prev = load((j < known ? run.saved + (time.offsets[time.at(s - 1)] + j) * saved_row + kept : shared.c0(j)) + b * W);
                    i = fma(load(shared.deltas.at(b, n)), c_prev, i);
                    if (forgets) f = fma(load(shared.deltas.at(z.blocks + b, n)), c_prev, f);
                    o = fma(load(shared.deltas.at((z.G - 1) * z.blocks + b, n)), load(run.saved + n * saved_row + kept + b * W), o);
                }
            }
            const std::size_t units = z.units(b);
            store_units(out + b * W, i, units);
            if (forgets) store_units(out + z.H + b * W, f, units);
            store_units(out + (forgets ? 2 : 1) * z.H + b * W, o, units);
        }
    }
}

constexpr std::size_t d_block = 96;  // rows of dx that see a panel of W before the next is read

/// dx = Σ over directions and gates of delta · W, this thread's rows. Where there are many gates' units they come a part at a
/// time, so that the deltas of a block of rows stay in the cache while the panels pass; `sums` (d_block, columns of W) holds
/// what there is until then.
template <class T>
void d_of_data(const Sizes<T>& z, const DeltaPieces<T>& deltas, const Columns<T>& input, T* d_data, std::size_t N, T* sums, int rank, int size) {
    constexpr std::size_t W = width<T>, most = 16;  // pieces a part: 1024 float32 of the widest vectors
    const std::size_t sums_row = input.vectors * W;
    const Span mine = share((N + d_block - 1) / d_block, rank, size);
    for (std::size_t b = mine.from; b < mine.to; ++b) {
        const std::size_t first = b * d_block, rows = N - first < d_block ? N - first : d_block;
        std::size_t depth = 0;
        for (std::size_t q = 0; q < deltas.count; q += most) {
            const std::size_t count = deltas.count - q < most ? deltas.count - q : most;
            const bool last = q + count == deltas.count;
            multiply(static_cast<const Piece<T>*>(deltas.pieces + q), count, first, rows, input, depth, Span{0, input.panels()},
                     q ? static_cast<const T*>(sums) : nullptr, sums_row,
                     [&](std::size_t p, std::size_t row, std::size_t height, const T* tile, std::size_t tile_row) {
                         for (std::size_t m = 0; m < height; ++m)
                             for (std::size_t v = 0; v < input.vectors_of(p); ++v) {
                                 const std::size_t k = (p * input.per_panel + v) * W, left = z.I - k;
                                 const Vec<T> sum = load(tile + m * tile_row + v * W);
                                 if (last) store_units(d_data + (first + row + m) * z.I + k, sum, left < W ? left : W);
                                 else store(sums + (row + m) * sums_row + k, sum);
                             }
                     });
            for (std::size_t k = q; k < q + count; ++k) depth += deltas.pieces[k].length;
        }
    }
}

template <class T>
void backward(const Spec& spec, const Batch<T>& batch, const Backward<T>* runs, std::size_t run_count, T* d_data, int threads) {
    using Kind = typename Operand<T>::Kind;
    const Sizes<T> z(spec);
    Scratch scratch;
    const std::size_t B = batch.steps ? static_cast<std::size_t>(batch.sizes[0]) : 0, N = batch.rows;
    const bool lstm = spec.family == Family::lstm, jordan = spec.family == Family::jordan, gru = spec.family == Family::gru;
    const bool before = gru && !spec.reset_after;
    if (!batch.steps) {  // no rows: every sum is empty, and states pass through
        for (std::size_t r = 0; r < run_count; ++r)
            for (std::size_t p = 0; p < parameter_count; ++p)
                if (T* out = runs[r].d_parameters[p]) {
                    const Shape shape = parameter_shape(spec, static_cast<Parameter>(p));
                    const std::size_t count = shape.rows * (shape.columns ? shape.columns : 1);
                    for (std::size_t k = 0; k < count; ++k) out[k] = T(0);
                }
        return;
    }
    const Offsets offsets(batch.sizes, batch.steps, scratch);
    const Work work = work_of(spec, Time<T>{batch.sizes, offsets, batch.steps, false}, sizeof(T));
    threads = useful_threads(work, run_count, threads);

    const std::size_t delta_vectors = jordan ? z.blocks + z.k_blocks : (z.G + (gru && !before ? 1 : 0)) * z.blocks;
    Returning<T> weights[2] = {{spec, nullptr}, {spec, nullptr}};
    BackwardShared<T> shared[2];
    const std::size_t gate_pieces = DeltaPieces<T>::most(z.blocks), y_pieces = DeltaPieces<T>::most(z.k_blocks);
    DeltaPieces<T> to_data;
    to_data.pieces = scratch.take<Piece<T>>(2 * z.G * gate_pieces);
    for (std::size_t r = 0; r < run_count; ++r) {
        const Backward<T>& run = runs[r];
        BackwardShared<T>& own = shared[r];
        weights[r] = Returning<T>(spec, scratch.take<char>(weights[r].bytes));
        own.run = &run;
        own.weights = weights + r;
        own.time = {batch.sizes, offsets, batch.steps, run.reverse};
        own.deltas = {scratch.take<T>(Deltas<T>::size(delta_vectors, N)), N};
        own.to_hidden.pieces = scratch.take<Piece<T>>(z.G * gate_pieces + y_pieces);
        own.to_second.pieces = scratch.take<Piece<T>>(gate_pieces);
        own.moved = jordan ? scratch.take<Piece<T>>(static_cast<std::size_t>(threads) * (gate_pieces + y_pieces)) : nullptr;
        if (jordan) {
            own.to_hidden.add(own.deltas, z.blocks, z.K);
            if (spec.hidden_feedback) own.to_hidden.add(own.deltas, 0, z.H);
            own.to_second.add(own.deltas, 0, z.H);
        } else {
            const std::size_t gates = before ? 2 : z.G;
            for (std::size_t g = 0; g < gates; ++g)  // a GRU that resets after multiplies R_n by the delta of q
                own.to_hidden.add(own.deltas, (gru && g == 2 ? 3 : g) * z.blocks, z.H);
            if (before) own.to_second.add(own.deltas, 2 * z.blocks, z.H);
        }
        for (std::size_t g = 0; g < z.G; ++g) to_data.add(own.deltas, g * z.blocks, z.H);
        const auto padded = [&](const T* from, std::size_t n, std::size_t np) -> View<T> {
            View<T> to{scratch.take<T>(B * np), np};
            for (std::size_t j = 0; j < B; ++j)
                for (std::size_t u = 0; u < np; ++u) to(j)[u] = from && u < n ? from[j * n + u] : T(0);
            return to;
        };
        own.carry = padded(run.d_last[0], z.H, z.Hp);
        own.carry_y = jordan ? padded(run.d_last[1], z.K, z.Kp) : View<T>{};
        own.dc = lstm ? padded(run.d_last[1], z.H, z.Hp) : View<T>{};
        own.c0 = lstm ? padded(run.first[1], z.H, z.Hp) : View<T>{};
    }

    // dx = Σ over directions and gates of delta · W
    Columns<T> input;
    if (d_data) {
        expect_to_fill(d_data, N * z.I * sizeof(T));
        input.depth = run_count * z.G * z.H, input.vectors = blocks_of(z.I, width<T>), input.lanes = width<T>;
        input.base = scratch.take<T>(input.size());
    }
    T* const d_rows = d_data ? scratch.take<T>(static_cast<std::size_t>(threads) * d_block * input.vectors * width<T>) : nullptr;
    // the weights' gradients, and room for a chunk of each operand
    Contraction<T> contractions[2 * 4];
    Columns<T> operands[2 * 4];
    std::size_t contraction_count = 0;
    constexpr std::size_t chunk = 512;  // rows: a panel of deltas and one of the operand stay in a core's cache
    for (std::size_t r = 0; r < run_count; ++r) {
        const auto add = [&]<std::size_t count>(Parameter which, Kind kind, std::size_t columns, std::size_t row,
                                                const std::size_t (&gates)[count], std::size_t units,
                                                std::size_t blocks, std::size_t base) {
            if (!runs[r].d_parameters[which]) return;
            Contraction<T>& c = contractions[contraction_count];
            c = {runs + r, shared[r].time, shared[r].deltas, {kind, columns}, 0, {}, units, blocks, runs[r].d_parameters[which] + row * columns};
            for (std::size_t g : gates) c.first_vector[c.gates++] = base + g * blocks;
            Columns<T>& o = operands[contraction_count++];
            o.depth = N < chunk ? N : chunk, o.vectors = blocks_of(columns, width<T>), o.lanes = width<T>;
            o.base = scratch.take<T>(o.size());
        };
        if (lstm && z.G == 4) {
            add(weight_ih, Kind::data, z.I, 0, {0, 1, 2, 3}, z.H, z.blocks, 0);
            add(weight_hh, Kind::h_prev, z.H, 0, {0, 1, 2, 3}, z.H, z.blocks, 0);
        } else if (lstm) {
            add(weight_ih, Kind::data, z.I, 0, {0, 1, 2}, z.H, z.blocks, 0);
            add(weight_hh, Kind::h_prev, z.H, 0, {0, 1, 2}, z.H, z.blocks, 0);
        } else if (before) {
            add(weight_ih, Kind::data, z.I, 0, {0, 1, 2}, z.H, z.blocks, 0);
            add(weight_hh, Kind::h_prev, z.H, 0, {0, 1}, z.H, z.blocks, 0);
            add(weight_hh, Kind::reset_h, z.H, 2 * z.H, {2}, z.H, z.blocks, 0);
        } else if (gru) {
            add(weight_ih, Kind::data, z.I, 0, {0, 1, 2}, z.H, z.blocks, 0);
            add(weight_hh, Kind::h_prev, z.H, 0, {0, 1, 3}, z.H, z.blocks, 0);
        } else {
            add(weight_ih, Kind::data, z.I, 0, {0}, z.H, z.blocks, 0);
            add(weight_hh, Kind::h_prev, z.H, 0, {0}, z.H, z.blocks, 0);
            add(weight_yh, Kind::y_prev, z.K, 0, {0}, z.H, z.blocks, 0);
            add(weight_hy, Kind::hidden, z.H, 0, {0}, z.K, z.k_blocks, z.blocks);
        }
    }

    Barrier all;
    Barrier crews[max_threads];
    run_team(threads, [&](int rank, int size) {
        const FlushDenormals flush;
        for (std::size_t r = 0; r < run_count; ++r) weights[r].fill(spec, runs[r].parameters, rank, size);
        if (d_data)
            for (std::size_t r = 0; r < run_count; ++r)
                pack_straight(runs[r].parameters[weight_ih], z.I, z.G * z.H, z.I, input, r * z.G * z.H, share(input.panels(), rank, size));
        all.wait(size);
        Lane lanes[2];
        const std::size_t count = lanes_of(work, shared[0].time, run_count, rank, size, lanes);
        for (std::size_t l = 0; l < count; ++l) {
            const Lane& lane = lanes[l];
            BackwardShared<T> own = shared[lane.run];
            if (jordan) own.moved += static_cast<std::size_t>(rank) * (gate_pieces + y_pieces);
            with_backward_cell<T>(spec, [&](auto cell) { backward_lane<typename decltype(cell)::type, T>(spec, own, lane, crews[lane.barrier]); });
        }
        all.wait(size);

        for (std::size_t r = 0; r < run_count; ++r) sum_rows(spec, shared[r], rank, size);
        for (std::size_t n0 = 0; n0 < N && contraction_count; n0 += chunk) {
            const std::size_t n1 = N < n0 + chunk ? N : n0 + chunk;
            for (std::size_t c = 0; c < contraction_count; ++c)
                pack_operand(spec, contractions[c], batch.data, n0, n1, operands[c], share(operands[c].panels(), rank, size));
            all.wait(size);
            for (std::size_t c = 0; c < contraction_count; ++c)
                contract(contractions[c], n0, n1, operands[c], share(contractions[c].gates * contractions[c].blocks, rank, size));
            all.wait(size);
        }
        if (d_data) d_of_data(z, to_data, input, d_data, N, d_rows + static_cast<std::size_t>(rank) * d_block * input.vectors * width<T>, rank, size);
    });
}

}  // namespace saiki::SAIKI_TARGET
