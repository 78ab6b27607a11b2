// Real-time recurrent learning of every instruction set that this machine runs, against plain loops in double precision.
//
// The truth differentiates each cell's equations one step at a time (truth.h): D_t and F_t come out as whole matrices,
// M_t = D_t M_{t-1} + F_t is a loop over all of their numbers, and the sparse rules are that with entries left out. As in
// kernels.cpp buffers have exactly their size, and are full of NaN where a kernel has to write.

#include "truth.h"

namespace {

using namespace saiki;
using namespace saiki::tests;

/// A chunk of one layer, and what its influence and its gradient become.
struct Case {
    Spec spec;
    std::vector<std::int64_t> sizes;
    std::string words;
    std::size_t N = 0, B = 0, S = 0, P = 0, O = 0, padding = 0;  // P with the initial state's columns, if they are there
    bool odd = false, has_delta = true, has_initial = false;
    std::array<std::vector<double>, parameter_count> parameters;
    std::array<std::size_t, parameter_count + 1> starts{};  // of the parameters' columns
    std::array<std::vector<double>, 2> first;
    std::vector<double> data, delta;
    std::vector<double> before[3], after[3], gradient[3];  // by rule

    std::size_t rows(Approximation rule) const { return influence_rows(spec, rule); }
    std::size_t size(std::size_t which) const {
        if (which == initial_state) return has_initial ? S : 0;
        return parameters[which].size();
    }
};

std::vector<double> numbers(std::size_t n, double scale) {
    std::vector<double> drawn(n);
    for (double& one : drawn) one = draws.number() * scale;
    return drawn;
}

/// The place in the order of cells' parameter_shapes(), which alone the caller's columns follow.
std::vector<std::size_t> order(const Spec& spec) {
    if (spec.family == Family::jordan) return {weight_ih, weight_hh, weight_yh, bias, weight_hy, bias_y, initial_state};
    return {weight_ih, weight_hh, bias, weight_ph, bias_hn, initial_state};
}

/// One step's whole Jacobians, row by row of the state.
struct Whole {
    std::vector<double> D, F, through;  // (S, S), (S, P), Jordan (K, H): ∂y/∂h within the step
    std::vector<double> state;
};

Whole differentiate(const Case& c, const std::vector<double>& s, const double* x) {
    const Spec& spec = c.spec;
    const std::size_t H = spec.hidden_size;
    tape.entries.clear();
    std::array<Numbers, parameter_count> p;
    const auto leaves = [](const double* from, std::size_t n) {
        Numbers made(n);
        for (std::size_t k = 0; k < n; ++k) made[k] = tape.leaf(from[k]);
        return made;
    };
    for (std::size_t k = 0; k < parameter_count; ++k) p[k] = leaves(c.parameters[k].data(), c.parameters[k].size());
    State state;
    for (std::size_t k = 0, at = 0; k < spec.states(); at += spec.state_size(k++)) state[k] = leaves(s.data() + at, spec.state_size(k));
    const Numbers input = leaves(x, spec.input_size);
    const State next = step(spec, p, state, input.data());
    Whole whole;
    for (std::size_t k = 0; k < spec.states(); ++k)
        for (Number one : next[k]) {
            std::vector<double> seeds(tape.entries.size());
            seeds[one.place] = 1;
            const std::vector<double> d = tape.gradients(std::move(seeds));
            for (std::size_t by = 0; by < spec.states(); ++by)
                for (Number place : state[by]) whole.D.push_back(d[place.place]);
            const std::size_t begin = whole.F.size();
            whole.F.resize(begin + c.P);
            for (std::size_t which = 0; which < parameter_count; ++which)
                for (std::size_t n = 0; n < p[which].size(); ++n) whole.F[begin + c.starts[which] + n] = d[p[which][n].place];
            if (spec.family == Family::jordan && k == 1)
                for (std::size_t u = 0; u < H; ++u) whole.through.push_back(d[next[0][u].place]);
            whole.state.push_back(value(one));
        }
    return whole;
}

/// The update gate of a GRU.
std::vector<double> update_gate(const Case& c, const std::vector<double>& h, const double* x) {
    const std::size_t I = c.spec.input_size, H = c.spec.hidden_size;
    std::vector<double> z(H);
    for (std::size_t u = 0; u < H; ++u) {
        double a = c.spec.bias ? c.parameters[bias][H + u] : 0;
        for (std::size_t k = 0; k < I; ++k) a += c.parameters[weight_ih][(H + u) * I + k] * x[k];
        for (std::size_t k = 0; k < H; ++k) a += c.parameters[weight_hh][(H + u) * H + k] * h[k];
        z[u] = apply(c.spec.gate_activation, a).value;
    }
    return z;
}

/// The states that a sparse rule keeps of a column: its unit's, of which the first is read off.
std::vector<std::size_t> own_of(const Case& c, std::size_t column) {
    const std::size_t H = c.spec.hidden_size;
    std::size_t which = 0;
    for (std::size_t k = 0; k <= initial_state; ++k)
        if (c.size(k) && column >= c.starts[k] && column < c.starts[k] + c.size(k)) which = k;
    const std::size_t n = column - c.starts[which];
    const Shape shape = which == initial_state ? Shape{c.S, 0} : parameter_shape(c.spec, static_cast<Parameter>(which));
    const std::size_t row = which == weight_ph ? n : n / std::max<std::size_t>(shape.columns, 1);
    if (c.spec.family == Family::lstm) return {row % H, H + row % H};
    const bool of_y = which == weight_hy || which == bias_y || (which == initial_state && row >= H);
    return {which == initial_state ? row : of_y ? H + row : row % H};
}

void solve(Case& c) {
    const Spec& spec = c.spec;
    const std::size_t H = spec.hidden_size, I = spec.input_size, S = c.S, P = c.P;
    const bool jordan = spec.family == Family::jordan, lstm = spec.family == Family::lstm;
    const std::size_t out = jordan ? H : 0;
    for (const Approximation rule : {Approximation::exact, Approximation::snap1, Approximation::eprop}) {
        const auto k = static_cast<std::size_t>(rule);
        c.before[k] = numbers(c.B * c.rows(rule) * P, 1);
        c.after[k] = c.before[k];
        c.gradient[k].assign(P, 0);
    }
    std::vector<std::vector<std::size_t>> own(P);
    for (std::size_t column = 0; column < P; ++column) own[column] = own_of(c, column);
    std::vector<std::vector<double>> states(c.B);
    for (std::size_t b = 0; b < c.B; ++b)
        for (std::size_t k = 0; k < spec.states(); ++k)
            states[b].insert(states[b].end(), c.first[k].begin() + static_cast<std::ptrdiff_t>(b * spec.state_size(k)),
                             c.first[k].begin() + static_cast<std::ptrdiff_t>((b + 1) * spec.state_size(k)));
    std::size_t n = 0;
    for (const std::int64_t live : c.sizes)
        for (std::size_t b = 0; b < static_cast<std::size_t>(live); ++b, ++n) {
            const Whole w = differentiate(c, states[b], &c.data[n * I]);
            const std::vector<double> z = spec.family == Family::gru ? update_gate(c, states[b], &c.data[n * I]) : std::vector<double>(S);
            std::vector<double> error(S);  // on each of the states, within the step
            for (std::size_t o = 0; c.has_delta && o < c.O; ++o) {
                error[out + o] = c.delta[n * c.O + o];
                for (std::size_t u = 0; jordan && u < H; ++u) error[u] += error[out + o] * w.through[o * H + u];
            }
            std::vector<double> next(S);
            double* const M = &c.after[0][b * S * P];
            for (std::size_t column = 0; column < P; ++column) {
                for (std::size_t s = 0; s < S; ++s) {
                    next[s] = w.F[s * P + column];
                    for (std::size_t r = 0; r < S; ++r) next[s] += w.D[s * S + r] * M[r * P + column];
                }
                for (std::size_t s = 0; s < S; ++s) M[s * P + column] = next[s];
                for (std::size_t o = 0; c.has_delta && o < c.O; ++o)
                    c.gradient[0][column] += c.delta[n * c.O + o] * next[out + o];
            }
            for (const std::size_t k : {1u, 2u}) {
                const std::size_t K = lstm ? 2 : 1;
                double* const m = &c.after[k][b * K * P];
                for (std::size_t column = 0; column < P; ++column) {
                    const auto& mine = own[column];
                    for (std::size_t s = 0; s < K; ++s) {
                        next[s] = w.F[mine[s] * P + column];
                        for (std::size_t r = 0; r < K; ++r) {
                            double kept = w.D[mine[s] * S + mine[r]];
                            if (k == 2) kept = lstm ? (r == 1 ? kept : 0) : spec.family == Family::gru ? z[mine[s]] : 0;
                            else if (jordan && mine[s] < H && !spec.hidden_feedback) kept = 0;
                            next[s] += kept * m[r * P + column];
                        }
                    }
                    for (std::size_t s = 0; s < K; ++s) m[s * P + column] = next[s];
                    c.gradient[k][column] += error[mine[0]] * next[0];
                    if (spec.family == Family::gru)  // what it does to other units counts now
                        for (std::size_t u = 0; u < H; ++u)
                            if (u != mine[0]) c.gradient[k][column] += error[u] * w.F[u * P + column];
                }
            }
            states[b] = w.state;
        }
}

Case draw_case(Spec spec, std::size_t turn) {
    Case c;
    const bool small = turn % 4 != 3;
    spec.input_size = draws.pick<std::size_t>({1, 2, 3, 17});
    spec.hidden_size = small ? draws.pick<std::size_t>({1, 2, 3, 5, 7}) : draws.pick<std::size_t>({8, 9, 16, 17, 21});
    spec.output_size = spec.family == Family::jordan ? draws.pick<std::size_t>({1, 2, 9, 17}) : spec.hidden_size;
    if (turn % 2) {
        spec.gate_activation = static_cast<Activation>(turn / 2 % activation_count);
        spec.activation = static_cast<Activation>(draws.below(activation_count));
        spec.output_activation = static_cast<Activation>(draws.below(activation_count));
        if (spec.family == Family::elman || spec.family == Family::jordan) std::swap(spec.activation, spec.gate_activation);
    }
    c.spec = spec;
    const std::size_t T = small ? draws.pick<std::size_t>({1, 2, 5, 9}) : draws.pick<std::size_t>({1, 2});
    c.sizes.assign(draws.below(10) ? T : 0, draws.pick<std::int64_t>({1, 1, 2, 3, 5}));
    if (turn % 8 == 4) c.sizes.assign(70, 1);  // more steps than are taken at once
    for (std::size_t t = 1; t < c.sizes.size(); ++t)
        c.sizes[t] = draws.coin() ? c.sizes[t - 1] : 1 + static_cast<std::int64_t>(draws.below(static_cast<std::size_t>(c.sizes[t - 1])));
    for (const std::int64_t live : c.sizes) c.N += static_cast<std::size_t>(live);
    c.B = c.sizes.empty() ? 0 : static_cast<std::size_t>(c.sizes[0]);
    c.S = influence_rows(spec, Approximation::exact);
    c.O = spec.state_size(spec.output_state());
    c.odd = draws.coin();
    c.has_delta = draws.below(5) != 0;
    c.has_initial = draws.coin();
    c.padding = draws.pick<std::size_t>({0, 0, 3});
    double scale = 1;
    while (scale * scale * static_cast<double>(std::max(spec.input_size, spec.hidden_size)) > 1) scale /= 2;
    for (std::size_t k = 0; k < parameter_count; ++k) {
        const Shape shape = parameter_shape(spec, static_cast<Parameter>(k));
        c.parameters[k] = numbers(shape.rows * std::max<std::size_t>(shape.columns, 1), scale);
    }
    for (const std::size_t k : order(spec)) {
        c.starts[k] = c.P;
        c.P += c.size(k);
    }
    for (std::size_t k = 0; k < spec.states(); ++k) c.first[k] = numbers(c.B * spec.state_size(k), 1);
    c.data = numbers(c.N * spec.input_size, 1);
    c.delta = numbers(c.N * c.O, 1);
    c.words = words_of(spec) + (c.has_initial ? " initial" : "") + " sizes";
    for (const std::int64_t live : c.sizes) c.words += " " + std::to_string(live);
    solve(c);
    return c;
}

/// The arrays of one case, and the calls on them.
template <class T>
struct Chunk {
    const Case& c;
    const Kernels<T>& kernels;
    Approximation rule;
    std::size_t stride, out_stride;  // from one row of influence to the next: all columns, and some numbers between
    Array<T> data, output, saved, delta, influence, gradient;
    std::vector<Array<T>> parameters, first, last;

