// The one binding file: checks what Python hands over, allocates, releases the interpreter's lock, calls the kernels.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>

#include "activation.h"
#include "cells/elman.h"
#include "sequence.h"

namespace nb = nanobind;
using Array = nb::ndarray<nb::ro, nb::device::cpu>;

namespace {

std::string shape_of(const Array& array) {
    std::string text = "(";
    for (std::size_t axis = 0; axis < array.ndim(); ++axis)
        text += (axis ? ", " : "") + std::to_string(array.shape(axis));
    return text + ")";
}

/// The numbers of an array that must have this element type and shape and be contiguous, row by row.
template <class T>
const T* checked(const Array& array, const char* name, std::initializer_list<std::size_t> shape) {
    if (array.dtype() != nb::dtype<T>())
        throw nb::type_error((std::string(name) + " must have the element type of data (float32 or float64), and "
                              "batch_sizes int64").c_str());
    std::string wanted;
    bool same = array.ndim() == shape.size();
    std::size_t axis = 0;
    for (std::size_t size : shape) {
        wanted += (axis ? ", " : "") + std::to_string(size);
        same = same && array.shape(axis) == size;
        ++axis;
    }
    if (!same)
        throw nb::value_error((std::string(name) + " is " + shape_of(array) + " but must be (" + wanted + ")").c_str());
    std::int64_t stride = 1;
    for (std::size_t back = array.ndim(); back-- > 0;) {
        if (array.shape(back) > 1 && array.stride(back) != stride)
            throw nb::value_error((std::string(name) + " must be contiguous, row by row").c_str());
        stride *= static_cast<std::int64_t>(array.shape(back));
    }
    return static_cast<const T*>(array.data());
}

/// A new numpy array full of NaN: a number the kernel failed to write shows as such, never as stale memory.
template <class T>
nb::ndarray<nb::numpy, T> allocate(std::size_t rows, std::size_t columns) {
    T* values = new T[rows * columns];
    std::fill(values, values + rows * columns, std::numeric_limits<T>::quiet_NaN());
    nb::capsule owner(values, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return nb::ndarray<nb::numpy, T>(values, {rows, columns}, owner);
}

template <class T>
nb::tuple elman_forward_of(const Array& data, const Array& batch_sizes, const Array& weight_ih, const Array& weight_hh,
                           const std::optional<Array>& bias, const Array& h0, const std::string& activation,
                           bool reverse) {
    if (data.ndim() != 2 || weight_hh.ndim() != 2 || batch_sizes.ndim() != 1)
        throw nb::value_error("data must be (N, I), weight_hh (H, H) and batch_sizes (T,)");
    const std::size_t N = data.shape(0), I = data.shape(1), H = weight_hh.shape(1), T_ = batch_sizes.shape(0);

    const auto* sizes = checked<std::int64_t>(batch_sizes, "batch_sizes", {T_});
    std::size_t sum = 0;
    for (std::size_t t = 0; t < T_; ++t) {
        // no size above N: so the sum, taken no further than N, cannot wrap around
        const bool fits = sizes[t] >= 1 && static_cast<std::uint64_t>(sizes[t]) <= N - sum;
        if (!fits || (t && sizes[t] > sizes[t - 1]))
            throw nb::value_error("batch_sizes must be at least 1, never rise, and add up to the rows of data");
        sum += static_cast<std::size_t>(sizes[t]);
    }
    if (sum != N) throw nb::value_error("batch_sizes must add up to the rows of data");
    const std::size_t B = T_ ? static_cast<std::size_t>(sizes[0]) : 0;

    const T* x = checked<T>(data, "data", {N, I});
    const T* W = checked<T>(weight_ih, "weight_ih", {H, I});
    const T* R = checked<T>(weight_hh, "weight_hh", {H, H});
    const T* b = bias ? checked<T>(*bias, "bias", {H}) : nullptr;
    const T* first = checked<T>(h0, "h0", {B, H});
    auto output = allocate<T>(N, H);
    auto state = allocate<T>(B, H);
    std::copy(first, first + B * H, state.data());

    const auto direction = reverse ? saiki::Direction::reverse : saiki::Direction::forward;
    const bool known = saiki::with_activation(activation, [&](auto f) {
        nb::gil_scoped_release unlocked;
        const saiki::Panels<T, 1> panels(W, R, b, I, H);
        saiki::run_layer<T>(saiki::Elman<decltype(f)>{f}, panels, direction, x, sizes, T_, state.data(), output.data());
    });
    if (!known) throw nb::value_error(("unknown activation '" + activation + "'").c_str());
    return nb::make_tuple(output, state);
}

nb::tuple elman_forward(const Array& data, const Array& batch_sizes, const Array& weight_ih, const Array& weight_hh,
                        const std::optional<Array>& bias, const Array& h0, const std::string& activation,
                        bool reverse) {
    if (data.dtype() == nb::dtype<float>())
        return elman_forward_of<float>(data, batch_sizes, weight_ih, weight_hh, bias, h0, activation, reverse);
    if (data.dtype() == nb::dtype<double>())
        return elman_forward_of<double>(data, batch_sizes, weight_ih, weight_hh, bias, h0, activation, reverse);
    throw nb::type_error("data must be float32 or float64");
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "Saiki's C++ kernels; they know arrays, not torch.";
    m.def("elman_forward", &elman_forward, nb::arg("data"), nb::arg("batch_sizes"), nb::arg("weight_ih"),
          nb::arg("weight_hh"), nb::arg("bias").none(), nb::arg("h0"), nb::arg("activation"), nb::arg("reverse"),
          R"(One Elman layer over a packed ragged batch: h_t = f(W x_t + R h_{t-1} + b).

Args:
    data: (N, I) float32 or float64, contiguous, packed and time-major; the other arrays have its type.
    batch_sizes: (T,) int64, the sequences still running at each step: at least 1, never rising, sum N.
    weight_ih: W (H, I).
    weight_hh: R (H, H).
    bias: b (H,) or None.
    h0: (B, H), B = batch_sizes[0].
    activation: name of f.
    reverse: from each sequence's last step to its first.
Returns:
    (N, H) the hidden states, and (B, H) the one after each sequence's last step (reverse: its first).
Raises:
    TypeError, ValueError: an array of another type, shape or layout; batch_sizes that do not fit; an unknown name.)");
}
