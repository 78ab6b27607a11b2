// What the kernels offer: plain structs, and one table of functions an instruction set. Knows arrays, neither Python
// nor torch; knows no vectors either, so whoever includes this is compiled for the baseline machine.
// Its functions are always inlined: an object file for AVX-512 must hold no copy that the linker could give to others.
//
// Everything is row-major. A batch is packed and time-major: step t has sizes[t] rows, row j belonging to the j-th
// longest sequence, so the rows still running are a prefix and sizes never rises. N is the sum of sizes, B = sizes[0].
// The letters (I, H, K, G) and equations are those of saiki/cells/.
#pragma once

#include <cstddef>
#include <cstdint>

namespace saiki {

enum class Family : std::uint8_t { elman, jordan, lstm, gru };

/// The named activations, in the order of saiki/core/activations.py.
enum class Activation : std::uint8_t {
    tanh, sigmoid, hard_sigmoid, hard_sigmoid_keras2, relu, leaky_relu, softsign, identity, sigmoid_pm2, sigmoid_pm1
};
constexpr const char* activation_names[] = {"tanh", "sigmoid", "hard_sigmoid", "hard_sigmoid_keras2", "relu",
                                            "leaky_relu", "softsign", "identity", "sigmoid_pm2", "sigmoid_pm1"};
constexpr std::size_t activation_count = 10;

/// One cell: its family, sizes and options; options that a family does not have stay at these values.
struct Spec {
    Family family = Family::elman;
    std::size_t input_size = 0;   // I ≥ 1
    std::size_t hidden_size = 0;  // H ≥ 1
    std::size_t output_size = 0;  // H, but K ≥ 1 of a Jordan network
    Activation gate_activation = Activation::sigmoid;   // σ of LSTM and GRU
    Activation activation = Activation::tanh;           // f of Elman and Jordan, φ of LSTM and GRU
    Activation output_activation = Activation::tanh;    // g of Jordan, ψ of LSTM
    bool bias = true;
    bool forget_gate = true;       // LSTM
    bool coupled = false;          // LSTM
    bool peepholes = false;        // LSTM
    bool reset_after = true;       // GRU
    bool hidden_feedback = true;   // Jordan