    Chunk(const Case& c, const Kernels<T>& kernels, Approximation rule)
        : c(c), kernels(kernels), rule(rule), stride(c.P + c.padding), out_stride(c.O + c.padding), data(filled<T>(c.data, c.odd)),
          output(c.N ? (c.N - 1) * out_stride + c.O : 0, c.odd), saved(c.N * kernels.saved_columns(c.spec)),
          delta(c.N ? (c.N - 1) * out_stride + c.O : 0, c.odd),
          influence(rows() ? (rows() - 1) * stride + c.P : 0, c.odd), gradient(c.P, c.odd) {
        for (const auto& one : c.parameters) parameters.push_back(filled<T>(one, c.odd));
        for (std::size_t k = 0; k < c.spec.states(); ++k) {
            first.push_back(filled<T>(c.first[k], c.odd));
            last.emplace_back(c.first[k].size());
        }
        for (std::size_t k = 0; k < c.delta.size(); ++k) delta.begin()[k / c.O * out_stride + k % c.O] = static_cast<T>(c.delta[k]);
        const auto& before = c.before[static_cast<std::size_t>(rule)];
        for (std::size_t k = 0; k < before.size(); ++k) influence.begin()[k / c.P * stride + k % c.P] = static_cast<T>(before[k]);
        Forward<T> run;
        for (std::size_t k = 0; k < parameter_count; ++k)
            if (parameters[k].count) run.parameters[k] = parameters[k].begin();
        for (std::size_t k = 0; k < c.spec.states(); ++k) run.first[k] = first[k].begin(), run.last[k] = last[k].begin();
        run.output = output.begin(), run.output_stride = out_stride, run.saved = saved.begin();
        kernels.forward(c.spec, {data.begin(), c.sizes.data(), c.sizes.size(), c.N}, &run, 1, 1);
    }
    std::size_t rows() const { return c.B * c.rows(rule); }

