// The Elman kernel against three plain loops, for odd shapes, in buffers of exactly the right size.
//
// A program of its own, so that it can be built with -fsanitize=address,undefined: a write or read one number outside
// a buffer ends it. Outputs start as NaN, so a number that was not written fails the comparison.

#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <vector>

#include "../activation.h"
#include "../cells/elman.h"
#include "../sequence.h"

namespace {

double next_random() {  // in (-1, 1); a linear congruential generator is random enough here
    static std::uint64_t s = 20011;
    s = s * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(s >> 11) / static_cast<double>(1ull << 52) - 1;
}

template <class T>
std::unique_ptr<T[]> draw(std::size_t n) {
    std::unique_ptr<T[]> values(new T[n]);
    for (std::size_t k = 0; k < n; ++k) values[k] = static_cast<T>(next_random());
    return values;
}

/// The largest |kernel - plain| of outputs and last states.
template <class T>
double worst(std::size_t I, std::size_t H, const std::vector<std::int64_t>& sizes, saiki::Direction direction, bool bias) {
    std::size_t N = 0;
    for (auto n : sizes) N += static_cast<std::size_t>(n);
    const std::size_t B = sizes.empty() ? 0 : static_cast<std::size_t>(sizes[0]);
    const auto W = draw<T>(H * I), R = draw<T>(H * H), b = draw<T>(H), x = draw<T>(N * I), h0 = draw<T>(B * H);
    const bool forward = direction == saiki::Direction::forward;

    std::unique_ptr<T[]> state(new T[B * H]), output(new T[N * H]);
    std::copy(h0.get(), h0.get() + B * H, state.get());
    std::fill(output.get(), output.get() + N * H, std::numeric_limits<T>::quiet_NaN());
    const saiki::Panels<T, 1> panels(W.get(), R.get(), bias ? b.get() : nullptr, I, H);
    saiki::run_layer<T>(saiki::Elman<saiki::Tanh>{}, panels, direction, x.get(), sizes.data(), sizes.size(),
                        state.get(), output.get());

    double found = 0;
    const auto differ = [&](T ours, double theirs) {
        const double error = std::abs(static_cast<double>(ours) - theirs);
        if (!(error <= found)) found = error;  // NaN counts
    };
    for (std::size_t row = 0; row < B; ++row) {
        std::size_t length = 0;
        while (length < sizes.size() && static_cast<std::size_t>(sizes[length]) > row) ++length;
        std::vector<double> h(H), next(H);
        for (std::size_t u = 0; u < H; ++u) h[u] = h0[row * H + u];
        for (std::size_t s = 0; s < length; ++s) {
            const std::size_t t = forward ? s : length - 1 - s;
            std::size_t place = row;
            for (std::size_t before = 0; before < t; ++before) place += static_cast<std::size_t>(sizes[before]);
            for (std::size_t u = 0; u < H; ++u) {
                double a = bias ? b[u] : 0;
                for (std::size_t k = 0; k < I; ++k) a += double(W[u * I + k]) * x[place * I + k];
                for (std::size_t k = 0; k < H; ++k) a += double(R[u * H + k]) * h[k];
                next[u] = std::tanh(a);
                differ(output[place * H + u], next[u]);
            }
            h = next;
        }
        for (std::size_t u = 0; u < H; ++u) differ(state[row * H + u], h[u]);
    }
    return found;
}

}  // namespace

int main() {
    const std::vector<std::vector<std::int64_t>> batches = {
        {}, {1}, {7}, {1, 1, 1}, {5, 5, 4, 4, 1}, {9, 8, 7, 6, 5, 4, 3, 2, 1}};
    int cases = 0;
    for (std::size_t I : {1, 2, 5})
        for (std::size_t H : {1, 3, 4, 8, 9, 33})
            for (const auto& sizes : batches)
                for (auto direction : {saiki::Direction::forward, saiki::Direction::reverse})
                    for (bool bias : {true, false}) {
                        // float: a chaotic state may amplify roundings a thousandfold over nine steps
                        const double f = worst<float>(I, H, sizes, direction, bias);
                        const double d = worst<double>(I, H, sizes, direction, bias);
                        ++cases;
                        if (!(f <= 1e-3) || !(d <= 1e-11)) {
                            std::printf("I=%zu H=%zu steps=%zu: float off by %g, double by %g\n", I, H, sizes.size(), f, d);
                            return 1;
                        }
                    }
    std::printf("%d cases\n", cases);
}
