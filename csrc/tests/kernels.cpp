// Every kernel of every instruction set that this machine runs, against plain loops in double precision.
//
// A program of its own, so that it can be built with -fsanitize=address,undefined: buffers on the heap have exactly the
// size that kernels.h asks for, so a read or write one number outside ends it. What a kernel must write is full of NaN
// before, so a number left out fails the comparison; what it must leave alone is full of NaN too, and still is after.
//
// The plain loops state each cell's equations once, on numbers that remember how they came about; their gradients
// follow from that by the chain rule, and owe nothing to the derivations in csrc/cells/.

#include "truth.h"

namespace {

using namespace saiki;
using namespace saiki::tests;

// ------------------------------------------------------------------------------------------------- one case

/// A layer's work, and its truth: every number of it, and the derivatives of a random weighted sum of the results.
struct Case {
    Spec spec;
    std::vector<std::int64_t> sizes;
    std::vector<bool> reverse;  // a direction each
    std::size_t padding = 0;    // columns between the rows of output
    bool odd = false;           // arrays begin one number past where an allocation would
    bool wants_data = true, from_output = true, from_last = true, wants_parameters = true, wants_first = true;
    std::string words;

    std::size_t N = 0, B = 0;
    Numbers data;
    struct Direction {
        std::array<Numbers, parameter_count> parameters;
        State first, last;
        Numbers output;
        std::vector<double> d_output;
        std::array<std::vector<double>, 2> d_last;
    };
    std::vector<Direction> directions;
    std::vector<double> d;  // by every number of the tape

    void solve();
    std::size_t place(std::size_t t, std::size_t row) const {
        std::size_t rows = 0;
        for (std::size_t before = 0; before < t; ++before) rows += static_cast<std::size_t>(sizes[before]);
        return rows + row;
    }
};

void Case::solve() {
    tape.entries.clear();
    const std::size_t I = spec.input_size, O = spec.state_size(spec.output_state());
    N = place(sizes.size(), 0);
    B = sizes.empty() ? 0 : static_cast<std::size_t>(sizes[0]);
    data = drawn(N * I, 1);
    // scales are powers of two; sums stay near 1, so that no chaos amplifies a rounding
    double scale = 1;
    while (scale * scale * static_cast<double>(std::max(I, spec.hidden_size)) > 1) scale /= 2;
    directions.assign(reverse.size(), {});
    for (std::size_t way = 0; way < reverse.size(); ++way) {
        Direction& run = directions[way];
        for (std::size_t which = 0; which < parameter_count; ++which) {
            const Shape shape = parameter_shape(spec, static_cast<Parameter>(which));
            run.parameters[which] = drawn(shape.rows * std::max<std::size_t>(shape.columns, 1), scale);
        }
        for (std::size_t s = 0; s < spec.states(); ++s) {
            run.first[s] = drawn(B * spec.state_size(s), 1);
            run.last[s].resize(B * spec.state_size(s));
        }
        run.output.resize(N * O);
        for (std::size_t row = 0; row < B; ++row) {
            std::size_t length = 0;
            while (length < sizes.size() && static_cast<std::size_t>(sizes[length]) > row) ++length;
            State state;
            for (std::size_t s = 0; s < spec.states(); ++s) {
                const auto begin = run.first[s].begin() + static_cast<std::ptrdiff_t>(row * spec.state_size(s));
                state[s].assign(begin, begin + static_cast<std::ptrdiff_t>(spec.state_size(s)));
            }
            for (std::size_t taken = 0; taken < length; ++taken) {
                const std::size_t here = place(reverse[way] ? length - 1 - taken : taken, row);
                state = step(spec, run.parameters, state, &data[here * I]);
                const Numbers& out = state[spec.output_state()];
                std::copy(out.begin(), out.end(), run.output.begin() + static_cast<std::ptrdiff_t>(here * O));
            }
            for (std::size_t s = 0; s < spec.states(); ++s)
                std::copy(state[s].begin(), state[s].end(),
                          run.last[s].begin() + static_cast<std::ptrdiff_t>(row * spec.state_size(s)));
        }
    }
    std::vector<double> seeds(tape.entries.size());
    for (Direction& run : directions) {
        const auto seed = [&](const Numbers& of, std::vector<double>& into) {
            for (Number one : of) {
                into.push_back(draws.number());
                seeds[one.place] += into.back();
            }
        };
        if (from_output) seed(run.output, run.d_output);
        for (std::size_t s = 0; s < spec.states(); ++s)
            if (from_last) seed(run.last[s], run.d_last[s]);
    }
    d = tape.gradients(std::move(seeds));
}

// ------------------------------------------------------------------------------------------- running a case

/// The arrays of one direction.
template <class T>
struct Arrays {
    std::vector<Array<T>> parameters, first, d_last, last, d_parameters, d_first;
    Array<T> output, saved, d_output;
};

template <class T>
struct Layer {
    const Case& c;
    const Kernels<T>& kernels;
    std::string words;
    std::size_t O, stride;
    Batch<T> batch;
    Array<T> data, d_data;
    std::vector<Arrays<T>> ways;
    bool saves;

