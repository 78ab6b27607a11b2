// What Python hands over, looked at with suspicion: numpy arrays, CPU tensors of torch, and anything else that speaks
// the buffer protocol or DLPack. Every array is checked for element type, shape, layout, alignment and writability
// before a kernel sees its address, and what is written may overlap nothing.
//
// torch's tensors come through DLPack's C exchange (a table of functions that hangs on the type, torch ≥ 2.10): some
// 50 ns an array, where `Tensor.__dlpack__` takes some 3 µs.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace saiki::python {

namespace nb = nanobind;

/// What an argument is called in messages: "data", or "runs[1].output".
struct Name {
    const char* text;
    int run = -1;

    std::string str() const { return run < 0 ? text : "runs[" + std::to_string(run) + "]." + text; }
};

[[noreturn]] inline void type_error(const std::string& message) { throw nb::type_error(message.c_str()); }
[[noreturn]] inline void value_error(const std::string& message) { throw nb::value_error(message.c_str()); }

enum class Element : std::uint8_t { float32, float64, int64, other };
template <class T>
constexpr Element element_of = Element::other;
template <>
inline constexpr Element element_of<float> = Element::float32;
template <>
inline constexpr Element element_of<double> = Element::float64;
template <>
inline constexpr Element element_of<std::int64_t> = Element::int64;

constexpr const char* element_names[] = {"float32", "float64", "int64", "another type"};

/// An array as it came. Strides count elements.
struct Seen {
    static constexpr int max_rank = 4;

    char* data;
    int rank;
    std::int64_t shape[max_rank], stride[max_rank];
    Element element;
    bool writable;

    std::string shape_text() const {
        std::string text = "(";
        for (int axis = 0; axis < rank; ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
        return text + (rank == 1 ? ",)" : ")");
    }
};

/// DLPack's C exchange, version 1 (dlpack.h): the head of the table, as far as it is used here.
struct Exchange {
    struct {
        std::uint32_t major, minor;
    } version;
    const Exchange* older;
    void *allocate, *managed_from_object, *managed_to_object;
    int (*borrow)(void* object, nb::dlpack::dltensor* out);
};

/// The table of a type that has one, remembered for the few types that come again and again.
inline const Exchange* exchange_of(PyTypeObject* type) {
    struct Known {
        PyTypeObject* type;
        const Exchange* exchange;
    };
    static Known known[8];
    static int count = 0;  // both under the interpreter's lock
    for (int k = 0; k < count; ++k)
        if (known[k].type == type) return known[k].exchange;
    static PyObject* const attribute = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
    const Exchange* exchange = nullptr;
    if (PyObject* capsule = PyObject_GetAttr(reinterpret_cast<PyObject*>(type), attribute)) {
        if (PyCapsule_IsValid(capsule, "dlpack_exchange_api"))
            exchange = static_cast<const Exchange*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
        Py_DECREF(capsule);
    } else {
        PyErr_Clear();
    }
    while (exchange && exchange->version.major > 1) exchange = exchange->older;
    if (exchange && (exchange->version.major != 1 || !exchange->borrow)) exchange = nullptr;
    if (count < 8) {
        Py_INCREF(type);  // for ever, so that no other type can take its address
        known[count++] = {type, exchange};
    }
    return exchange;
}

/// The arrays of one call, held until it is over. Made and destroyed with the interpreter's lock held.
class Arrays {
public:
    Arrays() = default;
    Arrays(const Arrays&) = delete;
    Arrays& operator=(const Arrays&) = delete;
    ~Arrays() {
        for (std::size_t k = 0; k < buffers_; ++k) PyBuffer_Release(&buffer_[k]);
    }

    /// Any array of at most four axes.
    Seen see(nb::handle object, Name name) {
        if (const Exchange* exchange = exchange_of(Py_TYPE(object.ptr()))) {
            nb::dlpack::dltensor tensor;
            if (exchange->borrow(object.ptr(), &tensor) != 0) unreadable(name);
            return from_dlpack(tensor, true, name);
        }
        if (PyObject_CheckBuffer(object.ptr())) return from_buffer(object, name);
        nb::ndarray<nb::ro> array;
        if (object.is_none() || !nb::try_cast(object, array, false))
            type_error(name.str() + " must be an array or a tensor of the CPU but is " +
                       nb::inst_name(object).c_str());
        others_.push_back(array);
        nb::dlpack::dltensor tensor;
        std::vector<std::int64_t> shape(array.ndim()), stride(array.ndim());
        for (std::size_t axis = 0; axis < array.ndim(); ++axis) {
            shape[axis] = static_cast<std::int64_t>(array.shape(axis));
            stride[axis] = array.stride(axis);
        }
        tensor.data = const_cast<void*>(array.data());
        tensor.device = {array.device_type(), array.device_id()};
        tensor.ndim = static_cast<std::int32_t>(array.ndim());
        tensor.dtype = array.dtype();
        tensor.shape = shape.data();
        tensor.strides = stride.data();
        tensor.byte_offset = 0;
        return from_dlpack(tensor, false, name);
    }