    [[gnu::always_inline]] bool learns_to_forget() const { return forget_gate && !coupled; }
    /// Row blocks of weight_ih: LSTM i f g o or i g o, GRU r z n, one otherwise.
    [[gnu::always_inline]] std::size_t gates() const {
        if (family == Family::lstm) return learns_to_forget() ? 4 : 3;
        return family == Family::gru ? 3 : 1;
    }
    /// h; h and c of an LSTM; h and y of a Jordan network.
    [[gnu::always_inline]] std::size_t states() const { return family == Family::lstm || family == Family::jordan ? 2 : 1; }
    [[gnu::always_inline]] std::size_t state_size(std::size_t state) const { return state == 1 && family == Family::jordan ? output_size : hidden_size; }
    /// Which state is the layer's output.
    [[gnu::always_inline]] std::size_t output_state() const { return family == Family::jordan ? 1 : 0; }
};

/// The parameters by place in an array of pointers; a cell's own subset is never null, the rest always is.
enum Parameter : std::size_t { weight_ih, weight_hh, bias, weight_ph, bias_hn, weight_yh, weight_hy, bias_y, parameter_count };
constexpr const char* parameter_names[] = {"weight_ih", "weight_hh", "bias", "weight_ph", "bias_hn", "weight_yh", "weight_hy", "bias_y"};

struct Shape {
    std::size_t rows = 0, columns = 0;  // rows = 0: the cell has no such parameter; columns = 0: a vector of `rows`
};

/// The shape of a parameter, as Cell.parameter_shapes() has it.
[[gnu::always_inline]] inline Shape parameter_shape(const Spec& s, Parameter which) {
    const std::size_t I = s.input_size, H = s.hidden_size, K = s.output_size, GH = s.gates() * H;
    const bool jordan = s.family == Family::jordan;
    switch (which) {
        case weight_ih: return {GH, I};
        case weight_hh: return jordan && !s.hidden_feedback ? Shape{} : Shape{GH, H};
        case bias: return s.bias ? Shape{GH, 0} : Shape{};
        case weight_ph: return s.family == Family::lstm && s.peepholes ? Shape{s.learns_to_forget() ? 3u : 2u, H} : Shape{};
        case bias_hn: return s.family == Family::gru && s.reset_after && s.bias ? Shape{H, 0} : Shape{};
        case weight_yh: return jordan ? Shape{H, K} : Shape{};
        case weight_hy: return jordan ? Shape{K, H} : Shape{};
        case bias_y: return jordan && s.bias ? Shape{K, 0} : Shape{};
        default: return {};
    }
}

/// What all directions of a layer share.
template <class T>
struct Batch {
    const T* data;              // (N, I)
    const std::int64_t* sizes;  // (steps,) each ≥ 1, never rising; already checked
    std::size_t steps, rows;    // T and N
};

/// How a session keeps its weights.
enum class Weights : std::uint8_t { as_they_are, bfloat16 };

/// One direction, forward. Every number of output, last and saved is written, of the last only the columns' padding
/// may be anything. Nothing that is written overlaps anything else.
template <class T>
struct Forward {
    bool reverse = false;                           // from each sequence's own last step to its first
    const T* parameters[parameter_count] = {};      // not read if `packed` is given
    const void* packed = nullptr;                   // what `pack` made, 64-byte aligned; null: packed inside the call
    Weights packed_as = Weights::as_they_are;
    const T* first[2] = {};                         // initial states, (B, size) each
    T* output = nullptr;                            // (N, O), O = output_size, rows `output_stride` apart
    std::size_t output_stride = 0;
    T* last[2] = {};                                // states after each sequence's last step (reverse: its first), (B, size) each
    T* saved = nullptr;                             // (N, saved_columns) for the backward pass; null: inference
};

/// One direction, backward. Null gradients coming in are zero; null gradients going out are not wanted.
template <class T>
struct Backward {
    bool reverse = false;
    const T* parameters[parameter_count] = {};
    const T* first[2] = {};
    const T* output = nullptr;           // as forward left it
    std::size_t output_stride = 0;
    const T* saved = nullptr;            // as forward left it, by the same instruction set
    const T* d_output = nullptr;         // (N, O), rows `d_output_stride` apart
    std::size_t d_output_stride = 0;
    const T* d_last[2] = {};             // (B, size) each
    T* d_parameters[parameter_count] = {};  // shapes of the parameters; overwritten
    T* d_first[2] = {};                  // (B, size) each; overwritten
};

/// What real-time recurrent learning keeps of the state's Jacobian: all of it; each unit's own block, R_jj included; or of
/// that only what a state hands on to itself, R left out.
enum class Approximation : std::uint8_t { exact, snap1, eprop };
constexpr const char* approximation_names[] = {"exact", "snap1", "eprop"};

/// The initial state, where its influence is wanted too: it stands behind the parameters.
constexpr std::size_t initial_state = parameter_count;

/// A chunk of real-time recurrent learning in one direction, forward in time. A parameter's influence is (B · S, its
/// numbers), a row a sequence and state. Exact: S states in all, in the order of `first`. Otherwise the states of the
/// unit that a number belongs to, h and c of an LSTM, h or y of any other; what a number does to other units counts in
/// the step in which it does it.
template <class T>
struct Influence {
    Approximation approximation = Approximation::exact;
    const T* parameters[parameter_count] = {};
    const T* first[2] = {};                        // states before the chunk, (B, size) each
    const T* output = nullptr;                     // as forward left it
    std::size_t output_stride = 0;
    const T* saved = nullptr;                      // as forward left it, by the same instruction set
    const T* d_output = nullptr;                   // ∂L/∂output of each step's own loss, (N, O); null: zero
    std::size_t d_output_stride = 0;
    T* influence[parameter_count + 1] = {};        // brought up to date; null: not wanted
    std::size_t influence_stride[parameter_count + 1] = {};
    T* gradient[parameter_count + 1] = {};         // a number a column, overwritten; null where `influence` is
};

/// Rows of influence a sequence: S, or the states of one unit.
[[gnu::always_inline]] inline std::size_t influence_rows(const Spec& s, Approximation approximation) {
    if (approximation != Approximation::exact) return s.family == Family::lstm ? 2 : 1;
    return s.state_size(0) + (s.states() > 1 ? s.state_size(1) : 0);
}

/// C = A B (+ what C holds), each optionally transposed, + bias along the rows of C.
template <class T>
struct Product {
    std::size_t M, N, K;
    const T* a;  // (M, K), rows a_stride apart; transposed: (K, M)
    std::size_t a_stride;
    bool a_transposed;
    const T* b;  // (K, N), rows b_stride apart; transposed: (N, K)
    std::size_t b_stride;
    bool b_transposed;
    const T* bias;  // (N,) or null
    T* c;           // (M, N), rows c_stride apart; overwritten, or added to
    std::size_t c_stride;
    bool accumulate;
};

/// Utterances and their labels, for connectionist temporal classification. Row starts[t] + j of the logits is step t of
/// utterance order[j], for j < sizes[t]; a padded batch has all of them at every step, and those that have ended are not
/// looked at. Everything is already checked.
template <class T>
struct Ctc {
    const T* logits;             // (rows, classes), before the softmax
    std::size_t rows, classes;   // rows ≥ the sum of sizes; classes = K
    std::size_t steps, batch;    // T and B
    const std::int64_t* sizes;   // (T,)
    const std::size_t* starts;   // (T,)
    const std::int64_t* order;   // (B,)
    const std::int64_t* lengths;  // (B,) steps of each utterance
    const std::int32_t* labels;  // of all utterances, one after another, each in [0, K) and none the blank
    const std::size_t* label_starts;  // (B + 1,)
    std::size_t longest;         // the most labels of an utterance, or more
    std::int32_t blank;
};

template <class T>
struct CtcForward {
    T* loss;                        // (B,) -ln P; infinite where P = 0
    T* saved = nullptr;             // (rows, ctc_columns) for the way back, or null
    T* posteriors = nullptr;        // (rows, posterior_columns), zeros; or null
    std::size_t posterior_columns = 0;  // at least 2 longest + 1
};

template <class T>
struct CtcBackward {
    const T* loss;    // as forward left it
    const T* saved;   // as forward left it, by the same instruction set
    const T* d_loss;  // (B,)
    T* d_logits;      // (rows, classes), overwritten
};

/// The likeliest path of each utterance, step by step: its state, 2j + 1 for label j and 2j for the blank before it,
/// and ln p of what is said. Utterance b's steps begin at path_starts[b]. Each is long enough for its labels.
template <class T>
struct CtcPaths {
    const std::size_t* path_starts;  // (B,)
    std::int64_t* states;
    double* log_p;
};

template <class T>
struct Kernels {
    /// Numbers a row of `saved`.
    std::size_t (*saved_columns)(const Spec&);
    /// Bytes of a packed copy of a direction's parameters, and its making.
    std::size_t (*packed_bytes)(const Spec&, Weights);
    void (*pack)(const Spec&, const T* const* parameters, Weights, void* to, int threads);
    /// A layer over the whole batch, one or two directions. T = 0 and B = 0 are allowed.
    void (*forward)(const Spec&, const Batch<T>&, const Forward<T>* runs, std::size_t run_count, int threads);
    /// Its gradients; d_data (N, I) is the sum over the directions, overwritten, or null.
    void (*backward)(const Spec&, const Batch<T>&, const Backward<T>* runs, std::size_t run_count, T* d_data, int threads);
    /// Real-time recurrent learning of one layer. T = 0 and B = 0 are allowed.
    void (*influence)(const Spec&, const Batch<T>&, const Influence<T>&, int threads);
    void (*matmul)(const Product<T>&, int threads);
    /// Numbers a row of `saved` of connectionist temporal classification, by the most labels of an utterance.
    std::size_t (*ctc_columns)(std::size_t longest);
    void (*ctc_forward)(const Ctc<T>&, const CtcForward<T>&, int threads);
    void (*ctc_backward)(const Ctc<T>&, const CtcBackward<T>&, int threads);
    void (*ctc_paths)(const Ctc<T>&, const CtcPaths<T>&, int threads);
    /// y = f(a), and f'(a) told from y; for tests.
    void (*activate)(Activation, const T* a, T* y, T* slope, std::size_t count);
    /// Multiply-adds in registers for about `seconds` on this thread alone; returns how many floating-point operations a
    /// second it did (2 a multiply-add): the limit that benchmarks measure against.
    double (*multiply_add_rate)(double seconds);
};

/// One instruction set.
struct Target {
    const char* name;  // "baseline", "avx2", "avx512"; "generic" where the compiler does not target x86-64
    std::size_t vector_bytes;
    bool (*runs_here)();  // whether this machine can run it
    const Kernels<float>* float32;
    const Kernels<double>* float64;
};

/// The targets that were built, best first, and how many.
const Target* const* targets(std::size_t& count);

}  // namespace saiki
