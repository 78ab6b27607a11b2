// The one binding file: checks what Python hands over (arrays.h), releases the interpreter's lock, calls the kernels.
// The decoders' part is in binding_beam.cpp.
// It allocates nothing that Python sees but packed weights; nothing in the kernels is reached with an argument that has
// not been checked here.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "binding_beam.h"
#include "kernels.h"
#include "team.h"

namespace saiki::python {

constexpr std::size_t max_size = std::size_t{1} << 24;  // units or features: no product of sizes then wraps around
constexpr int max_threads = 1024;

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "none" : text;
}

// --- instruction sets ----------------------------------------------------------------------------------------------

/// Names of the targets, best first; those alone that this machine can run, or all that were built.
std::vector<std::string> target_names(bool runnable) {
    std::size_t count = 0;
    const Target* const* all = targets(count);
    std::vector<std::string> names;
    for (std::size_t k = 0; k < count; ++k)
        if (!runnable || all[k]->runs_here()) names.emplace_back(all[k]->name);
    return names;
}

const Target& target_named(const std::string& name, const char* what) {
    std::size_t count = 0;
    const Target* const* all = targets(count);
    bool built = false;
    for (std::size_t k = 0; k < count; ++k) {
        if (name != all[k]->name) continue;
        built = true;
        if (all[k]->runs_here()) return *all[k];
    }
    value_error(std::string(what) + " is '" + name + "', which " +
                (built ? "this processor cannot run" : "is not an instruction set that was built") +
                "; known here: " + joined(target_names(true)));
}

/// What SAIKI_ISA asks for, or else the best that runs here.
const Target& default_target() {
    const char* wanted = std::getenv("SAIKI_ISA");
    if (wanted && *wanted) return target_named(wanted, "SAIKI_ISA");
    std::size_t count = 0;
    const Target* const* all = targets(count);
    for (std::size_t k = 0; k < count; ++k)
        if (all[k]->runs_here()) return *all[k];
    value_error("none of the instruction sets that were built runs on this processor: " + joined(target_names(false)));
}

const Target& target_of(const std::optional<std::string>& name) {
    return name ? target_named(*name, "target") : default_target();
}

template <class T>
const Kernels<T>& kernels_of(const Target& target);
template <>
const Kernels<float>& kernels_of<float>(const Target& target) { return *target.float32; }
template <>
const Kernels<double>& kernels_of<double>(const Target& target) { return *target.float64; }

// --- what a kernel is asked for ------------------------------------------------------------------------------------

Activation activation_named(const std::string& name, const char* what) {
    for (std::size_t k = 0; k < activation_count; ++k)
        if (name == activation_names[k]) return static_cast<Activation>(k);
    value_error(std::string(what) + " is '" + name + "' but must be one of " +
                joined({activation_names, activation_names + activation_count}));
}

Family family_named(const std::string& name) {
    if (name == "elman") return Family::elman;
    if (name == "jordan") return Family::jordan;
    if (name == "lstm") return Family::lstm;
    if (name == "gru") return Family::gru;
    value_error("family is '" + name + "' but must be one of elman, jordan, lstm, gru");
}

Approximation approximation_named(const std::string& name) {
    for (std::size_t k = 0; k < std::size(approximation_names); ++k)
        if (name == approximation_names[k]) return static_cast<Approximation>(k);
    value_error("approximation is '" + name + "' but must be one of exact, snap1, eprop");
}

Element element_named(const std::string& name) {
    if (name == "float32") return Element::float32;
    if (name == "float64") return Element::float64;
    value_error("dtype is '" + name + "' but must be float32 or float64");
}

int checked_threads(int threads) {
    if (threads < 1 || threads > max_threads)
        value_error("threads is " + std::to_string(threads) + " but must be between 1 and " +
                    std::to_string(max_threads));
    return threads;
}

/// Refuses what no cell is: sizes out of range, and options that belong to another family.
void check(const Spec& s) {
    const Spec plain;
    for (std::size_t size : {s.input_size, s.hidden_size, s.output_size})
        if (size < 1 || size > max_size)
            value_error("input_size, hidden_size and output_size must be between 1 and " + std::to_string(max_size));
    const bool lstm = s.family == Family::lstm, gru = s.family == Family::gru, jordan = s.family == Family::jordan;
    if (!jordan && s.output_size != s.hidden_size) value_error("output_size must be hidden_size but for jordan");
    if (!jordan && !s.hidden_feedback) value_error("hidden_feedback=False is an option of jordan alone");
    if (!lstm && (!s.forget_gate || s.coupled || s.peepholes))
        value_error("forget_gate, coupled and peepholes are options of lstm alone");
    if (!gru && !s.reset_after) value_error("reset_after=False is an option of gru alone");
    if (s.coupled && !s.forget_gate)
        value_error("coupled=True needs the forget gate that forget_gate=False leaves out");
    if (!lstm && !gru && s.gate_activation != plain.gate_activation)
        value_error("gate_activation is an option of lstm and gru alone");
    if (!lstm && !jordan && s.output_activation != plain.output_activation)
        value_error("output_activation is an option of lstm and jordan alone");
}

