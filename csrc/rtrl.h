// Real-time recurrent learning: the influence M = ∂s/∂θ carried forward over a chunk of steps, with the gradient of
// every step's loss read off as it goes.
//
//     M_t = D_t M_{t-1} + F_t,      gradient = Σ_t Σ_sequences δ_t · M_t[output's rows]
//
// Exact: M is cut into panels of a few vectors of columns, which is to say of parameters. A panel is copied into the
// first-level cache and taken through several steps there, so that M passes through memory once for as many steps as
// have their D at hand. D's rows are the rows of the micro-kernel of gemm.h, the panel is its panel. Threads own panels.
//
// Sparse (snap1, eprop): of a parameter only its own unit's rows of M are kept, and every one of its numbers goes its own
// way through the steps in registers.
//
// A column's numbers are computed in one order whatever panels and threads are beside it.
#pragma once

#include "cells/rtrl.h"
#include "memory.h"
#include "plan.h"
#include "team.h"

namespace saiki::SAIKI_TARGET {

/// One parameter's part of M: its columns, seen as rows × columns of the parameter itself.
template <class T>
struct InfluenceBlock {
    Parameter which;  // or initial_state
    std::size_t rows, columns;  // of a vector, of peepholes and of the initial state: one column
    T* m;                       // (B · S, rows · columns), `stride` apart
    std::size_t stride;
    T* gradient;
    std::size_t panels, first_panel;

    std::size_t size() const { return rows * columns; }
};

/// When a row of the parameter enters F: with what is made first, with what is made second, through a GRU's E, or never.
enum class Stage : std::uint8_t { first, second, spread, never };

/// An initial state stands where a parameter would.
constexpr Parameter initial = static_cast<Parameter>(initial_state);

/// What all threads share.
template <class T>
struct InfluenceShared {
    const Spec& spec;
    const Batch<T>& batch;
    const Influence<T>& run;
    StepJacobianPlan<T> plan;
    Returns<T> returns;
    Offsets offsets;
    InfluenceBlock<T> blocks[parameter_count + 1];
    std::size_t block_count = 0, panels = 0;
    const T* zeros;               // max(H, K) in whole vectors, the coefficients of what enters no more
    T* numbers[2];                // of a chunk's step Jacobians, two chunks in turn
    StepJacobian<T>* steps[2];
    std::size_t B, at_once;       // sequences, steps of a chunk

