// Packing a matrix into panels (gemm.h): by rows, where its rows become columns and blocks are transposed in registers,
// or straight, where its columns stay columns.
#pragma once

#include <utility>

#include "gemm.h"

namespace saiki::SAIKI_TARGET {

template <class T, std::size_t... k>
SAIKI_INLINE void interleave(Vec<T> a, Vec<T> b, Vec<T>& low, Vec<T>& high, std::index_sequence<k...>) {
    constexpr std::size_t W = width<T>;
    low = __builtin_shufflevector(a, b, ((k & 1 ? W : 0) + k / 2)...);
    high = __builtin_shufflevector(a, b, ((k & 1 ? W : 0) + W / 2 + k / 2)...);
}

/// Transpose width × width numbers: log₂ width perfect shuffles of the rows.
template <class T>
SAIKI_INLINE void transpose(Vec<T> (&rows)[width<T>]) {
    constexpr std::size_t W = width<T>;
    for (std::size_t stage = 1; stage < W; stage *= 2) {
        Vec<T> next[W];
        for (std::size_t i = 0; i < W / 2; ++i)
            interleave<T>(rows[i], rows[i + W / 2], next[2 * i], next[2 * i + 1], std::make_index_sequence<W>{});
        for (std::size_t i = 0; i < W; ++i) rows[i] = next[i];
    }
}

/// Vector v of `vectors` of one k, as load_weights has it.
template <class T>
SAIKI_INLINE void store_weights(T* row, std::size_t v, std::size_t, Vec<T> w) {
    store(row + v * width<T>, w);
}
/// Rounds to the nearest bfloat16, ties to even; a NaN stays one.
SAIKI_INLINE void store_weights(BFloat16* row, std::size_t v, std::size_t vectors, Vec<float> w) {
    constexpr std::size_t W = width<float>;
    const bool zipped = (v | 1) < vectors;
    BFloat16* to = zipped ? row + (v & ~std::size_t(1)) * W + (v & 1) : row + v * W;
    for (std::size_t u = 0; u < W; ++u) {
        const float number = w[u];
        std::uint32_t whole;
        __builtin_memcpy(&whole, &number, sizeof whole);
        const std::uint32_t upper = number == number ? (whole + 0x7fffu + (whole >> 16 & 1u)) >> 16 : (whole >> 16 | 0x40u);
        to[u * (zipped ? 2 : 1)] = {static_cast<std::uint16_t>(upper)};
    }
}

/// Vector v of a panel, its first row at `row`, from `units` ≤ width neighbouring rows of a row-major matrix: lane u at depth k is m[u][k].
template <class T, class P>
inline void pack_vector(const T* m, std::size_t m_row, std::size_t units, std::size_t depth, P* row, std::size_t v,
                        std::size_t vectors) {
    constexpr std::size_t W = width<T>;
    for (std::size_t k = 0; k < depth; k += W) {
        const std::size_t steps = depth - k < W ? depth - k : W;
        Vec<T> block[W];
        for (std::size_t u = 0; u < W; ++u) {
            block[u] = Vec<T>{};
            if (u < units) block[u] = steps == W ? load(m + u * m_row + k) : load(m + u * m_row + k, steps);
        }
        transpose<T>(block);
        for (std::size_t i = 0; i < steps; ++i) store_weights(row + (k + i) * vectors * W, v, vectors, block[i]);
    }
}

/// Rows of a matrix become columns, gate by gate: vector ub · gates + g holds rows (first_gate + g) · units + ub · width …
/// of `m`, its first `depth` numbers each. Only some panels; the matrix's depth there starts at `from`.
template <class T, class P>
void pack_units(const T* m, std::size_t m_row, std::size_t depth, std::size_t units, std::size_t first_gate, std::size_t gates,
                const Columns<P>& b, std::size_t from, Span panels) {
    constexpr std::size_t W = width<T>;
    for (std::size_t p = panels.from; p < panels.to; ++p) {
        const std::size_t vectors = b.vectors_of(p);
        for (std::size_t v = 0; v < vectors; ++v) {
            const std::size_t column = p * b.per_panel + v, first = column / gates * W, gate = first_gate + column % gates;
            const std::size_t count = units - first < W ? units - first : W;
            pack_vector(m + (gate * units + first) * m_row, m_row, count, depth, b.panel(p) + from * vectors * W, v, vectors);
        }
    }
}

/// Rows stay rows and columns columns: depth k of the packed matrix, from `from` on, is row k of `m` (rows × columns).
template <class T, class P>
void pack_straight(const T* m, std::size_t m_row, std::size_t rows, std::size_t columns, const Columns<P>& b, std::size_t from,
                   Span panels) {
    constexpr std::size_t W = width<T>;
    for (std::size_t p = panels.from; p < panels.to; ++p) {
        const std::size_t vectors = b.vectors_of(p);
        P* to = b.panel(p) + from * vectors * W;
        for (std::size_t k = 0; k < rows; ++k) {
            for (std::size_t v = 0; v < vectors; ++v) {
                const std::size_t column = (p * b.per_panel + v) * W;
                const std::size_t count = columns - column < W ? columns - column : W;
                store_weights(to + k * vectors * W, v, vectors, count == W ? load(m + k * m_row + column) : load(m + k * m_row + column, count));
            }
        }
    }
}

}  // namespace saiki::SAIKI_TARGET
