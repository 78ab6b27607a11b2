// Connectionist temporal classification: the sum over all alignments of a target, and its gradient.
//
// A target l_1 … l_L has 2L + 1 states: a blank, and each label with the blank behind it. With u_t(k) = e^(a_t(k) - max a_t)
//
//     α_t(label j)        = u_t(l_j) (α_{t-1}(label j) + α_{t-1}(blank before) + [l_j ≠ l_{j-1}] α_{t-1}(label j-1))
//     α_t(blank behind j) = u_t(␣)   (α_{t-1}(blank behind j) + α_{t-1}(label j))
//     loss = Σ_t ln Σ_k u_t(k) - ln (α_T(label L) + α_T(blank behind L))
//
// and β the same backwards, without u of its own step, so that γ = α β / Σ α β is the share of the paths that go through
// a state. The softmax's divisors are the same for all paths of an utterance: they come in only where the loss is told.
//
// Numbers are m 2^e with an exponent of their own in every lane (wide.h): nothing underflows however long or unlikely the
// utterance is, and one step costs some 40 instructions for as many states as two vectors hold, where logarithms would
// cost hundreds and 1e-3 of the gradient in float32. A mantissa is brought back to [1, 2) every 16 steps, in which it can
// grow by 2^34 and shrink by 2^-8.
//
// At each step only states that can be reached from the start, and from which the end can be reached, are computed.
//
// Every utterance is computed by one thread, in one order; so threads and neighbours do not show in the numbers.
#pragma once

#include "kernels.h"
#include "layout.h"
#include "memory.h"
#include "team.h"
#include "wide.h"

namespace saiki::SAIKI_TARGET {

/// A logit this far below its row's largest, or further, has probability 0.
constexpr double ctc_least = wide_least;
/// Steps from one return of the mantissas to the next; a power of two.
constexpr std::size_t ctc_stretch = 16;

// --- a row of the work -----------------------------------------------------------------------------------------------
// For each row of logits: its largest, the reciprocal of Σ_k u, a(␣) - max, Σ_k u; then, a vector further on, a(l_j) - max
// for each label of its utterance. The way back puts γ(␣) and γ(label j) in the place of the differences.

enum CtcColumn : std::size_t { ctc_max, ctc_inverse, ctc_blank, ctc_sum, ctc_head };

template <class T>
constexpr std::size_t ctc_labels = width<T> < ctc_head ? ctc_head : width<T>;  // where the labels begin

template <class T>
std::size_t ctc_columns(std::size_t labels) {
    return ctc_labels<T> + blocks_of(labels, width<T>) * width<T>;
}

template <class T>
void ctc_row(const T* a, std::size_t K, std::int32_t blank, const std::int32_t* labels, std::size_t L, T* row) {
    constexpr std::size_t W = width<T>;
    constexpr T none = -__builtin_inf();
    Vec<T> tops[4];
    for (auto& top : tops) top = broadcast<T>(none);
    std::size_t k = 0;
    for (; k + 4 * W <= K; k += 4 * W)
        for (std::size_t v = 0; v < 4; ++v) {
            const Vec<T> x = load(a + k + v * W);
            tops[v] = x > tops[v] ? x : tops[v];
        }
    for (std::size_t v = 0; k < K; k += W, ++v) {
        const Vec<T> x = k + W <= K ? load(a + k) : load_or<T>(a + k, K - k, none);
        tops[v] = x > tops[v] ? x : tops[v];
    }
    for (std::size_t v = 0; v < 2; ++v) tops[v] = tops[v + 2] > tops[v] ? tops[v + 2] : tops[v];
    const T max = largest_lane<T>(tops[1] > tops[0] ? tops[1] : tops[0]);

    const Vec<T> most = broadcast<T>(max);
    Vec<T> sums[4] = {};
    k = 0;
    for (; k + 4 * W <= K; k += 4 * W)
        for (std::size_t v = 0; v < 4; ++v) {
            __builtin_prefetch(a + K + k + v * W);  // the next row comes while this one is worked on; behind the last, nothing
            sums[v] = sums[v] + exp_below<T>(load(a + k + v * W) - most);
        }
    for (std::size_t v = 0; k < K; k += W, ++v)
        sums[v] = sums[v] + exp_below<T>((k + W <= K ? load(a + k) : load_or<T>(a + k, K - k, none)) - most);
    const T all = sum_of_lanes<T>((sums[0] + sums[1]) + (sums[2] + sums[3]));

    row[ctc_max] = max;
    row[ctc_inverse] = 1 / all;
    row[ctc_blank] = a[blank] - max;
    row[ctc_sum] = all;
    T* const to = row + ctc_labels<T>;
    for (std::size_t j = 0; j < L; ++j) to[j] = a[labels[j]] - max;
    for (std::size_t j = L; j % W; ++j) to[j] = none;
}

// --- an utterance ----------------------------------------------------------------------------------------------------

/// Where things stand for one utterance, and the memory of the thread that works on it.
template <class T>
struct CtcUtterance {
    std::size_t T_, L, vectors;
    const std::size_t* starts;  // row of each step's first utterance
    std::size_t place;          // this one's place among them
    T* work;
    std::size_t columns;
    T* alpha;       // T_ rows (or 2) of `stride` numbers: labels m, labels e, blanks m, blanks e, in whole vectors
    T* beta;        // one such row, and one of zeros
    Lone<T>* first; // α of the blank before all labels, at each step
    const Integer<T>* follows;  // lane j: all ones if l_j ≠ l_{j-1}; one vector more than there are labels

