// Prints the instruction sets that were built and that this machine runs, best first, one a line.
#include <cstdio>

#include "../kernels.h"

int main() {
    std::size_t count = 0, here = 0;
    const saiki::Target* const* built = saiki::targets(count);
    for (std::size_t k = 0; k < count; ++k)
        if (built[k]->runs_here()) {
            std::puts(built[k]->name);
            ++here;
        }
    return here == 0;  // the last one runs everywhere
}
