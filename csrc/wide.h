// Numbers m 2^e with an exponent of their own in every lane, as floating-point numbers have, but of 29 bits (60 of a
// double): sums and products of them take a few instructions and neither overflow nor underflow. Who adds many brings the
// mantissas back to [1, 2) from time to time. Also single such numbers, and what ctc.h needs besides of vectors' lanes.
#pragma once

#include <utility>

#include "activation.h"

namespace saiki::SAIKI_TARGET {

/// m 2^e; 0 is m = 0 with e at or near the lowest.
template <class T>
struct Wide {
    Vec<T> m;
    Bits<T> e;
};

template <class T>
struct WideLimits;
template <>
struct WideLimits<float> {
    static constexpr int bias = 127;
    static constexpr std::int32_t lowest = -(1 << 29), absent = lowest - 1000;  // absent adds nothing even to 0
    static constexpr float exp_lowest = -88;  // e^a is 0 there: 2^n is
};
template <>
struct WideLimits<double> {
    static constexpr int bias = 1023;
    static constexpr std::int64_t lowest = -(std::int64_t{1} << 60), absent = lowest - 10000;
    static constexpr double exp_lowest = -709;
};

/// e to this, or less, is 0 to exp_wide.
constexpr double wide_least = -1e6;

template <class T>
using Integer = typename VectorOf<T>::Integer;

template <class T>
SAIKI_INLINE Bits<T> integers(Integer<T> value) {
    return Bits<T>{} + value;
}
template <class T>
SAIKI_INLINE Bits<T> larger(Bits<T> a, Bits<T> b) {
    return a > b ? a : b;
}
template <class T>
SAIKI_INLINE Bits<T> load_integers(const Integer<T>* from) {
    Bits<T> v;
    __builtin_memcpy(&v, from, vector_bytes);
    return v;
}
template <class T>
SAIKI_INLINE void store_integers(Integer<T>* to, Bits<T> v) {
    __builtin_memcpy(to, &v, vector_bytes);
}

/// m 2^d for d below the type's largest exponent; 0 below its smallest.
template <class T>
SAIKI_INLINE Vec<T> scaled(Vec<T> m, Bits<T> d) {
    constexpr Integer<T> bias = WideLimits<T>::bias;
    return m * from_bits<T>((larger<T>(d, integers<T>(-bias)) + bias) << Constants<T>::mantissa_bits);
}

template <class T>
SAIKI_INLINE Wide<T> sum(Wide<T> a, Wide<T> b) {
    const Bits<T> e = larger<T>(a.e, b.e);
    return {scaled<T>(a.m, a.e - e) + scaled<T>(b.m, b.e - e), e};
}
template <class T>
SAIKI_INLINE Wide<T> sum(Wide<T> a, Wide<T> b, Wide<T> c) {
    const Bits<T> e = larger<T>(larger<T>(a.e, b.e), c.e);
    return {scaled<T>(a.m, a.e - e) + scaled<T>(b.m, b.e - e) + scaled<T>(c.m, c.e - e), e};
}
template <class T>
SAIKI_INLINE Wide<T> product(Wide<T> a, Wide<T> b) {
    return {a.m * b.m, larger<T>(a.e + b.e, integers<T>(WideLimits<T>::lowest))};
}

template <class T>
SAIKI_INLINE Wide<T> nothing() {
    return {Vec<T>{}, integers<T>(WideLimits<T>::lowest)};
}
template <class T>
SAIKI_INLINE Wide<T> spread(T m, Integer<T> e) {
    return {broadcast<T>(m), integers<T>(e)};
}

/// The mantissa back in [1, 2).
template <class T>
SAIKI_INLINE Wide<T> normalised(Wide<T> a) {
    constexpr int places = Constants<T>::mantissa_bits;
    const Bits<T> shift = (bits<T>(a.m) >> places) - WideLimits<T>::bias;
    const Bits<T> there = a.m > Vec<T>{};
    return {from_bits<T>(bits<T>(a.m) - ((shift & there) << places)), a.e + (shift & there)};
}

/// e^a for a ≤ 0, with 1e-6 or less of the exponent's range lost: 0 already where the result is no normal number.
template <class T>
SAIKI_INLINE Vec<T> exp_below(Vec<T> a) {
    using C = Constants<T>;
    a = at_least<T>(WideLimits<T>::exp_lowest, a);
    const Vec<T> magic = broadcast<T>(C::magic);
    const Vec<T> t = fma(a, broadcast<T>(C::log2_e), magic), n = t - magic;
    const Vec<T> r = fma(n, broadcast<T>(-C::ln_2_low), fma(n, broadcast<T>(-C::ln_2_high), a));
    return exp_small<T>(r) * power_of_two<T>(t);
}

/// e^a for a ≤ 0, however small it is; 0 from wide_least on.
template <class T>
SAIKI_INLINE Wide<T> exp_wide(Vec<T> a) {
    using C = Constants<T>;
    const Vec<T> magic = broadcast<T>(C::magic);
    const Vec<T> t = fma(a, broadcast<T>(C::log2_e), magic), n = t - magic;
    const Vec<T> r = fma(n, broadcast<T>(-C::ln_2_low), fma(n, broadcast<T>(-C::ln_2_high), a));
    const Bits<T> there = a > broadcast<T>(T(wide_least));
    return {from_bits<T>(bits<T>(exp_small<T>(r)) & there),
            there ? bits<T>(t) - bits<T>(magic) : integers<T>(WideLimits<T>::lowest / 2)};
}

/// Lane i of the result is lane i + 1 of a, the last one lane 0 of b.
template <class T, std::size_t... k>
SAIKI_INLINE Wide<T> next_lanes(Wide<T> a, Wide<T> b, std::index_sequence<k...>) {
    return {__builtin_shufflevector(a.m, b.m, (k + 1)...), __builtin_shufflevector(a.e, b.e, (k + 1)...)};
}
/// Lane i of the result is lane i - 1 of b, the first one the last lane of a.
template <class T, std::size_t... k>
SAIKI_INLINE Wide<T> lanes_before(Wide<T> a, Wide<T> b, std::index_sequence<k...>) {
    constexpr std::size_t W = width<T>;
    return {__builtin_shufflevector(a.m, b.m, (k + W - 1)...), __builtin_shufflevector(a.e, b.e, (k + W - 1)...)};
}
template <class T>
using Lanes = std::make_index_sequence<width<T>>;

template <class T, std::size_t by, std::size_t... k>
SAIKI_INLINE Vec<T> turned(Vec<T> v, std::index_sequence<k...>) {
    return __builtin_shufflevector(v, v, ((k + by) % width<T>)...);
}
template <class T, std::size_t by = width<T> / 2>
SAIKI_INLINE T sum_of_lanes(Vec<T> v) {
    v = v + turned<T, by>(v, Lanes<T>{});
    if constexpr (by > 1) return sum_of_lanes<T, by / 2>(v);
    else return v[0];
}
/// NaN does not count.
template <class T, std::size_t by = width<T> / 2>
SAIKI_INLINE T largest_lane(Vec<T> v) {
    const Vec<T> other = turned<T, by>(v, Lanes<T>{});
    v = other > v ? other : v;
    if constexpr (by > 1) return largest_lane<T, by / 2>(v);
    else return v[0];
}
template <class T, std::size_t... k>
SAIKI_INLINE Bits<T> first_lanes(std::size_t count, std::index_sequence<k...>) {
    return Bits<T>{static_cast<Integer<T>>(k)...} < static_cast<Integer<T>>(count);
}
/// `count` ≤ width numbers, and `fill` behind them.
template <class T>
SAIKI_INLINE Vec<T> load_or(const T* from, std::size_t count, T fill) {
    return select<T>(first_lanes<T>(count, Lanes<T>{}), load(from, count), broadcast<T>(fill));
}

/// One number m 2^e.
template <class T>
struct Lone {
    T m = 0;
    Integer<T> e = WideLimits<T>::lowest;
};
template <class T>
inline T scaled(T m, Integer<T> d) {
    constexpr Integer<T> bias = WideLimits<T>::bias;
    if (d < -bias) return 0;
    const Integer<T> power = (d + bias) << Constants<T>::mantissa_bits;
    T factor;
    __builtin_memcpy(&factor, &power, sizeof factor);
    return m * factor;
}
template <class T>
inline Lone<T> normalised(Lone<T> a) {
    if (!(a.m > 0)) return a;
    Integer<T> whole;
    __builtin_memcpy(&whole, &a.m, sizeof whole);
    const Integer<T> shift = (whole >> Constants<T>::mantissa_bits) - WideLimits<T>::bias;
    whole -= shift << Constants<T>::mantissa_bits;
    __builtin_memcpy(&a.m, &whole, sizeof whole);
    return {a.m, static_cast<Integer<T>>(a.e + shift)};
}
template <class T>
inline Lone<T> sum(Lone<T> a, Lone<T> b) {
    const Integer<T> e = a.e > b.e ? a.e : b.e;
    return {scaled<T>(a.m, a.e - e) + scaled<T>(b.m, b.e - e), e};
}
template <class T>
inline Lone<T> product(Lone<T> a, Lone<T> b) {
    const Integer<T> e = a.e + b.e;
    return normalised<T>({a.m * b.m, e > WideLimits<T>::lowest ? e : WideLimits<T>::lowest});
}

/// ln m for m > 0, infinity and NaN as they come. m = 2^n (1 + f) / (1 - f), |f| < 0.172, and the series of artanh f.
inline double log_of(double m) {
    if (!(m > 0 && m < Constants<double>::largest)) return m > 0 || m != m ? m : -__builtin_inf();
    std::int64_t whole;
    __builtin_memcpy(&whole, &m, sizeof whole);
    std::int64_t n = (whole >> 52) - 1023;
    whole -= n << 52;
    __builtin_memcpy(&m, &whole, sizeof whole);
    if (m > 1.4142135623730951) m *= 0.5, ++n;
    const double f = (m - 1) / (m + 1), square = f * f;
    double series = 0;
    for (int k = 23; k >= 1; k -= 2) series = series * square + 1.0 / k;
    return 2 * f * series + static_cast<double>(n) * 0.6931471805599453;
}

}  // namespace saiki::SAIKI_TARGET
