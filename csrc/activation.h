// The named activations of saiki/core/activations.py on vectors: value y = f(a), and slope f'(a) told from y alone.
//
// tanh and sigmoid are a polynomial for 2^r or e^r, an exponent put in place by a shift, and one division; there are
// no tables and no branches. Horner's order, because the number of instructions counts: others are in flight.
//
// A NaN stays a NaN in every value. Slopes are the formulas of activations.py as they stand, so at a NaN the piecewise
// ones give what a comparison with NaN gives there.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace saiki::SAIKI_TARGET {

/// What the exponentials need to know of a type. The polynomials are minimax by relative error over a range a
/// thousandth wider than named, for n is rounded from an inexact product; their coefficients were rounded one by one,
/// lowest first, and the rest fitted again after each.
template <class T>
struct Constants;

template <>
struct Constants<float> {
    static constexpr int mantissa_bits = 23;
    static constexpr float magic = 12582912 + 127;  // 1.5 * 2^23 + the exponent's bias
    static constexpr float log2_e = 1.44269504f, twice_log2_e = 2.88539008f;
    static constexpr float ln_2_high = 0.693359375f, ln_2_low = -2.1219444e-4f;  // n * high is exact: 10 bits
    static constexpr float exp_lowest = -104.5f, exp_highest = 89;      // e^a is 0 and infinity there
    static constexpr float sigmoid_lowest = -89, sigmoid_highest = 40;  // σ is 0 there, since 2^n is infinity; and 1
    static constexpr float tanh_limit = 10;  // tanh is ±1 long before, and e^20 + 1 = e^20 - 1
    static constexpr float largest = 3.40282347e38f;
    // (e^r - 1 - r) / r² on |r| ≤ ln 2 / 2
    static constexpr float exp[] = {0.49999228f, 0.16667114f, 0.041890617f, 0.008312672f};
    // (2^r - 1) / r on |r| ≤ 1/2
    static constexpr float exp2m1[] = {0.6931472f,   0.24022649f,   0.055503666f,
                                       0.009618331f, 0.0013387753f, 0.00015373419f};
};

template <>
struct Constants<double> {
    static constexpr int mantissa_bits = 52;
    static constexpr double magic = 6755399441055744.0 + 1023;  // 1.5 * 2^52 + the exponent's bias
    static constexpr double log2_e = 1.4426950408889634, twice_log2_e = 2.8853900817779268;
    static constexpr double ln_2_high = 0x1.62e42feep-1, ln_2_low = 1.9082149292705877e-10;  // high has 32 bits
    static constexpr double exp_lowest = -746, exp_highest = 710;
    static constexpr double sigmoid_lowest = -710, sigmoid_highest = 40;
    static constexpr double tanh_limit = 20;  // tanh is ±1 long before, and e^40 + 1 = e^40 - 1
    static constexpr double largest = 1.7976931348623157e308;
    static constexpr double exp[] = {0.5000000000000011,     0.1666666666666643,     0.041666666666526665,
                                     0.008333333333483645,   0.0013888888944479025,  0.00019841269529761264,
                                     2.4801492260798325e-05, 2.755756567382594e-06,  2.763053832019442e-07,
                                     2.5006656224181778e-08};
    // (2^r - 1) / r on |r| ≤ 1/2
    static constexpr double exp2m1[] = {0.6931471805599453,     0.2402265069591007,     0.055504108664823165,
                                        0.009618129107619914,   0.0013333558146163159,  0.00015403530424825098,
                                        1.5252733984245428e-05, 1.321545097628047e-06,  1.0178026064468258e-07,
                                        7.071173616674151e-09,  4.4572371494218756e-10};
};

/// c[0] + c[1] x + c[2] x² + ...
template <class T, std::size_t count>
SAIKI_INLINE Vec<T> polynomial(Vec<T> x, const T (&c)[count]) {
    Vec<T> sum = broadcast<T>(c[count - 1]);
    for (std::size_t k = count - 1; k-- > 0;) sum = fma(sum, x, broadcast<T>(c[k]));
    return sum;
}

/// The larger of the limit and a. A NaN in a comes through: if either operand is one, x86 gives the second. Written
/// with the instructions, because the compiler makes two or four of the comparison.
template <class T>
SAIKI_INLINE Vec<T> at_least(T limit, Vec<T> a) {
    const Vec<T> b = broadcast<T>(limit);
    [[maybe_unused]] constexpr bool single = sizeof(T) == sizeof(float);
#if defined(__AVX512F__)
    constexpr __mmask16 all = 0xffff;  // masked, for GCC warns of the unmasked ones' own definition
    if constexpr (single) return (Vec<T>)_mm512_maskz_max_ps(all, (__m512)b, (__m512)a);
    else return (Vec<T>)_mm512_maskz_max_pd(static_cast<__mmask8>(all), (__m512d)b, (__m512d)a);
#elif defined(__AVX__)
    if constexpr (single) return (Vec<T>)_mm256_max_ps((__m256)b, (__m256)a);
    else return (Vec<T>)_mm256_max_pd((__m256d)b, (__m256d)a);
#elif defined(__SSE2__)
    if constexpr (single) return (Vec<T>)_mm_max_ps((__m128)b, (__m128)a);
    else return (Vec<T>)_mm_max_pd((__m128d)b, (__m128d)a);
#else
    return select<T>(b > a, b, a);
#endif
}

