// The one binding file: checks what Python hands over, allocates, calls the kernels.
#include <nanobind/nanobind.h>
namespace nb = nanobind;
NB_MODULE(_native, m) { m.doc() = "Saiki's C++ kernels; they know arrays, not torch."; }
