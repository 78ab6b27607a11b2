// Where the numbers of a layer stand: sizes in whole vectors, the packed parameters, the saved rows, the deltas.
#pragma once

#include "kernels.h"
#include "memory.h"
#include "pack.h"

namespace saiki::SAIKI_TARGET {

/// Rows of numbers: row j starts at base + j · row.
template <class T>
struct View {
    T* base = nullptr;
    std::size_t row = 0;
    SAIKI_INLINE T* operator()(std::size_t j) const { return base + j * row; }
};

inline std::size_t blocks_of(std::size_t n, std::size_t lanes) { return (n + lanes - 1) / lanes; }

/// A cell's sizes; a block is `width` units, the last one padded.
template <class T>
struct Sizes {
    std::size_t I, H, K, G;
    std::size_t blocks, Hp;    // of the hidden units
    std::size_t k_blocks, Kp;  // of a Jordan network's outputs

    explicit Sizes(const Spec& s)
        : I(s.input_size), H(s.hidden_size), K(s.output_size), G(s.gates()),
          blocks(blocks_of(H, width<T>)), Hp(blocks * width<T>),
          k_blocks(blocks_of(K, width<T>)), Kp(k_blocks * width<T>) {}

    /// How many units of this block there are.
    std::size_t units(std::size_t block) const { return H - block * width<T> < width<T> ? H - block * width<T> : width<T>; }
    std::size_t outputs(std::size_t block) const { return K - block * width<T> < width<T> ? K - block * width<T> : width<T>; }
};

/// A saved row is: the activated gates, block by block and in a block gate by gate (G · Hp; not kept of Elman and
/// Jordan, which the hidden state tells), then Hp of what else backward needs: c of an LSTM, R_n h + b_hn of a GRU that
/// resets after, h of a Jordan network.
template <class T>
std::size_t saved_columns(const Spec& s) {
    const Sizes<T> z(s);
    switch (s.family) {
        case Family::lstm: return (z.G + 1) * z.Hp;
        case Family::gru: return (z.G + (s.reset_after ? 1 : 0)) * z.Hp;
        case Family::jordan: return z.Hp;
        default: return 0;
    }
}

/// A direction's parameters for the way forward. Columns of `input` and `main` run block by block and in a block gate by
/// gate, so a unit's gates stand together.
template <class T, class P>
struct Packed {
    Columns<P> input;   // W: depth I, all gates
    Columns<P> main;    // R: depth H, all gates; GRU that resets before: r z alone; Jordan: R, then V (depth H + K or K)
    Columns<P> second;  // GRU that resets before: R_n; Jordan: W_y (columns K)
    T* bias;            // in the order of input's columns
    T* main_start;      // GRU that resets after: 0, 0, b_hn in the order of main's columns
    T* bias_y;          // Jordan, Kp
    T* peepholes;       // rows of Hp
    std::size_t bytes;  // of all of it

    /// Lay it out over memory from `base` on (64-byte aligned); with a null base to learn `bytes`.
    Packed(const Spec& s, char* base) {
        const Sizes<T> z(s);
        const bool before = s.family == Family::gru && !s.reset_after, jordan = s.family == Family::jordan;
        const std::size_t main_gates = before ? 2 : z.G;
        std::size_t used = 0;
        const auto columns = [&](std::size_t depth, std::size_t vectors, std::size_t gates) {
            Columns<P> c;
            c.depth = depth, c.vectors = vectors, c.lanes = width<T>;
            c.per_panel = gates == 3 ? 3 : panel_vectors;
            c.base = reinterpret_cast<P*>(base + used);
            used += (c.size() * sizeof(P) + 63) / 64 * 64;
            return c;
        };
        const auto row = [&](std::size_t numbers) {
            T* at = reinterpret_cast<T*>(base + used);
            used += (numbers * sizeof(T) + 63) / 64 * 64;
            return at;
        };
        input = columns(z.I, z.G * z.blocks, z.G);
        main = columns((jordan && !s.hidden_feedback ? 0 : z.H) + (jordan ? z.K : 0), main_gates * z.blocks, main_gates);
        second = before ? columns(z.H, z.blocks, 1) : jordan ? columns(z.H, z.k_blocks, 1) : Columns<P>{};
        bias = row(z.G * z.Hp);
        main_start = row(s.family == Family::gru && s.reset_after ? z.G * z.Hp : 0);
        bias_y = row(jordan ? z.Kp : 0);
        peepholes = row(s.family == Family::lstm && s.peepholes ? (s.learns_to_forget() ? 3 : 2) * z.Hp : 0);
        bytes = used;
    }

