// The one micro-kernel: a few rows times a panel of a packed matrix, all sums in registers.
//
//     tile[m][v] = start[m][v] + Σ_k a[m][k] · panel[k][v]         m rows, v vectors of `width` columns
//
// Sums run over k from first to last, one rounding a term, in every instantiation; so a number does not depend on how
// many rows or columns were computed beside it, nor on the threads. Everything else here is about where rows come from
// (Source), how a matrix is packed (Columns), and how many rows go together.
#pragma once

#include "simd.h"

namespace saiki::SAIKI_TARGET {

/// Vectors of a panel, at most: 4 weights, and with 6 rows 24 sums and a broadcast, fill 29 of 32 registers.
constexpr std::size_t panel_vectors = 4;

/// Rows of a tile, at most, for a panel of `vectors`.
constexpr std::size_t rows_for(std::size_t vectors) {
    if (registers == 32) return vectors == 4 ? 6 : vectors == 3 ? 8 : 12;
    return vectors == 4 ? 3 : vectors == 3 ? 4 : 6;  // 12 sums of 16 registers
}
constexpr std::size_t max_rows = 12;

/// Cut `n` rows into tiles of nearly equal height, none above `most`: no tile is left with a row or two.
struct Tiles {
    std::size_t count, low, high_count;  // the first high_count tiles have low + 1 rows
    SAIKI_INLINE Tiles(std::size_t n, std::size_t most) {
        count = (n + most - 1) / most;
        low = count ? n / count : 0;
        high_count = count ? n % count : 0;
    }
    SAIKI_INLINE std::size_t rows(std::size_t tile) const { return low + (tile < high_count); }
};

/// bfloat16: the upper half of a float.
struct BFloat16 {
    std::uint16_t upper;
};

/// A panel's `vectors` vectors of one k.
template <class T, std::size_t vectors>
SAIKI_INLINE void load_weights(const T* from, Vec<T>* w) {
    for (std::size_t v = 0; v < vectors; ++v) w[v] = load(from + v * width<T>);
}
/// Two vectors of bfloat16 lie zipped, the first in the lower halves of 32 bits: a shift and a mask give them back. One
/// that is left over lies by itself.
template <class T, std::size_t vectors>
SAIKI_INLINE void load_weights(const BFloat16* from, Vec<float>* w) {
    typedef std::uint32_t Words __attribute__((vector_size(vector_bytes)));
    constexpr std::size_t W = width<float>;
    for (std::size_t v = 0; v + 1 < vectors; v += 2) {
        Words both;
        __builtin_memcpy(&both, from + v * W, sizeof both);
        w[v] = (Vec<float>)(both << 16);
        w[v + 1] = (Vec<float>)(both & 0xffff0000u);
    }
    if constexpr (vectors % 2 == 1) {
        const BFloat16* last = from + (vectors - 1) * W;
#if defined(__AVX512F__)
        const Words words = (Words)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(last)));
#elif defined(__AVX2__)
        const Words words = (Words)_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(last)));
#else
        typedef std::uint16_t Halves __attribute__((vector_size(vector_bytes / 2)));
        Halves halves;
        __builtin_memcpy(&halves, last, sizeof halves);
        const Words words = __builtin_convertvector(halves, Words);
#endif
        w[vectors - 1] = (Vec<float>)(words << 16);
    }
}

/// A piece of the rows to be multiplied: a[m][k] for `length` values of k.
template <class T>
struct Piece {
    const T* base;     // a[0][0]
    std::size_t row;   // from one row to the next
    std::size_t step;  // from one k to the next: 1, or a row's length where the matrix is stored transposed
    std::size_t length;
};

/// Cache lines of the next panel that a tile asks for at every k.
constexpr std::size_t ahead_lines = 2;

/// What a tile needs beside its height and width.
template <class T, class P>
struct Tile {
    const Piece<T>* pieces;  // one after the other along k
    std::size_t piece_count;
    std::size_t first;  // the pieces' row that is this tile's row 0
    const P* panel;
    std::size_t panel_step;  // to the next panel, where two are computed at once
    const T* start;          // row m's sums start at start + m · start_row (0: the same for all rows); null: at 0
    std::size_t start_row;
    T* out;  // row m's sums go to out + m · out_row, whole vectors
    std::size_t out_row;
    const char* ahead;  // what will be needed soon: a cache line is fetched for every k
};

