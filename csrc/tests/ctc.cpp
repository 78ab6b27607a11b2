// Connectionist temporal classification of every instruction set that this machine runs, against plain loops over
// logarithms in double precision: losses, gradients, the share of every state, the likeliest path. Buffers have exactly
// their size, and are full of NaN where a kernel has to write.

#include "truth.h"

namespace {

using namespace saiki;
using namespace saiki::tests;

constexpr double none = -std::numeric_limits<double>::infinity();

double log_add(double a, double b) {
    const double most = std::max(a, b);
    return most == none ? none : most + std::log(std::exp(a - most) + std::exp(b - most));
}

/// A batch, and what is true of it.
struct Case {
    std::size_t K = 1, T = 0, B = 0, N = 0, longest = 0;
    std::int32_t blank = 0;
    bool padded = false, odd = false;
    std::vector<std::int64_t> lengths, sizes, order;
    std::vector<std::size_t> starts, label_starts{0}, path_starts;
    std::vector<std::int32_t> labels;
    std::vector<double> logits, weights;  // (N, K), (B,)
    std::vector<double> loss, gradient, shares, path_score;
    std::string words;

    std::size_t row(std::size_t t, std::size_t b) const {
        for (std::size_t j = 0;; ++j)
            if (static_cast<std::size_t>(order[j]) == b) return starts[t] + j;
    }
};

void solve(Case& c) {
    c.gradient.assign(c.N * c.K, 0);
    c.shares.assign(c.N * (2 * c.longest + 1), 0);
    for (std::size_t b = 0; b < c.B; ++b) {
        const std::int32_t* const labels = c.labels.data() + c.label_starts[b];
        const std::size_t L = c.label_starts[b + 1] - c.label_starts[b], S = 2 * L + 1;
        const auto T = static_cast<std::size_t>(c.lengths[b]);
        std::vector<double> e(T * c.K);
        for (std::size_t t = 0; t < T; ++t) {
            const double* const a = c.logits.data() + c.row(t, b) * c.K;
            double all = none;
            const double most = *std::max_element(a, a + c.K);
            for (std::size_t k = 0; k < c.K; ++k) all = log_add(all, a[k]);
            for (std::size_t k = 0; k < c.K; ++k) e[t * c.K + k] = a[k] - most > -1e6 ? a[k] - all : none;
        }
        const auto class_of = [&](std::size_t s) { return static_cast<std::size_t>(s % 2 ? labels[s / 2] : c.blank); };
        const auto jumps = [&](std::size_t s) { return s % 2 && s > 1 && labels[s / 2] != labels[s / 2 - 1]; };
        std::vector<double> alpha((T + 1) * S, none), best((T + 1) * S, none), beta((T + 1) * S, none);
        alpha[0] = best[0] = 0;
        for (std::size_t t = 0; t < T; ++t)
            for (std::size_t s = 0; s < S; ++s) {
                const double* const before = alpha.data() + t * S;
                const double* const top = best.data() + t * S;
                double sum = before[s], most = top[s];
                if (s) sum = log_add(sum, before[s - 1]), most = std::max(most, top[s - 1]);
                if (jumps(s)) sum = log_add(sum, before[s - 2]), most = std::max(most, top[s - 2]);
                alpha[(t + 1) * S + s] = sum + e[t * c.K + class_of(s)];
                best[(t + 1) * S + s] = most + e[t * c.K + class_of(s)];
            }
        beta[T * S + S - 1] = 0;
        if (L) beta[T * S + S - 2] = 0;
        for (std::size_t t = T; t-- > 1;)
            for (std::size_t s = 0; s < S; ++s) {
                const double* const after = beta.data() + (t + 1) * S;
                const auto on = [&](std::size_t to) { return after[to] + e[t * c.K + class_of(to)]; };
                double sum = on(s);
                if (s + 1 < S) sum = log_add(sum, on(s + 1));
                if (s + 2 < S && jumps(s + 2)) sum = log_add(sum, on(s + 2));
                beta[t * S + s] = sum;
            }
        const double total = L ? log_add(alpha[T * S + S - 1], alpha[T * S + S - 2]) : alpha[T * S];
        c.loss.push_back(-total);
        c.path_score.push_back(L ? std::max(best[T * S + S - 1], best[T * S + S - 2]) : best[T * S]);
        if (total == none) continue;
        for (std::size_t t = 0; t < T; ++t) {
            const std::size_t row = c.row(t, b);
            double* const g = c.gradient.data() + row * c.K;
            for (std::size_t k = 0; k < c.K; ++k) g[k] = c.weights[b] * std::exp(e[t * c.K + k]);
            for (std::size_t s = 0; s < S; ++s) {
                const double share = std::exp(alpha[(t + 1) * S + s] + beta[(t + 1) * S + s] - total);
                c.shares[row * (2 * c.longest + 1) + s] = share;
                g[class_of(s)] -= c.weights[b] * share;
            }
        }
    }
}

Case draw_case(std::size_t turn) {
    Case c;
    c.padded = draws.coin(), c.odd = draws.coin();
    c.B = turn % 7 == 0 ? 0 : 1 + draws.below(6);
    c.T = draws.below(3) ? 1 + draws.below(50) : draws.below(4);
    c.K = 1 + draws.below(draws.coin() ? 8 : 90);
    c.blank = static_cast<std::int32_t>(draws.below(c.K));
    const double scale = draws.pick({0.0, 1.0, 3.0, 40.0});
    const std::size_t most = draws.pick({std::size_t{2}, std::size_t{8}, std::size_t{40}});
    for (std::size_t b = 0; b < c.B; ++b) {
        const std::size_t T = b ? draws.below(c.T + 1) : c.T;
        std::size_t L = c.K > 1 ? draws.below(std::min(most, T + 2) + 1) : 0;
        if (draws.coin()) L = std::min(L, T / 2);
        c.lengths.push_back(static_cast<std::int64_t>(T));
        for (std::size_t j = 0; j < L; ++j) {
            const auto k = static_cast<std::int32_t>(draws.below(c.K - 1));
            c.labels.push_back(k + (k >= c.blank));
        }
        c.label_starts.push_back(c.labels.size());
        c.longest = std::max(c.longest, L);
        c.weights.push_back(draws.number());
        c.order.push_back(static_cast<std::int64_t>(b));
    }
    if (!c.padded) {
        std::stable_sort(c.order.begin(), c.order.end(), [&](std::int64_t a, std::int64_t b) {
            return c.lengths[static_cast<std::size_t>(a)] > c.lengths[static_cast<std::size_t>(b)];
        });
        c.longest += draws.below(3);  // more room than there are labels
    }
    if (!c.padded && c.B == 0) c.T = 0;
    std::size_t paths = 0;
    for (std::size_t b = 0; b < c.B; ++b) c.path_starts.push_back(paths), paths += static_cast<std::size_t>(c.lengths[b]);
    for (std::size_t t = 0; t < c.T; ++t) {
        std::int64_t live = 0;
        for (const std::int64_t length : c.lengths) live += c.padded || static_cast<std::size_t>(length) > t;
        c.sizes.push_back(live);
        c.starts.push_back(c.N);
        c.N += static_cast<std::size_t>(live);
    }
    c.logits.resize(c.N * c.K);
    for (double& a : c.logits) a = draws.number() * scale;
    if (turn % 5 == 0)
        for (double& a : c.logits)
            if (draws.below(8) == 0) a = -1e30;
    for (std::size_t row = 0; row < c.N; ++row) c.logits[row * c.K + draws.below(c.K)] = scale;  // a row of none is NaN
    c.words = "K " + std::to_string(c.K) + " T " + std::to_string(c.T) + " B " + std::to_string(c.B) + " L " +
              std::to_string(c.longest) + " scale " + std::to_string(scale) + (c.padded ? " padded" : " packed") + " turn " +
              std::to_string(turn);
    solve(c);
    return c;
}

/// What a way forward and back left.
template <class T>
struct Results {
    Array<T> loss, gradient, posteriors;