    std::size_t stride() const { return 4 * vectors * width<T>; }
    T* row(std::size_t t) const { return work + (starts[t] + place) * columns; }
    /// Of the labels: from which the end can be reached, and that can be reached from the start.
    std::size_t lowest(std::size_t t) const { return L + t > T_ ? L + t - T_ : 0; }
    std::size_t end(std::size_t t) const { return t + 1 < L ? t + 1 : L; }
    std::size_t begin_vector(std::size_t t) const { return lowest(t) / width<T>; }
    std::size_t end_vector(std::size_t t) const { return blocks_of(end(t), width<T>); }

    SAIKI_INLINE Wide<T> load_label(const T* from, std::size_t v) const { return load_wide(from, v); }
    SAIKI_INLINE Wide<T> load_blank(const T* from, std::size_t v) const { return load_wide(from, 2 * vectors + v); }
    SAIKI_INLINE void store_label(T* to, std::size_t v, Wide<T> a) const { store_wide(to, v, a); }
    SAIKI_INLINE void store_blank(T* to, std::size_t v, Wide<T> a) const { store_wide(to, 2 * vectors + v, a); }
    /// One lane.
    Lone<T> lane(const T* from, std::size_t first_vector, std::size_t j) const {
        Lone<T> a;
        a.m = from[first_vector * width<T> + j];
        __builtin_memcpy(&a.e, from + (first_vector + vectors) * width<T> + j, sizeof a.e);
        return a;
    }

    /// Mantissas back to [1, 2), in some vectors of a row.
    void normalise(T* of, std::size_t from, std::size_t to) const {
        for (std::size_t v = from; v < to; ++v) {
            store_label(of, v, normalised<T>(load_label(of, v)));
            store_blank(of, v, normalised<T>(load_blank(of, v)));
        }
    }

    /// α, and Σ α of the last step. With `keep` all of α stays, otherwise the last two steps.
    Lone<T> forward(bool keep) const {
        constexpr Lanes<T> lanes{};
        const Bits<T> absent = integers<T>(WideLimits<T>::absent);
        Lone<T> start;  // α of the blank before all labels
        start.m = 1, start.e = 0;
        for (std::size_t t = 0; t < T_; ++t) {
            const T* const given = row(t);
            T* const now = alpha + (keep ? t : t & 1) * stride();
            const T* const before = t ? alpha + (keep ? t - 1 : (t - 1) & 1) * stride() : nullptr;
            const std::size_t known_from = t ? begin_vector(t - 1) : 0, known = t ? end_vector(t - 1) : 0;
            const std::size_t from = begin_vector(t), to = end_vector(t);
            const Wide<T> u_blank = exp_wide<T>(broadcast<T>(given[ctc_blank]));
            Wide<T> label_carry = nothing<T>(), blank_carry = nothing<T>();
            if (from == 0) blank_carry = spread<T>(start.m, start.e);
            else if (from > known_from) label_carry = load_label(before, from - 1), blank_carry = load_blank(before, from - 1);
            for (std::size_t v = from; v < to; ++v) {
                Wide<T> label = nothing<T>(), blank = label;
                if (v < known) label = load_label(before, v), blank = load_blank(before, v);
                Wide<T> label_before = lanes_before<T>(label_carry, label, lanes);
                const Wide<T> blank_before = lanes_before<T>(blank_carry, blank, lanes);
                label_carry = label, blank_carry = blank;
                label_before.e = load_integers<T>(follows + v * width<T>) ? label_before.e : absent;
                const Wide<T> u = exp_wide<T>(load(given + ctc_labels<T> + v * width<T>));
                store_label(now, v, product<T>(sum<T>(label, blank_before, label_before), u));
                store_blank(now, v, product<T>(sum<T>(blank, label), u_blank));
            }
            start = product<T>(start, {u_blank.m[0], u_blank.e[0]});
            if (keep) first[t] = start;
            if ((t & (ctc_stretch - 1)) == ctc_stretch - 1) normalise(now, from, to);
        }
        if (!L) return start;
        const T* const last = alpha + (keep ? T_ - 1 : (T_ - 1) & 1) * stride();
        return normalised<T>(sum<T>(lane(last, 0, L - 1), lane(last, 2 * vectors, L - 1)));
    }

