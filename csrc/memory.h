// Scratch memory for one call of a kernel. What is here is always inlined, for the reason that team.h gives.
#pragma once

#include <cstddef>

namespace saiki {

/// Buffers that live as long as this object. They come from a small store of the process and go back to it, so that a
/// training loop does not have its pages made and cleared anew at every call. Each thread may have its own Scratch at
/// any time; one Scratch is for one thread at a time.
class Scratch {
public:
    [[gnu::always_inline]] Scratch() {}
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    /// Room for `count` ≥ 0 numbers, 64-byte aligned, uninitialised (in a build with the address sanitizer full of
    /// NaN), never null. Throws std::bad_alloc.
    template <class T>
    [[gnu::always_inline]] T* take(std::size_t count) {
        return static_cast<T*>(take_bytes(count, sizeof(T)));
    }

private:
    struct Block;
    void* take_bytes(std::size_t count, std::size_t size);

    Block* blocks_ = nullptr;
    friend class Store;
};

/// Ask for huge pages behind a long array that nothing was written to yet: an allocator takes one of over 32 MiB from the
/// system at every call, and 512 times fewer pages are made and cleared a good deal faster (131 MiB in 17 ms, not 58).
void expect_to_fill(void* from, std::size_t bytes);

}  // namespace saiki
