// A vector of `width` numbers, written once with the compiler's vector types and lowered to what the target has.
//
// Included only by kernels.cpp, which is compiled once an instruction set, each time with another SAIKI_TARGET: a
// namespace, so that no function of one can stand in for another's when the linker merges templates. For the same
// reason nothing here or above calls a function of the standard library.
//
// The kernels are compiled with -ffp-contract=off: multiply-adds are written as fma(), so that every instantiation
// rounds alike, and a row's numbers do not depend on the rows beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#ifndef SAIKI_TARGET
#error "compile with -DSAIKI_TARGET=<name of the instruction set>"
#endif

#define SAIKI_INLINE inline __attribute__((always_inline))

namespace saiki::SAIKI_TARGET {

#if defined(__AVX512F__)
constexpr std::size_t vector_bytes = 64;
constexpr std::size_t registers = 32;
#elif defined(__AVX__)
constexpr std::size_t vector_bytes = 32;
constexpr std::size_t registers = 16;
#elif defined(__aarch64__)
constexpr std::size_t vector_bytes = 16;
constexpr std::size_t registers = 32;
#else
constexpr std::size_t vector_bytes = 16;
constexpr std::size_t registers = 16;
#endif

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float Vector __attribute__((vector_size(vector_bytes)));
    typedef std::int32_t Bits __attribute__((vector_size(vector_bytes)));
    using Integer = std::int32_t;
};
template <>
struct VectorOf<double> {
    typedef double Vector __attribute__((vector_size(vector_bytes)));
    typedef std::int64_t Bits __attribute__((vector_size(vector_bytes)));
    using Integer = std::int64_t;
};

template <class T>
using Vec = typename VectorOf<T>::Vector;
template <class T>
using Bits = typename VectorOf<T>::Bits;  // the same bytes as integers; what a comparison of two Vec gives

template <class T>
constexpr std::size_t width = vector_bytes / sizeof(T);

template <class T>
SAIKI_INLINE Vec<T> load(const T* from) {
    Vec<T> v;
    __builtin_memcpy(&v, from, vector_bytes);
    return v;
}

template <class T>
SAIKI_INLINE void store(T* to, Vec<T> v) {
    __builtin_memcpy(to, &v, vector_bytes);
}

template <class T>
SAIKI_INLINE Vec<T> broadcast(T value) {
    return value - Vec<T>{};  // a - 0 is a, -0 too, so this is no arithmetic; a + 0 would be
}

/// The first `count` ≤ width numbers; the rest of the vector is 0.
SAIKI_INLINE Vec<float> load(const float* from, std::size_t count) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#else
    Vec<float> v{};
    for (std::size_t k = 0; k < count; ++k) v[k] = from[k];
    return v;
#endif
}
SAIKI_INLINE Vec<double> load(const double* from, std::size_t count) {
#if defined(__AVX512F__)
    return (Vec<double>)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << count) - 1), from);
#else
    Vec<double> v{};
    for (std::size_t k = 0; k < count; ++k) v[k] = from[k];
    return v;
#endif
}

/// Stores the first `count` ≤ width numbers and touches nothing behind them.
SAIKI_INLINE void store(float* to, Vec<float> v, std::size_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)v);
#else
    for (std::size_t k = 0; k < count; ++k) to[k] = v[k];
#endif
}
SAIKI_INLINE void store(double* to, Vec<double> v, std::size_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_pd(to, static_cast<__mmask8>((1u << count) - 1), (__m512d)v);
#else
    for (std::size_t k = 0; k < count; ++k) to[k] = v[k];
#endif
}

/// a b + c, rounded once where the target can (so baseline x86-64 differs from the others in the last place).
SAIKI_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}
SAIKI_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__)
    return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
    return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

/// The bits of a vector as integers, and back.
template <class T>
SAIKI_INLINE Bits<T> bits(Vec<T> v) {
    return (Bits<T>)v;
}
template <class T>
SAIKI_INLINE Vec<T> from_bits(Bits<T> b) {
    return (Vec<T>)b;
}

/// yes where the mask (a comparison's result) is set, no elsewhere.
template <class T>
SAIKI_INLINE Vec<T> select(Bits<T> mask, Vec<T> yes, Vec<T> no) {
    return mask ? yes : no;
}

}  // namespace saiki::SAIKI_TARGET