/// `rows` × (`panels` × `vectors`) sums.
template <class T, class P, std::size_t rows, std::size_t vectors, std::size_t panels>
__attribute__((noinline)) void compute(const Tile<T, P>& tile) {
    constexpr std::size_t W = width<T>;
    Vec<T> sums[rows][panels * vectors];
    for (std::size_t m = 0; m < rows; ++m)
        for (std::size_t v = 0; v < panels * vectors; ++v)
            sums[m][v] = tile.start ? load(tile.start + m * tile.start_row + v * W) : Vec<T>{};

    const P* panel = tile.panel;
    const char* ahead = tile.ahead;
    const std::size_t panel_step = tile.panel_step;
    for (std::size_t s = 0; s < tile.piece_count; ++s) {
        const std::size_t row = tile.pieces[s].row, step = tile.pieces[s].step;
        const T* a = tile.pieces[s].base + tile.first * row;
        for (std::size_t left = tile.pieces[s].length; left; --left) {
            for (std::size_t line = 0; line < ahead_lines; ++line) __builtin_prefetch(ahead + 64 * line, 0, 2);
            ahead += 64 * ahead_lines;
            Vec<T> w[panels * vectors];
            for (std::size_t p = 0; p < panels; ++p) load_weights<T, vectors>(panel + p * panel_step, w + p * vectors);
            for (std::size_t m = 0; m < rows; ++m) {
                const Vec<T> x = broadcast(a[m * row]);
                for (std::size_t v = 0; v < panels * vectors; ++v) sums[m][v] = fma(x, w[v], sums[m][v]);
            }
            panel += vectors * W;
            a += step;
        }
    }
    for (std::size_t m = 0; m < rows; ++m)
        for (std::size_t v = 0; v < panels * vectors; ++v) store(tile.out + m * tile.out_row + v * W, sums[m][v]);
}

/// The instantiations by height and width.
template <class T, class P>
struct Computers {
    using Compute = void (*)(const Tile<T, P>&);
    Compute of[panel_vectors][max_rows] = {};  // [vectors - 1][rows - 1]
    Compute pair[panel_vectors] = {};          // one row, two panels: one panel's sums alone would wait for each other

    constexpr Computers() { widths<1>(), widths<2>(), widths<3>(), widths<4>(); }

  private:
    template <std::size_t vectors>
    constexpr void widths() {
        pair[vectors - 1] = compute<T, P, 1, vectors, 2>;
        heights<vectors, 1>();
    }
    template <std::size_t vectors, std::size_t rows>
    constexpr void heights() {
        of[vectors - 1][rows - 1] = compute<T, P, rows, vectors, 1>;
        if constexpr (rows < rows_for(vectors)) heights<vectors, rows + 1>();
    }
};
template <class T, class P>
inline constexpr Computers<T, P> computers{};

/// A packed matrix: depth × columns cut into panels of `per_panel` vectors, each panel depth × vectors × width numbers in
/// one piece. The last panel may have fewer vectors. Columns past the matrix's own are zero.
template <class P>
struct Columns {
    P* base = nullptr;
    std::size_t depth = 0, vectors = 0, per_panel = panel_vectors, lanes = 0;  // lanes: numbers a vector

    std::size_t panels() const { return (vectors + per_panel - 1) / per_panel; }
    std::size_t vectors_of(std::size_t p) const {
        const std::size_t left = vectors - p * per_panel;
        return left < per_panel ? left : per_panel;
    }
    P* panel(std::size_t p) const { return base + p * panel_size(); }
    std::size_t panel_size() const { return per_panel * lanes * depth; }
    std::size_t size() const { return vectors * lanes * depth; }
};

/// Some of the panels: what one thread owns.
struct Span {
    std::size_t from, to;
    std::size_t count() const { return to - from; }
};
/// The part of `n` things that falls to `rank` of `size`.
inline Span share(std::size_t n, int rank, int size) {
    const auto r = static_cast<std::size_t>(rank), s = static_cast<std::size_t>(size);
    return {n * r / s, n * (r + 1) / s};
}

