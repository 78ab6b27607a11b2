// The cells as policies of the sequence driver, forward. A policy finishes one row's units of some blocks while their
// sums are in the first-level cache: bias, peepholes, activation, state update, then stores. Equations: saiki/cells/.
#pragma once

#include "../activation.h"
#include "../layout.h"

namespace saiki::SAIKI_TARGET {

/// Activations known when compiling, for the options that nearly everybody takes; or looked up by name.
template <class T, Activation g, Activation a, Activation o>
struct FixedActivations {
    explicit FixedActivations(const Spec&) {}
    Fixed<g, T> gate;
    Fixed<a, T> activation;
    Fixed<o, T> output;
};
template <class T>
struct NamedActivations {
    explicit NamedActivations(const Spec& s) : gate{s.gate_activation}, activation{s.activation}, output{s.output_activation} {}
    Named<T> gate, activation, output;
};

/// What a step of one lane reads and writes, a view each, row j of the batch.
template <class T>
struct ForwardStep {
    View<T> gates;         // in: W x + b, block by block and gate by gate; out, where `keep`: the activated gates
    bool keep;
    View<const T> h_prev;  // (H)
    View<T> h;             // (H); of a Jordan network (Hp)
    View<const T> c_prev;  // LSTM (Hp)
    View<T> c;             // LSTM (Hp), may be c_prev
    View<T> inner;         // GRU: resets after, where `keep`: R_n h + b_hn (Hp); resets before: r ∘ h (H)
    View<T> y;             // Jordan (K)
};

template <class T>
SAIKI_INLINE void store_units(T* to, Vec<T> v, std::size_t units) {
    if (units == width<T>) store(to, v);
    else store(to, v, units);
}
template <class T>
SAIKI_INLINE Vec<T> load_units(const T* from, std::size_t units) {
    return units == width<T> ? load(from) : load(from, units);
}

/// Whether a cell's first product starts from W x + b (its sums are then the whole pre-activation), and what its second
/// product, if it has one, multiplies.
enum class Second { none, inner, hidden };

template <class T, class Activations>
struct ElmanForward {
    static constexpr bool from_input = true;
    static constexpr Second second = Second::none;
    Activations f;
    Sizes<T> z;
    ElmanForward(const Spec& s, const T*) : f(s), z(s) {}

    SAIKI_INLINE void finish(const ForwardStep<T>& step, std::size_t j, std::size_t block, std::size_t blocks, const T* a) const {
        for (std::size_t b = 0; b < blocks; ++b)
            store_units(step.h(j) + (block + b) * width<T>, f.activation.value(load(a + b * width<T>)), z.units(block + b));
    }
};

template <class T, class Activations>
struct JordanForward {
    static constexpr bool from_input = true;
    static constexpr Second second = Second::hidden;
    Activations f;
    Sizes<T> z;
    JordanForward(const Spec& s, const T*) : f(s), z(s) {}

    SAIKI_INLINE void finish(const ForwardStep<T>& step, std::size_t j, std::size_t block, std::size_t blocks, const T* a) const {
        for (std::size_t b = 0; b < blocks; ++b)
            store(step.h(j) + (block + b) * width<T>, f.activation.value(load(a + b * width<T>)));
    }
    /// y = g(W_y h + b_y)
    SAIKI_INLINE void finish_second(const ForwardStep<T>& step, std::size_t j, std::size_t block, std::size_t blocks, const T* a) const {
        for (std::size_t b = 0; b < blocks; ++b)
            store_units(step.y(j) + (block + b) * width<T>, f.output.value(load(a + b * width<T>)), z.outputs(block + b));
    }
};

/// gates: 4 (i f g o), or 3 (i g o) where f is 1 or 1 - i.
template <class T, class Activations, std::size_t gates>
struct LSTMForward {
    static constexpr bool from_input = true;
    static constexpr Second second = Second::none;
    Activations f;
    Sizes<T> z;
    const T* peepholes;
    bool coupled;
    LSTMForward(const Spec& s, const T* peepholes) : f(s), z(s), peepholes(s.peepholes ? peepholes : nullptr), coupled(s.coupled) {}

    SAIKI_INLINE void finish(const ForwardStep<T>& step, std::size_t j, std::size_t block, std::size_t, const T* a) const {
        constexpr std::size_t W = width<T>, G = gates - 2, O = gates - 1;
        const std::size_t u = block * W;
        const Vec<T> c_prev = load(step.c_prev(j) + u);
        Vec<T> a_i = load(a), a_o = load(a + O * W);
        if (peepholes) a_i = fma(load(peepholes + u), c_prev, a_i);
        const Vec<T> i = f.gate.value(a_i), g = f.activation.value(load(a + G * W));
        Vec<T> forget{}, c;
        if constexpr (gates == 4) {
            Vec<T> a_f = load(a + W);
            if (peepholes) a_f = fma(load(peepholes + z.Hp + u), c_prev, a_f);
            forget = f.gate.value(a_f);
            c = fma(forget, c_prev, i * g);
        } else {
            c = coupled ? fma(T(1) - i, c_prev, i * g) : c_prev + i * g;
        }
        if (peepholes) a_o = fma(load(peepholes + (gates - 2) * z.Hp + u), c, a_o);
        const Vec<T> o = f.gate.value(a_o);
        store(step.c(j) + u, c);
        store_units(step.h(j) + u, o * f.output.value(c), z.units(block));
        if (step.keep) {
            T* kept = step.gates(j) + block * gates * W;
            store(kept, i);
            if constexpr (gates == 4) store(kept + W, forget);
            store(kept + G * W, g);
            store(kept + O * W, o);
        }
    }
};

/// Reset after: the candidate sees r ∘ (R_n h + b_hn).
template <class T, class Activations>
struct GRUAfterForward {
    static constexpr bool from_input = false;  // W_n x + b_n and R_n h + b_hn must not be added up before r is known
    static constexpr Second second = Second::none;
    Activations f;
    Sizes<T> z;
    GRUAfterForward(const Spec& s, const T*) : f(s), z(s) {}