    std::size_t live(std::size_t t) const { return static_cast<std::size_t>(batch.sizes[t]); }
};

/// What the columns of a parameter's rows multiply: a vector of the step, by column; the number 1; or, of peepholes, a
/// number of its own a row.
enum class Factor : std::uint8_t { x, h_prev, reset_h, y_prev, h, one, c_prev, c };

/// Where a step holds the address of it; null: 1.
template <class T>
SAIKI_INLINE const T* const* address_of(const StepJacobian<T>& step, Factor factor) {
    switch (factor) {
        case Factor::x: return &step.x;
        case Factor::h_prev: return &step.h_prev;
        case Factor::reset_h: return &step.reset_h;
        case Factor::y_prev: return &step.y_prev;
        case Factor::h: return &step.h;
        case Factor::c_prev: return &step.c_prev;
        case Factor::c: return &step.c;
        default: return nullptr;
    }
}
template <class T>
SAIKI_INLINE const T* factor_of(const StepJacobian<T>& step, Factor factor) {
    const T* const* const at = address_of(step, factor);
    return at ? *at : nullptr;
}

/// Rows of one parameter that differ by their unit alone: those of one gate.
struct Segment {
    std::size_t from, to;
    std::size_t unit;  // of row `from`; the following rows belong to the following units
    std::size_t e;     // where the coefficient of row `from` stands in StepJacobian::e
    Stage stage;
    Factor factor;
    bool of_y;         // units of a Jordan network's y
};

/// The segment that begins with `row`, up to `end` at most.
template <class T>
Segment segment_at(const InfluenceShared<T>& s, Parameter which, std::size_t row, std::size_t end) {
    const auto& plan = s.plan;
    const std::size_t H = plan.z.H, G = plan.z.G;
    const bool of_y = which == weight_hy || which == bias_y || (which == initial && plan.jordan && row >= H);
    const std::size_t gate = of_y ? 0 : row / H, unit = of_y ? (which == initial ? row - H : row) : row - gate * H;
    Segment one{row, of_y || (gate + 1) * H > end ? end : (gate + 1) * H, unit, row, Stage::first, Factor::one, of_y};
    switch (which) {
        case weight_ih: one.factor = Factor::x; break;
        case weight_hh:
            one.factor = plan.before && gate == 2 ? Factor::reset_h : Factor::h_prev;
            if (plan.gru && gate == 2 && !plan.before) one.e = 3 * H + unit;
            break;
        case weight_ph:
            one.factor = gate + 2 == G ? Factor::c : Factor::c_prev;
            if (gate + 2 == G) one.e = (G - 1) * H + unit;
            break;
        case bias_hn: one.e = 3 * H + unit; break;
        case weight_yh: one.factor = Factor::y_prev; break;
        case weight_hy: one.factor = Factor::h; one.e = H + unit; break;
        case bias_y: one.e = H + unit; break;
        default: break;
    }
    if (which == initial) one.stage = Stage::never;
    else if (of_y || (plan.lstm && (which == weight_ph ? gate + 2 == G : gate + 1 == G))) one.stage = Stage::second;
    else if (plan.before && gate == 0) one.stage = Stage::spread;
    return one;
}

// ----------------------------------------------------------------------------------------------------- the exact rule

/// Rows of a step's matrix times the panel at `panel`, into `out`; both are rows of `vectors` vectors.
template <class T>
SAIKI_INLINE void influence_product(const T* a, std::size_t rows, std::size_t depth, const T* panel, std::size_t vectors, bool start, T* out,
                                    const Piece<T>* more = nullptr) {
    const std::size_t row_size = vectors * width<T>;
    Piece<T> pieces[2] = {{a, depth, 1, depth}, {}};
    if (more) pieces[1] = *more;
    const Tiles tiles(rows, rows_for(vectors));
    std::size_t row = 0;
    for (std::size_t t = 0; t < tiles.count; ++t) {
        const std::size_t height = tiles.rows(t);
        T* const to = out + row * row_size;
        const Tile<T, T> tile{pieces, more ? 2u : 1u, row, panel, 0, start ? to : nullptr, row_size, to, row_size,
                              reinterpret_cast<const char*>(a + (row + height) * depth)};
        computers<T, T>.of[vectors - 1][height - 1](tile);
        row += height;
    }
}

/// A panel's columns first … end of one block, and the numbers that are in it at work.
template <class T>
struct InfluencePanel {
    const InfluenceBlock<T>& block;
    std::size_t first, end, vectors;
    std::size_t row() const { return vectors * width<T>; }
};

/// Add F's entries of one stage.
template <class T>
void add_immediate(const InfluenceShared<T>& s, const StepJacobian<T>& step, const InfluencePanel<T>& panel, Stage stage, T* to) {
    constexpr std::size_t W = width<T>;
    const std::size_t columns = panel.block.columns, panel_row = panel.row(), last = (panel.end - 1) / columns + 1;
    Segment one;
    for (std::size_t begin = panel.first / columns; begin < last; begin = one.to) {
        one = segment_at(s, panel.block.which, begin, last);
        if (one.stage != stage) continue;
        const T *const e = step.e + one.e, *const factor = factor_of(step, one.factor);
        if (columns == 1) {
            const bool own = one.factor == Factor::c || one.factor == Factor::c_prev;
            T* at = to + one.unit * panel_row + begin - panel.first;
            for (std::size_t n = 0; n < one.to - begin; ++n, at += panel_row + 1) *at += factor ? e[n] * factor[own ? one.unit + n : 0] : e[n];
            continue;
        }
        for (std::size_t row = begin; row < one.to; ++row) {
            const std::size_t start = row * columns;
            const std::size_t from = start < panel.first ? panel.first : start, end = start + columns < panel.end ? start + columns : panel.end;
            T* const at = to + (one.unit + row - begin) * panel_row + from - panel.first;
            const T* const z = factor + (from - start);
            const Vec<T> coefficient = broadcast(e[row - begin]);
            for (std::size_t k = 0; k < end - from; k += W) {
                const std::size_t count = end - from - k < W ? end - from - k : W;
                if (count == W) store(at + k, fma(coefficient, load(z + k), load(at + k)));
                else store(at + k, fma(coefficient, load(z + k, count), load(at + k, count)), count);
            }
        }
    }
}

/// What a reset gate's columns multiply, as rows of a panel: unit by unit, zero but in its own columns. Tells the first
/// unit and how many.
template <class T>
Span spread_rows(const InfluenceShared<T>& s, const StepJacobian<T>& step, const InfluencePanel<T>& panel, T* to) {
    const std::size_t columns = panel.block.columns, from = panel.first / columns;
    const Segment one = segment_at(s, panel.block.which, from, (panel.end - 1) / columns + 1);
    if (one.stage != Stage::spread) return {0, 0};
    const T* const z = factor_of(step, one.factor);
    for (std::size_t k = 0; k < (one.to - from) * panel.row(); ++k) to[k] = 0;
    for (std::size_t row = from; row < one.to; ++row)
        for (std::size_t k = 0; k < columns; ++k) {
            const std::size_t column = row * columns + k;
            if (column >= panel.first && column < panel.end) to[(row - from) * panel.row() + column - panel.first] = z ? z[k] : T(1);
        }
    return {from, one.to};
}

/// gradient += Σ_u δ_u M[u], in two sums that do not wait for one another.
template <class T, std::size_t vectors>
void read_off(const T* delta, std::size_t count, const T* m, T* gradient) {
    constexpr std::size_t W = width<T>;
    Vec<T> even[vectors], odd[vectors];
    for (std::size_t v = 0; v < vectors; ++v) even[v] = load(gradient + v * W), odd[v] = Vec<T>{};
    std::size_t u = 0;
    for (; u + 2 <= count; u += 2, m += 2 * vectors * W) {
        const Vec<T> a = broadcast(delta[u]), b = broadcast(delta[u + 1]);
        for (std::size_t v = 0; v < vectors; ++v) even[v] = fma(a, load(m + v * W), even[v]);
        for (std::size_t v = 0; v < vectors; ++v) odd[v] = fma(b, load(m + (vectors + v) * W), odd[v]);
    }
    if (u < count)
        for (std::size_t v = 0; v < vectors; ++v) even[v] = fma(broadcast(delta[u]), load(m + v * W), even[v]);
    for (std::size_t v = 0; v < vectors; ++v) store(gradient + v * W, even[v] + odd[v]);
}

/// to[u] = scale[u] · from[u] for the rows of a panel.
template <class T>
SAIKI_INLINE void scale_rows(const T* scale, std::size_t rows, const T* from, std::size_t row, T* to) {
    for (std::size_t u = 0; u < rows; ++u) {
        const Vec<T> by = broadcast(scale[u]);
        for (std::size_t k = 0; k < row; k += width<T>) store(to + u * row + k, by * load(from + u * row + k));
    }
}

/// Room that a thread needs for a panel: the rows of s, twice where a product reads them, the spread rows, and a gradient.
template <class T>
std::size_t panel_room(const StepJacobianPlan<T>& plan) {
    const std::size_t S = plan.z.H + (plan.jordan ? plan.z.K : 0), row = panel_vectors * width<T>;
    const std::size_t spread = plan.before ? (plan.z.H < row ? plan.z.H : row) : 0;
    return (2 * (S + spread) + (plan.lstm ? plan.z.H : 0) + 1) * row;
}

/// One panel through a chunk of steps t0 … t1 of all sequences.
template <class T>
void exact_panel(const InfluenceShared<T>& s, const StepJacobian<T>* steps, std::size_t t0, std::size_t t1, const InfluencePanel<T>& panel,
                 T* room) {
    constexpr std::size_t W = width<T>;
    const auto& plan = s.plan;
    const InfluenceBlock<T>& block = panel.block;
    const std::size_t H = plan.z.H, K = plan.jordan ? plan.z.K : 0, row = panel.row(), columns = panel.end - panel.first;
    const std::size_t dense_rows = H + K, S = dense_rows + (plan.lstm ? H : 0);
    const std::size_t spread = plan.before ? (H < panel_vectors * W ? H : panel_vectors * W) : 0;
    T *now = room, *next = now + (dense_rows + spread) * row, *const c = next + (dense_rows + spread) * row, *const gradient = c + (plan.lstm ? H : 0) * row;
    const auto rows_of = [&](std::size_t u) { return u < dense_rows ? now + u * row : c + (u - dense_rows) * row; };
    for (std::size_t v = 0; v < panel.vectors; ++v) {
        const std::size_t left = columns - v * W;
        store(gradient + v * W, load_units(block.gradient + panel.first + v * W, left < W ? left : W));
    }
    for (std::size_t b = 0; b < s.live(t0); ++b) {
        T* const m = block.m + b * S * block.stride + panel.first;
        for (std::size_t u = 0; u < S; ++u) {
            const T* from = m + u * block.stride;
            for (std::size_t k = 0; k < 2 * row; k += 64 / sizeof(T)) __builtin_prefetch(from + 2 * block.stride + k, 0, 3);
            T* const to = rows_of(u);
            for (std::size_t v = 0; v < panel.vectors; ++v) {
                const std::size_t left = columns - v * W;
                store(to + v * W, load_units(from + v * W, left < W ? left : W));
            }
        }
        for (std::size_t t = t0; t < t1 && s.live(t) > b; ++t) {
            const StepJacobian<T>& step = steps[(t - t0) * s.B + b];
            if (plan.lstm) {
                scale_rows(step.keep, H, c, row, c);
                add_immediate(s, step, panel, Stage::first, c);
                influence_product(step.dense, H, H, now, panel.vectors, true, c);
                scale_rows(step.pass, H, c, row, next);
                add_immediate(s, step, panel, Stage::second, next);
                influence_product(step.second, H, H, now, panel.vectors, true, next);
            } else {
                const std::size_t from_h = plan.depth - K;
                Span units{0, 0};
                if (plan.before) units = spread_rows(s, step, panel, now + H * row);
                const Piece<T> through{step.spread + units.from, H, 1, units.count()};
                influence_product(step.dense, H, plan.depth, now + (from_h ? 0 : H) * row, panel.vectors, false, next,
                                  units.count() ? &through : nullptr);
                add_immediate(s, step, panel, Stage::first, next);
                if (plan.jordan) {
                    influence_product(step.second, K, H, next, panel.vectors, false, next + H * row);
                    add_immediate(s, step, panel, Stage::second, next + H * row);
                }
            }
            T* const done = next;
            next = now;
            now = done;
            if (!step.delta) continue;
            const T* const out = now + (plan.jordan ? H : 0) * row;
            const std::size_t count = plan.jordan ? K : H;
            switch (panel.vectors) {
                case 1: read_off<T, 1>(step.delta, count, out, gradient); break;
                case 2: read_off<T, 2>(step.delta, count, out, gradient); break;
                case 3: read_off<T, 3>(step.delta, count, out, gradient); break;
                default: read_off<T, 4>(step.delta, count, out, gradient); break;
            }
        }
        for (std::size_t u = 0; u < S; ++u) {
            const T* const from = rows_of(u);
            for (std::size_t v = 0; v < panel.vectors; ++v) {
                const std::size_t left = columns - v * W;
                store_units(m + u * block.stride + v * W, load(from + v * W), left < W ? left : W);
            }
        }
    }
    for (std::size_t v = 0; v < panel.vectors; ++v) {
        const std::size_t left = columns - v * W;
        store_units(block.gradient + panel.first + v * W, load(gradient + v * W), left < W ? left : W);
    }
}

// ---------------------------------------------------------------------------------------------------- the sparse rules

/// The entries that a segment's units need of a step, from one of its rows on; and the way to the next step, since each
/// step's numbers lie equally far behind those of the one before.
template <class T>
struct Walk {
    const T *e, *self, *second, *keep, *pass, *others;
    const T *const *z, *const *delta;  // steps hold these addresses
    std::size_t numbers, e_numbers, addresses, delta_addresses, unit;
    bool errors;

