#include "memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include <pthread.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SAIKI_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SAIKI_ADDRESS_SANITIZER
#endif
#endif

namespace saiki {

namespace {
constexpr std::size_t huge_page = std::size_t{2} << 20;
}

/// Stands in the 64 bytes before each buffer.
struct Scratch::Block {
    std::size_t bytes;  // of the buffer
    Block* next;        // in the Scratch, or in the store from the one given back last to the first

    void* buffer() { return reinterpret_cast<char*>(this) + alignment; }

    static constexpr std::size_t alignment = 64;  // a cache line, and the widest vector
    static Block* make(std::size_t bytes);
};
static_assert(sizeof(std::size_t) + sizeof(void*) <= 64);

Scratch::Block* Scratch::Block::make(std::size_t bytes) {
    if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
    void* memory = nullptr;
    const bool huge = bytes >= 2 * huge_page;
    if (posix_memalign(&memory, huge ? huge_page : alignment, alignment + bytes) != 0) throw std::bad_alloc();
    if (huge) expect_to_fill(memory, alignment + bytes);
    return new (memory) Block{bytes, nullptr};
}

/// The buffers that nobody uses at the moment, at most `most_bytes` of them together.
class Store {
public:
    using Block = Scratch::Block;

    /// The smallest that holds `bytes` and is not over twice as large, else a new one.
    Block* take(std::size_t bytes) {
        {
            const std::lock_guard lock(mutex_);
            Block** best = nullptr;
            for (Block** at = &first_; *at; at = &(*at)->next)
                if ((*at)->bytes >= bytes && (*at)->bytes / 2 <= bytes && (!best || (*at)->bytes < (*best)->bytes))
                    best = at;
            if (best) return unlink(best);
        }
        return Block::make(bytes);
    }

    /// Keeps the whole chain but what is too much: of that, the longest unused goes first.
    void give_back(Block* chain) noexcept {
        Block* excess = nullptr;
        {
            const std::lock_guard lock(mutex_);
            while (chain) {
                Block* block = chain;
                chain = block->next;
                block->next = first_;
                first_ = block;
            }
            std::size_t bytes = 0, count = 0;
            for (Block** at = &first_; *at;) {
                if (count == most_blocks || bytes + (*at)->bytes > most_bytes) {
                    Block* block = unlink(at);
                    block->next = excess;
                    excess = block;
                } else {
                    bytes += (*at)->bytes;
                    ++count;
                    at = &(*at)->next;
                }
            }
        }
        while (excess) {
            Block* block = excess;
            excess = block->next;
            std::free(block);
        }
    }

    void lock() { mutex_.lock(); }
    void unlock() { mutex_.unlock(); }

private:
    static Block* unlink(Block** at) {
        Block* block = *at;
        *at = block->next;
        return block;
    }

    static constexpr std::size_t most_bytes = std::size_t{256} << 20;
    static constexpr std::size_t most_blocks = 64;  // few enough to look through at every call

    std::mutex mutex_;
    Block* first_ = nullptr;
};

namespace {

// Never destroyed: another thread may still be at work when the process ends.
Store& store() {
    alignas(Store) static char memory[sizeof(Store)];
    static Store* const only = new (memory) Store;
    return *only;
}

// A child that fork() makes must not inherit the store locked by a thread it does not have.
void lock() { store().lock(); }
void unlock() { store().unlock(); }
[[maybe_unused]] const int watching_forks = pthread_atfork(lock, unlock, unlock);

}  // namespace

void expect_to_fill([[maybe_unused]] void* from, std::size_t bytes) {
    if (bytes < 2 * huge_page) return;
#if defined(__linux__)
    const auto begin = (reinterpret_cast<std::uintptr_t>(from) + huge_page - 1) / huge_page * huge_page;
    const auto end = (reinterpret_cast<std::uintptr_t>(from) + bytes) / huge_page * huge_page;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // advice: without it everything is only slower
#endif
}

void* Scratch::take_bytes(std::size_t count, std::size_t size) {
    if (count > SIZE_MAX / 2 / size) throw std::bad_alloc();
#if defined(SAIKI_ADDRESS_SANITIZER)
    // Nothing is used twice and nothing is longer than asked for, so that no slip past an end goes unseen.
    Block* block = Block::make(count * size);
    std::memset(block->buffer(), 0xff, count * size);  // NaN of every width
#else
    constexpr std::size_t page = 4096;  // so that buffers of nearly the same length can stand in for each other
    Block* block = store().take((count * size + page - 1) / page * page);
#endif
    block->next = blocks_;
    blocks_ = block;
    return block->buffer();
}

Scratch::~Scratch() {
#if defined(SAIKI_ADDRESS_SANITIZER)
    while (blocks_) {
        Block* block = blocks_;
        blocks_ = block->next;
        std::free(block);
    }
#else
    if (blocks_) store().give_back(blocks_);
#endif
}

}  // namespace saiki
