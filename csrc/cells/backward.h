// The cells as policies of the sequence driver, backward: from ∂L/∂h of one row's units to the deltas of their gates.
// The deltas are those of the module docstrings in saiki/cells/.
#pragma once

#include "forward.h"

namespace saiki::SAIKI_TARGET {

/// ∂L/∂a of every gate and row, in panels of four vectors of columns: in a panel, a row's columns lie side by side and
/// rows follow each other, so that the same numbers serve as rows (for dh, dx) and as columns (for dW, dR). A column of
/// vectors is a gate's block of units: gate · blocks + block.
template <class T>
struct Deltas {
    static constexpr std::size_t row = panel_vectors * width<T>;
    T* base = nullptr;
    std::size_t rows = 0;  // N

    static std::size_t size(std::size_t vectors, std::size_t rows) { return (vectors + panel_vectors - 1) / panel_vectors * rows * row; }
    SAIKI_INLINE T* at(std::size_t vector, std::size_t n) const {
        return base + (vector / panel_vectors * rows + n) * row + vector % panel_vectors * width<T>;
    }
};

/// What a step of one lane reads and writes on the way back, a view each, row j of the batch.
template <class T>
struct BackwardStep {
    View<const T> saved;     // of this step, as layout.h says
    View<const T> h_prev;    // (H)
    View<const T> c_prev;    // LSTM (Hp)
    View<const T> h;         // Elman (H)
    View<const T> y;         // Jordan (K)
    View<const T> d_output;  // (O); null: zero
    View<T> dc;              // LSTM (Hp): in ∂L/∂c_t from later steps, out ∂L/∂c_{t-1}
    View<T> carry;           // GRU (Hp): out, the part of ∂L/∂h_{t-1} that does not pass through R
    Deltas<T> deltas;
    std::size_t first;       // row number of j = 0
};

template <class T>
SAIKI_INLINE Vec<T> with_output(const BackwardStep<T>& step, std::size_t j, std::size_t u, std::size_t units, Vec<T> d) {
    return step.d_output.base ? d + load_units(step.d_output(j) + u, units) : d;
}

/// finish() takes what later steps send to h; finish_output() (Jordan) what they send to y; finish_reset() (GRU that
/// resets before) ∂L/∂(r ∘ h).
template <class T, class Activations>
struct ElmanBackward {
    static constexpr bool output_returns = false;
    static constexpr bool reset_before = false;
    static constexpr std::size_t gates = 1;
    Activations f;
    Sizes<T> z;
    ElmanBackward(const Spec& s, const T*) : f(s), z(s) {}

    SAIKI_INLINE void finish(const BackwardStep<T>& step, std::size_t j, std::size_t block, Vec<T> d) const {
        const std::size_t u = block * width<T>, units = z.units(block);
        const Vec<T> h = load_units(step.h(j) + u, units);
        store(step.deltas.at(block, step.first + j), f.activation.slope(h) * with_output(step, j, u, units, d));
    }
};

template <class T, class Activations>
struct JordanBackward {
    static constexpr bool output_returns = true;
    static constexpr bool reset_before = false;
    static constexpr std::size_t gates = 1;
    Activations f;
    Sizes<T> z;
    JordanBackward(const Spec& s, const T*) : f(s), z(s) {}

    SAIKI_INLINE void finish(const BackwardStep<T>& step, std::size_t j, std::size_t block, Vec<T> d) const {
        store(step.deltas.at(block, step.first + j), f.activation.slope(load(step.saved(j) + block * width<T>)) * d);
    }
    SAIKI_INLINE void finish_output(const BackwardStep<T>& step, std::size_t j, std::size_t block, Vec<T> d) const {
        const std::size_t k = block * width<T>, outputs = z.outputs(block);
        const Vec<T> y = load_units(step.y(j) + k, outputs);
        store(step.deltas.at(z.blocks + block, step.first + j), f.output.slope(y) * with_output(step, j, k, outputs, d));
    }
};

template <class T, class Activations, std::size_t gate_count>
struct LSTMBackward {
    static constexpr bool output_returns = false;
    static constexpr bool reset_before = false;
    static constexpr std::size_t gates = gate_count;
    Activations f;
    Sizes<T> z;
    const T* peepholes;  // rows of Hp
    bool coupled;
    LSTMBackward(const Spec& s, const T* peepholes) : f(s), z(s), peepholes(s.peepholes ? peepholes : nullptr), coupled(s.coupled) {}

