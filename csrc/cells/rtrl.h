// The cells' step Jacobians for real-time recurrent learning: what one step of one sequence does to M = ∂s/∂θ.
//
//     M_t = D_t M_{t-1} + F_t          s is h; h and c of an LSTM; h and y of a Jordan network
//
// D is never built where it has structure: an LSTM's is two dense blocks and two diagonals, since h sees c_t as it is
// made. F touches, for most parameters, one unit: a coefficient of the parameter's row times what its column multiplies
// (x, h_{t-1}, 1, ...). Derivations: the docstrings in saiki/cells/, differentiated by s_{t-1} instead of backward.
//
//     Elman        h:  e R M_h + F                              e = f'
//     Jordan       h:  e R M_h + e V M_y + F                    then y:  g' W_y M_h + F
//     LSTM         c:  (e_i R_i + e_f R_f + e_g R_g) M_h + keep M_c + F         then h:  e_o R_o M_h + pass M_c + F
//                  e_i = σ' g  (coupled: g - c_{t-1}),  e_f = σ' c_{t-1},  e_g = φ' i,  e_o = σ' ψ(c)
//                  keep = f (or 1, or 1 - i) + p_i e_i + p_f e_f,  pass = o ψ'(c) + p_o e_o
//     GRU, after   h:  (e_r R_r + e_z R_z + e_q R_n + z) M + F
//                  e_n = φ' (1 - z),  e_z = σ' (h_{t-1} - n),  e_r = e_n q σ',  e_q = e_n r,  q = R_n h_{t-1} + b_hn
//     GRU, before  h:  (e_z R_z + e_n R_n r + E R_r + z) M + F
//                  E = e_n R_n (h_{t-1} σ'): what a reset gate's parameter does to every unit, the second factor of F
#pragma once

#include "forward.h"

namespace saiki::SAIKI_TARGET {

/// One step of one sequence. Vectors of H numbers and matrices lie dense, but for what is read where it lies.
template <class T>
struct StepJacobian {
    T* dense;   // exact: (H, `depth`), of h_{t-1} (and y_{t-1}) on what is made first: c of an LSTM, h of others
    T* second;  // exact: LSTM (H, H) of h_{t-1} on h; Jordan (K, H) of h_t on y
    T* spread;  // exact, GRU that resets before: E (H, H); sparse: its diagonal is in `e`
    T* self;    // sparse: the same unit's entry of D: of h_{t-1} on what is made first
    T* self_second;  // sparse: LSTM: of h_{t-1} on h; Jordan: of y_{t-1} on y (K)
    const T* through;  // sparse, Jordan: ∂L/∂h of this step, through y
    T* keep;    // LSTM: c_{t-1} on c_t
    T* pass;    // LSTM: c_t on h_t
    T* others;  // sparse, GRU that resets before: Σ_u δ_u E[u, j] over the other units, ∂L by what r_j's a multiplies
    T* e;       // coefficients of F by row of weight_ih: G · H; then e_q of a GRU that resets after (H), g' of Jordan (K)
    const T* reset_h;  // GRU that resets before: r ∘ h_{t-1}
    const T *c_prev, *c;  // LSTM; all of these are filled in with the rest
    const T *x, *h_prev, *y_prev, *h;
    const T* delta;  // ∂L/∂(output) of this step, or null
};

/// The sizes of one, and its place in memory.
template <class T>
struct StepJacobianPlan {
    Sizes<T> z;
    bool exact, lstm, jordan, before, gru;
    std::size_t depth;  // columns of `dense`
    std::size_t numbers;

    StepJacobianPlan(const Spec& s, Approximation approximation)
        : z(s), exact(approximation == Approximation::exact), lstm(s.family == Family::lstm), jordan(s.family == Family::jordan),
          before(s.family == Family::gru && !s.reset_after), gru(s.family == Family::gru),
          depth((jordan && !s.hidden_feedback ? 0 : z.H) + (jordan ? z.K : 0)) {
        StepJacobian<T> nothing;
        numbers = place(nothing, nullptr);
    }

    /// Coefficients kept besides those of weight_ih's rows.
    std::size_t extra() const { return jordan ? z.K : gru && !before ? z.H : 0; }

