// One layer over a whole packed ragged batch: the loop over time, written once for every cell.
//
// A batch is packed and time-major: step t has batch_sizes[t] rows, row j belonging to the j-th longest sequence,
// so the rows still running are a prefix and batch_sizes never rises. Rows never meet: a row's arithmetic is the
// same, operation by operation, whatever rows are beside it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "simd.h"

namespace saiki {

enum class Direction { forward, reverse };

/// Weights of a layer, cut into panels of `width` units with all their gates, so that one micro-kernel finishes a
/// unit's gates in registers. A panel holds, one after another: the biases, a row for each input, a row for each
/// recurrent unit; each row is gates × width numbers. Units past the last are zero. Owns its memory.
template <class T, std::size_t gates>
class Panels {
  public:
    static constexpr std::size_t width = Simd<T>::width;
    static constexpr std::size_t row = gates * width;

    ///   weight_ih (G·H, I), weight_hh (G·H, H), bias (G·H) or null: row-major, contiguous, read during this call only
    Panels(const T* weight_ih, const T* weight_hh, const T* bias, std::size_t input_size, std::size_t hidden_size)
        : input_size(input_size),
          hidden_size(hidden_size),
          count((hidden_size + width - 1) / width),
          stride(row * (1 + input_size + hidden_size)),
          values_(count * stride, T(0)) {
        for (std::size_t unit = 0; unit < hidden_size; ++unit) {
            for (std::size_t gate = 0; gate < gates; ++gate) {
                const std::size_t from = gate * hidden_size + unit;
                T* to = values_.data() + (unit / width) * stride + gate * width + unit % width;
                if (bias) *to = bias[from];
                for (std::size_t k = 0; k < input_size; ++k) *(to += row) = weight_ih[from * input_size + k];
                for (std::size_t k = 0; k < hidden_size; ++k) *(to += row) = weight_hh[from * hidden_size + k];
            }
        }
    }

    const T* panel(std::size_t p) const { return values_.data() + p * stride; }

    const std::size_t input_size, hidden_size, count;

  private:
    const std::size_t stride;
    std::vector<T> values_;
};

namespace detail {

constexpr std::size_t rows_at_once = 4;  // see simd.h

/// One panel's units of `rows` neighbouring rows: a = b + W x + R h, then the cell.
///   x (rows, I), h_prev (rows, H), h (rows, H): contiguous; h does not overlap the others; `units` are written
template <std::size_t rows, class T, class Cell>
void micro(const Cell& cell, const Panels<T, Cell::gates>& panels, std::size_t p, const T* x, const T* h_prev, T* h) {
    using S = Simd<T>;
    using V = typename S::Vector;
    const std::size_t I = panels.input_size, H = panels.hidden_size;
    const T* weights = panels.panel(p);

    V a[rows][Cell::gates];
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t g = 0; g < Cell::gates; ++g) S::load(a[r][g], weights + g * S::width);
    const auto accumulate = [&](const T* input, std::size_t size) {
        for (std::size_t k = 0; k < size; ++k) {
            weights += Panels<T, Cell::gates>::row;
            for (std::size_t g = 0; g < Cell::gates; ++g) {
                V w;
                S::load(w, weights + g * S::width);
                for (std::size_t r = 0; r < rows; ++r) a[r][g] += input[r * size + k] * w;
            }
        }
    };
    accumulate(x, I);
    accumulate(h_prev, H);

    const std::size_t first = p * S::width, units = std::min(S::width, H - first);
    for (std::size_t r = 0; r < rows; ++r) {
        V out;
        cell.template forward<V, S::width>(a[r], out);
        S::store(out, h + r * H + first, units);
    }
}

}  // namespace detail

/// Run a layer whose state is its output h.
///   x            (N, I)  contiguous, N the sum of batch_sizes
///   batch_sizes  (T,)    each ≥ 1, never rising
///   state        (B, H)  B = batch_sizes[0]; in: h_0 of each sequence; out: h after its last step (reverse: first)
///   output       (N, H)  every element is written; overlaps nothing else
template <class T, class Cell>
void run_layer(const Cell& cell, const Panels<T, Cell::gates>& panels, Direction direction, const T* x,
               const std::int64_t* batch_sizes, std::size_t steps, T* state, T* output) {
    const std::size_t I = panels.input_size, H = panels.hidden_size;
    std::size_t offset = 0;  // first row of the step
    if (direction == Direction::reverse)
        for (std::size_t t = 0; t < steps; ++t) offset += static_cast<std::size_t>(batch_sizes[t]);

    for (std::size_t s = 0; s < steps; ++s) {
        const std::size_t t = direction == Direction::forward ? s : steps - 1 - s;
        const auto live = static_cast<std::size_t>(batch_sizes[t]);
        if (direction == Direction::reverse) offset -= live;

        const T* x_t = x + offset * I;
        T* h_t = output + offset * H;
        for (std::size_t p = 0; p < panels.count; ++p) {  // a panel stays in cache while the rows pass by
            std::size_t r = 0;
            for (; r + detail::rows_at_once <= live; r += detail::rows_at_once)
                detail::micro<detail::rows_at_once>(cell, panels, p, x_t + r * I, state + r * H, h_t + r * H);
            for (; r < live; ++r)
                detail::micro<1>(cell, panels, p, x_t + r * I, state + r * H, h_t + r * H);
        }
        std::copy(h_t, h_t + live * H, state);  // all units have seen h_{t-1} by now
        if (direction == Direction::forward) offset += live;
    }
}

}  // namespace saiki