    /// β, and γ in the rows of the work; of the blanks all in one. `total` is Σ α of the last step.
    /// If `posteriors` is there γ of every state goes to its rows, `apart` from one to the next.
    void backward(Lone<T> total, T* posteriors, std::size_t apart) const {
        constexpr Lanes<T> lanes{};
        constexpr std::size_t W = width<T>;
        const Bits<T> absent = integers<T>(WideLimits<T>::absent);
        const Vec<T> inverse = broadcast<T>(1 / total.m);
        const auto share = [&](Wide<T> a, Wide<T> b) {
            return scaled<T>(a.m * b.m * inverse, a.e + b.e - total.e);
        };
        // what stands in `beta` is β_{t+1} u_{t+1}; behind the last step there is one way to go on from the last blank
        for (std::size_t v = 0; v < vectors; ++v) store_label(beta, v, nothing<T>()), store_blank(beta, v, nothing<T>());
        Lone<T> start;
        if (L) {
            const Integer<T> zero = 0;
            beta[2 * vectors * W + L - 1] = 1;
            __builtin_memcpy(beta + 3 * vectors * W + L - 1, &zero, sizeof zero);
        } else {
            start.m = 1, start.e = 0;
        }
        for (std::size_t t = T_; t-- > 0;) {
            T* const given = row(t);
            const T* const now = alpha + t * stride();
            const std::size_t from = begin_vector(t), to = end_vector(t);
            const Wide<T> u_blank = exp_wide<T>(broadcast<T>(given[ctc_blank]));
            if (L) start = sum<T>(start, lane(beta, 0, 0));
            const T through_start = scaled<T>(first[t].m * start.m / total.m, first[t].e + start.e - total.e);
            Wide<T> carry = to < vectors ? load_label(beta, to) : nothing<T>();
            Vec<T> blanks{};
            for (std::size_t v = to; v-- > from;) {
                const Wide<T> label = load_label(beta, v), blank = load_blank(beta, v);
                const Wide<T> next = next_lanes<T>(label, carry, lanes);
                carry = label;
                const Bits<T> leads = load_integers<T>(follows + v * W + 1);
                const Wide<T> jumped = {next.m, leads ? next.e : absent};
                const Wide<T> b_label = sum<T>(label, blank, jumped), b_blank = sum<T>(blank, next);
                const Vec<T> of_label = share(load_label(now, v), b_label), of_blank = share(load_blank(now, v), b_blank);
                const Wide<T> u = exp_wide<T>(load(given + ctc_labels<T> + v * W));
                store_label(beta, v, product<T>(b_label, u));
                store_blank(beta, v, product<T>(b_blank, u_blank));
                store(given + ctc_labels<T> + v * W, of_label);
                blanks = blanks + of_blank;
                if (posteriors) {
                    T* const to_row = posteriors + (starts[t] + place) * apart;
                    for (std::size_t i = 0, j = v * W; i < W && j < L; ++i, ++j)
                        to_row[2 * j + 1] = of_label[i], to_row[2 * j + 2] = of_blank[i];
                }
            }
            given[ctc_blank] = sum_of_lanes<T>(blanks) + through_start;
            if (posteriors) posteriors[(starts[t] + place) * apart] = through_start;
            start = product<T>(start, {u_blank.m[0], u_blank.e[0]});
            if ((t & (ctc_stretch - 1)) == 0) normalise(beta, from, to);
        }
    }