    Layer(const Case& c, const Kernels<T>& kernels, bool saves, const std::string& words)
        : c(c), kernels(kernels), words(words), O(c.spec.state_size(c.spec.output_state())), stride(O + c.padding),
          data(filled<T>(c.data, c.odd)), d_data(c.N * c.spec.input_size, c.odd), saves(saves) {
        batch = {data.begin(), c.sizes.data(), c.sizes.size(), c.N};
        const std::size_t between = c.N ? (c.N - 1) * stride + O : 0;  // the last row ends where its numbers end
        for (const Case::Direction& run : c.directions) {
            Arrays<T> way{{}, {}, {}, {}, {}, {}, Array<T>(between, c.odd),
                          Array<T>(saves ? c.N * kernels.saved_columns(c.spec) : 0), Array<T>(between, c.odd)};
            for (const Numbers& parameter : run.parameters) {
                way.parameters.push_back(filled<T>(parameter, c.odd));
                way.d_parameters.emplace_back(parameter.size(), c.odd);
            }
            for (std::size_t s = 0; s < c.spec.states(); ++s) {
                way.first.push_back(filled<T>(run.first[s], c.odd));
                way.last.emplace_back(run.first[s].size(), c.odd);
                way.d_first.emplace_back(run.first[s].size(), c.odd);
                way.d_last.push_back(filled<T>(run.d_last[s], c.odd));
            }
            for (std::size_t k = 0; k < run.d_output.size(); ++k)
                way.d_output.begin()[k / O * stride + k % O] = static_cast<T>(run.d_output[k]);
            ways.push_back(std::move(way));
        }
    }

    static bool has(const Array<T>& array) { return array.count != 0; }

    void forward(int threads, const void* const* packed = nullptr, Weights packed_as = Weights::as_they_are) {
        std::vector<Forward<T>> runs(ways.size());
        for (std::size_t w = 0; w < ways.size(); ++w) {
            runs[w].reverse = c.reverse[w];
            if (packed) {
                runs[w].packed = packed[w];
                runs[w].packed_as = packed_as;
            } else {
                for (std::size_t k = 0; k < parameter_count; ++k)
                    if (has(ways[w].parameters[k])) runs[w].parameters[k] = ways[w].parameters[k].begin();
            }
            for (std::size_t s = 0; s < c.spec.states(); ++s) {
                runs[w].first[s] = ways[w].first[s].begin();
                runs[w].last[s] = ways[w].last[s].begin();
            }
            runs[w].output = ways[w].output.begin();
            runs[w].output_stride = stride;
            runs[w].saved = saves ? ways[w].saved.begin() : nullptr;
        }
        kernels.forward(c.spec, batch, runs.data(), runs.size(), threads);
    }