    void learn(int threads) {
        Influence<T> run;
        run.approximation = rule;
        for (std::size_t k = 0; k < parameter_count; ++k)
            if (parameters[k].count) run.parameters[k] = parameters[k].begin();
        for (std::size_t k = 0; k < c.spec.states(); ++k) run.first[k] = first[k].begin();
        run.output = output.begin(), run.output_stride = out_stride, run.saved = saved.begin();
        if (c.has_delta) run.d_output = delta.begin(), run.d_output_stride = out_stride;
        for (std::size_t k = 0; k <= initial_state; ++k) {
            if (!c.size(k)) continue;
            run.influence[k] = influence.begin() + c.starts[k];
            run.influence_stride[k] = stride;
            run.gradient[k] = gradient.begin() + c.starts[k];
        }
        kernels.influence(c.spec, {data.begin(), c.sizes.data(), c.sizes.size(), c.N}, run, threads);
    }
};

template <class T>
void check(const Case& c, const Kernels<T>& kernels, const std::string& target) {
    const double tolerance = sizeof(T) == 4 ? 2e-5 : 1e-12;
    for (const Approximation rule : {Approximation::exact, Approximation::snap1, Approximation::eprop}) {
        const auto k = static_cast<std::size_t>(rule);
        const std::string words = target + (sizeof(T) == 4 ? " float32 " : " float64 ") + approximation_names[k] + " " + c.words;
        Chunk<T> one(c, kernels, rule), more(c, kernels, rule);
        one.learn(1);
        compare(words + ": gradient", one.gradient.begin(), 1, c.P, c.P, c.gradient[k], tolerance);
        compare(words + ": influence", one.influence.begin(), one.rows(), c.P, one.stride, c.after[k], tolerance);
        more.learn(2 + static_cast<int>(draws.below(3)));
        if (!(more.gradient == one.gradient) || !(more.influence == one.influence)) fail(words + " is not the same bit for bit on more threads");
    }
}

}  // namespace

int main(int count, char** arguments) {
    const int turns = count > 1 ? std::atoi(arguments[1]) : 8;
    std::size_t built = 0, cases = 0;
    const Target* const* all = targets(built);
    std::vector<const Target*> here;
    for (std::size_t k = 0; k < built; ++k)
        if (all[k]->runs_here()) here.push_back(all[k]);
    for (const Spec& spec : structures())
        for (int turn = 0; turn < turns; ++turn, ++cases) {
            const Case c = draw_case(spec, static_cast<std::size_t>(turn));
            for (const Target* target : here) {
                check(c, *target->float32, target->name);
                check(c, *target->float64, target->name);
            }
        }
    std::printf("%zu chunks under three rules, %zu numbers compared, on", cases, compared);
    for (const Target* target : here) std::printf(" %s", target->name);
    std::printf("\n");
    return failures != 0 || here.empty();
}