    /// Write this thread's share of it.
    void fill(const Spec& s, const T* const* given, int rank, int size) const {
        const Sizes<T> z(s);
        const bool before = s.family == Family::gru && !s.reset_after, jordan = s.family == Family::jordan;
        const std::size_t main_gates = before ? 2 : z.G;
        const auto mine = [&](const Columns<P>& c) { return share(c.panels(), rank, size); };
        pack_units<T>(given[weight_ih], z.I, z.I, z.H, 0, z.G, input, 0, mine(input));
        if (given[weight_hh]) pack_units<T>(given[weight_hh], z.H, z.H, z.H, 0, main_gates, main, 0, mine(main));
        if (before) pack_units<T>(given[weight_hh], z.H, z.H, z.H, 2, 1, second, 0, mine(second));
        if (jordan) {
            pack_units<T>(given[weight_yh], z.K, z.K, z.H, 0, 1, main, given[weight_hh] ? z.H : 0, mine(main));
            pack_units<T>(given[weight_hy], z.H, z.H, z.K, 0, 1, second, 0, mine(second));
        }
        if (rank) return;
        const auto spread = [&](const T* from, std::size_t n, T* to, std::size_t gates, std::size_t gate, std::size_t blocks) {
            for (std::size_t u = 0; u < blocks * width<T>; ++u)
                to[(u / width<T> * gates + gate) * width<T> + u % width<T>] = from && u < n ? from[u] : T(0);
        };
        for (std::size_t g = 0; g < z.G; ++g) spread(given[saiki::bias] ? given[saiki::bias] + g * z.H : nullptr, z.H, bias, z.G, g, z.blocks);
        if (s.family == Family::gru && s.reset_after)
            for (std::size_t g = 0; g < z.G; ++g) spread(g == 2 ? given[bias_hn] : nullptr, z.H, main_start, z.G, g, z.blocks);
        if (jordan) spread(given[saiki::bias_y], z.K, bias_y, 1, 0, z.k_blocks);
        if (const T* p = given[weight_ph])
            for (std::size_t g = 0; g < (s.learns_to_forget() ? 3u : 2u); ++g) spread(p + g * z.H, z.H, peepholes + g * z.Hp, 1, 0, z.blocks);
    }
};

/// Where each step's rows begin: [t] for t = 0 … steps. Sequences of one length need no table, so that what a call holds does not
/// grow with their length.
class Offsets {
public:
    Offsets() = default;
    Offsets(const std::int64_t* sizes, std::size_t steps, Scratch& scratch) {
        if (steps == 0 || sizes[0] == sizes[steps - 1]) {  // sizes never rise
            live_ = steps ? static_cast<std::size_t>(sizes[0]) : 0;
            return;
        }
        std::size_t* const table = scratch.take<std::size_t>(steps + 1);
        table[0] = 0;
        for (std::size_t t = 0; t < steps; ++t) table[t + 1] = table[t] + static_cast<std::size_t>(sizes[t]);
        table_ = table;
    }
    std::size_t operator[](std::size_t t) const { return table_ ? table_[t] : t * live_; }

private:
    const std::size_t* table_ = nullptr;
    std::size_t live_ = 0;
};

/// Where each step's rows begin, and how many sequences run in it.
template <class T>
struct Time {
    const std::int64_t* sizes;
    Offsets offsets;
    std::size_t steps;
    bool reverse;

    std::size_t rows() const { return offsets[steps]; }
    std::size_t live(std::size_t t) const { return static_cast<std::size_t>(sizes[t]); }
    /// The step that is taken s-th.
    std::size_t at(std::size_t s) const { return reverse ? steps - 1 - s : s; }
    /// How many rows of the step taken s-th were running in the one before: they are the first ones.
    std::size_t known(std::size_t s) const {
        if (s == 0) return 0;
        const std::size_t now = live(at(s)), before = live(at(s - 1));
        return now < before ? now : before;
    }
};

}  // namespace saiki::SAIKI_TARGET