    SAIKI_INLINE void finish(const BackwardStep<T>& step, std::size_t j, std::size_t block, Vec<T> d) const {
        constexpr std::size_t W = width<T>, G = gates - 2, O = gates - 1;
        const std::size_t u = block * W, n = step.first + j;
        const T* kept = step.saved(j) + block * gates * W;
        const Vec<T> i = load(kept), g = load(kept + G * W), o = load(kept + O * W);
        const Vec<T> c = load(step.saved(j) + gates * z.Hp + u), c_prev = load(step.c_prev(j) + u);
        const Vec<T> dh = with_output(step, j, u, z.units(block), d);
        const Vec<T> squashed = f.output.value(c);
        const Vec<T> delta_o = f.gate.slope(o) * squashed * dh;
        Vec<T> dc = fma(o * f.output.slope(squashed), dh, load(step.dc(j) + u));
        if (peepholes) dc = fma(load(peepholes + (gates - 2) * z.Hp + u), delta_o, dc);
        const Vec<T> delta_g = f.activation.slope(g) * i * dc;
        Vec<T> delta_i, dc_prev;
        if constexpr (gates == 4) {
            const Vec<T> forget = load(kept + W);
            const Vec<T> delta_f = f.gate.slope(forget) * c_prev * dc;
            delta_i = f.gate.slope(i) * g * dc;
            dc_prev = forget * dc;
            if (peepholes) dc_prev = fma(load(peepholes + z.Hp + u), delta_f, dc_prev);
            store(step.deltas.at(z.blocks + block, n), delta_f);
        } else {
            delta_i = f.gate.slope(i) * (coupled ? g - c_prev : g) * dc;
            dc_prev = coupled ? (T(1) - i) * dc : dc;
        }
        if (peepholes) dc_prev = fma(load(peepholes + u), delta_i, dc_prev);
        store(step.dc(j) + u, dc_prev);
        store(step.deltas.at(block, n), delta_i);
        store(step.deltas.at(G * z.blocks + block, n), delta_g);
        store(step.deltas.at(O * z.blocks + block, n), delta_o);
    }
};

/// Deltas r z n, and of a GRU that resets after also that of q = R_n h + b_hn.
template <class T, class Activations, bool before>
struct GRUBackward {
    static constexpr bool output_returns = false;
    static constexpr bool reset_before = before;
    static constexpr std::size_t gates = 3;
    Activations f;
    Sizes<T> z;
    GRUBackward(const Spec& s, const T*) : f(s), z(s) {}

    SAIKI_INLINE void finish(const BackwardStep<T>& step, std::size_t j, std::size_t block, Vec<T> d) const {
        constexpr std::size_t W = width<T>;
        const std::size_t u = block * W, n = step.first + j, units = z.units(block);
        const T* kept = step.saved(j) + block * 3 * W;
        const Vec<T> r = load(kept), update = load(kept + W), candidate = load(kept + 2 * W);
        const Vec<T> h_prev = load_units(step.h_prev(j) + u, units), dh = with_output(step, j, u, units, d);
        const Vec<T> delta_n = f.activation.slope(candidate) * (T(1) - update) * dh;
        store(step.deltas.at(z.blocks + block, n), f.gate.slope(update) * (h_prev - candidate) * dh);
        store(step.deltas.at(2 * z.blocks + block, n), delta_n);
        store(step.carry(j) + u, update * dh);
        if constexpr (!before) {
            const Vec<T> q = load(step.saved(j) + 3 * z.Hp + u);
            store(step.deltas.at(block, n), f.gate.slope(r) * q * delta_n);
            store(step.deltas.at(3 * z.blocks + block, n), r * delta_n);
        }
    }
    SAIKI_INLINE void finish_reset(const BackwardStep<T>& step, std::size_t j, std::size_t block, Vec<T> dm) const {
        constexpr std::size_t W = width<T>;
        const std::size_t u = block * W, units = z.units(block);
        const Vec<T> r = load(step.saved(j) + block * 3 * W), h_prev = load_units(step.h_prev(j) + u, units);
        store(step.deltas.at(block, step.first + j), f.gate.slope(r) * h_prev * dm);
        T* carry = step.carry(j) + u;
        store(carry, fma(r, dm, load(carry)));
    }
};

/// Call `use(Chosen<Cell>{})` with the policy of these options.
template <class T, class Use>
SAIKI_INLINE void with_backward_cell(const Spec& s, const Use& use) {
    with_activations<T>(s, [&](auto activations) {
        using A = typename decltype(activations)::type;
        switch (s.family) {
            case Family::elman: return use(Chosen<ElmanBackward<T, A>>{});
            case Family::jordan: return use(Chosen<JordanBackward<T, A>>{});
            case Family::lstm:
                if (s.learns_to_forget()) return use(Chosen<LSTMBackward<T, A, 4>>{});
                return use(Chosen<LSTMBackward<T, A, 3>>{});
            case Family::gru:
                if (s.reset_after) return use(Chosen<GRUBackward<T, A, false>>{});
                return use(Chosen<GRUBackward<T, A, true>>{});
        }
    });
}

}  // namespace saiki::SAIKI_TARGET