bool same(const Spec& a, const Spec& b) {
    const auto fields = [](const Spec& s) {
        return std::tie(s.family, s.input_size, s.hidden_size, s.output_size, s.gate_activation, s.activation,
                        s.output_activation, s.bias, s.forget_gate, s.coupled, s.peepholes, s.reset_after,
                        s.hidden_feedback);
    };
    return fields(a) == fields(b);
}

/// The items of a tuple. Lists are refused: another thread could take arrays out of one while a kernel runs.
PyObject* const* items(nb::handle object, std::size_t count, const std::string& name, const char* meaning) {
    if (!PyTuple_Check(object.ptr()) || PyTuple_GET_SIZE(object.ptr()) != static_cast<Py_ssize_t>(count))
        type_error(name + " must be a tuple of " + std::to_string(count) + ": " + meaning);
    return reinterpret_cast<PyTupleObject*>(object.ptr())->ob_item;
}

constexpr const char* parameters_text = "the parameters in the order of _native.parameters, None where there is none";
constexpr const char* first_names[] = {"first[0]", "first[1]"};
constexpr const char* last_names[] = {"last[0]", "last[1]"};
constexpr const char* d_first_names[] = {"d_first[0]", "d_first[1]"};
constexpr const char* d_last_names[] = {"d_last[0]", "d_last[1]"};
constexpr const char* d_parameter_names[] = {"d_weight_ih", "d_weight_hh", "d_bias",      "d_weight_ph",
                                             "d_bias_hn",   "d_weight_yh", "d_weight_hy", "d_bias_y"};
static_assert(sizeof(d_parameter_names) / sizeof(char*) == parameter_count);
constexpr const char* influence_names[] = {"influence[0]", "influence[1]", "influence[2]", "influence[3]", "influence[4]",
                                           "influence[5]", "influence[6]", "influence[7]", "influence[8]"};
constexpr const char* gradient_names[] = {"gradient[0]", "gradient[1]", "gradient[2]", "gradient[3]", "gradient[4]",
                                          "gradient[5]", "gradient[6]", "gradient[7]", "gradient[8]"};
static_assert(sizeof(influence_names) / sizeof(char*) == initial_state + 1);

/// Whether sizes are those of a packed batch of N rows: at least 1, never rising, N in all.
bool describe(const std::int64_t* sizes, std::size_t steps, std::size_t N) {
    std::size_t left = N;
    for (std::size_t t = 0; t < steps; ++t) {
        // no size above what is left: so nothing can wrap around
        if (sizes[t] < 1 || static_cast<std::uint64_t>(sizes[t]) > left || (t && sizes[t] > sizes[t - 1])) return false;
        left -= static_cast<std::size_t>(sizes[t]);
    }
    return left == 0;
}

/// A direction's parameters in the kernels' own layout, frozen.
class Packed {
public:
    Packed(const Spec& spec, const Target& target, Element element, Weights weights, std::size_t bytes)
        : spec(spec), target(&target), element(element), weights(weights), bytes(bytes),
          memory(::operator new(bytes ? bytes : 1, std::align_val_t{64})) {}

    const Spec spec;
    const Target* const target;
    const Element element;
    const Weights weights;
    const std::size_t bytes;

    struct Delete {
        void operator()(void* p) const { ::operator delete(p, std::align_val_t{64}); }
    };
    const std::unique_ptr<void, Delete> memory;
};
using OwnedPacked = std::unique_ptr<Packed, nb::deleter<Packed>>;

class Kernel {
public:
    const Spec spec;
    const Target& target;
    const Element element;

    Kernel(const Spec& spec, const Target& target, Element element) : spec(spec), target(target), element(element) {
        check(spec);
    }

    std::size_t saved_columns() const {
        return element == Element::float32 ? target.float32->saved_columns(spec) : target.float64->saved_columns(spec);
    }

    void forward(nb::handle data, nb::handle sizes, nb::handle runs, int threads) const {
        element == Element::float32 ? forward_of<float>(data, sizes, runs, threads)
                                    : forward_of<double>(data, sizes, runs, threads);
    }

    void backward(nb::handle data, nb::handle sizes, nb::handle runs, nb::handle d_data, int threads) const {
        element == Element::float32 ? backward_of<float>(data, sizes, runs, d_data, threads)
                                    : backward_of<double>(data, sizes, runs, d_data, threads);
    }

    void influence(nb::handle data, nb::handle sizes, nb::handle run, nb::handle influence, nb::handle gradient,
                   const std::string& approximation, int threads) const {
        const Approximation rule = approximation_named(approximation);
        element == Element::float32 ? influence_of<float>(data, sizes, run, influence, gradient, rule, threads)
                                    : influence_of<double>(data, sizes, run, influence, gradient, rule, threads);
    }

    OwnedPacked pack(nb::handle parameters, const std::string& weights, int threads) const {
        return element == Element::float32 ? pack_of<float>(parameters, weights, threads)
                                           : pack_of<double>(parameters, weights, threads);
    }