    void backward(int threads) {
        std::vector<Backward<T>> runs(ways.size());
        for (std::size_t w = 0; w < ways.size(); ++w) {
            runs[w].reverse = c.reverse[w];
            for (std::size_t k = 0; k < parameter_count; ++k) {
                if (!has(ways[w].parameters[k])) continue;
                runs[w].parameters[k] = ways[w].parameters[k].begin();
                if (c.wants_parameters) runs[w].d_parameters[k] = ways[w].d_parameters[k].begin();
            }
            for (std::size_t s = 0; s < c.spec.states(); ++s) {
                runs[w].first[s] = ways[w].first[s].begin();
                if (c.from_last) runs[w].d_last[s] = ways[w].d_last[s].begin();
                if (c.wants_first) runs[w].d_first[s] = ways[w].d_first[s].begin();
            }
            runs[w].output = ways[w].output.begin();
            runs[w].output_stride = stride;
            runs[w].saved = ways[w].saved.begin();
            if (c.from_output) {
                runs[w].d_output = ways[w].d_output.begin();
                runs[w].d_output_stride = stride;
            }
        }
        kernels.backward(c.spec, batch, runs.data(), runs.size(), c.wants_data ? d_data.begin() : nullptr, threads);
    }

    void check_forward(double tolerance) const {
        for (std::size_t w = 0; w < ways.size(); ++w) {
            const Case::Direction& run = c.directions[w];
            compare(words + ": output", ways[w].output.begin(), c.N, O, stride, values_of(run.output), tolerance);
            for (std::size_t s = 0; s < c.spec.states(); ++s)
                compare(words + ": last " + std::to_string(s), ways[w].last[s].begin(), 1, run.last[s].size(),
                        run.last[s].size(), values_of(run.last[s]), tolerance);
        }
    }

    void check_backward(double tolerance) const {
        const auto check = [&](const std::string& what, const Array<T>& ours, const Numbers& by, bool wanted) {
            if (wanted) compare(words + ": gradient of " + what, ours.begin(), 1, by.size(), by.size(), picked(c.d, by), tolerance);
        };
        check("data", d_data, c.data, c.wants_data);
        for (std::size_t w = 0; w < ways.size(); ++w) {
            const Case::Direction& run = c.directions[w];
            for (std::size_t k = 0; k < parameter_count; ++k)
                check(parameter_names[k], ways[w].d_parameters[k], run.parameters[k], c.wants_parameters);
            for (std::size_t s = 0; s < c.spec.states(); ++s)
                check("first " + std::to_string(s), ways[w].d_first[s], run.first[s], c.wants_first);
        }
    }

    /// Every result has the same bits as another run's.
    void same(const Layer& other, const std::string& what) const {
        const auto check = [&](const std::string& name, const Array<T>& a, const Array<T>& b) {
            if (!(a == b)) fail(words + ": " + name + " is not the same bit for bit " + what);
        };
        check("d_data", d_data, other.d_data);
        for (std::size_t w = 0; w < ways.size(); ++w) {
            check("output", ways[w].output, other.ways[w].output);
            for (std::size_t s = 0; s < c.spec.states(); ++s) {
                check("last", ways[w].last[s], other.ways[w].last[s]);
                check("d_first", ways[w].d_first[s], other.ways[w].d_first[s]);
            }
            for (std::size_t k = 0; k < parameter_count; ++k)
                check(std::string("d_") + parameter_names[k], ways[w].d_parameters[k], other.ways[w].d_parameters[k]);
        }
    }
};

/// What a session keeps: a direction's parameters, packed into exactly as many bytes as were asked for.
template <class T>
struct Kept {
    std::vector<void*> blocks;