    std::size_t place(StepJacobian<T>& step, T* base) const {
        std::size_t used = 0;
        const auto take = [&](std::size_t count) {
            T* const at = base + used;
            used += (count * sizeof(T) + 63) / 64 * 64 / sizeof(T);
            return at;
        };
        const bool sparse = !exact;
        step.dense = take(exact ? z.H * depth : 0);
        step.second = take(exact && (lstm || jordan) ? (lstm ? z.H : z.K) * z.H : 0);
        step.spread = take(exact && before ? z.H * z.H : 0);
        step.self = take(sparse ? z.Hp : 0);
        step.self_second = take(sparse && lstm ? z.Hp : sparse && jordan ? z.Kp : 0);
        step.through = take(sparse && jordan ? z.Hp : 0);
        step.keep = take(lstm ? z.Hp : 0);
        step.pass = take(lstm ? z.Hp : 0);
        step.others = take(sparse && before ? z.Hp : 0);
        step.e = take(z.G * z.H + extra());
        step.reset_h = take(before ? z.Hp : 0);
        step.c_prev = take(lstm ? z.Hp : 0);
        step.c = take(lstm ? z.Hp : 0);
        return used;
    }
};

/// to[k] = Σ_m coefficient[m] · rows[m][k] for k < n.
template <std::size_t terms, class T>
SAIKI_INLINE void combine(T* to, std::size_t n, const T (&coefficient)[terms], const T* const (&rows)[terms]) {
    constexpr std::size_t W = width<T>;
    for (std::size_t k = 0; k < n; k += W) {
        const std::size_t count = n - k < W ? n - k : W;
        Vec<T> sum = broadcast(coefficient[0]) * load_units(rows[0] + k, count);
        for (std::size_t m = 1; m < terms; ++m) sum = fma(broadcast(coefficient[m]), load_units(rows[m] + k, count), sum);
        store_units(to + k, sum, count);
    }
}

/// Weights that sparse rules need in pairs, multiplied once a call: what leaves a unit and comes back to it in one step.
/// GRU that resets before: back[m, u] = R_r[m, u] R_n[u, m]; Jordan: back[u, k] = V[u, k] W_y[k, u].
template <class T>
struct Returns {
    T* back = nullptr;
    std::size_t rows = 0, columns = 0;