    /// Σ_t ln Σ_k u_t(k)
    double log_divisors() const {
        double sum = 0, product = 1;
        for (std::size_t t = 0; t < T_; ++t) {
            product *= static_cast<double>(row(t)[ctc_sum]);
            if ((t & 15) == 15) sum += log_of(product), product = 1;  // a sum has at most 24 bits
        }
        return sum + log_of(product);
    }

private:
    SAIKI_INLINE Wide<T> load_wide(const T* from, std::size_t v) const {
        Wide<T> a;
        a.m = load(from + v * width<T>);
        __builtin_memcpy(&a.e, from + (v + vectors) * width<T>, vector_bytes);
        return a;
    }
    SAIKI_INLINE void store_wide(T* to, std::size_t v, Wide<T> a) const {
        store(to + v * width<T>, a.m);
        __builtin_memcpy(to + (v + vectors) * width<T>, &a.e, vector_bytes);
    }
};

// --- a batch ---------------------------------------------------------------------------------------------------------

/// The next piece of work for whoever asks.
inline std::size_t take_next(std::size_t& counter, std::size_t count) {
    return __atomic_fetch_add(&counter, count, __ATOMIC_RELAXED);
}

/// Threads worth having for so many numbers gone through.
inline int ctc_threads(int threads, double numbers) {
    constexpr double worth = 3e4;  // some ten microseconds
    return numbers < worth * threads ? 1 + static_cast<int>(numbers / worth) : threads;
}

/// How many steps go together, where each is `rows` rows of K.
inline std::size_t ctc_steps_at_once(std::size_t steps, std::size_t row_numbers, int size) {
    constexpr std::size_t fewest = 8192;  // numbers
    const std::size_t by_size = 1 + fewest / (row_numbers + 1), by_team = 1 + steps / (4 * static_cast<std::size_t>(size));
    return by_size > by_team ? by_size : by_team;
}

/// Rows of the work for every row of logits, by steps.
template <class T>
void ctc_rows(const Ctc<T>& c, T* work, std::size_t columns, std::size_t& counter, int size) {
    const std::size_t at_once = ctc_steps_at_once(c.steps, c.batch * (c.classes + 4 * c.longest), size);
    for (std::size_t t; (t = take_next(counter, at_once)) < c.steps;)
        for (const std::size_t end = t + at_once < c.steps ? t + at_once : c.steps; t < end; ++t)
            for (std::size_t j = 0; j < static_cast<std::size_t>(c.sizes[t]); ++j) {
                const auto b = static_cast<std::size_t>(c.order[j]);
                if (t >= static_cast<std::size_t>(c.lengths[b])) continue;  // padding
                const std::size_t row = c.starts[t] + j;
                ctc_row<T>(c.logits + row * c.classes, c.classes, c.blank, c.labels + c.label_starts[b],
                           c.label_starts[b + 1] - c.label_starts[b], work + row * columns);
            }
}

/// Steps that a target needs: one a label, and one between two that are equal.
inline std::size_t ctc_needed(const std::int32_t* labels, std::size_t L) {
    std::size_t needed = L;
    for (std::size_t j = 1; j < L; ++j) needed += labels[j] == labels[j - 1];
    return needed;
}

template <class T>
void ctc_forward(const Ctc<T>& c, const CtcForward<T>& out, int threads) {
    constexpr std::size_t W = width<T>;
    const std::size_t columns = ctc_columns<T>(c.longest), vectors = blocks_of(c.longest, W), stride = 4 * vectors * W;
    const bool back = out.saved || out.posteriors;
    const std::size_t kept = back ? c.steps : 2;
    threads = ctc_threads(threads, static_cast<double>(c.rows) * static_cast<double>(c.classes + 8 * c.longest + 8));
    // of each thread: α, β, α of the first blank, and which labels differ from the one before
    const std::size_t follows = (vectors + 1) * W, firsts = back ? blocks_of(c.steps * sizeof(Lone<T>), 64) * 64 / sizeof(T) : 0;
    const std::size_t each = blocks_of((kept + 1) * stride + follows + firsts, W) * W;
    Scratch scratch;
    const std::size_t workers = c.batch < static_cast<std::size_t>(threads) ? c.batch : static_cast<std::size_t>(threads);
    T* const memory = scratch.take<T>(each * workers);
    T* const work = out.saved ? out.saved : scratch.take<T>(c.rows * columns);
    if (out.saved) expect_to_fill(out.saved, c.rows * columns * sizeof(T));
    std::size_t rows_taken = 0, utterances_taken = 0, memory_taken = 0;
    Barrier barrier;
    run_team(threads, [&](int, int size) {
        const FlushDenormals flush;
        ctc_rows(c, work, columns, rows_taken, size);
        barrier.wait(size);
        T* mine = nullptr;
        for (std::size_t next; (next = take_next(utterances_taken, 1)) < c.batch;) {
            const auto b = static_cast<std::size_t>(c.order[next]);  // the longest first, where the batch is packed
            const std::int32_t* const labels = c.labels + c.label_starts[b];
            CtcUtterance<T> u;
            u.T_ = static_cast<std::size_t>(c.lengths[b]);
            u.L = c.label_starts[b + 1] - c.label_starts[b];
            u.vectors = blocks_of(u.L, W);
            u.starts = c.starts, u.place = next;
            u.work = work, u.columns = columns;
            if (u.T_ < ctc_needed(labels, u.L)) {
                out.loss[b] = __builtin_inf();
                continue;
            }
            if (!mine) mine = memory + take_next(memory_taken, 1) * each;
            u.alpha = mine, u.beta = mine + kept * stride;
            auto* const differs = reinterpret_cast<Integer<T>*>(u.beta + stride);
            for (std::size_t j = 0; j < follows; ++j)
                differs[j] = j > 0 && j < u.L && labels[j] != labels[j - 1] ? -1 : 0;
            u.follows = differs;
            u.first = reinterpret_cast<Lone<T>*>(u.beta + stride + follows);
            const Lone<T> total = u.forward(back);
            const double divisors = u.log_divisors();
            if (divisors != divisors) {
                out.loss[b] = static_cast<T>(divisors);
                continue;
            }
            if (!(total.m > 0)) {
                out.loss[b] = __builtin_inf();
                continue;
            }
            out.loss[b] = static_cast<T>(divisors - (log_of(static_cast<double>(total.m)) +
                                                     static_cast<double>(total.e) * 0.6931471805599453));
            if (back) u.backward(total, out.posteriors, out.posterior_columns);
        }
    });
}

/// The row of the gradient: d (softmax - γ).
template <class T>
void ctc_gradient_row(const T* a, std::size_t K, T d, const T* row, std::int32_t blank, const std::int32_t* labels,
                      std::size_t from, std::size_t to, T* g) {
    constexpr std::size_t W = width<T>;
    const Vec<T> most = broadcast<T>(row[ctc_max]), scale = broadcast<T>(row[ctc_inverse] * d);
    std::size_t k = 0;
    for (; k + W <= K; k += W) store(g + k, exp_below<T>(load(a + k) - most) * scale);
    if (k < K) store(g + k, exp_below<T>(load(a + k, K - k) - most) * scale, K - k);
    g[blank] -= d * row[ctc_blank];
    const T* const shares = row + ctc_labels<T>;
    for (std::size_t j = from; j < to; ++j) g[labels[j]] -= d * shares[j];
}

template <class T>
void ctc_backward(const Ctc<T>& c, const CtcBackward<T>& in, int threads) {
    const std::size_t columns = ctc_columns<T>(c.longest), K = c.classes;
    std::size_t taken = 0;
    threads = ctc_threads(threads, static_cast<double>(c.rows) * static_cast<double>(K + c.longest + 8));
    expect_to_fill(in.d_logits, c.rows * K * sizeof(T));
    run_team(threads, [&](int, int size) {
        const FlushDenormals flush;
        const std::size_t at_once = ctc_steps_at_once(c.steps, c.batch * (K + c.longest), size);
        for (std::size_t t; (t = take_next(taken, at_once)) < c.steps;)
            for (const std::size_t last = t + at_once < c.steps ? t + at_once : c.steps; t < last; ++t)
                for (std::size_t j = 0; j < static_cast<std::size_t>(c.sizes[t]); ++j) {
                    const auto b = static_cast<std::size_t>(c.order[j]), T_ = static_cast<std::size_t>(c.lengths[b]);
                    const std::size_t row = c.starts[t] + j, L = c.label_starts[b + 1] - c.label_starts[b];
                    T* const g = in.d_logits + row * K;
                    const T d = in.d_loss[b], loss = in.loss[b];
                    if (t >= T_ || loss == T(__builtin_inf()) || (d == 0 && loss == loss)) {
                        for (std::size_t k = 0; k < K; ++k) g[k] = 0;
                    } else if (loss != loss) {
                        for (std::size_t k = 0; k < K; ++k) g[k] = loss;
                    } else {
                        const std::size_t from = L + t > T_ ? L + t - T_ : 0, to = t + 1 < L ? t + 1 : L;
                        ctc_gradient_row<T>(c.logits + row * K, K, d, in.saved + row * columns, c.blank,
                                            c.labels + c.label_starts[b], from, to, g);
                    }
                }
    });
}

}  // namespace saiki::SAIKI_TARGET