    SAIKI_INLINE void finish(const ForwardStep<T>& step, std::size_t j, std::size_t block, std::size_t, const T* a) const {
        constexpr std::size_t W = width<T>;
        const std::size_t u = block * W, units = z.units(block);
        T* x = step.gates(j) + block * 3 * W;
        const Vec<T> q = load(a + 2 * W);
        const Vec<T> r = f.gate.value(load(x) + load(a)), update = f.gate.value(load(x + W) + load(a + W));
        const Vec<T> n = f.activation.value(fma(r, q, load(x + 2 * W)));
        store_units(step.h(j) + u, fma(update, load_units(step.h_prev(j) + u, units) - n, n), units);
        if (step.keep) {
            store(x, r), store(x + W, update), store(x + 2 * W, n);
            store(step.inner(j) + u, q);
        }
    }
};

/// Reset before: the candidate sees R_n (r ∘ h), a product of its own.
template <class T, class Activations>
struct GRUBeforeForward {
    static constexpr bool from_input = false;  // main's columns are r z alone, the input's r z n
    static constexpr Second second = Second::inner;
    Activations f;
    Sizes<T> z;
    GRUBeforeForward(const Spec& s, const T*) : f(s), z(s) {}

    SAIKI_INLINE void finish(const ForwardStep<T>& step, std::size_t j, std::size_t block, std::size_t blocks, const T* a) const {
        constexpr std::size_t W = width<T>;
        for (std::size_t b = 0; b < blocks; ++b, a += 2 * W) {
            T* x = step.gates(j) + (block + b) * 3 * W;
            const std::size_t u = (block + b) * W, units = z.units(block + b);
            const Vec<T> r = f.gate.value(load(x) + load(a));
            store(x, r);
            store(x + W, f.gate.value(load(x + W) + load(a + W)));
            store_units(step.inner(j) + u, r * load_units(step.h_prev(j) + u, units), units);
        }
    }
    SAIKI_INLINE void finish_second(const ForwardStep<T>& step, std::size_t j, std::size_t block, std::size_t blocks, const T* a) const {
        constexpr std::size_t W = width<T>;
        for (std::size_t b = 0; b < blocks; ++b, a += W) {
            T* x = step.gates(j) + (block + b) * 3 * W;
            const std::size_t u = (block + b) * W, units = z.units(block + b);
            const Vec<T> n = f.activation.value(load(x + 2 * W) + load(a));
            store(x + 2 * W, n);
            store_units(step.h(j) + u, fma(load(x + W), load_units(step.h_prev(j) + u, units) - n, n), units);
        }
    }
};

template <class Cell>
struct Chosen {
    using type = Cell;
};

/// Call `use(Chosen<Activations>{})` with those of these options.
template <class T, class Use>
SAIKI_INLINE void with_activations(const Spec& s, const Use& use) {
    using enum Activation;
    const bool gated = s.family == Family::lstm || s.family == Family::gru, jordan = s.family == Family::jordan;
    const bool usual = s.activation == tanh && (!gated || s.gate_activation == sigmoid) &&
                       (s.family != Family::lstm || s.output_activation == tanh) && (!jordan || s.output_activation == identity);
    if (!usual) return use(Chosen<NamedActivations<T>>{});
    if (jordan) return use(Chosen<FixedActivations<T, sigmoid, tanh, identity>>{});
    return use(Chosen<FixedActivations<T, sigmoid, tanh, tanh>>{});
}

/// Call `use(Chosen<Cell>{})` with the policy of these options.
template <class T, class Use>
SAIKI_INLINE void with_forward_cell(const Spec& s, const Use& use) {
    with_activations<T>(s, [&](auto activations) {
        using A = typename decltype(activations)::type;
        switch (s.family) {
            case Family::elman: return use(Chosen<ElmanForward<T, A>>{});
            case Family::jordan: return use(Chosen<JordanForward<T, A>>{});
            case Family::lstm:
                if (s.learns_to_forget()) return use(Chosen<LSTMForward<T, A, 4>>{});
                return use(Chosen<LSTMForward<T, A, 3>>{});
            case Family::gru:
                if (s.reset_after) return use(Chosen<GRUAfterForward<T, A>>{});
                return use(Chosen<GRUBeforeForward<T, A>>{});
        }
    });
}

}  // namespace saiki::SAIKI_TARGET
