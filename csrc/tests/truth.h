// What the test programs of the kernels share: the cells' equations as plain loops in double precision, on numbers that
// remember how they came about, and the comparing of arrays with what those loops say.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "../kernels.h"

namespace saiki::tests {

// ---------------------------------------------------------------------------------------------- random numbers

struct Random {
    std::uint64_t state = 20011;

    std::uint64_t bits() {  // a linear congruential generator is random enough here; its high bits are
        state = state * 6364136223846793005u + 1442695040888963407u;
        return state >> 33;
    }
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(bits() % n); }
    bool coin() { return below(2) == 1; }
    /// In [-1, 1], a multiple of 2^-12: exact in float32, so that one truth serves both precisions.
    double number() { return static_cast<double>(static_cast<std::int64_t>(below(8193)) - 4096) / 4096; }
    template <class Item, std::size_t n>
    Item pick(const Item (&items)[n]) {
        return items[below(n)];
    }
};

inline Random draws;

// ------------------------------------------------------------------------------------- numbers that remember

struct Number {
    std::uint32_t place = 0;
};

/// Each entry is a value, and up to three earlier entries with the derivative by each of them.
struct Tape {
    struct Entry {
        double value;
        std::uint32_t from[3];
        double slope[3];
    };
    std::vector<Entry> entries;

    Number leaf(double value) { return add({value, {0, 0, 0}, {0, 0, 0}}); }
    Number add(const Entry& entry) {
        entries.push_back(entry);
        return {static_cast<std::uint32_t>(entries.size() - 1)};
    }
    /// ∂L/∂entry for all entries, given L's derivatives by some of them.
    std::vector<double> gradients(std::vector<double> d) const {
        d.resize(entries.size());
        for (std::size_t n = entries.size(); n-- > 0;)
            for (int k = 0; k < 3; ++k)
                if (entries[n].slope[k] != 0) d[entries[n].from[k]] += entries[n].slope[k] * d[n];
        return d;
    }
};

inline Tape tape;

inline double value(Number a) { return tape.entries[a.place].value; }
inline Number operator+(Number a, Number b) { return tape.add({value(a) + value(b), {a.place, b.place, 0}, {1, 1, 0}}); }
inline Number operator*(Number a, Number b) {
    return tape.add({value(a) * value(b), {a.place, b.place, 0}, {value(b), value(a), 0}});
}
inline Number one_minus(Number a) { return tape.add({1 - value(a), {a.place, 0, 0}, {-1, 0, 0}}); }

/// sum + Σ_k a[k] b[k]
inline Number dot(Number sum, const Number* a, const Number* b, std::size_t n) {
    for (std::size_t k = 0; k < n; ++k)
        sum = tape.add({value(sum) + value(a[k]) * value(b[k]), {sum.place, a[k].place, b[k].place},
                        {1, value(b[k]), value(a[k])}});
    return sum;
}

struct Applied {
    double value, slope;
};

/// The definitions of saiki/core/activations.py.
inline Applied apply(Activation f, double a) {
    const auto logistic = [](double v) { return 1 / (1 + std::exp(-v)); };
    const auto clipped = [&](double inclination) {
        const double y = std::clamp(a * inclination + 0.5, 0.0, 1.0);
        return Applied{y, y > 0 && y < 1 ? inclination : 0};
    };
    switch (f) {
        case Activation::tanh: return {std::tanh(a), 1 - std::tanh(a) * std::tanh(a)};
        case Activation::sigmoid: return {logistic(a), logistic(a) * logistic(-a)};
        case Activation::hard_sigmoid: return clipped(1.0 / 6);
        case Activation::hard_sigmoid_keras2: return clipped(0.2);
        case Activation::relu: return {std::max(a, 0.0), a > 0 ? 1.0 : 0.0};
        case Activation::leaky_relu: return {a > 0 ? a : 0.01 * a, a > 0 ? 1.0 : 0.01};
        case Activation::softsign: return {a / (1 + std::abs(a)), 1 / ((1 + std::abs(a)) * (1 + std::abs(a)))};
        case Activation::identity: return {a, 1};
        case Activation::sigmoid_pm2: return {4 * logistic(a) - 2, 4 * logistic(a) * logistic(-a)};
        case Activation::sigmoid_pm1: return {2 * logistic(a) - 1, 2 * logistic(a) * logistic(-a)};
    }
    std::abort();
}