    void step(const Packed& packed, nb::handle x, nb::handle first, nb::handle last, int threads) const {
        element == Element::float32 ? step_of<float>(packed, x, first, last, threads)
                                    : step_of<double>(packed, x, first, last, threads);
    }

private:
    template <class T>
    const Kernels<T>& table() const { return kernels_of<T>(target); }

    /// data (N, I) and sizes (T,), which are copied: they decide where kernels write, and another thread could change
    /// them in the meantime.
    template <class T>
    Batch<T> batch(Arrays& arrays, nb::handle data, nb::handle sizes, std::vector<std::int64_t>& copy) const {
        const Seen x = arrays.see(data, {"data"}), steps = arrays.see(sizes, {"batch_sizes"});
        if (x.rank != 2)
            value_error("data is " + x.shape_text() + " but must be (N, " + std::to_string(spec.input_size) + ")");
        if (steps.rank != 1) value_error("batch_sizes is " + steps.shape_text() + " but must be (T,)");
        const auto N = static_cast<std::size_t>(x.shape[0]), T_ = static_cast<std::size_t>(steps.shape[0]);
        Batch<T> batch;
        batch.data = arrays.template read<T>(data, {"data"}, N, spec.input_size);
        std::size_t stride;
        Arrays::checked<std::int64_t>(steps, {"batch_sizes"}, T_, 0, &stride, true);
        const auto* from = reinterpret_cast<const std::int64_t*>(steps.data);
        copy.assign(from, from + T_);
        if (!describe(copy.data(), T_, N))
            value_error("batch_sizes must be at least 1, never rise, and add up to the rows of data, " +
                        std::to_string(N));
        batch.sizes = copy.data();
        batch.steps = T_;
        batch.rows = N;
        return batch;
    }

    template <class T>
    void parameters(Arrays& arrays, PyObject* const* from, int run, const T** to) const {
        for (std::size_t k = 0; k < parameter_count; ++k) {
            const Shape shape = parameter_shape(spec, static_cast<Parameter>(k));
            const Name name{parameter_names[k], run};
            if (!shape.rows) {
                if (from[k] != Py_None) value_error(name.str() + " must be None: these options have no such parameter");
                to[k] = nullptr;
            } else {
                to[k] = arrays.read<T>(from[k], name, shape.rows, shape.columns);
            }
        }
    }

    const Packed& matching(const Packed& packed, Name name) const {
        if (packed.target != &target || packed.element != element || !same(packed.spec, spec))
            value_error(name.str() + " was packed by another kernel");
        return packed;
    }

    /// One or two directions.
    static std::size_t run_count(nb::handle runs) {
        if (!PyTuple_Check(runs.ptr()) || PyTuple_GET_SIZE(runs.ptr()) < 1 || PyTuple_GET_SIZE(runs.ptr()) > 2)
            type_error("runs must be a tuple of one or two directions");
        return static_cast<std::size_t>(PyTuple_GET_SIZE(runs.ptr()));
    }

    static bool flag(PyObject* object, Name name) {
        if (!PyBool_Check(object)) type_error(name.str() + " must be True or False");
        return object == Py_True;
    }

    template <class T>
    void forward_of(nb::handle data, nb::handle sizes, nb::handle runs, int threads) const {
        Arrays arrays;
        std::vector<std::int64_t> copy;
        const Batch<T> batch = this->batch<T>(arrays, data, sizes, copy);
        const std::size_t N = batch.rows, B = batch.steps ? static_cast<std::size_t>(copy[0]) : 0;
        const std::size_t count = run_count(runs), saved = table<T>().saved_columns(spec);
        checked_threads(threads);
        T nothing;  // where rows of `saved` have no columns, something that is not null
        Forward<T> directions[2];
        for (std::size_t r = 0; r < count; ++r) {
            const int run = static_cast<int>(r);
            PyObject* const* item = items(PyTuple_GET_ITEM(runs.ptr(), r), 6, Name{"", run}.str(),
                                          "(reverse, parameters, first, output, last, saved)");
            Forward<T>& d = directions[r];
            d.reverse = flag(item[0], {"reverse", run});
            if (nb::isinstance<Packed>(item[1])) {
                const Packed& packed = matching(*nb::inst_ptr<Packed>(item[1]), {"parameters", run});
                d.packed = packed.memory.get();
                d.packed_as = packed.weights;
            } else {
                const auto* from = items(item[1], parameter_count, Name{"parameters", run}.str(), parameters_text);
                parameters<T>(arrays, from, run, d.parameters);
            }
            const std::size_t states = spec.states();
            PyObject* const* first = items(item[2], states, Name{"first", run}.str(), "the initial states");
            PyObject* const* last = items(item[4], states, Name{"last", run}.str(), "the final states");
            for (std::size_t s = 0; s < states; ++s) {
                d.first[s] = arrays.read<T>(first[s], {first_names[s], run}, B, spec.state_size(s));
                d.last[s] = arrays.write<T>(last[s], {last_names[s], run}, B, spec.state_size(s));
            }
            d.output = arrays.share<T>(item[3], {"output", run}, N, spec.output_size, r, count, &d.output_stride, true);
            if (item[5] != Py_None) {
                const Name name{"saved", run};
                d.saved = saved ? arrays.write<T>(item[5], name, N, saved) : &nothing;
                if (d.packed) value_error(name.str() + " must be None: packed weights are for inference");
            }
        }
        arrays.require_apart();
        const nb::gil_scoped_release unlocked;
        table<T>().forward(spec, batch, directions, count, threads);
    }

