// The general matrix product: the micro-kernel of gemm.h once more, reading B where it lies if need be and ending in C.
//
// Each thread has a rectangle of C and needs nothing of the others. It goes through it in pieces that its core's caches
// hold: some columns of B, a piece of the depth, and then tile by tile down the rows. How C is cut depends on sizes and
// threads; how a number comes about does not: bias, then a multiply-add for each k in order; where the depth is longer
// than a piece, the sums of the pieces are added up one after the other.
#pragma once

#include "forward.h"

namespace saiki::SAIKI_TARGET {

/// What a tile of the product reads and writes.
template <class T>
struct ProductTile {
    const T* a;  // a[m][k] is a[m · a_row + k · a_step]
    std::size_t a_row, a_step;
    const T* b;  // whole vectors, rows b_row apart
    std::size_t b_row, depth;
    const T* bias;         // at this tile's first row or column, or null
    std::size_t bias_row;  // 0: a number for each column; 1: one for each row
    const T* start;        // sums that are gone on with, whole vectors, or null
    std::size_t start_row;
    T* c;
    std::size_t c_row, last;  // last: columns of C in the last vector
    bool add;                 // to what C holds
};

template <class T, std::size_t rows, std::size_t vectors>
__attribute__((noinline)) void product_tile(const ProductTile<T>& tile) {
    constexpr std::size_t W = width<T>;
    const auto part = [&](const T* from, std::size_t v) {
        return v + 1 < vectors || tile.last == W ? load(from + v * W) : load(from + v * W, tile.last);
    };
    for (std::size_t m = 0; m < rows; ++m)
        for (std::size_t v = 0; v < vectors; ++v) __builtin_prefetch(tile.c + m * tile.c_row + v * W, 1, 3);

    Vec<T> sums[rows][vectors];
    for (std::size_t v = 0; v < vectors; ++v) {
        const Vec<T> start = tile.bias && !tile.bias_row ? part(tile.bias, v) : Vec<T>{};
        for (std::size_t m = 0; m < rows; ++m)
            sums[m][v] = tile.start                   ? load(tile.start + m * tile.start_row + v * W)
                         : tile.bias && tile.bias_row ? broadcast(tile.bias[m])
                                                      : start;
    }
    constexpr std::size_t ahead = 8;  // steps; the core foresees no rows that lie pages apart
    const T *a = tile.a, *b = tile.b;
    const std::size_t a_row = tile.a_row, a_step = tile.a_step, b_row = tile.b_row;
    for (std::size_t left = tile.depth; left; --left) {
        Vec<T> w[vectors];
        for (std::size_t v = 0; v < vectors; ++v) {
            w[v] = load(b + v * W);
            __builtin_prefetch(b + v * W + ahead * b_row, 0, 3);
        }
        for (std::size_t m = 0; m < rows; ++m) {
            const Vec<T> x = broadcast(a[m * a_row]);
            for (std::size_t v = 0; v < vectors; ++v) sums[m][v] = fma(x, w[v], sums[m][v]);
        }
        a += a_step;
        b += b_row;
    }
    for (std::size_t m = 0; m < rows; ++m) {
        T* c = tile.c + m * tile.c_row;
        for (std::size_t v = 0; v < vectors; ++v) {
            if (tile.add) sums[m][v] = part(c, v) + sums[m][v];
            if (v + 1 < vectors || tile.last == W) store(c + v * W, sums[m][v]);
            else store(c + v * W, sums[m][v], tile.last);
        }
    }
}

/// The tiles by width and height. Few rows go with many vectors, so that no multiply-add waits for the one before.
template <class T>
struct ProductTiles {
    static constexpr std::size_t widest = 8;
    static constexpr std::size_t height(std::size_t vectors) {
        return vectors <= panel_vectors ? rows_for(vectors) : registers == 32 ? 2 : 1;
    }

    using Compute = void (*)(const ProductTile<T>&);
    Compute of[widest][max_rows] = {};  // [vectors - 1][rows - 1]

    constexpr ProductTiles() { widths<1>(); }