/// Memory that will be wanted soon, one piece.
struct Stream {
    const void* from = nullptr;
    std::size_t bytes = 0;
};

/// What the tiles of a product ask for ahead of time, each a few lines a k: a given stream, cut among all the tiles; or,
/// where there is none, the next panel, cut among the tiles of this one, so that it is in the second-level cache by then.
class Ahead {
  public:
    template <class P>
    Ahead(const Columns<P>& b, Span panels, std::size_t rows, const Stream& stream)
        : stream_(static_cast<const char*>(stream.from)),
          stream_part_((stream.bytes / (panels.count() * ((rows + panel_rows - 1) / panel_rows) + 1) + 63) / 64 * 64),
          stream_end_(stream_ + stream.bytes),
          tile_(64 * ahead_lines * b.depth) {}

    /// Before the tiles of a panel.
    template <class P>
    void begin(const Columns<P>& b, std::size_t p, Span panels) {
        if (stream_) return;
        const std::size_t next = p + 1 < panels.to ? p + 1 : panels.from;
        next_ = reinterpret_cast<const char*>(b.panel(next));
        end_ = next_ + b.vectors_of(next) * b.lanes * sizeof(P) * b.depth;
        here_ = reinterpret_cast<const char*>(b.panel(p));
    }
    /// Before a tile. A tile cannot be told to ask for nothing; what is here already costs little.
    const char* operator()() {
        if (stream_) {
            const char* const part = stream_;
            if (stream_ < stream_end_) stream_ += stream_part_;
            return part;
        }
        if (next_ >= end_) return here_;
        const char* const part = next_;
        next_ += tile_;
        return part;
    }

  private:
    static constexpr std::size_t panel_rows = 6;
    const char *stream_, *next_ = nullptr, *end_ = nullptr, *here_ = nullptr;
    std::size_t stream_part_;
    const char* stream_end_;
    std::size_t tile_;
};

/// A reference to whatever takes a finished tile: a call a tile costs nothing beside it, and the loops are compiled once.
template <class T>
struct TileDone {
    const void* of;
    void (*call)(const void* of, std::size_t p, std::size_t row, std::size_t rows, const T* sums, std::size_t sums_row);
    void operator()(std::size_t p, std::size_t row, std::size_t rows, const T* sums, std::size_t sums_row) const {
        call(of, p, row, rows, sums, sums_row);
    }
};

template <class T, class P>
__attribute__((noinline)) void multiply_panels(const Piece<T>* pieces, std::size_t piece_count, std::size_t first, std::size_t rows,
                                               const Columns<P>& b, std::size_t skip, Span panels, const T* start,
                                               std::size_t start_row, TileDone<T> finish, Stream stream) {
    constexpr std::size_t W = width<T>;
    alignas(64) T sums[max_rows * panel_vectors * W];
    Ahead ahead(b, panels, rows, stream);
    for (std::size_t p = panels.from; p < panels.to; ++p) {
        const std::size_t vectors = b.vectors_of(p), column = p * b.per_panel * W;
        const P* panel = b.panel(p) + skip * vectors * W;
        ahead.begin(b, p, panels);
        if (rows == 1 && p + 1 < panels.to && b.vectors_of(p + 1) == vectors) {
            const Tile<T, P> tile{pieces, piece_count, first, panel, b.panel_size(), start ? start + column : nullptr, start_row,
                                  sums, 2 * vectors * W, ahead()};
            computers<T, P>.pair[vectors - 1](tile);
            finish(p, std::size_t(0), std::size_t(1), sums, 2 * vectors * W);
            finish(p + 1, std::size_t(0), std::size_t(1), sums + vectors * W, 2 * vectors * W);
            ++p;
            continue;
        }
        const Tiles tiles(rows, rows_for(vectors));
        std::size_t row = 0;
        for (std::size_t t = 0; t < tiles.count; ++t) {
            const std::size_t height = tiles.rows(t);
            const Tile<T, P> tile{pieces, piece_count, first + row, panel, 0, start ? start + row * start_row + column : nullptr,
                                  start_row, sums, vectors * W, ahead()};
            computers<T, P>.of[vectors - 1][height - 1](tile);
            finish(p, row, height, sums, vectors * W);
            row += height;
        }
    }
}