    template <class T>
    void backward_of(nb::handle data, nb::handle sizes, nb::handle runs, nb::handle d_data, int threads) const {
        Arrays arrays;
        std::vector<std::int64_t> copy;
        const Batch<T> batch = this->batch<T>(arrays, data, sizes, copy);
        const std::size_t N = batch.rows, B = batch.steps ? static_cast<std::size_t>(copy[0]) : 0;
        const std::size_t count = run_count(runs), saved = table<T>().saved_columns(spec);
        checked_threads(threads);
        const T nothing = 0;
        Backward<T> directions[2];
        for (std::size_t r = 0; r < count; ++r) {
            const int run = static_cast<int>(r);
            PyObject* const* item =
                items(PyTuple_GET_ITEM(runs.ptr(), r), 9, Name{"", run}.str(),
                      "(reverse, parameters, first, output, saved, d_output, d_last, d_parameters, d_first)");
            Backward<T>& d = directions[r];
            d.reverse = flag(item[0], {"reverse", run});
            const auto* from = items(item[1], parameter_count, Name{"parameters", run}.str(), parameters_text);
            parameters<T>(arrays, from, run, d.parameters);
            const std::size_t O = spec.output_size;
            d.output = arrays.share<T>(item[3], {"output", run}, N, O, r, count, &d.output_stride, false);
            d.saved = saved ? arrays.read<T>(item[4], {"saved", run}, N, saved) : &nothing;
            if (item[5] != Py_None)
                d.d_output = arrays.share<T>(item[5], {"d_output", run}, N, O, r, count, &d.d_output_stride, false);
            const std::size_t states = spec.states();
            PyObject* const* first = items(item[2], states, Name{"first", run}.str(), "the initial states");
            PyObject* const* d_last = items(item[6], states, Name{"d_last", run}.str(), "each an array or None");
            PyObject* const* d_first = items(item[8], states, Name{"d_first", run}.str(), "each an array or None");
            for (std::size_t s = 0; s < states; ++s) {
                const std::size_t size = spec.state_size(s);
                d.first[s] = arrays.read<T>(first[s], {first_names[s], run}, B, size);
                if (d_last[s] != Py_None) d.d_last[s] = arrays.read<T>(d_last[s], {d_last_names[s], run}, B, size);
                if (d_first[s] != Py_None) d.d_first[s] = arrays.write<T>(d_first[s], {d_first_names[s], run}, B, size);
            }
            PyObject* const* into = items(item[7], parameter_count, Name{"d_parameters", run}.str(), parameters_text);
            for (std::size_t k = 0; k < parameter_count; ++k) {
                if (into[k] == Py_None) continue;
                const Shape shape = parameter_shape(spec, static_cast<Parameter>(k));
                const Name name{d_parameter_names[k], run};
                if (!shape.rows) value_error(name.str() + " must be None: these options have no such parameter");
                d.d_parameters[k] = arrays.write<T>(into[k], name, shape.rows, shape.columns);
            }
        }
        T* d_x = d_data.is_none() ? nullptr : arrays.write<T>(d_data, {"d_data"}, N, spec.input_size);
        arrays.require_apart();
        const nb::gil_scoped_release unlocked;
        table<T>().backward(spec, batch, directions, count, d_x, threads);
    }

    template <class T>
    void influence_of(nb::handle data, nb::handle sizes, nb::handle given, nb::handle influences, nb::handle gradients,
                      Approximation rule, int threads) const {
        Arrays arrays;
        std::vector<std::int64_t> copy;
        const Batch<T> batch = this->batch<T>(arrays, data, sizes, copy);
        const std::size_t N = batch.rows, B = batch.steps ? static_cast<std::size_t>(copy[0]) : 0;
        const std::size_t saved = table<T>().saved_columns(spec), rows = B * influence_rows(spec, rule);
        checked_threads(threads);
        const T nothing = 0;
        Influence<T> run;
        run.approximation = rule;
        PyObject* const* item = items(given, 5, "run", "(parameters, first, output, saved, d_output)");
        parameters<T>(arrays, items(item[0], parameter_count, "parameters", parameters_text), -1, run.parameters);
        PyObject* const* first = items(item[1], spec.states(), "first", "the initial states");
        for (std::size_t s = 0; s < spec.states(); ++s)
            run.first[s] = arrays.read<T>(first[s], {first_names[s]}, B, spec.state_size(s));
        run.output = arrays.share<T>(item[2], {"output"}, N, spec.output_size, 0, 1, &run.output_stride, false);
        run.saved = saved ? arrays.read<T>(item[3], {"saved"}, N, saved) : &nothing;
        if (item[4] != Py_None)
            run.d_output = arrays.share<T>(item[4], {"d_output"}, N, spec.output_size, 0, 1, &run.d_output_stride, false);
        constexpr const char* text = "an array or None for each of the parameters, then for the initial state";
        PyObject* const* into = items(influences, initial_state + 1, "influence", text);
        PyObject* const* sums = items(gradients, initial_state + 1, "gradient", text);
        for (std::size_t k = 0; k <= initial_state; ++k) {
            if (into[k] == Py_None && sums[k] == Py_None) continue;
            if (into[k] == Py_None || sums[k] == Py_None)
                value_error(std::string(gradient_names[k]) + " must be None where " + influence_names[k] + " is, and there alone");
            const Shape shape = k == initial_state ? Shape{influence_rows(spec, Approximation::exact), 0}
                                                   : parameter_shape(spec, static_cast<Parameter>(k));
            if (!shape.rows)
                value_error(std::string(influence_names[k]) + " must be None: these options have no such parameter");
            const std::size_t size = shape.rows * (shape.columns ? shape.columns : 1);
            run.influence[k] = arrays.share<T>(into[k], {influence_names[k]}, rows, size, 0, 1, &run.influence_stride[k], true);
            run.gradient[k] = arrays.write<T>(sums[k], {gradient_names[k]}, size, 0);
            if (!rows) run.influence[k] = run.gradient[k];  // an array without numbers may have no address
        }
        arrays.require_apart();
        const nb::gil_scoped_release unlocked;
        table<T>().influence(spec, batch, run, threads);
    }