    Kept(const Layer<T>& layer, Weights weights, int threads) {
        for (const Arrays<T>& way : layer.ways) {
            const T* parameters[parameter_count] = {};
            for (std::size_t k = 0; k < parameter_count; ++k)
                if (layer.has(way.parameters[k])) parameters[k] = way.parameters[k].begin();
            const std::size_t bytes = layer.kernels.packed_bytes(layer.c.spec, weights);
            void* block = nullptr;
            if (posix_memalign(&block, 64, bytes) != 0) std::abort();
            std::memset(block, 0xff, bytes);  // NaN in every format
            layer.kernels.pack(layer.c.spec, parameters, weights, block, threads);
            blocks.push_back(block);
        }
    }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    ~Kept() {
        for (void* block : blocks) std::free(block);
    }
};

template <class T>
void check_layer(const Case& c, const Kernels<T>& kernels, const std::string& target) {
    constexpr bool single = sizeof(T) == 4;
    // up to some 100 terms a sum over some 10 steps of slopes near 1, then as many rows a weight gradient
    const double tolerance = single ? 1e-5 : 1e-13;
    const std::string words = target + (single ? " float32 " : " float64 ") + c.words;

    Layer<T> training(c, kernels, true, words);
    training.forward(1);
    training.check_forward(tolerance);
    training.backward(1);
    training.check_backward(tolerance);

    Layer<T> again(c, kernels, true, words);
    const int threads = 2 + static_cast<int>(draws.below(3));
    again.forward(threads);
    again.backward(threads);
    again.same(training, "on " + std::to_string(threads) + " threads");

    Layer<T> inference(c, kernels, false, words), frozen(c, kernels, false, words);
    inference.forward(1 + static_cast<int>(draws.below(3)));
    const Kept<T> kept(frozen, Weights::as_they_are, 1 + static_cast<int>(draws.below(3)));
    frozen.forward(1 + static_cast<int>(draws.below(3)), kept.blocks.data());
    frozen.same(inference, "from packed weights");
    for (std::size_t w = 0; w < inference.ways.size(); ++w)
        if (!(inference.ways[w].output == training.ways[w].output)) fail(words + ": inference is not training's forward pass");

    if (single) {
        Layer<T> rounded(c, kernels, false, words + " bfloat16 weights");
        const Kept<T> half(rounded, Weights::bfloat16, 1);
        rounded.forward(1, half.blocks.data(), Weights::bfloat16);
        rounded.check_forward(1e-2);
        Layer<T> parallel(c, kernels, false, words + " bfloat16 weights");
        parallel.forward(3, half.blocks.data(), Weights::bfloat16);
        parallel.same(rounded, "on 3 threads");
    }
}

// ------------------------------------------------------------------------------------------------ the cases

std::vector<std::int64_t> draw_sizes() {
    const std::int64_t B = draws.pick<std::int64_t>({1, 2, 3, 5, 7, 13, 33});
    const std::size_t T = draws.pick<std::size_t>({1, 1, 2, 3, 5});
    const std::size_t kind = draws.below(12);
    if (kind == 0) return {};
    std::vector<std::int64_t> sizes(T, B);
    if (kind > 4)
        for (std::size_t t = 1; t < T; ++t) sizes[t] = 1 + static_cast<std::int64_t>(draws.below(static_cast<std::size_t>(sizes[t - 1])));
    return sizes;
}

Case draw_case(Spec spec, std::size_t turn) {
    Case c;
    spec.input_size = draws.pick<std::size_t>({1, 2, 3, 5, 16, 19});
    spec.hidden_size = draws.pick<std::size_t>({1, 2, 3, 5, 8, 15, 16, 17, 33, 48, 50});
    spec.output_size = spec.family == Family::jordan ? draws.pick<std::size_t>({1, 2, 7, 17, 33}) : spec.hidden_size;
    if (turn % 2) {  // every other turn all positions have an activation of their own
        spec.gate_activation = static_cast<Activation>(turn / 2 % activation_count);
        spec.activation = static_cast<Activation>(draws.below(activation_count));
        spec.output_activation = static_cast<Activation>(draws.below(activation_count));
        if (spec.family == Family::elman || spec.family == Family::jordan) std::swap(spec.activation, spec.gate_activation);
    }
    c.sizes = draw_sizes();
    if (turn % 10 == 8) {  // more rows than a weight's gradient takes in one chunk, in a layer small enough to be plain
        spec.input_size = 2, spec.hidden_size = 3, spec.output_size = spec.family == Family::jordan ? 2 : 3;
        c.sizes.assign(20, 33);
        c.sizes.back() = 7;
    }
    c.spec = spec;
    c.reverse = draws.pick<std::vector<bool>>({{false}, {true}, {false, true}});
    c.padding = draws.pick<std::size_t>({0, 0, 1, 8});
    c.odd = draws.coin();
    c.wants_data = draws.below(4) != 0;
    c.from_output = draws.below(4) != 0;
    c.from_last = draws.below(4) != 0;
    c.wants_parameters = draws.below(4) != 0;
    c.wants_first = draws.below(4) != 0;

    c.words = words_of(spec) + (c.reverse[0] ? " reverse" : " forward") +
               (c.reverse.size() > 1 ? " and reverse" : "") + " sizes";
    for (std::int64_t n : c.sizes) c.words += " " + std::to_string(n);
    c.words += " padding " + std::to_string(c.padding);
    c.solve();
    return c;
}

// ------------------------------------------------------------------------------- products and activations

template <class T>
void check_product(const Kernels<T>& kernels, const std::string& target) {
    const std::size_t sizes[] = {0, 1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64, 70};
    Product<T> p{};
    p.M = draws.pick(sizes);
    p.N = draws.pick(sizes);
    p.K = draws.pick(sizes);
    p.a_transposed = draws.coin();
    p.b_transposed = draws.coin();
    p.accumulate = draws.coin();
    const bool odd = draws.coin();
    const std::size_t a_rows = p.a_transposed ? p.K : p.M, a_columns = p.a_transposed ? p.M : p.K;
    const std::size_t b_rows = p.b_transposed ? p.N : p.K, b_columns = p.b_transposed ? p.K : p.N;
    p.a_stride = a_columns + draws.below(3);
    p.b_stride = b_columns + draws.below(3);
    p.c_stride = p.N + draws.below(3);
    const auto make = [&](std::size_t rows, std::size_t columns, std::size_t stride, bool numbers) {
        Array<T> array(rows && columns ? (rows - 1) * stride + columns : 0, odd);
        if (numbers)
            for (std::size_t k = 0; k < array.count; ++k)
                if (k % stride < columns) array.begin()[k] = static_cast<T>(draws.number());
        return array;
    };
    const Array<T> a = make(a_rows, a_columns, p.a_stride, true), b = make(b_rows, b_columns, p.b_stride, true);
    const Array<T> row = make(1, p.N, p.N, true);
    const Array<T> c = make(p.M, p.N, p.c_stride, p.accumulate), again = make(p.M, p.N, p.c_stride, false);
    std::memcpy(again.begin(), c.begin(), c.count * sizeof(T));
    p.a = a.begin();
    p.b = b.begin();
    p.bias = draws.coin() ? row.begin() : nullptr;
    std::vector<double> truth;
    for (std::size_t m = 0; m < p.M; ++m)
        for (std::size_t n = 0; n < p.N; ++n) {
            double sum = (p.accumulate ? double(c.begin()[m * p.c_stride + n]) : 0) + (p.bias ? double(p.bias[n]) : 0);
            for (std::size_t k = 0; k < p.K; ++k)
                sum += double(p.a_transposed ? p.a[k * p.a_stride + m] : p.a[m * p.a_stride + k]) *
                       double(p.b_transposed ? p.b[n * p.b_stride + k] : p.b[k * p.b_stride + n]);
            truth.push_back(sum);
        }
    const std::string words = target + (sizeof(T) == 4 ? " float32" : " float64") + " product " + std::to_string(p.M) +
                              " x " + std::to_string(p.N) + " over " + std::to_string(p.K) +
                              (p.a_transposed ? " A transposed" : "") + (p.b_transposed ? " B transposed" : "") +
                              (p.bias ? " bias" : "") + (p.accumulate ? " added" : "");
    p.c = c.begin();
    kernels.matmul(p, 1);
    compare(words, c.begin(), p.M, p.N, p.c_stride, truth, sizeof(T) == 4 ? 1e-5 : 1e-14);
    p.c = again.begin();
    kernels.matmul(p, 2 + static_cast<int>(draws.below(3)));
    if (!(c == again)) fail(words + " is not the same bit for bit on more threads");
}

template <class T>
void check_activations(const Kernels<T>& kernels, const std::string& target) {
    constexpr T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    const double tolerance = 8 * static_cast<double>(std::numeric_limits<T>::epsilon());
    for (std::size_t f = 0; f < activation_count; ++f)
        for (const std::size_t count : {0u, 1u, 3u, 8u, 17u, 33u, 100u}) {
            const std::string words = target + (sizeof(T) == 4 ? " float32 " : " float64 ") + activation_names[f];
            const Array<T> a(count, true), y(count, true), slope(count, true);
            std::vector<double> values, slopes;
            for (std::size_t k = 0; k < count; ++k) {
                a.begin()[k] = static_cast<T>(draws.number() * 12);
                const Applied truth = apply(static_cast<Activation>(f), static_cast<double>(a.begin()[k]));
                values.push_back(truth.value);
                slopes.push_back(truth.slope);
            }
            kernels.activate(static_cast<Activation>(f), a.begin(), y.begin(), slope.begin(), count);
            compare(words, y.begin(), 1, count, count, values, tolerance);
            compare(words + "'s slope", slope.begin(), 1, count, count, slopes, tolerance);
            if (count < 3) continue;
            a.begin()[0] = nan;
            a.begin()[1] = infinity;
            a.begin()[2] = -infinity;
            kernels.activate(static_cast<Activation>(f), a.begin(), y.begin(), slope.begin(), count);
            if (!std::isnan(y.begin()[0])) fail(words + " of NaN is not NaN");
            for (const std::size_t k : {1u, 2u}) {
                const double limit = apply(static_cast<Activation>(f), k == 1 ? 1e300 : -1e300).value;
                const double ours = static_cast<double>(y.begin()[k]);
                const bool bounded = std::abs(limit) < 1e200;
                const bool softsign = static_cast<Activation>(f) == Activation::softsign;  // ∞ / ∞, as torch has it
                const bool there = bounded ? std::abs(ours - limit) <= 4 * static_cast<double>(std::numeric_limits<T>::min())
                                           : std::isinf(ours) && (ours > 0) == (limit > 0);
                if (!softsign && !there)
                    fail(words + " of an infinity is " + std::to_string(ours));
            }
        }
}

}  // namespace