    SAIKI_INLINE Walk(const InfluenceShared<T>& s, const StepJacobian<T>& step, const Segment& one, std::size_t row) {
        const std::size_t behind = row - one.from, u = one.unit + behind;
        numbers = s.B * s.plan.numbers, e_numbers = one.stage == Stage::never ? 0 : numbers;
        addresses = s.B * (sizeof(StepJacobian<T>) / sizeof(T*)), unit = u;
        e = one.stage == Stage::never ? s.zeros : step.e + one.e + behind;
        self = (one.of_y ? step.self_second : step.self) + u;
        second = step.self_second + u, keep = step.keep + u, pass = step.pass + u, others = step.others + u;
        z = address_of(step, one.factor);
        errors = step.delta != nullptr;
        delta = !errors ? &s.zeros : s.plan.jordan && !one.of_y ? &step.through : &step.delta;
        delta_addresses = errors ? addresses : 0;
    }
    SAIKI_INLINE void next() {
        e += e_numbers;
        self += numbers, second += numbers, keep += numbers, pass += numbers, others += numbers;
        if (z) z += addresses;
        delta += delta_addresses;
    }
};

/// `rows` rows of a segment from `row` on, `vectors` vectors of their columns from `column` on, of which the last has
/// `last` numbers, through a chunk of steps of sequence b. `two`: the unit's states are h and c; then `special`: its rows
/// enter with h. Otherwise `special`: they act on the other units, too.
template <class T, std::size_t rows, std::size_t vectors, bool two, bool special>
void sparse_rows(const InfluenceShared<T>& s, const StepJacobian<T>* steps, std::size_t count_of_steps, const InfluenceBlock<T>& block,
                 const Segment& one, std::size_t b, std::size_t row, std::size_t column, std::size_t last) {
    constexpr std::size_t W = width<T>;
    const std::size_t place = row * block.columns + column;
    T* const m = block.m + b * (two ? 2 : 1) * block.stride + place;
    Vec<T> h[rows][vectors], c[rows][vectors], gradient[rows][vectors];
    const auto count = [&](std::size_t v) { return v + 1 < vectors ? W : last; };
#pragma GCC unroll 4
    for (std::size_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) {
            const std::size_t at = r * block.columns + v * W;
            h[r][v] = load_units(m + at, count(v));
            if constexpr (two) c[r][v] = load_units(m + block.stride + at, count(v));
            gradient[r][v] = load_units(block.gradient + place + at, count(v));
        }
    Walk<T> own(s, steps[b], one, row);
    for (std::size_t t = 0; t < count_of_steps; ++t, own.next()) {
        const T* const factor = *own.z + column;
        Vec<T> z[vectors];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) z[v] = load_units(factor + v * W, count(v));
#pragma GCC unroll 4
        for (std::size_t r = 0; r < rows; ++r) {
            const Vec<T> self = broadcast(own.self[r]), e = broadcast(own.e[r]);
            if constexpr (two) {
                const Vec<T> keep = broadcast(own.keep[r]), pass = broadcast(own.pass[r]), second = broadcast(own.second[r]);
#pragma GCC unroll 4
                for (std::size_t v = 0; v < vectors; ++v) {
                    const Vec<T> enters = e * z[v];
                    if constexpr (special) {
                        c[r][v] = fma(keep, c[r][v], self * h[r][v]);
                        h[r][v] = fma(pass, c[r][v], fma(second, h[r][v], enters));
                    } else {
                        c[r][v] = fma(keep, c[r][v], fma(self, h[r][v], enters));
                        h[r][v] = fma(pass, c[r][v], second * h[r][v]);
                    }
                }
            } else {
#pragma GCC unroll 4
                for (std::size_t v = 0; v < vectors; ++v) h[r][v] = fma(self, h[r][v], e * z[v]);
            }
            const Vec<T> d = broadcast((*own.delta)[own.unit + r]);
#pragma GCC unroll 4
            for (std::size_t v = 0; v < vectors; ++v) gradient[r][v] = fma(d, h[r][v], gradient[r][v]);
            if constexpr (!two && special)
#pragma GCC unroll 4
                for (std::size_t v = 0; v < vectors; ++v) gradient[r][v] = fma(broadcast(own.others[r]), z[v], gradient[r][v]);
        }
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) {
            const std::size_t at = r * block.columns + v * W;
            store_units(m + at, h[r][v], count(v));
            if constexpr (two) store_units(m + block.stride + at, c[r][v], count(v));
            if (own.errors) store_units(block.gradient + place + at, gradient[r][v], count(v));
        }
}