    template <class T>
    OwnedPacked pack_of(nb::handle from, const std::string& weights, int threads) const {
        if (weights != "same" && weights != "bfloat16")
            value_error("weights is '" + weights + "' but must be 'same' or 'bfloat16'");
        const Weights kept_as = weights == "same" ? Weights::as_they_are : Weights::bfloat16;
        if (kept_as == Weights::bfloat16 && element != Element::float32)
            value_error("bfloat16 weights go with float32 data");
        checked_threads(threads);
        Arrays arrays;
        const T* pointers[parameter_count];
        parameters<T>(arrays, items(from, parameter_count, "parameters", parameters_text), -1, pointers);
        OwnedPacked packed(new Packed(spec, target, element, kept_as, table<T>().packed_bytes(spec, kept_as)));
        const nb::gil_scoped_release unlocked;
        table<T>().pack(spec, pointers, kept_as, packed->memory.get(), threads);
        return packed;
    }

    /// One step of B sequences: the fewest checks that are all the checks. `last` may be `first` itself.
    template <class T>
    void step_of(const Packed& packed, nb::handle x, nb::handle first, nb::handle last, int threads) const {
        Arrays arrays;
        matching(packed, {"packed"});
        checked_threads(threads);
        const Seen seen = arrays.see(x, {"x"});
        if (seen.rank != 2)
            value_error("x is " + seen.shape_text() + " but must be (B, " + std::to_string(spec.input_size) + ")");
        const auto B = static_cast<std::size_t>(seen.shape[0]);
        const std::size_t states = spec.states(), O = spec.output_size;
        const std::int64_t sizes[1] = {seen.shape[0]};
        const Batch<T> batch{arrays.keep_checked<T>(seen, {"x"}, B, spec.input_size), sizes, B ? 1u : 0u, B};
        Forward<T> d;
        d.packed = packed.memory.get();
        d.packed_as = packed.weights;
        PyObject* const* from = items(first, states, "first", "the states before the step");
        PyObject* const* to = items(last, states, "last", "the states after the step");
        std::size_t room = B * O, copied = 0;
        for (std::size_t s = 0; s < states; ++s) {
            const std::size_t size = spec.state_size(s);
            d.last[s] = arrays.write<T>(to[s], {last_names[s]}, B, size);
            if (from[s] == to[s]) {  // in place: the kernel reads a copy
                copied |= std::size_t{1} << s;
                room += B * size;
            } else {
                d.first[s] = arrays.read<T>(from[s], {first_names[s]}, B, size);
            }
        }
        arrays.require_apart();
        constexpr std::size_t few = 4096 / sizeof(T);
        T near[few];
        std::unique_ptr<T[]> far;
        T* scratch = near;
        if (room > few) {
            far.reset(new T[room]);
            scratch = far.get();
        }
        d.output = scratch;
        d.output_stride = O;
        scratch += B * O;
        for (std::size_t s = 0; s < states; ++s) {
            if (!(copied >> s & 1)) continue;
            const std::size_t size = spec.state_size(s);
            if (B) std::memcpy(scratch, d.last[s], B * size * sizeof(T));
            d.first[s] = scratch;
            scratch += B * size;
        }
        // Letting go of the interpreter's lock pays only for work that takes longer than getting it back may.
        std::optional<nb::gil_scoped_release> unlocked;
        if (B * packed.bytes > (std::size_t{4} << 20)) unlocked.emplace();
        table<T>().forward(spec, batch, &d, 1, threads);
    }
};

// --- functions without a cell --------------------------------------------------------------------------------------

/// A matrix whose rows or columns lie dense: where it begins, how far they are apart, and which of both.
template <class T>
struct Strided {
    const T* data;
    std::size_t rows, columns, stride;
    bool transposed;
};