/// The smaller of the limit and a, or its NaN.
template <class T>
SAIKI_INLINE Vec<T> at_most(T limit, Vec<T> a) {
    const Vec<T> b = broadcast<T>(limit);
    [[maybe_unused]] constexpr bool single = sizeof(T) == sizeof(float);
#if defined(__AVX512F__)
    constexpr __mmask16 all = 0xffff;  // masked, for GCC warns of the unmasked ones' own definition
    if constexpr (single) return (Vec<T>)_mm512_maskz_min_ps(all, (__m512)b, (__m512)a);
    else return (Vec<T>)_mm512_maskz_min_pd(static_cast<__mmask8>(all), (__m512d)b, (__m512d)a);
#elif defined(__AVX__)
    if constexpr (single) return (Vec<T>)_mm256_min_ps((__m256)b, (__m256)a);
    else return (Vec<T>)_mm256_min_pd((__m256d)b, (__m256d)a);
#elif defined(__SSE2__)
    if constexpr (single) return (Vec<T>)_mm_min_ps((__m128)b, (__m128)a);
    else return (Vec<T>)_mm_min_pd((__m128d)b, (__m128d)a);
#else
    return select<T>(b < a, b, a);
#endif
}

template <class T>
SAIKI_INLINE Vec<T> clamp(Vec<T> a, T low, T high) {
    return at_most<T>(high, at_least<T>(low, a));
}

template <class T>
SAIKI_INLINE Vec<T> absolute(Vec<T> a) {
    return from_bits<T>(bits<T>(a) & ~bits<T>(broadcast<T>(T(-0.0))));
}

/// 2^n, where t = n + magic: the low bits of t are n plus the bias, which is what the exponent's field holds.
template <class T>
SAIKI_INLINE Vec<T> power_of_two(Vec<T> t) {
    return from_bits<T>(bits<T>(t) << Constants<T>::mantissa_bits);
}

/// e^r for |r| ≤ ln 2 / 2.
template <class T>
SAIKI_INLINE Vec<T> exp_small(Vec<T> r) {
    const Vec<T> p = fma(polynomial<T>(r, Constants<T>::exp), r, broadcast<T>(1));
    return fma(p, r, broadcast<T>(1));
}

/// e^a = 2^n e^r with a = n ln 2 + r. 2^n is multiplied in two halves, for it may be no normal number when e^a is one.
template <class T>
SAIKI_INLINE Vec<T> exp(Vec<T> a) {
    using C = Constants<T>;
    a = clamp<T>(a, C::exp_lowest, C::exp_highest);
    const Vec<T> magic = broadcast<T>(C::magic);
    const Vec<T> n = fma(a, broadcast<T>(C::log2_e), magic) - magic;
    const Vec<T> r = fma(n, broadcast<T>(-C::ln_2_low), fma(n, broadcast<T>(-C::ln_2_high), a));
    const Vec<T> half = fma(n, broadcast<T>(T(0.5)), magic);
    const Vec<T> rest = (n - (half - magic)) + magic;
    return exp_small<T>(r) * power_of_two<T>(half) * power_of_two<T>(rest);
}

/// 1 / (1 + e^-a)
template <class T>
SAIKI_INLINE Vec<T> sigmoid(Vec<T> a) {
    using C = Constants<T>;
    a = clamp<T>(a, C::sigmoid_lowest, C::sigmoid_highest);
    const Vec<T> magic = broadcast<T>(C::magic), one = broadcast<T>(1);
    const Vec<T> t = fma(a, broadcast<T>(-C::log2_e), magic), n = t - magic;
    const Vec<T> r = fma(n, broadcast<T>(-C::ln_2_low), fma(n, broadcast<T>(-C::ln_2_high), -a));
    return one / fma(exp_small<T>(r), power_of_two<T>(t), one);
}

/// (e^2a - 1) / (e^2a + 1), where e^2a - 1 = 2^n (2^r - 1) + (2^n - 1) loses nothing near 0, since n is 0 there.
template <class T>
SAIKI_INLINE Vec<T> tanh(Vec<T> a) {
    using C = Constants<T>;
    a = clamp<T>(a, -C::tanh_limit, C::tanh_limit);
    const Vec<T> magic = broadcast<T>(C::magic), twice_log2_e = broadcast<T>(C::twice_log2_e);
    const Vec<T> t = fma(a, twice_log2_e, magic), n = t - magic;
    const Vec<T> r = fma(a, twice_log2_e, -n), power = power_of_two<T>(t);
    const Vec<T> m = fma(polynomial<T>(r, C::exp2m1), r * power, power - broadcast<T>(1));
    return m / (m + broadcast<T>(2));
}