/// The same of a parameter with one number a row: rows are the lanes.
template <class T, bool two>
void sparse_vector(const InfluenceShared<T>& s, const StepJacobian<T>* steps, std::size_t count_of_steps, const InfluenceBlock<T>& block,
                   const Segment& one, std::size_t b, std::size_t row, std::size_t count) {
    const bool output = one.stage == Stage::second, spread = one.stage == Stage::spread;
    const bool by_row = one.factor == Factor::c || one.factor == Factor::c_prev;
    T* const m = block.m + b * (two ? 2 : 1) * block.stride + row;
    Vec<T> h = load_units(m, count), c{}, gradient = load_units(block.gradient + row, count);
    if constexpr (two) c = load_units(m + block.stride, count);
    Walk<T> own(s, steps[b], one, row);
    for (std::size_t t = 0; t < count_of_steps; ++t, own.next()) {
        const Vec<T> z = !own.z ? broadcast(T(1)) : by_row ? load_units(*own.z + own.unit, count) : broadcast(**own.z);
        const Vec<T> enters = load_units(own.e, count) * z, self = load_units(own.self, count);
        if constexpr (two) {
            const Vec<T> keep = load_units(own.keep, count), pass = load_units(own.pass, count), second = load_units(own.second, count);
            c = output ? fma(keep, c, self * h) : fma(keep, c, fma(self, h, enters));
            h = output ? fma(pass, c, fma(second, h, enters)) : fma(pass, c, second * h);
        } else {
            h = fma(self, h, enters);
        }
        if (!own.errors) continue;
        gradient = fma(load_units(*own.delta + own.unit, count), h, gradient);
        if (!two && spread) gradient = fma(load_units(own.others, count), z, gradient);
    }
    store_units(m, h, count);
    if constexpr (two) store_units(m + block.stride, c, count);
    store_units(block.gradient + row, gradient, count);
}