template <class T>
Strided<T> strided(Arrays& arrays, nb::handle object, Name name) {
    const Seen seen = arrays.see(object, name);
    if (seen.rank != 2) value_error(name.str() + " is " + seen.shape_text() + " but must be a matrix");
    Strided<T> m{nullptr, static_cast<std::size_t>(seen.shape[0]), static_cast<std::size_t>(seen.shape[1]), 0, false};
    m.transposed = seen.shape[1] > 1 && seen.stride[1] != 1;
    Seen turned = seen;
    if (m.transposed) {
        std::swap(turned.shape[0], turned.shape[1]);
        std::swap(turned.stride[0], turned.stride[1]);
    }
    const auto rows = static_cast<std::size_t>(turned.shape[0]), columns = static_cast<std::size_t>(turned.shape[1]);
    if (!rows || !columns) {
        Arrays::require_element<T>(seen, name);
        return m;
    }
    m.data = arrays.keep_checked<T>(turned, name, rows, columns, &m.stride);
    return m;
}

template <class T>
void matmul_of(const Target& target, nb::handle a, nb::handle b, nb::handle bias, nb::handle out, bool accumulate,
               int threads) {
    Arrays arrays;
    const Strided<T> left = strided<T>(arrays, a, {"a"}), right = strided<T>(arrays, b, {"b"});
    if (left.columns != right.rows)
        value_error("a has " + std::to_string(left.columns) + " columns but b has " + std::to_string(right.rows) +
                    " rows");
    Product<T> p{};
    p.M = left.rows;
    p.N = right.columns;
    p.K = left.columns;
    p.a = left.data;
    p.a_stride = left.stride;
    p.a_transposed = left.transposed;
    p.b = right.data;
    p.b_stride = right.stride;
    p.b_transposed = right.transposed;
    p.accumulate = accumulate;
    if (!bias.is_none()) p.bias = arrays.read<T>(bias, {"bias"}, p.N, 0);
    if (!p.N) {
        const Seen seen = arrays.see(out, {"out"});
        if (seen.rank != 2 || seen.shape[0] != static_cast<std::int64_t>(p.M) || seen.shape[1] != 0)
            value_error("out is " + seen.shape_text() + " but must be (" + std::to_string(p.M) + ", 0)");
        return;
    }
    p.c = arrays.share<T>(out, {"out"}, p.M, p.N, 0, 1, &p.c_stride, true);
    arrays.require_apart();
    const nb::gil_scoped_release unlocked;
    kernels_of<T>(target).matmul(p, threads);
}

void matmul(nb::handle a, nb::handle b, nb::handle bias, nb::handle out, bool accumulate, int threads,
            const std::optional<std::string>& target) {
    checked_threads(threads);
    const Target& on = target_of(target);
    Element element;
    {
        Arrays arrays;
        element = arrays.see(a, {"a"}).element;
    }
    if (element == Element::float32) return matmul_of<float>(on, a, b, bias, out, accumulate, threads);
    if (element == Element::float64) return matmul_of<double>(on, a, b, bias, out, accumulate, threads);
    type_error("a must hold float32 or float64");
}

template <class T>
nb::object activate_of(const Target& target, Activation which, nb::handle a, bool slope) {
    Arrays arrays;
    const Seen seen = arrays.see(a, {"a"});
    if (seen.rank != 1) value_error("a is " + seen.shape_text() + " but must have one axis");
    const auto count = static_cast<std::size_t>(seen.shape[0]);
    const T* from = arrays.read<T>(a, {"a"}, count, 0);
    auto y = std::make_unique<T[]>(count + 1), slopes = std::make_unique<T[]>(count + 1);
    kernels_of<T>(target).activate(which, from, y.get(), slopes.get(), count);
    T* kept = slope ? slopes.release() : y.release();
    nb::capsule owner(kept, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(kept, {count}, owner));
}

nb::object activate(const std::string& name, nb::handle a, bool slope, const std::optional<std::string>& target) {
    const Activation which = activation_named(name, "name");
    const Target& on = target_of(target);
    Element element;
    {
        Arrays arrays;
        element = arrays.see(a, {"a"}).element;
    }
    if (element == Element::float32) return activate_of<float>(on, which, a, slope);
    if (element == Element::float64) return activate_of<double>(on, which, a, slope);
    type_error("a must hold float32 or float64");
}

double multiply_add_rate(const std::string& dtype, double seconds, int threads,
                         const std::optional<std::string>& target) {
    checked_threads(threads);
    if (!(seconds > 0 && seconds <= 60)) value_error("seconds must be more than 0 and at most 60");
    const Target& on = target_of(target);
    const bool single = element_named(dtype) == Element::float32;
    std::vector<double> rates(static_cast<std::size_t>(threads), 0.0);
    {
        const nb::gil_scoped_release unlocked;
        run_team(threads, [&](int rank, int) {
            rates[static_cast<std::size_t>(rank)] =
                single ? on.float32->multiply_add_rate(seconds) : on.float64->multiply_add_rate(seconds);
        });
    }
    double sum = 0;
    for (double rate : rates) sum += rate;
    return sum;
}