inline Number apply(Activation f, Number a) {
    const Applied y = apply(f, value(a));
    return tape.add({y.value, {a.place, 0, 0}, {y.slope, 0, 0}});
}

// ----------------------------------------------------------------------------------------- the cells' equations

using Numbers = std::vector<Number>;
using State = std::array<Numbers, 2>;

/// One step of one sequence; the letters are those of saiki/cells/.
inline State step(const Spec& spec, const std::array<Numbers, parameter_count>& p, const State& before, const Number* x) {
    const std::size_t I = spec.input_size, H = spec.hidden_size, K = spec.output_size, G = spec.gates();
    const Numbers& h = before[0];
    const Number zero = tape.leaf(0);
    const auto input = [&](std::size_t row) {  // W x + b
        return dot(spec.bias ? p[bias][row] : zero, &p[weight_ih][row * I], x, I);
    };
    const auto recurrent = [&](Number sum, std::size_t row, const Numbers& of) {  // + R h
        return dot(sum, &p[weight_hh][row * H], of.data(), H);
    };
    State after;
    for (std::size_t state = 0; state < spec.states(); ++state) after[state].resize(spec.state_size(state));

    if (spec.family == Family::elman || spec.family == Family::jordan) {
        for (std::size_t u = 0; u < H; ++u) {
            Number a = input(u);
            if (!p[weight_hh].empty()) a = recurrent(a, u, h);
            if (spec.family == Family::jordan) a = dot(a, &p[weight_yh][u * K], before[1].data(), K);
            after[0][u] = apply(spec.activation, a);
        }
        if (spec.family == Family::jordan)
            for (std::size_t k = 0; k < K; ++k)
                after[1][k] = apply(spec.output_activation, dot(spec.bias ? p[bias_y][k] : zero,
                                                                &p[weight_hy][k * H], after[0].data(), H));
        return after;
    }
    if (spec.family == Family::lstm) {
        for (std::size_t u = 0; u < H; ++u) {
            const Number c = before[1][u];
            const auto gate = [&](std::size_t block, std::size_t peephole, Number seen) {
                Number a = recurrent(input(block * H + u), block * H + u, h);
                if (spec.peepholes) a = a + p[weight_ph][peephole * H + u] * seen;
                return apply(spec.gate_activation, a);
            };
            const Number i = gate(0, 0, c);
            const std::size_t row = (G - 2) * H + u;
            const Number g = apply(spec.activation, recurrent(input(row), row, h));
            const Number kept = spec.coupled ? one_minus(i) * c : spec.forget_gate ? gate(1, 1, c) * c : c;
            const Number c_new = kept + i * g;
            const Number o = gate(G - 1, G - 2, c_new);
            after[0][u] = o * apply(spec.output_activation, c_new);
            after[1][u] = c_new;
        }
        return after;
    }
    Numbers r(H), shown(H);  // the GRU
    for (std::size_t u = 0; u < H; ++u) {
        r[u] = apply(spec.gate_activation, recurrent(input(u), u, h));
        shown[u] = r[u] * h[u];
    }
    for (std::size_t u = 0; u < H; ++u) {
        const std::size_t row = 2 * H + u;
        const Number z = apply(spec.gate_activation, recurrent(input(H + u), H + u, h));
        const Number q = spec.reset_after ? r[u] * recurrent(spec.bias ? p[bias_hn][u] : zero, row, h)
                                          : recurrent(zero, row, shown);
        const Number n = apply(spec.activation, input(row) + q);
        after[0][u] = z * h[u] + one_minus(z) * n;
    }
    return after;
}

inline Numbers drawn(std::size_t n, double scale) {
    Numbers numbers(n);
    for (Number& one : numbers) one = tape.leaf(draws.number() * scale);
    return numbers;
}

// ------------------------------------------------------------------------------------------------ comparing

inline int failures = 0;
inline std::size_t compared = 0;

inline void fail(const std::string& words) {
    std::printf("%s\n", words.c_str());
    if (++failures == 20) std::exit(1);
}

/// An array on the heap of exactly `count` numbers, all NaN.
template <class T>
struct Array {
    std::unique_ptr<T[]> whole;
    std::size_t skipped, count;