/// y = f(a), and f'(a) told from y = f(a), for an activation known when compiling.
template <Activation A, class T>
struct Fixed {
    static SAIKI_INLINE Vec<T> value(Vec<T> a) {
        const Vec<T> zero{}, one = broadcast<T>(1), half = broadcast<T>(T(0.5));
        if constexpr (A == Activation::tanh) return tanh<T>(a);
        if constexpr (A == Activation::sigmoid) return sigmoid<T>(a);
        if constexpr (A == Activation::hard_sigmoid) return clamp<T>(fma(a, broadcast<T>(T(1) / 6), half), 0, 1);
        if constexpr (A == Activation::hard_sigmoid_keras2) return clamp<T>(fma(a, broadcast<T>(T(1) / 5), half), 0, 1);
        if constexpr (A == Activation::relu) return select<T>(zero > a, zero, a);
        if constexpr (A == Activation::leaky_relu) return select<T>(a > zero, a, a * T(0.01));
        if constexpr (A == Activation::softsign) {  // infinity to the largest number: ∞/∞ would be NaN
            a = clamp<T>(a, -Constants<T>::largest, Constants<T>::largest);
            return a / (one + absolute<T>(a));
        }
        if constexpr (A == Activation::identity) return a;
        if constexpr (A == Activation::sigmoid_pm2) return tanh<T>(a * half) * T(2);  // 4 σ(a) - 2 without cancelling
        if constexpr (A == Activation::sigmoid_pm1) return tanh<T>(a * half);
    }

    static SAIKI_INLINE Vec<T> slope(Vec<T> y) {
        const Vec<T> zero{}, one = broadcast<T>(1), half = broadcast<T>(T(0.5));
        if constexpr (A == Activation::tanh) return fma(-y, y, one);
        if constexpr (A == Activation::sigmoid) return fma(-y, y, y);
        if constexpr (A == Activation::hard_sigmoid) {
            return select<T>((y > zero) & (y < one), broadcast<T>(T(1) / 6), zero);
        }
        if constexpr (A == Activation::hard_sigmoid_keras2) {
            return select<T>((y > zero) & (y < one), broadcast<T>(T(1) / 5), zero);
        }
        if constexpr (A == Activation::relu) return select<T>(y > zero, one, zero);
        if constexpr (A == Activation::leaky_relu) return select<T>(y > zero, one, broadcast<T>(T(0.01)));
        if constexpr (A == Activation::softsign) {
            const Vec<T> rest = one - absolute<T>(y);
            return rest * rest;
        }
        if constexpr (A == Activation::identity) return one;
        if constexpr (A == Activation::sigmoid_pm2) return fma(y * T(-0.25), y, one);
        if constexpr (A == Activation::sigmoid_pm1) return fma(y * T(-0.5), y, half);
    }
};

/// The same for an activation known only when running.
template <class T>
struct Named {
    Activation which;

    SAIKI_INLINE Vec<T> value(Vec<T> a) const { return value_of(which, a); }
    SAIKI_INLINE Vec<T> slope(Vec<T> y) const { return slope_of(which, y); }

private:
    static __attribute__((noinline)) Vec<T> value_of(Activation which, Vec<T> a) {
        switch (which) {
            case Activation::tanh: return Fixed<Activation::tanh, T>::value(a);
            case Activation::sigmoid: return Fixed<Activation::sigmoid, T>::value(a);
            case Activation::hard_sigmoid: return Fixed<Activation::hard_sigmoid, T>::value(a);
            case Activation::hard_sigmoid_keras2: return Fixed<Activation::hard_sigmoid_keras2, T>::value(a);
            case Activation::relu: return Fixed<Activation::relu, T>::value(a);
            case Activation::leaky_relu: return Fixed<Activation::leaky_relu, T>::value(a);
            case Activation::softsign: return Fixed<Activation::softsign, T>::value(a);
            case Activation::sigmoid_pm2: return Fixed<Activation::sigmoid_pm2, T>::value(a);
            case Activation::sigmoid_pm1: return Fixed<Activation::sigmoid_pm1, T>::value(a);
            case Activation::identity: break;
        }
        return a;
    }

    static __attribute__((noinline)) Vec<T> slope_of(Activation which, Vec<T> y) {
        switch (which) {
            case Activation::tanh: return Fixed<Activation::tanh, T>::slope(y);
            case Activation::sigmoid: return Fixed<Activation::sigmoid, T>::slope(y);
            case Activation::hard_sigmoid: return Fixed<Activation::hard_sigmoid, T>::slope(y);
            case Activation::hard_sigmoid_keras2: return Fixed<Activation::hard_sigmoid_keras2, T>::slope(y);
            case Activation::relu: return Fixed<Activation::relu, T>::slope(y);
            case Activation::leaky_relu: return Fixed<Activation::leaky_relu, T>::slope(y);
            case Activation::softsign: return Fixed<Activation::softsign, T>::slope(y);
            case Activation::sigmoid_pm2: return Fixed<Activation::sigmoid_pm2, T>::slope(y);
            case Activation::sigmoid_pm1: return Fixed<Activation::sigmoid_pm1, T>::slope(y);
            case Activation::identity: break;
        }
        return Fixed<Activation::identity, T>::slope(y);
    }
};

}  // namespace saiki::SAIKI_TARGET