    Returns(const StepJacobianPlan<T>& plan) {
        if (!plan.exact && (plan.before || plan.jordan)) rows = plan.z.H, columns = plan.jordan ? plan.z.K : plan.z.H;
    }
    void fill(const StepJacobianPlan<T>& plan, const T* const* parameters) const {
        const std::size_t H = plan.z.H;
        const T* const there = plan.jordan ? parameters[weight_yh] : parameters[weight_hh];
        const T* const here = plan.jordan ? parameters[weight_hy] : parameters[weight_hh] + 2 * H * H;
        for (std::size_t m = 0; m < rows; ++m)
            for (std::size_t u = 0; u < columns; ++u) back[m * columns + u] = there[m * columns + u] * here[u * H + m];
    }
};

/// to[k] += factor · row[k] for k < n.
template <class T>
SAIKI_INLINE void add_scaled(T* to, std::size_t n, T factor, const T* row) {
    constexpr std::size_t W = width<T>;
    for (std::size_t k = 0; k < n; k += W) {
        const std::size_t count = n - k < W ? n - k : W;
        store_units(to + k, fma(broadcast(factor), load_units(row + k, count), load_units(to + k, count)), count);
    }
}

/// What the step's Jacobian is told from: rows of the forward pass.
template <class T>
struct StepOf {
    const T* saved;    // this step's row
    const T* output;   // likewise
    const T* h_prev;   // (H)
    const T* y_prev;   // Jordan (K)
    const T* c_prev;   // LSTM (H); what lies behind them may be anything
};

/// Fill in a step; `x`, `h_prev`, `y_prev`, `h` and `delta` are there already.
template <class T>
void fill_step_jacobian(const Spec& s, const StepJacobianPlan<T>& plan, Approximation approximation, const T* const* parameters,
                        const Returns<T>& returns, const StepOf<T>& of, StepJacobian<T>& step) {
    constexpr std::size_t W = width<T>;
    const Sizes<T>& z = plan.z;
    const std::size_t H = z.H;
    const NamedActivations<T> f(s);
    const T* const R = parameters[weight_hh];
    const bool exact = plan.exact, eprop = approximation == Approximation::eprop;
    T* const e = step.e;
    const auto row = [&](std::size_t gate, std::size_t u) { return R + (gate * H + u) * H; };
    const auto entry = [&](std::size_t gate, std::size_t u) { return row(gate, u)[u]; };

    if (plan.lstm) {
        const std::size_t G = z.G, forget = 1, g_at = G - 2, o_at = G - 1;
        const T* const p = parameters[weight_ph];
        for (std::size_t block = 0; block < z.blocks; ++block) {
            const std::size_t u = block * W, units = z.units(block);
            const T* kept = of.saved + block * G * W;
            const Vec<T> i = load(kept), g = load(kept + g_at * W), o = load(kept + o_at * W);
            const Vec<T> c = load(of.saved + G * z.Hp + u), c_prev = load_units(of.c_prev + u, units);
            const Vec<T> squashed = f.output.value(c), e_o = f.gate.slope(o) * squashed;
            const Vec<T> e_i = f.gate.slope(i) * (s.coupled ? g - c_prev : g), e_g = f.activation.slope(g) * i;
            Vec<T> keep = s.coupled ? T(1) - i : broadcast(T(1)), e_f{}, pass = o * f.output.slope(squashed);
            if (G == 4) keep = load(kept + forget * W), e_f = f.gate.slope(keep) * c_prev;
            if (p) {
                keep = fma(load_units(p + u, units), e_i, keep);
                if (G == 4) keep = fma(load_units(p + H + u, units), e_f, keep);
                pass = fma(load_units(p + (G - 2) * H + u, units), e_o, pass);
            }
            store(step.keep + u, keep), store(step.pass + u, pass);
            store(const_cast<T*>(step.c) + u, c), store(const_cast<T*>(step.c_prev) + u, c_prev);
            store_units(e + u, e_i, units);
            if (G == 4) store_units(e + H + u, e_f, units);
            store_units(e + g_at * H + u, e_g, units);
            store_units(e + o_at * H + u, e_o, units);
        }
        for (std::size_t u = 0; u < H; ++u) {
            const T e_i = e[u], e_g = e[g_at * H + u], e_o = e[o_at * H + u];
            if (exact) {
                if (G == 4) combine<3, T>(step.dense + u * H, H, {e_i, e[H + u], e_g}, {row(0, u), row(1, u), row(2, u)});
                else combine<2, T>(step.dense + u * H, H, {e_i, e_g}, {row(0, u), row(1, u)});
                combine<1, T>(step.second + u * H, H, {e_o}, {row(o_at, u)});
            } else {
                step.self[u] = eprop ? T(0) : e_i * entry(0, u) + e_g * entry(g_at, u) + (G == 4 ? e[H + u] * entry(1, u) : T(0));
                step.self_second[u] = eprop ? T(0) : e_o * entry(o_at, u);
            }
        }
        return;
    }

    if (!plan.gru) {  // Elman and Jordan
        const T* const h = plan.jordan ? of.saved : of.output;
        for (std::size_t block = 0; block < z.blocks; ++block)
            store_units(e + block * W, f.activation.slope(load_units(h + block * W, z.units(block))), z.units(block));
        for (std::size_t block = 0; plan.jordan && block < z.k_blocks; ++block)
            store_units(e + H + block * W, f.output.slope(load_units(of.output + block * W, z.outputs(block))), z.outputs(block));
        const std::size_t from_h = plan.depth - (plan.jordan ? z.K : 0);
        for (std::size_t u = 0; u < H; ++u) {
            if (exact) {
                if (from_h) combine<1, T>(step.dense + u * plan.depth, H, {e[u]}, {row(0, u)});
                if (plan.jordan) combine<1, T>(step.dense + u * plan.depth + from_h, z.K, {e[u]}, {parameters[weight_yh] + u * z.K});
            } else {
                step.self[u] = eprop || !from_h ? T(0) : e[u] * entry(0, u);
            }
        }
        if (!plan.jordan) return;
        if (exact) {
            for (std::size_t k = 0; k < z.K; ++k) combine<1, T>(step.second + k * H, H, {e[H + k]}, {parameters[weight_hy] + k * H});
            return;
        }
        T* const through = const_cast<T*>(step.through);
        for (std::size_t u = 0; u < H; ++u) through[u] = 0;
        for (std::size_t k = 0; step.delta && k < z.K; ++k) add_scaled(through, H, step.delta[k] * e[H + k], parameters[weight_hy] + k * H);
        for (std::size_t k = 0; k < z.K; ++k) step.self_second[k] = 0;
        for (std::size_t u = 0; !eprop && u < H; ++u) add_scaled(step.self_second, z.K, e[u], returns.back + u * z.K);
        for (std::size_t k = 0; k < z.K; ++k) step.self_second[k] *= e[H + k];
        return;
    }

    // the GRU; `update` z and what it scales are needed a unit at a time below, so they go where c and keep would
    T* const e_q = e + (plan.before ? 2 : 3) * H;  // what multiplies R_n: e_q, or e_n itself
    for (std::size_t block = 0; block < z.blocks; ++block) {
        const std::size_t u = block * W, units = z.units(block);
        const T* kept = of.saved + block * 3 * W;
        const Vec<T> r = load(kept), update = load(kept + W), candidate = load(kept + 2 * W);
        const Vec<T> h_prev = load_units(of.h_prev + u, units);
        const Vec<T> e_n = f.activation.slope(candidate) * (T(1) - update);
        store_units(e + H + u, f.gate.slope(update) * (h_prev - candidate), units);
        store_units(e + 2 * H + u, e_n, units);
        if (plan.before) {
            store_units(e + u, f.gate.slope(r) * h_prev, units);  // of r ∘ h_{t-1}; E is e_n R_n times this
            store(const_cast<T*>(step.reset_h) + u, r * h_prev);
        } else {
            const Vec<T> q = load(of.saved + 3 * z.Hp + u);
            store_units(e + u, e_n * q * f.gate.slope(r), units);
            store_units(e + 3 * H + u, e_n * r, units);
        }
    }
    const auto gate_of = [&](std::size_t gate, std::size_t u) { return of.saved[u / W * 3 * W + gate * W + u % W]; };
    for (std::size_t u = 0; u < H; ++u) {
        const T update = gate_of(1, u), e_r = e[u], e_z = e[H + u];
        if (!plan.before) {
            if (exact) {
                T* const to = step.dense + u * H;
                combine<3, T>(to, H, {e_r, e_z, e_q[u]}, {row(0, u), row(1, u), row(2, u)});
                to[u] += update;
            } else {
                step.self[u] = eprop ? update : update + e_r * entry(0, u) + e_z * entry(1, u) + e_q[u] * entry(2, u);
            }
            continue;
        }
        const T* const R_n = row(2, u);
        if (exact) {
            T *const to = step.dense + u * H, *const spread = step.spread + u * H;
            for (std::size_t m = 0; m < H; ++m) {
                const T through = e_q[u] * R_n[m];
                spread[m] = through * e[m];
                to[m] = e_z * row(1, u)[m] + through * gate_of(0, m);
            }
            to[u] += update;
            for (std::size_t k = 0; k < H; k += W) {
                const std::size_t count = H - k < W ? H - k : W;
                Vec<T> sum = load_units(to + k, count);
                for (std::size_t m = 0; m < H; ++m) sum = fma(broadcast(spread[m]), load_units(row(0, m) + k, count), sum);
                store_units(to + k, sum, count);
            }
        } else {
            step.self[u] = eprop ? update : update + e_z * entry(1, u) + e_q[u] * R_n[u] * gate_of(0, u);
        }
    }
    if (!plan.before || exact) return;
    T* const others = step.others;
    if (!eprop) {  // to another unit's n and back, before this step is over
        for (std::size_t u = 0; u < H; ++u) others[u] = 0;
        for (std::size_t m = 0; m < H; ++m) add_scaled(others, H, e[m], returns.back + m * H);
        for (std::size_t u = 0; u < H; ++u) step.self[u] += e_q[u] * others[u];
    }
    for (std::size_t u = 0; u < H; ++u) others[u] = 0;
    for (std::size_t u = 0; step.delta && u < H; ++u) {
        const T own = others[u];
        add_scaled(others, H, step.delta[u] * e_q[u], row(2, u));
        others[u] = own;
    }
    for (std::size_t u = 0; u < H; ++u) {
        others[u] *= e[u];
        e[u] *= e_q[u] * row(2, u)[u];
    }
}

}  // namespace saiki::SAIKI_TARGET
