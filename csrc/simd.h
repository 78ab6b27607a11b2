// A vector of `width` numbers, written once with the compiler's vector types and lowered to what the target has.
//
// 32 bytes: two SSE registers or one of AVX2. With rows_at_once = 4 rows of one gate in flight the micro-kernel
// of sequence.h holds 4 accumulators (8 SSE registers of 16), which leaves room for weights and a broadcast.
#pragma once

#include <cstddef>
#include <cstring>

namespace saiki {

template <class T>
struct Simd {
    static constexpr std::size_t bytes = 32;
    static constexpr std::size_t width = bytes / sizeof(T);
    typedef T Vector __attribute__((vector_size(32)));

    /// Unaligned load of `width` numbers.
    static void load(Vector& v, const T* from) { std::memcpy(&v, from, bytes); }

    /// Unaligned store of the first `count` ≤ width numbers.
    static void store(const Vector& v, T* to, std::size_t count) { std::memcpy(to, &v, count * sizeof(T)); }
};

}  // namespace saiki
