// The Elman cell as a policy of the sequence driver; equations in saiki/cells/elman.py.
#pragma once

#include <cstddef>

namespace saiki {

/// h_t = f(W x_t + R h_{t-1} + b), for one block of `width` units of one row.
template <class Activation>
struct Elman {
    static constexpr std::size_t gates = 1;

    Activation activation{};

    ///   a  in: W x_t + R h_{t-1} + b of these units; clobbered
    ///   h  out: the hidden state of these units
    template <class V, std::size_t width>
    void forward(V (&a)[gates], V& h) const {
        for (std::size_t u = 0; u < width; ++u) h[u] = activation(a[0][u]);
    }
};

}  // namespace saiki