  private:
    template <std::size_t vectors>
    constexpr void widths() {
        heights<vectors, 1>();
        if constexpr (vectors < widest) widths<vectors + 1>();
    }
    template <std::size_t vectors, std::size_t rows>
    constexpr void heights() {
        of[vectors - 1][rows - 1] = product_tile<T, rows, vectors>;
        if constexpr (rows < height(vectors)) heights<vectors, rows + 1>();
    }
};
template <class T>
inline constexpr ProductTiles<T> product_tiles{};

/// How a product is cut and what is copied for it.
template <class T>
struct ProductPlan {
    static constexpr std::size_t depth = 512;  // of a piece; nothing but K decides on it, for it shows in the numbers
    static constexpr std::size_t block = 48;   // rows of C at once where A or C is turned; a multiple of a tile's
    static constexpr std::size_t cache = std::size_t{1} << 19;  // of a core's second level, for B
    static constexpr std::size_t few = 128;    // rows for which a copy of a B that lies straight does not pay

    Product<T> p;      // with A and B exchanged if the product is computed as Cᵀ = Bᵀ Aᵀ
    bool exchanged;
    bool in_place;     // B is read where it lies, but for a panel that ends inside a vector
    bool turned;       // A, stored transposed, is copied block by block
    std::size_t vectors, panels, at_once;  // of a panel; panels in all, and those that are gone through together
    std::size_t copied, step;              // of B's depth is copied, and multiplied, at once
    std::size_t down, across;              // C is cut among so many threads
    std::size_t b_size, a_size, c_size;    // numbers that a thread's copies take

    ProductPlan(const Product<T>& given, int threads) : p(given), exchanged(cheaper_exchanged(given)) {
        constexpr std::size_t W = width<T>;
        if (exchanged) {
            p.M = given.N, p.N = given.M;
            p.a = given.b, p.a_stride = given.b_stride, p.a_transposed = !given.b_transposed;
            p.b = given.a, p.b_stride = given.a_stride, p.b_transposed = !given.a_transposed;
        }
        using Tiles = ProductTiles<T>;
        vectors = p.M <= Tiles::height(Tiles::widest) ? Tiles::widest : panel_vectors;
        panels = blocks_of(blocks_of(p.N, W), vectors);
        in_place = !p.b_transposed && p.M <= few;
        turned = p.a_transposed && p.a_stride > 2 * W && (panels > 1 || p.M > Tiles::height(vectors));

        const std::size_t piece = p.K < depth ? p.K : depth;
        // under few rows the copy of a B that is turned is most of the work: so it does not leave the first-level cache
        const bool shallow = !exchanged && p.b_transposed && p.M <= Tiles::height(vectors);
        step = shallow && piece > 4 * W ? 4 * W : piece;
        copied = exchanged ? p.K : step;
        const std::size_t panel = vectors * W * copied;
        at_once = cache / sizeof(T) / panel;
        if (at_once < 1 || step < piece) at_once = 1;
        if (at_once > panels) at_once = panels;
        b_size = at_once * panel;
        a_size = turned ? block * piece : 0;
        c_size = (exchanged ? block : step < piece ? p.M : 0) * at_once * vectors * W;
        cut(threads);
    }

  private:
    /// Lanes run along N, and a B that is stored transposed must be turned for it; exchanged, they run along M, and it is
    /// A that may have to be. Counted in multiply-adds of a vector: to turn a number costs about 0.6, to copy it 0.1.
    static bool cheaper_exchanged(const Product<T>& p) {
        if (p.accumulate) return false;  // C would be added in another order
        const auto M = static_cast<double>(p.M), N = static_cast<double>(p.N), K = static_cast<double>(p.K);
        const auto vectors = [](std::size_t n) { return static_cast<double>(blocks_of(n, width<T>)); };
        const auto b_costs = [](std::size_t rows, bool transposed) { return transposed ? 0.6 : rows <= few ? 0.0 : 0.1; };
        const auto a_costs = [](bool transposed) { return transposed ? 0.1 : 0.0; };
        const double straight = M * (vectors(p.N) + a_costs(p.a_transposed)) + N * b_costs(p.M, p.b_transposed);
        const double exchanged = N * (vectors(p.M) + a_costs(!p.b_transposed)) + M * b_costs(p.N, !p.a_transposed);
        return exchanged * K + M * N < straight * K;
    }

