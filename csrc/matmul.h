// The general matrix product, from the same micro-kernel.
#pragma once

#include "forward.h"

namespace saiki::SAIKI_TARGET {

/// C = A B + bias (+ C). B is packed once and shared; rows of C, or where there are few of them its columns, are cut
/// among the threads. Long sums are taken in pieces that are added up in C, cut by K alone.
template <class T>
void matmul(const Product<T>& p, int threads) {
    constexpr std::size_t W = width<T>;
    constexpr std::size_t deepest = 2048;  // a panel of float32 is half a mebibyte then
    constexpr std::size_t block = 96;      // rows that see a panel before the next is read
    Scratch scratch;
    const std::size_t depth = p.K < deepest ? p.K : deepest, row_blocks = (p.M + block - 1) / block;
    Columns<T> b;
    b.depth = depth, b.vectors = blocks_of(p.N, W), b.lanes = W;
    b.base = scratch.take<T>(b.size());
    T* padded_bias = scratch.take<T>(b.vectors * W);
    for (std::size_t n = 0; n < b.vectors * W; ++n) padded_bias[n] = p.bias && n < p.N ? p.bias[n] : T(0);
    if (2.0 * static_cast<double>(p.M) * static_cast<double>(p.N) * static_cast<double>(p.K) < 1e6) threads = 1;
    if (threads > max_threads) threads = max_threads;

    Barrier all;
    run_team(threads, [&](int rank, int size) {
        const FlushDenormals flush;
        const bool by_rows = row_blocks >= static_cast<std::size_t>(size);
        const Span blocks = by_rows ? share(row_blocks, rank, size) : Span{0, row_blocks};
        const Span panels = by_rows ? Span{0, b.panels()} : share(b.panels(), rank, size);
        std::size_t k = 0;
        do {  // once for K = 0 as well
            Columns<T> part = b;
            part.depth = p.K - k < depth ? p.K - k : depth;
            const Span packing = share(b.panels(), rank, size);
            if (p.b_transposed) pack_units<T>(p.b + k, p.b_stride, part.depth, p.N, 0, 1, part, 0, packing);
            else pack_straight(p.b + k * p.b_stride, p.b_stride, part.depth, p.N, part, 0, packing);
            all.wait(size);
            const Piece<T> piece = p.a_transposed ? Piece<T>{p.a + k * p.a_stride, 1, p.a_stride, part.depth}
                                                  : Piece<T>{p.a + k, p.a_stride, 1, part.depth};
            const bool add = p.accumulate || k > 0;
            for (std::size_t r = blocks.from; r < blocks.to; ++r) {
                const std::size_t first = r * block, rows = p.M - first < block ? p.M - first : block;
                multiply(&piece, 1, first, rows, part, 0, panels, k ? static_cast<const T*>(nullptr) : padded_bias, 0,
                         [&](std::size_t panel, std::size_t row, std::size_t height, const T* sums, std::size_t sums_row) {
                             for (std::size_t m = 0; m < height; ++m)
                                 for (std::size_t v = 0; v < part.vectors_of(panel); ++v) {
                                     const std::size_t n = (panel * part.per_panel + v) * W, count = p.N - n < W ? p.N - n : W;
                                     T* to = p.c + (first + row + m) * p.c_stride + n;
                                     Vec<T> sum = load(sums + m * sums_row + v * W);
                                     if (add) sum = load_units(to, count) + sum;
                                     store_units(to, sum, count);
                                 }
                         });
            }
            k += part.depth;
            if (k < p.K) all.wait(size);
        } while (k < p.K);
    });
}

}  // namespace saiki::SAIKI_TARGET