    /// A dense (rows, columns), or (rows,) if columns = 0, that is read.
    template <class T>
    const T* read(nb::handle object, Name name, std::size_t rows, std::size_t columns) {
        const Seen seen = see(object, name);
        std::size_t stride = columns;
        checked<T>(seen, name, rows, columns, &stride, true);
        return keep<T>(seen, name, rows, columns, stride, false);
    }

    /// The same, written.
    template <class T>
    T* write(nb::handle object, Name name, std::size_t rows, std::size_t columns) {
        const Seen seen = see(object, name);
        std::size_t stride = columns;
        checked<T>(seen, name, rows, columns, &stride, true);
        writable(seen, name);
        return keep<T>(seen, name, rows, columns, stride, true);
    }

    /// (rows, columns) as it was seen, that is read; dense, or with rows apart if `stride` is there to tell how far.
    template <class T>
    const T* keep_checked(const Seen& seen, Name name, std::size_t rows, std::size_t columns,
                          std::size_t* stride = nullptr) {
        std::size_t dense = columns;
        checked<T>(seen, name, rows, columns, stride ? stride : &dense, !stride);
        return keep<T>(seen, name, rows, columns, stride ? *stride : dense, false);
    }

    /// (rows, columns) with rows any distance apart; or a run's share of an array that has room for `runs` of them side
    /// by side. Tells the distance.
    template <class T>
    T* share(nb::handle object, Name name, std::size_t rows, std::size_t columns, std::size_t run, std::size_t runs,
             std::size_t* stride, bool written) {
        Seen seen = see(object, name);
        const bool joint = runs > 1 && seen.rank == 2 && seen.shape[1] == static_cast<std::int64_t>(runs * columns);
        checked<T>(seen, name, rows, joint ? runs * columns : columns, stride, false);
        if (written) writable(seen, name);
        if (joint && rows) seen.data += run * columns * sizeof(T);
        return keep<T>(seen, name, rows, columns, *stride, written);
    }

    /// That what has been kept for writing has memory of its own.
    void require_apart() const {
        for (std::size_t w = 0; w < count_; ++w) {
            if (!kept_[w].written) continue;
            for (std::size_t k = 0; k < count_; ++k)
                if (k != w && overlap(kept_[w], kept_[k]))
                    value_error(kept_[w].name.str() + " overlaps " + kept_[k].name.str() +
                                " in memory, but what is written must have memory of its own");
        }
    }

    /// Element type, shape, unit stride along the last axis, alignment; the rows dense, or apart as they please.
    template <class T>
    static void checked(const Seen& seen, Name name, std::size_t rows, std::size_t columns, std::size_t* stride,
                        bool dense) {
        require_element<T>(seen, name);
        const int rank = columns ? 2 : 1;
        if (seen.rank != rank || seen.shape[0] != static_cast<std::int64_t>(rows) ||
            (columns && seen.shape[1] != static_cast<std::int64_t>(columns)))
            value_error(name.str() + " is " + seen.shape_text() + " but must be (" + std::to_string(rows) +
                        (columns ? ", " + std::to_string(columns) + ")" : ",)"));
        const std::int64_t along = seen.stride[rank - 1], across = rank == 2 ? seen.stride[0] : 0;
        bool fits = (columns ? columns : rows) < 2 || along == 1;
        *stride = columns;
        if (rank == 2 && rows > 1) {
            const auto dense_stride = static_cast<std::int64_t>(columns);
            fits = fits && (dense ? across == dense_stride : across >= dense_stride);
            *stride = static_cast<std::size_t>(across);
        }
        if (rows && !fits)
            value_error(name.str() + (dense ? " must be contiguous, row by row" : " must have contiguous rows, apart"));
        if (!rows) return;
        if (!seen.data) value_error(name.str() + " has no memory behind it");
        if (reinterpret_cast<std::uintptr_t>(seen.data) % alignof(T))
            value_error(name.str() + " must be aligned to the size of its elements");
    }

    template <class T>
    static void require_element(const Seen& seen, Name name) {
        if (seen.element != element_of<T>)
            type_error(name.str() + " holds " + element_names[static_cast<int>(seen.element)] + " but must hold " +
                       element_names[static_cast<int>(element_of<T>)]);
    }

    static void writable(const Seen& seen, Name name) {
        if (!seen.writable) value_error(name.str() + " is read-only but is to be written");
    }

private:
    static constexpr std::size_t capacity = 64;  // two directions going back: 2 · 25 + 3

