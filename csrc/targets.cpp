// The instruction sets that were built. This file is compiled for the baseline machine, and so are the functions that
// ask whether the processor, and the operating system that must save its registers, can run the others: the object
// files of those hold nothing that may be called before the answer.
#include "kernels.h"

// What the build compiled kernels.cpp for, best first: X(avx512) X(avx2) X(baseline).
#if !defined(SAIKI_TARGETS)
#error "compile with -DSAIKI_TARGETS='X(best) X(...) X(baseline)'"
#endif

namespace saiki {

bool baseline_runs_here() { return true; }
bool generic_runs_here() { return true; }

#if defined(__x86_64__)
bool avx2_runs_here() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool avx512_runs_here() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && avx2_runs_here();
}
#endif

#define X(name) extern const Target target_##name;
SAIKI_TARGETS
#undef X

const Target* const* targets(std::size_t& count) {
#define X(name) &target_##name,
    static constexpr const Target* built[] = {SAIKI_TARGETS};
#undef X
    count = sizeof built / sizeof *built;
    return built;
}

}  // namespace saiki