    /// The cut whose largest rectangle costs least, among no more threads than have some ten microseconds of work each.
    /// Whole rows go before columns unless that costs a tenth more: cores then write apart, and turn A once.
    void cut(int threads) {
        constexpr double worth = 5e5;  // multiply-adds
        const double work = static_cast<double>(p.M) * static_cast<double>(p.N) * static_cast<double>(p.K);
        auto team = static_cast<std::size_t>(threads < 1 ? 1 : threads > max_threads ? max_threads : threads);
        if (work < worth * static_cast<double>(team)) team = 1 + static_cast<std::size_t>(work / worth);
        down = across = 1;
        double best = 0;
        for (std::size_t a = 1; a <= team; ++a) {
            const auto columns = static_cast<double>(blocks_of(panels, a));
            const auto rows = static_cast<double>(blocks_of(p.M, team / a));
            const double cost = columns * (rows + (in_place ? 0 : 8));  // a column's copy costs as much as some rows of it
            if (a == 1 || cost < 0.9 * best) best = cost, across = a, down = team / a;
        }
    }
};

/// Rows of a block of an A that is stored transposed, side by side as they lie and k by k.
template <class T>
void turn_block(const T* from, std::size_t stride, std::size_t rows, std::size_t depth, T* to) {
    constexpr std::size_t W = width<T>;
    for (std::size_t k = 0; k < depth; ++k, from += stride, to += rows) {
        std::size_t m = 0;
        for (; m + W <= rows; m += W) store(to + m, load(from + m));
        if (m < rows) store(to + m, load(from + m, rows - m), rows - m);
    }
}

/// A block of Cᵀ (rows × columns) to its place in C.
template <class T>
void turn_back(const T* from, std::size_t from_row, std::size_t rows, std::size_t columns, T* c, std::size_t c_row) {
    constexpr std::size_t W = width<T>;
    for (std::size_t m = 0; m < rows; m += W) {
        const std::size_t height = rows - m < W ? rows - m : W;
        for (std::size_t n = 0; n < columns; n += W) {
            Vec<T> block[W];
            for (std::size_t i = 0; i < W; ++i) block[i] = i < height ? load(from + (m + i) * from_row + n) : Vec<T>{};
            transpose<T>(block);
            for (std::size_t i = 0; i < W && n + i < columns; ++i) {
                if (height == W) store(c + (n + i) * c_row + m, block[i]);
                else store(c + (n + i) * c_row + m, block[i], height);
            }
        }
    }
}

/// A thread's rectangle of C: some rows × some panels, with memory of its own for the copies.
template <class T>
void product_part(const ProductPlan<T>& plan, Span rows, Span span, T* memory) {
    constexpr std::size_t W = width<T>;
    using Plan = ProductPlan<T>;
    const Product<T>& p = plan.p;
    const std::size_t wide = plan.vectors * W;
    T *const turned = memory + plan.b_size, *const back = turned + plan.a_size;
    // Cᵀ is finished block by block, in memory that stays in the cache; so all of B's depth is copied before the first
    const std::size_t rows_at_once = plan.exchanged ? Plan::block : rows.count();
    Columns<T> b;
    b.per_panel = plan.vectors, b.lanes = W, b.base = memory;

    for (std::size_t from = span.from; from < span.to; from += plan.at_once) {
        const std::size_t to = from + plan.at_once < span.to ? from + plan.at_once : span.to;
        const std::size_t first = from * wide, columns = (to * wide < p.N ? to * wide : p.N) - first;
        b.vectors = blocks_of(columns, W);
        const std::size_t full = columns / wide, panels = b.panels();
        const std::size_t lying = !plan.in_place ? 0 : columns % W ? full : panels;  // the first so many are read in place

        for (std::size_t begin = rows.from; begin < rows.to; begin += rows_at_once) {
            const std::size_t end = begin + rows_at_once < rows.to ? begin + rows_at_once : rows.to;
            T* const c = plan.exchanged ? back : p.c + begin * p.c_stride + first;
            const std::size_t c_row = plan.exchanged ? b.vectors * W : p.c_stride;

            for (std::size_t k = 0, next; k < p.K; k = next) {
                const std::size_t piece = k / Plan::depth * Plan::depth;  // where it begins
                const std::size_t piece_end = p.K - piece < Plan::depth ? p.K : piece + Plan::depth;
                next = piece_end - k < plan.step ? piece_end : k + plan.step;
                const std::size_t depth = next - k;
                const bool goes_on = next < piece_end;
                const std::size_t passed = k % plan.copied;
                const T* const lies = p.b_transposed ? p.b + first * p.b_stride + k : p.b + k * p.b_stride + first;
                if (passed == 0 && begin == rows.from) {
                    b.depth = p.K - k < plan.copied ? p.K - k : plan.copied;
                    if (p.b_transposed) pack_units<T>(lies, p.b_stride, b.depth, columns, 0, 1, b, 0, {lying, panels});
                    else pack_straight(lies, p.b_stride, b.depth, columns, b, 0, {lying, panels});
                }
                for (std::size_t top = begin; top < end; top += Plan::block) {
                    const std::size_t height = end - top < Plan::block ? end - top : Plan::block;
                    ProductTile<T> tile{};
                    tile.a_row = p.a_transposed ? 1 : p.a_stride;
                    tile.a_step = p.a_transposed ? p.a_stride : 1;
                    const T* a = p.a_transposed ? p.a + k * p.a_stride + top : p.a + top * p.a_stride + k;
                    if (plan.turned) {
                        turn_block(a, p.a_stride, height, depth, turned);
                        a = turned, tile.a_step = height;
                    }
                    tile.depth = depth;
                    tile.c_row = c_row;
                    tile.bias_row = plan.exchanged ? 1 : 0;
                    tile.add = !goes_on && (p.accumulate || piece > 0);
                    tile.start_row = wide;
                    if (goes_on) tile.c_row = wide;
                    const auto down = [&](Span some, std::size_t vectors) {  // all of so many vectors
                        const Tiles tiles(height, ProductTiles<T>::height(vectors));
                        std::size_t row = 0;
                        for (std::size_t t = 0; t < tiles.count; row += tiles.rows(t), ++t)
                            for (std::size_t panel = some.from; panel < some.to; ++panel) {
                                const std::size_t column = panel * wide, left = columns - column;
                                const bool here = panel < lying;
                                tile.a = a + row * tile.a_row;
                                tile.b = here ? lies + column : b.panel(panel) + passed * vectors * W;
                                tile.b_row = here ? p.b_stride : vectors * W;
                                tile.bias = k || !p.bias ? nullptr : p.bias + (plan.exchanged ? top + row : first + column);
                                tile.c = c + (top - begin + row) * c_row + column;
                                if (k > piece) tile.start = back + (top - begin + row) * wide;
                                if (goes_on) tile.c = back + (top - begin + row) * wide;
                                tile.last = left < vectors * W && !plan.exchanged ? left - (vectors - 1) * W : W;
                                product_tiles<T>.of[vectors - 1][tiles.rows(t) - 1](tile);
                            }
                    };
                    if (full) down({0, full}, plan.vectors);
                    if (full < panels) down({full, panels}, b.vectors_of(full));
                }
            }
            if (plan.exchanged) turn_back(back, c_row, end - begin, columns, p.c + first * p.c_stride + begin, p.c_stride);
        }
    }
}

/// What is left of the product where K = 0.
template <class T>
void product_of_nothing(const Product<T>& p) {
    for (std::size_t m = 0; m < p.M; ++m)
        for (std::size_t n = 0; n < p.N; ++n) {
            T& c = p.c[m * p.c_stride + n];
            c = (p.accumulate ? c : T(0)) + (p.bias ? p.bias[n] : T(0));
        }
}

/// C = A B + bias (+ C).
template <class T>
void matmul(const Product<T>& product, int threads) {
    if (!product.M || !product.N) return;
    if (!product.K) return product_of_nothing(product);
    const ProductPlan<T> plan(product, threads);
    const std::size_t parts = plan.down * plan.across, each = plan.b_size + plan.a_size + plan.c_size;
    Scratch scratch;
    T* memory = scratch.take<T>(parts * each);
    const auto down = static_cast<int>(plan.down), across = static_cast<int>(plan.across);
    run_team(down * across, [&](int rank, int size) {
        const FlushDenormals flush;
        for (int part = rank; part < down * across; part += size)
            product_part(plan, share(plan.p.M, part / across, down), share(plan.panels, part % across, across),
                         memory + static_cast<std::size_t>(part) * each);
    });
}

}  // namespace saiki::SAIKI_TARGET