/// How many sequences run at the first step; -1 if these sizes are not those of a batch of N rows.
std::int64_t running(nb::handle sizes, std::size_t N) {
    Arrays arrays;
    const Seen seen = arrays.see(sizes, {"batch_sizes"});
    const std::size_t steps = seen.rank == 1 ? static_cast<std::size_t>(seen.shape[0]) : 0;
    std::size_t stride;
    Arrays::checked<std::int64_t>(seen, {"batch_sizes"}, steps, 0, &stride, true);
    const auto* from = reinterpret_cast<const std::int64_t*>(seen.data);
    if (!describe(from, steps, N)) return -1;
    return steps ? from[0] : 0;
}

nb::dict info() {
    nb::dict told;
    told["built"] = nb::cast(target_names(false));
    told["runs_here"] = nb::cast(target_names(true));
    return told;
}

}  // namespace saiki::python

#include "binding_ctc.h"

NB_MODULE(_native, m) {
    using namespace saiki;
    using namespace saiki::python;

    // The kernels that Python caches live as long as torch's registry of operators, which nothing tears down.
    nb::set_leak_warnings(false);
    m.doc() = R"(Saiki's C++ kernels; they know arrays, not torch.

Arrays are numpy's, torch's (CPU) or anything else with the buffer protocol or DLPack, contiguous row by row. Each is
checked; TypeError and ValueError name the one that does not fit. Letters as in saiki.cells; B = batch_sizes[0].)";

    nb::list names;
    for (const char* name : parameter_names) names.append(name);
    m.attr("parameters") = nb::tuple(names);
    nb::list known;
    for (const char* name : activation_names) known.append(name);
    m.attr("activations") = nb::tuple(known);

    nb::class_<Packed>(m, "Packed", "A direction's parameters in the kernels' own layout, frozen; made by Kernel.pack.")
        .def_prop_ro("nbytes", [](const Packed& p) { return p.bytes; }, "Bytes of the copy.")
        .def_prop_ro("weights", [](const Packed& p) { return p.weights == Weights::bfloat16 ? "bfloat16" : "same"; },
                     "\"same\" or \"bfloat16\".");

    nb::class_<Kernel>(m, "Kernel", "What runs one cell's layers, on one instruction set.")
        .def(
            "__init__",
            [](Kernel* self, const std::string& family, std::size_t input_size, std::size_t hidden_size,
               std::size_t output_size, const std::string& gate_activation, const std::string& activation,
               const std::string& output_activation, bool bias, bool forget_gate, bool coupled, bool peepholes,
               bool reset_after, bool hidden_feedback, const std::string& dtype,
               const std::optional<std::string>& target) {
                Spec spec;
                spec.family = family_named(family);
                spec.input_size = input_size;
                spec.hidden_size = hidden_size;
                spec.output_size = output_size;
                spec.gate_activation = activation_named(gate_activation, "gate_activation");
                spec.activation = activation_named(activation, "activation");
                spec.output_activation = activation_named(output_activation, "output_activation");
                spec.bias = bias;
                spec.forget_gate = forget_gate;
                spec.coupled = coupled;
                spec.peepholes = peepholes;
                spec.reset_after = reset_after;
                spec.hidden_feedback = hidden_feedback;
                new (self) Kernel(spec, target_of(target), element_named(dtype));
            },
            nb::arg("family"), nb::arg("input_size"), nb::arg("hidden_size"), nb::arg("output_size"), nb::kw_only(),
            nb::arg("gate_activation") = "sigmoid", nb::arg("activation") = "tanh",
            nb::arg("output_activation") = "tanh", nb::arg("bias") = true, nb::arg("forget_gate") = true,
            nb::arg("coupled") = false, nb::arg("peepholes") = false, nb::arg("reset_after") = true,
            nb::arg("hidden_feedback") = true, nb::arg("dtype") = "float32", nb::arg("target").none() = nb::none(),
            R"(A cell's kernel.

Args:
    family: "elman", "jordan", "lstm" or "gru".
    input_size, hidden_size, output_size: I, H, and K of a Jordan network (H of any other).
    gate_activation, activation, output_activation: by name.
    bias, forget_gate, coupled, peepholes, reset_after, hidden_feedback: the cell's options.
    dtype: "float32" or "float64".
    target: one of targets(); by default what SAIKI_ISA says, or the best.
Raises:
    ValueError: an unknown name, a size out of range, an option of another family.)")
        .def_prop_ro("saved_columns", &Kernel::saved_columns, "Numbers a row that forward keeps for backward.")
        .def_prop_ro("lanes", [](const Kernel& k) { return k.target.vector_bytes / (k.element == Element::float32 ? 4 : 8); },
                     "Numbers a vector: units stand in blocks of so many in a saved row.")
        .def_prop_ro("gates", [](const Kernel& k) { return k.spec.gates(); }, "Row blocks of weight_ih.")
        .def_prop_ro("target", [](const Kernel& k) { return k.target.name; }, "The instruction set.")
        .def_prop_ro("dtype", [](const Kernel& k) { return element_names[static_cast<int>(k.element)]; },
                     "Of every floating array.")
        .def("forward", &Kernel::forward, nb::arg("data").none(), nb::arg("batch_sizes").none(), nb::arg("runs").none(),
             nb::arg("threads") = 1,
             R"(A layer over a packed ragged batch.

Args:
    data: (N, I), packed and time-major.
    batch_sizes: (T,) int64, the sequences still running at each step: at least 1, never rising, sum N.
    runs: one or two directions, each a tuple
        reverse: from each sequence's last step to its first.
        parameters: a tuple in the order of `parameters`, None where the cell has none; or a Packed.
        first: the initial states, (B, size) each.
        output: (N, O) to be written, rows may lie apart; or (N, 2·O) in both runs, of which each writes its half.
        last: the states after each sequence's last step (reverse: its first), to be written.
        saved: (N, saved_columns) to be written for backward, or None.
    threads: how many may work on it.)")
        .def("backward", &Kernel::backward, nb::arg("data").none(), nb::arg("batch_sizes").none(),
             nb::arg("runs").none(), nb::arg("d_data").none(), nb::arg("threads") = 1,
             R"(The gradients of `forward`.

Args:
    data, batch_sizes: as for forward.
    runs: one or two directions, each a tuple
        reverse, parameters, first, output, saved: as for forward, which has filled the last two.
        d_output: (N, O), or (N, 2·O) in both runs; None stands for zeros.
        d_last: a tuple, (B, size) or None each.
        d_parameters: a tuple like `parameters`, each to be written or None where it is not wanted.
        d_first: a tuple, (B, size) to be written or None each.
    d_data: (N, I) to be written, the sum over the directions; or None.
    threads: how many may work on it.)")
        .def("influence", &Kernel::influence, nb::arg("data").none(), nb::arg("batch_sizes").none(), nb::arg("run").none(),
             nb::arg("influence").none(), nb::arg("gradient").none(), nb::arg("approximation") = "exact",
             nb::arg("threads") = 1,
             R"(Real-time recurrent learning over a chunk: M_t = D_t M_{t-1} + F_t, gradient = sum of d_output_t M_t.

Args:
    data, batch_sizes: as for forward.
    run: a tuple (parameters, first, output, saved, d_output), the last as for backward: the gradient of each step's
        own loss, or None for zeros.
    influence: a tuple in the order of `parameters` with one more for the initial state, None where it is not wanted:
        (B * S, numbers of the parameter), rows may lie apart; S rows a sequence, all states in the order of `first`.
        Under an approximation the states of one unit: h and c of an LSTM, one of any other. Brought up to date.
    gradient: a tuple likewise, (numbers of the parameter,) each, overwritten.
    approximation: "exact", "snap1" or "eprop".
    threads: how many may work on it.)")
        .def("pack", &Kernel::pack, nb::arg("parameters").none(), nb::arg("weights") = "same", nb::arg("threads") = 1,
             "A frozen copy of a direction's parameters; weights=\"bfloat16\" rounds the matrices of a float32 kernel.")
        .def("step", &Kernel::step, nb::arg("packed"), nb::arg("x").none(), nb::arg("first").none(),
             nb::arg("last").none(),
             nb::arg("threads") = 1,
             R"(One step of B sequences.

Args:
    packed: from pack().
    x: (B, I).
    first: a tuple of the states before the step, (B, size) each.
    last: the states after it, to be written; may be the very arrays of `first`.
    threads: how many may work on it.)");

    m.def("targets", [] { return target_names(true); }, "The instruction sets that run here, best first.");
    m.def("default_target", [] { return default_target().name; },
          "What a Kernel takes if not told: SAIKI_ISA, or the best that runs here.");
    m.def("running", &running, nb::arg("batch_sizes").none(), nb::arg("rows"),
          "Sequences that run at the first step; -1 if (T,) int64 sizes are not those of a batch of so many rows.");
    m.def("info", &info, "The instruction sets that were built, and those that run here.");
    m.def("matmul", &matmul, nb::arg("a").none(), nb::arg("b").none(), nb::arg("bias").none(),
          nb::arg("out").none(),
          nb::arg("accumulate") = false, nb::arg("threads") = 1, nb::arg("target").none() = nb::none(),
          R"(out = a b + bias, or that added to what out holds.

Args:
    a: (M, K), either axis dense; a transposed view is read where it lies.
    b: (K, N), likewise.
    bias: (N,) or None.
    out: (M, N) to be written, its rows dense.
    accumulate: add to what is there.
    threads: how many may work on it.)");
    m.def("activate", &activate, nb::arg("name"), nb::arg("a").none(), nb::arg("slope") = false,
          nb::arg("target").none() = nb::none(), "f(a) of a named activation, or f'(a) told from f(a); a is (n,).");
    m.def("multiply_add_rate", &multiply_add_rate, nb::arg("dtype"), nb::arg("seconds"), nb::arg("threads") = 1,
          nb::arg("target").none() = nb::none(),
          "Floating-point operations a second of multiply-adds in registers, all threads together.");
    bind_ctc(m);
    bind_beam(m);
}