    struct Kept {
        const char *begin, *end;
        std::size_t row, stride;  // bytes
        Name name;
        bool written;
    };

    template <class T>
    T* keep(const Seen& seen, Name name, std::size_t rows, std::size_t columns, std::size_t stride, bool written) {
        if (!rows) return reinterpret_cast<T*>(seen.data);
        if (count_ == capacity) value_error("too many arrays");
        const std::size_t row = (columns ? columns : rows) * sizeof(T);
        const std::size_t apart = stride * sizeof(T);
        const std::size_t bytes = columns ? (rows - 1) * apart + row : row;
        kept_[count_++] = {seen.data, seen.data + bytes, row, columns ? apart : row, name, written};
        return reinterpret_cast<T*>(seen.data);
    }

    /// Two matrices with rows equally far apart may lie in each other's gaps.
    static bool overlap(const Kept& a, const Kept& b) {
        if (a.end <= b.begin || b.end <= a.begin) return false;
        if (a.stride != b.stride) return true;
        const std::size_t shift =
            b.begin >= a.begin ? static_cast<std::size_t>(b.begin - a.begin) % a.stride
                               : (a.stride - static_cast<std::size_t>(a.begin - b.begin) % a.stride) % a.stride;
        return shift < a.row || shift + b.row > a.stride;
    }

    Seen from_dlpack(const nb::dlpack::dltensor& tensor, bool writable, Name name) {
        if (tensor.device.device_type != nb::device::cpu::value)
            type_error(name.str() + " must be in the memory of the CPU");
        Seen seen;
        seen.rank = rank_of(tensor.ndim, name);
        seen.element = Element::other;
        const auto& dtype = tensor.dtype;
        if (dtype.lanes == 1 && dtype.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float))
            seen.element = dtype.bits == 32   ? Element::float32
                           : dtype.bits == 64 ? Element::float64
                                              : Element::other;
        if (dtype == nb::dtype<std::int64_t>()) seen.element = Element::int64;
        std::int64_t dense = 1;
        for (int axis = seen.rank; axis-- > 0;) {
            seen.shape[axis] = tensor.shape[axis];
            seen.stride[axis] = tensor.strides ? tensor.strides[axis] : dense;
            __builtin_mul_overflow(dense, tensor.shape[axis], &dense);  // wraps at sizes that no array has
        }
        seen.data = tensor.data ? static_cast<char*>(tensor.data) + tensor.byte_offset : nullptr;
        seen.writable = writable;
        return seen;
    }

    Seen from_buffer(nb::handle object, Name name) {
        if (buffers_ == capacity) value_error("too many arrays");
        Py_buffer& buffer = buffer_[buffers_];
        if (PyObject_GetBuffer(object.ptr(), &buffer, PyBUF_STRIDES | PyBUF_FORMAT) != 0) unreadable(name);
        ++buffers_;
        Seen seen;
        seen.rank = rank_of(buffer.ndim, name);
        const char* format = buffer.format ? buffer.format : "B";
        if (*format == '@' || *format == '=') ++format;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        if (*format == '<') ++format;
#endif
        const bool one = *format && !format[1];
        seen.element = one && *format == 'f'   ? Element::float32
                       : one && *format == 'd' ? Element::float64
                       : one && (*format == 'q' || *format == 'l') && buffer.itemsize == 8 ? Element::int64
                                                                                          : Element::other;
        std::int64_t dense = buffer.itemsize;
        for (int axis = seen.rank; axis-- > 0;) {
            seen.shape[axis] = buffer.shape[axis];
            const std::int64_t bytes = buffer.strides ? buffer.strides[axis] : dense;  // ctypes tells none
            __builtin_mul_overflow(dense, buffer.shape[axis], &dense);
            if (buffer.shape[axis] > 1 && (buffer.itemsize < 1 || bytes % buffer.itemsize))
                value_error(name.str() + " must be aligned to the size of its elements");
            seen.stride[axis] = buffer.itemsize ? bytes / buffer.itemsize : 0;
        }
        seen.data = static_cast<char*>(buffer.buf);
        seen.writable = !buffer.readonly;
        return seen;
    }

    static int rank_of(int rank, Name name) {
        if (rank > Seen::max_rank) value_error(name.str() + " has " + std::to_string(rank) + " axes");
        return rank;
    }

    /// Say in our words, with the argument's name, why an array could not be had.
    [[noreturn]] static void unreadable(Name name) {
        nb::python_error why;  // takes the exception that is set
        const std::string told = why.what();
        type_error(name.str() + " cannot be read: " + told.substr(0, told.find('\n')));
    }

    Kept kept_[capacity];
    std::size_t count_ = 0;
    Py_buffer buffer_[capacity];
    std::size_t buffers_ = 0;
    std::vector<nb::ndarray<nb::ro>> others_;
};

}  // namespace saiki::python