/// The same where sums are long: they are taken part by part, so that a part of the panel stays in the second-level cache
/// while the rows pass, and the next is fetched meanwhile. Sums go on from the numbers they had, so nothing is rounded
/// that would not be.
constexpr std::size_t deepest = 1024;
template <class T, class P>
__attribute__((noinline)) void multiply_deep(const Piece<T>* pieces, std::size_t piece_count, std::size_t first, std::size_t rows,
                                             const Columns<P>& b, std::size_t skip, Span panels, const T* start,
                                             std::size_t start_row, TileDone<T> finish) {
    constexpr std::size_t W = width<T>, block = 96;
    alignas(64) T sums[block * panel_vectors * W];
    for (std::size_t p = panels.from; p < panels.to; ++p) {
        const std::size_t vectors = b.vectors_of(p), sums_row = vectors * W;
        const P* const next_panel = b.panel(p + 1 < panels.to ? p + 1 : panels.from);
        for (std::size_t r = 0; r < rows; r += block) {
            const Tiles tiles(rows - r < block ? rows - r : block, rows_for(vectors));
            const P* panel = b.panel(p) + skip * sums_row;
            for (std::size_t q = 0, count; q < piece_count; q += count) {
                std::size_t depth = 0;
                for (count = 0; q + count < piece_count && (count == 0 || depth + pieces[q + count].length <= deepest); ++count)
                    depth += pieces[q + count].length;
                const bool last = q + count == piece_count;
                const P* const next = last ? next_panel : panel + depth * sums_row;
                const char* ahead = reinterpret_cast<const char*>(next);
                const char* const ahead_end = ahead + depth * sums_row * sizeof(P);
                std::size_t row = 0;
                for (std::size_t t = 0; t < tiles.count; ++t) {
                    const std::size_t height = tiles.rows(t);
                    T* const out = sums + row * sums_row;
                    const T* from = q ? out : start ? start + (r + row) * start_row + p * b.per_panel * W : nullptr;
                    const Tile<T, P> tile{pieces + q, count, first + r + row, panel, 0, from, q ? sums_row : start_row, out, sums_row,
                                          ahead < ahead_end ? ahead : reinterpret_cast<const char*>(panel)};
                    computers<T, P>.of[vectors - 1][height - 1](tile);
                    if (last) finish(p, r + row, height, out, sums_row);
                    ahead += 64 * ahead_lines * depth;
                    row += height;
                }
                panel += depth * sums_row;
            }
        }
    }
}

/// Multiply rows by some panels, and hand each finished tile to `finish(p, row, rows, sums, sums_row)`: panel p, the
/// tile's first row and height, its sums (in the first-level cache, gone afterwards) and the distance of their rows.
///   pieces     their rows first … first + rows are multiplied
///   skip       of the packed matrix's depth, so many are passed over first
///   start      null, or as in Tile, for column 0 of the matrix
///   stream     what to ask for meanwhile; none: the next panel
template <class T, class P, class Finish>
SAIKI_INLINE void multiply(const Piece<T>* pieces, std::size_t piece_count, std::size_t first, std::size_t rows, const Columns<P>& b,
                           std::size_t skip, Span panels, const T* start, std::size_t start_row, const Finish& finish, Stream stream = {}) {
    const TileDone<T> done{&finish, [](const void* of, std::size_t p, std::size_t row, std::size_t height, const T* sums, std::size_t sums_row) {
                               (*static_cast<const Finish*>(of))(p, row, height, sums, sums_row);
                           }};
    if (rows > 1 && piece_count > 1 && b.depth > deepest) multiply_deep<T, P>(pieces, piece_count, first, rows, b, skip, panels, start, start_row, done);
    else multiply_panels<T, P>(pieces, piece_count, first, rows, b, skip, panels, start, start_row, done, stream);
}

}  // namespace saiki::SAIKI_TARGET