    explicit Array(std::size_t count, bool odd = false)
        : whole(new T[count + odd]), skipped(odd), count(count) {
        std::fill(whole.get(), whole.get() + count + odd, std::numeric_limits<T>::quiet_NaN());
    }
    T* begin() const { return whole.get() + skipped; }
    bool operator==(const Array& other) const { return std::memcmp(begin(), other.begin(), count * sizeof(T)) == 0; }
};

template <class T, class Source>
Array<T> filled(const Source& values, bool odd) {
    Array<T> array(values.size(), odd);
    T* to = array.begin();
    for (const auto& one : values) {
        if constexpr (std::is_same_v<std::decay_t<decltype(one)>, Number>) *to++ = static_cast<T>(value(one));
        else *to++ = static_cast<T>(one);
    }
    return array;
}

/// Rows of `columns` numbers, `stride` apart; what lies between them must still be NaN. Errors are relative to the
/// largest number of the array, or to 1, since sums of numbers near 1 have absolute errors.
template <class T>
void compare(const std::string& what, const T* ours, std::size_t rows, std::size_t columns, std::size_t stride,
             const std::vector<double>& truth, double tolerance) {
    double largest = 1, worst = 0;
    if (columns == 0) return;
    for (double one : truth) largest = std::max(largest, std::abs(one));
    for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t column = 0; column < columns; ++column) {
            const double error = std::abs(static_cast<double>(ours[row * stride + column]) - truth[row * columns + column]);
            if (!(error <= worst)) worst = error;  // NaN counts
            ++compared;
        }
        if (row + 1 < rows)
            for (std::size_t column = columns; column < stride; ++column)
                if (!std::isnan(ours[row * stride + column])) return fail(what + " wrote between its rows");
    }
    if (!(worst <= tolerance * largest)) fail(what + " is off by " + std::to_string(worst / largest / tolerance) + " tolerances");
}

inline std::vector<double> values_of(const Numbers& numbers) {
    std::vector<double> values;
    for (Number one : numbers) values.push_back(value(one));
    return values;
}

inline std::vector<double> picked(const std::vector<double>& all, const Numbers& numbers) {
    std::vector<double> values;
    for (Number one : numbers) values.push_back(all[one.place]);
    return values;
}

// ------------------------------------------------------------------------------------------------ the cells

inline std::vector<Spec> structures() {
    std::vector<Spec> specs;
    for (const bool has_bias : {true, false}) {
        Spec spec;
        spec.bias = has_bias;
        specs.push_back(spec);
        spec.family = Family::jordan;
        specs.push_back(spec);
        spec.hidden_feedback = false;
        specs.push_back(spec);
        spec = {};
        spec.bias = has_bias;
        spec.family = Family::gru;
        specs.push_back(spec);
        spec.reset_after = false;
        specs.push_back(spec);
        spec = {};
        spec.bias = has_bias;
        spec.family = Family::lstm;
        for (const bool peepholes : {false, true}) {
            spec.peepholes = peepholes;
            for (int forgets = 0; forgets < 3; ++forgets) {
                spec.forget_gate = forgets != 0;
                spec.coupled = forgets == 2;
                specs.push_back(spec);
            }
        }
    }
    return specs;
}

/// What a cell is called in messages.
inline std::string words_of(const Spec& spec) {
    const char* const families[] = {"elman", "jordan", "lstm", "gru"};
    const auto name = [](Activation f) { return std::string(activation_names[static_cast<std::size_t>(f)]); };
    std::string words = families[static_cast<std::size_t>(spec.family)];
    words += " I=" + std::to_string(spec.input_size) + " H=" + std::to_string(spec.hidden_size) +
               " K=" + std::to_string(spec.output_size) + " " + name(spec.gate_activation) + " " + name(spec.activation) +
               " " + name(spec.output_activation) + (spec.bias ? "" : " no bias") +
               (spec.forget_gate ? "" : " no forget gate") + (spec.coupled ? " coupled" : "") +
               (spec.peepholes ? " peepholes" : "") + (spec.reset_after ? "" : " reset before") +
               (spec.hidden_feedback ? "" : " no hidden feedback");
    return words;
}

}  // namespace saiki::tests
