// The decoders' part of the binding.
#pragma once

#include <nanobind/nanobind.h>

namespace saiki::python {

void bind_beam(nanobind::module_& m);

}  // namespace saiki::python