/// Some rows of a parameter, through a chunk of steps of all sequences.
template <class T, bool two>
void sparse_block(const InfluenceShared<T>& s, const StepJacobian<T>* steps, std::size_t t0, std::size_t t1, const InfluenceBlock<T>& block, Span rows) {
    constexpr std::size_t W = width<T>;
    for (std::size_t b = 0; b < s.live(t0); ++b) {
        std::size_t count = 0;
        while (t0 + count < t1 && s.live(t0 + count) > b) ++count;
        Segment one;
        for (std::size_t row = rows.from; row < rows.to; row = one.to) {
            one = segment_at(s, block.which, row, rows.to);
            if (block.columns == 1) {
                for (std::size_t u = row; u < one.to; u += W)
                    sparse_vector<T, two>(s, steps, count, block, one, b, u, one.to - u < W ? one.to - u : W);
                continue;
            }
            // eight vectors go together, so that no multiply-add waits for the one before: the fewer across, the more rows
            const std::size_t columns = block.columns;
            const auto down = [&]<std::size_t height, std::size_t across>(std::size_t v, std::size_t last) {
                const auto with = [&]<bool special>() {
                    std::size_t u = row;
                    for (; u + height <= one.to; u += height) sparse_rows<T, height, across, two, special>(s, steps, count, block, one, b, u, v * W, last);
                    for (; u < one.to; ++u) sparse_rows<T, 1, across, two, special>(s, steps, count, block, one, b, u, v * W, last);
                };
                if (one.stage == (two ? Stage::second : Stage::spread)) with.template operator()<true>();
                else with.template operator()<false>();
            };
            for (std::size_t v = 0; v * W < columns;) {
                const std::size_t left = blocks_of(columns - v * W, W), rest = columns - (v + left - 1) * W;
                if (left >= 4) down.template operator()<2, 4>(v, left == 4 ? rest : W), v += 4;
                else if (left >= 2) down.template operator()<4, 2>(v, left == 2 ? rest : W), v += 2;
                else down.template operator()<4, 1>(v, rest), v += 1;
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------------ the whole chunk

/// Where a step of one sequence finds what it needs, and what of it is computed.
template <class T>
void prepare(const InfluenceShared<T>& s, std::size_t t, std::size_t b, StepJacobian<T>& step) {
    const auto& z = s.plan.z;
    const Influence<T>& run = s.run;
    const std::size_t n = s.offsets[t] + b, saved_row = saved_columns<T>(s.spec);
    const T* const before_saved = t ? run.saved + (s.offsets[t - 1] + b) * saved_row : nullptr;
    const T* const before_output = t ? run.output + (s.offsets[t - 1] + b) * run.output_stride : nullptr;
    StepOf<T> of{run.saved + n * saved_row, run.output + n * run.output_stride, nullptr, nullptr, nullptr};
    const T* const first_h = run.first[0] + b * z.H;
    if (s.plan.jordan) {
        of.h_prev = t ? before_saved : first_h;
        of.y_prev = t ? before_output : run.first[1] + b * z.K;
    } else {
        of.h_prev = t ? before_output : first_h;
        if (s.plan.lstm) of.c_prev = t ? before_saved + z.G * z.Hp : run.first[1] + b * z.H;
    }
    step.x = s.batch.data + n * z.I;
    step.h_prev = of.h_prev, step.y_prev = of.y_prev;
    step.h = s.plan.jordan ? of.saved : of.output;
    step.delta = run.d_output ? run.d_output + n * run.d_output_stride : nullptr;
    fill_step_jacobian(s.spec, s.plan, run.approximation, run.parameters, s.returns, of, step);
}

/// Columns of M that a panel starts and ends with.
template <class T>
InfluencePanel<T> panel_at(const InfluenceShared<T>& s, std::size_t p) {
    constexpr std::size_t wide = panel_vectors * width<T>;
    std::size_t k = 0;
    while (p >= s.blocks[k].first_panel + s.blocks[k].panels) ++k;
    const InfluenceBlock<T>& block = s.blocks[k];
    const std::size_t first = (p - block.first_panel) * wide, end = block.size() < first + wide ? block.size() : first + wide;
    return {block, first, end, blocks_of(end - first, width<T>)};
}

template <class T>
void influence(const Spec& spec, const Batch<T>& batch, const Influence<T>& run, int threads) {
    Scratch scratch;
    const StepJacobianPlan<T> plan(spec, run.approximation);
    InfluenceShared<T> s{spec, batch, run, plan, Returns<T>(plan), {}, {}, 0, 0, nullptr, {}, {}, 0, 0};
    std::size_t P = 0;
    for (std::size_t k = 0; k <= initial_state; ++k) {
        if (!run.influence[k]) continue;
        const auto which = static_cast<Parameter>(k);
        const Shape shape = which == initial ? Shape{influence_rows(spec, Approximation::exact), 0} : parameter_shape(spec, which);
        const bool one = shape.columns == 0 || which == weight_ph;
        InfluenceBlock<T>& block = s.blocks[s.block_count++];
        block = {which, shape.rows * (which == weight_ph ? shape.columns : 1), one ? 1 : shape.columns,
                 run.influence[k], run.influence_stride[k], run.gradient[k], 0, s.panels};
        block.panels = blocks_of(block.size(), panel_vectors * width<T>);
        s.panels += block.panels;
        P += block.size();
        for (std::size_t n = 0; n < block.size(); ++n) block.gradient[n] = 0;
    }
    if (!batch.steps) return;
    s.B = s.live(0);
    s.offsets = Offsets(batch.sizes, batch.steps, scratch);

    const std::size_t most = (plan.z.Hp > plan.z.Kp ? plan.z.Hp : plan.z.Kp) + width<T>;
    T* const zeros = scratch.take<T>(most);
    for (std::size_t n = 0; n < most; ++n) zeros[n] = 0;
    s.zeros = zeros;
    s.returns.back = scratch.take<T>(s.returns.rows * s.returns.columns);
    s.returns.fill(plan, run.parameters);

    // as many steps at once as leave their matrices in half of a core's second-level cache
    const std::size_t cache = std::size_t(3) << 18, bytes = s.B * plan.numbers * sizeof(T);
    s.at_once = cache / (bytes + 1);
    if (s.at_once < 1) s.at_once = 1;
    const std::size_t most_steps = plan.exact ? 64 : 32;
    if (s.at_once > most_steps) s.at_once = most_steps;
    if (s.at_once > batch.steps) s.at_once = batch.steps;
    const bool turns = s.at_once < batch.steps;
    for (int k = 0; k < (turns ? 2 : 1); ++k) {
        s.numbers[k] = scratch.take<T>(s.at_once * s.B * plan.numbers);
        s.steps[k] = scratch.take<StepJacobian<T>>(s.at_once * s.B);
        for (std::size_t n = 0; n < s.at_once * s.B; ++n) plan.place(s.steps[k][n], s.numbers[k] + n * plan.numbers);
    }

    const double dense = plan.exact ? static_cast<double>(plan.z.H * (plan.depth + (plan.lstm ? plan.z.H : plan.jordan ? plan.z.K : 0))) : 8.0;
    const double operations = dense * static_cast<double>(P) * static_cast<double>(batch.rows);
    if (threads > max_threads) threads = max_threads;
    if (operations < 1e6) threads = 1;  // some ten microseconds of work
    const std::size_t room = plan.exact ? panel_room(plan) : 0;
    T* const rooms = scratch.take<T>(static_cast<std::size_t>(threads) * room);

    Barrier barrier;
    run_team(threads, [&](int rank, int size) {
        const FlushDenormals flush;
        T* const mine = rooms + static_cast<std::size_t>(rank) * room;
        for (std::size_t t0 = 0, turn = 0; t0 < batch.steps; t0 += s.at_once, turn ^= 1) {
            const std::size_t t1 = t0 + s.at_once < batch.steps ? t0 + s.at_once : batch.steps;
            StepJacobian<T>* const steps = s.steps[turns ? turn : 0];
            const Span prepared = share((t1 - t0) * s.B, rank, size);
            for (std::size_t n = prepared.from; n < prepared.to; ++n)
                if (n % s.B < s.live(t0 + n / s.B)) prepare(s, t0 + n / s.B, n % s.B, steps[n]);
            barrier.wait(size);
            if (plan.exact) {
                const Span panels = share(s.panels, rank, size);
                for (std::size_t p = panels.from; p < panels.to; ++p) exact_panel(s, steps, t0, t1, panel_at(s, p), mine);
            } else {
                for (std::size_t k = 0; k < s.block_count; ++k) {
                    const Span rows = share(s.blocks[k].rows, rank, size);
                    if (plan.lstm) sparse_block<T, true>(s, steps, t0, t1, s.blocks[k], rows);
                    else sparse_block<T, false>(s, steps, t0, t1, s.blocks[k], rows);
                }
            }
        }
    });
}

}  // namespace saiki::SAIKI_TARGET