int main(int count, char** arguments) {
    const int turns = count > 1 ? std::atoi(arguments[1]) : 20;
    std::size_t built = 0;
    const Target* const* all = targets(built);
    std::vector<const Target*> here;
    for (std::size_t k = 0; k < built; ++k)
        if (all[k]->runs_here()) here.push_back(all[k]);
    if (here.empty()) {
        std::printf("no instruction set that was built runs on this machine\n");
        return 1;
    }
    for (const Target* target : here) {
        check_activations(*target->float32, target->name);
        check_activations(*target->float64, target->name);
        for (int turn = 0; turn < 20 * turns; ++turn) {
            check_product(*target->float32, target->name);
            check_product(*target->float64, target->name);
        }
        if (!(target->float32->multiply_add_rate(1e-3) > 0)) fail("multiply_add_rate measures nothing");
        if (!(target->float64->multiply_add_rate(1e-3) > 0)) fail("multiply_add_rate measures nothing");
    }
    std::size_t cases = 0;
    for (const Spec& spec : structures())
        for (int turn = 0; turn < turns; ++turn, ++cases) {
            const Case c = draw_case(spec, static_cast<std::size_t>(turn));
            for (const Target* target : here) {
                check_layer(c, *target->float32, target->name);
                check_layer(c, *target->float64, target->name);
            }
        }
    std::printf("%zu layers, %zu numbers compared, on", cases, compared);
    for (const Target* target : here) std::printf(" %s", target->name);
    std::printf("\n");
    return failures != 0;
}