    Results(const Case& c, const Kernels<T>& kernels, const Ctc<T>& batch, int threads)
        : loss(c.B, c.odd), gradient(c.N * c.K, c.odd), posteriors(c.N * (2 * c.longest + 1), c.odd) {
        Array<T> saved(c.N * kernels.ctc_columns(c.longest)), weights = filled<T>(c.weights, c.odd), alone(c.B);
        std::fill(posteriors.begin(), posteriors.begin() + posteriors.count, T(0));
        kernels.ctc_forward(batch, {loss.begin(), saved.begin(), posteriors.begin(), 2 * c.longest + 1}, threads);
        kernels.ctc_backward(batch, {loss.begin(), saved.begin(), weights.begin(), gradient.begin()}, threads);
        kernels.ctc_forward(batch, {alone.begin()}, threads);
        if (std::memcmp(alone.begin(), loss.begin(), c.B * sizeof(T))) fail(c.words + ": another loss without the way back");
    }
};

template <class T>
void check(const Case& c, const Kernels<T>& kernels, const std::string& target) {
    const double tolerance = sizeof(T) == 4 ? 2e-5 : 1e-12;
    const std::string words = target + (sizeof(T) == 4 ? " float32 " : " float64 ") + c.words;
    Array<T> logits = filled<T>(c.logits, c.odd);
    if (c.padded)
        for (std::size_t b = 0; b < c.B; ++b)
            for (auto t = static_cast<std::size_t>(c.lengths[b]); t < c.T; ++t)
                std::fill_n(logits.begin() + (t * c.B + b) * c.K, c.K, std::numeric_limits<T>::quiet_NaN());
    const Ctc<T> batch{logits.begin(), c.N, c.K, c.T, c.B, c.sizes.data(), c.starts.data(), c.order.data(), c.lengths.data(),
                       c.labels.data(), c.label_starts.data(), c.longest, c.blank};
    const Results<T> one(c, kernels, batch, 1), more(c, kernels, batch, 2 + static_cast<int>(draws.below(3)));
    for (std::size_t b = 0; b < c.B; ++b) {
        const auto loss = static_cast<double>(one.loss.begin()[b]), truth = c.loss[b];
        if (!(loss == truth || std::abs(loss - truth) <= tolerance * std::max(1.0, std::abs(truth))))
            fail(words + ": loss " + std::to_string(b) + " is " + std::to_string(loss) + " not " + std::to_string(truth));
    }
    const double sharp = tolerance * std::max(1.0, static_cast<double>(c.T));
    compare(words + ": gradient", one.gradient.begin(), c.N, c.K, c.K, c.gradient, sharp);
    compare(words + ": shares", one.posteriors.begin(), c.N, 2 * c.longest + 1, 2 * c.longest + 1, c.shares, sharp);
    if (!(one.loss == more.loss && one.gradient == more.gradient && one.posteriors == more.posteriors))
        fail(words + " is not the same bit for bit on more threads");

    std::size_t steps = 0;
    for (const std::int64_t length : c.lengths) steps += static_cast<std::size_t>(length);
    for (const double loss : c.loss)
        if (std::isinf(loss)) return;  // no path
    std::vector<std::int64_t> states(steps, -1);
    std::vector<double> log_p(steps, std::numeric_limits<double>::quiet_NaN());
    kernels.ctc_paths(batch, {c.path_starts.data(), states.data(), log_p.data()}, 3);
    for (std::size_t b = 0; b < c.B; ++b) {
        const std::int64_t last = 2 * static_cast<std::int64_t>(c.label_starts[b + 1] - c.label_starts[b]);
        double score = 0;
        std::int64_t before = 0;
        for (std::size_t t = 0; t < static_cast<std::size_t>(c.lengths[b]); ++t) {
            const std::int64_t state = states[c.path_starts[b] + t], moved = state - before;
            const std::int32_t* const labels = c.labels.data() + c.label_starts[b];
            const bool jump = moved == 2 && state % 2 && labels[state / 2] != labels[state / 2 - 1];
            if (state > last || !(moved == 0 || moved == 1 || jump)) fail(words + ": the path jumps");
            score += log_p[c.path_starts[b] + t], before = state;
        }
        if (c.lengths[b] && before < last - 1) fail(words + ": the path ends early");
        if (!(std::abs(score - c.path_score[b]) <= tolerance * std::max(1.0, std::abs(score))))
            fail(words + ": path " + std::to_string(b) + " scores " + std::to_string(score) + " not " + std::to_string(c.path_score[b]));
        ++compared;
    }
}

}  // namespace

int main(int count, char** arguments) {
    const int turns = count > 1 ? std::atoi(arguments[1]) : 200;
    std::size_t built = 0;
    const Target* const* all = targets(built);
    std::vector<const Target*> here;
    for (std::size_t k = 0; k < built; ++k)
        if (all[k]->runs_here()) here.push_back(all[k]);
    for (int turn = 0; turn < turns; ++turn) {
        const Case c = draw_case(static_cast<std::size_t>(turn));
        for (const Target* target : here) {
            check(c, *target->float32, target->name);
            check(c, *target->float64, target->name);
        }
    }
    std::printf("%d batches, %zu numbers compared, on", turns, compared);
    for (const Target* target : here) std::printf(" %s", target->name);
    std::printf("\n");
    return failures != 0 || here.empty();
}
