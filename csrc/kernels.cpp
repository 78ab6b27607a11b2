// All kernels for one instruction set; compiled once for each, with another SAIKI_TARGET (see simd.h).
#include "kernels.h"

#include "backward.h"
#include "ctc.h"
#include "ctc_align.h"
#include "forward.h"
#include "matmul.h"
#include "rtrl.h"

#include <time.h>

namespace saiki::SAIKI_TARGET {

template <class T>
void forward(const Spec& spec, const Batch<T>& batch, const Forward<T>* runs, std::size_t run_count, int threads) {
    if constexpr (sizeof(T) == sizeof(float)) {
        if (run_count && runs[0].packed && runs[0].packed_as == Weights::bfloat16)
            return forward_packed<T, BFloat16>(spec, batch, runs, run_count, threads);
    }
    forward_packed<T, T>(spec, batch, runs, run_count, threads);
}

template <class T>
std::size_t packed_bytes(const Spec& spec, Weights as) {
    if constexpr (sizeof(T) == sizeof(float)) {
        if (as == Weights::bfloat16) return Packed<T, BFloat16>(spec, nullptr).bytes;
    }
    return Packed<T, T>(spec, nullptr).bytes;
}

template <class T>
void pack(const Spec& spec, const T* const* parameters, Weights as, void* to, int threads) {
    const auto fill = [&](const auto& packed) {
        run_team(threads, [&](int rank, int size) { packed.fill(spec, parameters, rank, size); });
    };
    if constexpr (sizeof(T) == sizeof(float)) {
        if (as == Weights::bfloat16) return fill(Packed<T, BFloat16>(spec, static_cast<char*>(to)));
    }
    fill(Packed<T, T>(spec, static_cast<char*>(to)));
}

template <class T>
void activate(Activation which, const T* a, T* y, T* slope, std::size_t count) {
    const Named<T> f{which};
    for (std::size_t k = 0; k < count; k += width<T>) {
        const std::size_t n = count - k < width<T> ? count - k : width<T>;
        const Vec<T> value = f.value(load(a + k, n));
        store(y + k, value, n);
        store(slope + k, f.slope(value), n);
    }
}

inline double seconds_now() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Chains of multiply-adds that wait for nothing but themselves, enough to cover latency × units of any machine and no
/// more than there are registers for.
template <class T>
double multiply_add_rate(double seconds) {
    constexpr std::size_t chains = registers == 32 ? 16 : 12;
    constexpr long rounds = 20000;
    Vec<T> sums[chains];
    for (auto& sum : sums) sum = broadcast<T>(T(0.5));
    const Vec<T> x = broadcast<T>(T(0.999)), y = broadcast<T>(T(0.001));
    double elapsed = 0, done = 0;
    const double start = seconds_now();
    do {
        for (long r = 0; r < rounds; ++r)
            for (auto& sum : sums) sum = fma(sum, x, y);
        done += 2.0 * chains * width<T> * rounds;
        elapsed = seconds_now() - start;
    } while (elapsed < seconds);
    volatile T sink = 0;
    for (auto& sum : sums) sink = sink + sum[0];
    return done / elapsed;
}

template <class T>
constexpr Kernels<T> kernels = {saved_columns<T>, packed_bytes<T>,  pack<T>,     forward<T>,
                                backward<T>,      influence<T>,     matmul<T>,   ctc_columns<T>,
                                ctc_forward<T>,   ctc_backward<T>,  ctc_paths<T>, activate<T>, multiply_add_rate<T>};

}  // namespace saiki::SAIKI_TARGET

#define SAIKI_PASTE(a, b) a##b
#define SAIKI_JOIN(a, b) SAIKI_PASTE(a, b)
#define SAIKI_TEXT(a) #a
#define SAIKI_NAME(a) SAIKI_TEXT(a)

namespace saiki {

bool SAIKI_JOIN(SAIKI_TARGET, _runs_here)();  // targets.cpp
extern const Target SAIKI_JOIN(target_, SAIKI_TARGET);
const Target SAIKI_JOIN(target_, SAIKI_TARGET) = {
    SAIKI_NAME(SAIKI_TARGET), SAIKI_TARGET::vector_bytes, SAIKI_JOIN(SAIKI_TARGET, _runs_here),
    &SAIKI_TARGET::kernels<float>, &SAIKI_TARGET::kernels<double>};

}  // namespace saiki
