// Python's door to beam.h: checks what comes, releases the interpreter's lock, calls. As in binding.cpp, nothing is
// reached with an argument that has not been checked here.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "arrays.h"
#include "beam.h"
#include "binding_beam.h"
#include "team.h"

namespace saiki::python {
namespace {

constexpr std::int64_t most_classes = 1 << 24, most_states = std::int64_t{1} << 30, most_utterances = 1 << 24;
constexpr std::int64_t most_width = 1 << 20;
constexpr int most_threads = 1024;

std::int64_t checked_int(std::int64_t value, const char* name, std::int64_t low, std::int64_t high) {
    if (value < low || value > high)
        value_error(std::string(name) + " is " + std::to_string(value) + " but must be between " + std::to_string(low) +
                    " and " + std::to_string(high));
    return value;
}

std::size_t length_of(nb::handle object, const char* name) {
    Arrays arrays;
    const Seen seen = arrays.see(object, {name});
    if (seen.rank != 1) value_error(std::string(name) + " is " + seen.shape_text() + " but must have one axis");
    return static_cast<std::size_t>(seen.shape[0]);
}

/// A copy of (count,) whole numbers, each in [low, high].
template <class To>
std::vector<To> whole_numbers(nb::handle object, const char* name, std::size_t count, std::int64_t low, std::int64_t high) {
    Arrays arrays;
    const std::int64_t* from = arrays.read<std::int64_t>(object, {name}, count, 0);
    std::vector<To> to(count);
    for (std::size_t k = 0; k < count; ++k) {
        if (from[k] < low || from[k] > high)  // a name is put together only where it is needed: there may be millions
            checked_int(from[k], (std::string(name) + "[" + std::to_string(k) + "]").c_str(), low, high);
        to[k] = static_cast<To>(from[k]);
    }
    return to;
}

/// A copy of (count,) numbers that are neither NaN nor +inf.
std::vector<double> logarithms(nb::handle object, const char* name, std::size_t count) {
    Arrays arrays;
    const double* from = arrays.read<double>(object, {name}, count, 0);
    for (std::size_t k = 0; k < count; ++k)
        if (!(from[k] < std::numeric_limits<double>::infinity()))
            value_error(std::string(name) + "[" + std::to_string(k) + "] is NaN or +inf");
    return {from, from + count};
}

/// That first[0] = `begin` ≤ first[1] ≤ … ≤ first[n] = end, and that `along` rises between them.
void check_runs(const std::vector<std::int32_t>& first, const std::vector<std::int32_t>& along, std::int32_t begin,
                std::size_t end, const char* name) {
    bool fits = first.front() == begin && first.back() == static_cast<std::int32_t>(end);
    for (std::size_t k = 1; fits && k < first.size(); ++k) fits = first[k - 1] <= first[k];
    if (!fits)
        value_error("first must rise from " + std::to_string(begin) + " to the number of entries, " + std::to_string(end));
    for (std::size_t m = 0; m + 1 < first.size(); ++m)
        for (std::int32_t k = first[m] + 1; k < first[m + 1]; ++k)
            if (along[static_cast<std::size_t>(k - 1)] >= along[static_cast<std::size_t>(k)])
                value_error(std::string(name) + " must rise within each run of first");
}

NGram* make_ngram(NGram* to, std::int64_t words, nb::handle first, nb::handle word, nb::handle log_probability,
                  nb::handle backoff, nb::handle suffix, nb::handle state) {
    checked_int(words, "words", 1, most_states);
    const std::size_t M = length_of(word, "word");
    if (M < static_cast<std::size_t>(words) + 1 || M > static_cast<std::size_t>(most_states))
        value_error("word has " + std::to_string(M) + " entries but must have one for the root and each n-gram");
    const auto last = static_cast<std::int64_t>(M) - 1;
    NGram made;
    made.words = static_cast<std::int32_t>(words);
    made.first = whole_numbers<std::int32_t>(first, "first", M + 1, 1, last + 1);
    made.word = whole_numbers<std::int32_t>(word, "word", M, -1, words - 1);
    made.log_probability = logarithms(log_probability, "log_probability", M);
    made.backoff = logarithms(backoff, "backoff", M);
    made.suffix = whole_numbers<std::int32_t>(suffix, "suffix", M, 0, last);
    made.state = whole_numbers<std::int32_t>(state, "state", M, 0, last);
    check_runs(made.first, made.word, 1, M, "word");
    if (made.first[1] != 1 + made.words) value_error("the root must have a child for each word");
    for (std::int32_t w = 0; w < made.words; ++w)
        if (made.word[static_cast<std::size_t>(w) + 1] != w) value_error("node 1 + w must be the unigram of word w");
    for (std::size_t m = 1; m < M; ++m)  // so that backing off comes to an end
        if (static_cast<std::size_t>(made.suffix[m]) >= m)
            value_error("suffix[" + std::to_string(m) + "] must be a lower number");
    return new (to) NGram(std::move(made));
}

Automaton* make_automaton(Automaton* to, nb::handle first, nb::handle label, nb::handle target, nb::handle accepting) {
    const std::size_t S = length_of(accepting, "accepting"), E = length_of(label, "label");
    if (S < 1 || S > static_cast<std::size_t>(most_states) || E > static_cast<std::size_t>(most_states))
        value_error("an automaton must have between 1 and 2^30 states, and at most as many arcs");
    const auto states = static_cast<std::int64_t>(S), arcs = static_cast<std::int64_t>(E);
    Automaton made;
    made.first = whole_numbers<std::int32_t>(first, "first", S + 1, 0, arcs);
    made.label = whole_numbers<std::int32_t>(label, "label", E, 0, most_classes);
    made.target = whole_numbers<std::int32_t>(target, "target", E, 0, states - 1);
    made.accepting = whole_numbers<std::uint8_t>(accepting, "accepting", S, 0, 1);
    check_runs(made.first, made.label, 0, E, "label");
    return new (to) Automaton(std::move(made));
}

/// A packed batch: where each step's rows begin, and whose they are.
struct Packing {
    std::vector<std::size_t> starts;  // (T,)
    std::vector<std::size_t> steps;   // (places,) frames of the utterance in that place
    std::vector<std::size_t> order;   // (B,) the utterance in each place
};

Packing packing(nb::handle sizes, nb::handle order, std::size_t N) {
    Packing p;
    const std::size_t B = length_of(order, "order"), T = length_of(sizes, "batch_sizes");
    p.order = whole_numbers<std::size_t>(order, "order", B, 0, static_cast<std::int64_t>(B) - 1);
    std::vector<bool> seen(B, false);
    for (std::size_t place : p.order) {
        if (seen[place]) value_error("order must name every utterance once");
        seen[place] = true;
    }
    const auto counts = whole_numbers<std::size_t>(sizes, "batch_sizes", T, 1, static_cast<std::int64_t>(B));
    std::size_t row = 0;
    for (std::size_t t = 0; t < T; ++t) {
        if (t && counts[t] > counts[t - 1]) value_error("batch_sizes must never rise");
        p.starts.push_back(row);
        row += counts[t];
    }
    if (row != N)
        value_error("batch_sizes adds up to " + std::to_string(row) + " but data has " + std::to_string(N) + " rows");
    p.steps.assign(B, 0);
    for (std::size_t t = 0; t < T; ++t) p.steps[counts[t] - 1] = t + 1;
    for (std::size_t place = B; place-- > 1;)
        if (p.steps[place - 1] < p.steps[place]) p.steps[place - 1] = p.steps[place];
    return p;
}

/// (N, K) of T, without NaN and +inf: comparisons must have an answer.
template <class T>
const T* emissions(Arrays& arrays, const Seen& seen, std::size_t N, std::size_t K) {
    const T* data = arrays.keep_checked<T>(seen, {"data"}, N, K);
    using Mask = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;  // as wide as T: then it is done in vectors
    Mask wrong = 0;
    for (std::size_t k = 0; k < N * K; ++k) wrong |= data[k] < std::numeric_limits<T>::infinity() ? 0 : 1;
    if (wrong) value_error("data holds NaN or +inf");
    return data;
}

Seen matrix(Arrays& arrays, nb::handle data, std::int64_t K) {
    const Seen seen = arrays.see(data, {"data"});
    if (seen.rank != 2 || seen.shape[1] < 1 || seen.shape[1] > most_classes || (K && seen.shape[1] != K))
        value_error("data is " + seen.shape_text() + " but must be (N, " + (K ? std::to_string(K) : "K") + ")");
    return seen;
}

nb::tuple tuple_of(const Reading& reading) {
    const auto numbers = [](const auto& values) {
        nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(values.size())));
        if (!tuple.is_valid()) throw nb::python_error();
        for (std::size_t k = 0; k < values.size(); ++k) {
            PyObject* number = PyLong_FromLongLong(values[k]);
            if (!number) throw nb::python_error();
            PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(k), number);
        }
        return tuple;
    };
    return nb::make_tuple(numbers(reading.labels), numbers(reading.starts), numbers(reading.ends), reading.log_probability,
                          reading.language);
}

/// Do `work(place)` for each utterance, as many at a time as there are threads; the longest come first.
template <class Work>
void for_each_utterance(std::size_t places, int threads, const Work& work) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    const int team = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(threads), places));
    run_team(team, [&](int, int) {
        for (std::size_t place; (place = next.fetch_add(1)) < places;) {
            try {
                work(place);
            } catch (...) {  // there is no memory; an exception may not leave a team
                failed = true;
            }
        }
    });
    if (failed) throw std::bad_alloc();
}

class Beam {
public:
    Beam(const Beam&) = delete;  // the searches point into it
    Beam& operator=(const Beam&) = delete;

    Beam(std::int64_t B, std::int64_t K, std::int64_t width, std::int64_t blank, double log_skip, double floor,
         double margin, nb::object lexicon, nb::object language, double weight, double bonus) {
        checked_int(B, "B", 0, most_utterances);
        checked_int(K, "K", 1, most_classes);
        options_.classes = static_cast<std::size_t>(K);
        options_.width = static_cast<std::size_t>(checked_int(width, "width", 1, most_width));
        options_.blank = static_cast<std::int32_t>(checked_int(blank, "blank", 0, K - 1));
        if (std::isnan(log_skip) || std::isnan(floor) || !(margin > 0)) value_error("log_skip, floor and margin must be numbers");
        if (!(weight >= 0 && std::isfinite(weight)) || !std::isfinite(bonus))
            value_error("weight and bonus must be finite, weight at least 0");
        options_.log_skip = log_skip;
        options_.floor = floor;
        options_.margin = margin;
        options_.weight = weight;
        options_.bonus = bonus;
        if (!lexicon.is_none()) options_.lexicon = keep<Automaton>(lexicon, "lexicon");
        if (!language.is_none()) set_language(language);
        for (std::int64_t b = 0; b < B; ++b) searches_.push_back(std::make_unique<Search>(options_));
    }

    void advance(nb::handle data, nb::handle sizes, nb::handle order, nb::handle ask, int threads) {
        const Turn turn(*this);
        checked_int(threads, "threads", 1, most_threads);
        Arrays arrays;
        const Seen seen = matrix(arrays, data, static_cast<std::int64_t>(options_.classes));
        if (seen.element == Element::float32) return advance_of<float>(arrays, seen, sizes, order, ask, threads);
        if (seen.element == Element::float64) return advance_of<double>(arrays, seen, sizes, order, ask, threads);
        type_error("data must hold float32 or float64");
    }

    nb::list readings(std::int64_t count, bool final) {
        const Turn turn(*this);
        checked_int(count, "count", 1, most_width);
        nb::list batch;
        for (const auto& search : searches_) {
            nb::list list;
            for (const Reading& reading : search->readings(static_cast<std::size_t>(count), final))
                list.append(tuple_of(reading));
            batch.append(list);
        }
        return batch;
    }

private:
    /// One call at a time: another thread, or the language model itself, may call while the searches are on their way.
    struct Turn {
        explicit Turn(Beam& beam) : beam(beam) {
            if (beam.busy_) throw std::runtime_error("this search is at work in another call");
            if (beam.broken_) throw std::runtime_error("this search was cut off by an error, and cannot go on");
            beam.busy_ = true;
        }
        ~Turn() { beam.busy_ = false; }
        Beam& beam;
    };

    template <class Kind>
    const Kind* keep(nb::handle object, const char* name) {
        if (!nb::isinstance<Kind>(object)) type_error(std::string(name) + " is " + nb::inst_name(object).c_str() + ", which it cannot be");
        kept_.push_back(nb::borrow(object));
        return nb::inst_ptr<Kind>(object);
    }

    /// () · (ngram, numbers, start, end) · (ngram, numbers, start, end, spelling, separator, unknown)
    void set_language(nb::handle language) {
        const Py_ssize_t size = PyTuple_Check(language.ptr()) ? PyTuple_GET_SIZE(language.ptr()) : -1;
        if (size != 0 && size != 4 && size != 7) type_error("language must be None or a tuple of 0, 4 or 7");
        BeamOptions& o = options_;
        o.language = size == 0 ? Language::external : size == 4 ? Language::labels : Language::words;
        if (size == 0) return;
        PyObject* const* item = reinterpret_cast<PyTupleObject*>(language.ptr())->ob_item;
        const auto number = [&](int k, const char* name, std::int64_t low, std::int64_t high) {
            std::int64_t value;
            if (!nb::try_cast(nb::handle(item[k]), value)) type_error(std::string(name) + " must be a whole number");
            return static_cast<std::int32_t>(checked_int(value, name, low, high));
        };
        o.ngram = keep<NGram>(item[0], "the n-gram model");
        std::size_t count = o.classes;
        if (size == 7) {
            o.spelling = keep<Automaton>(item[4], "spelling");
            o.separator = number(5, "separator", 0, static_cast<std::int64_t>(o.classes) - 1);
            o.unknown = number(6, "unknown", -1, o.ngram->words - 1);
            count = o.spelling->accepting.size();
        }
        o.numbers = whole_numbers<std::int32_t>(item[1], "numbers", count, -1, o.ngram->words - 1);
        o.start = number(2, "start", 0, static_cast<std::int64_t>(o.ngram->word.size()) - 1);
        o.end = number(3, "end", -1, o.ngram->words - 1);
        const double most = (o.weight > 0 ? o.weight * o.ngram->most() : 0.0) + o.bonus;
        o.most = most > 0 ? most : 0.0;
    }

    template <class T>
    void advance_of(Arrays& arrays, const Seen& seen, nb::handle sizes, nb::handle order, nb::handle ask, int threads) {
        const auto N = static_cast<std::size_t>(seen.shape[0]);
        const std::size_t K = options_.classes;
        const T* data = emissions<T>(arrays, seen, N, K);
        const Packing p = packing(sizes, order, N);
        if (p.order.size() != searches_.size())
            value_error("order has " + std::to_string(p.order.size()) + " entries but there are " +
                        std::to_string(searches_.size()) + " utterances");
        broken_ = true;  // until all is done
        if (options_.language == Language::external) {
            with_outside_model(data, p, ask);
        } else {
            const nb::gil_scoped_release unlocked;
            for_each_utterance(p.order.size(), threads, [&](std::size_t place) {
                const Rows<T> rows{data, p.starts.data(), place, p.steps[place], K};
                for (std::size_t t = 0; t < rows.steps; ++t) searches_[p.order[place]]->advance(rows[t]);
            });
        }
        broken_ = false;
    }

    /// Frame by frame, so that the model is asked about the new prefixes of all utterances at once.
    template <class T>
    void with_outside_model(const T* data, const Packing& p, nb::handle ask) {
        struct Question {
            Search* search;
            std::int32_t node;
        };
        const std::size_t K = options_.classes;
        std::vector<Question> questions;
        for (std::size_t t = 0; t < p.starts.size(); ++t) {
            questions.clear();
            nb::list prefixes;
            for (std::size_t place = 0; place < p.steps.size() && p.steps[place] > t; ++place) {
                Search& search = *searches_[p.order[place]];
                if (search.counts_as_blank(Rows<T>{data, p.starts.data(), place, p.steps[place], K}[t])) continue;
                for (std::int32_t node : search.unasked()) {
                    questions.push_back({&search, node});
                    nb::list prefix;
                    for (std::int32_t label : search.prefix(node)) prefix.append(label);
                    prefixes.append(nb::tuple(prefix));
                }
            }
            if (!questions.empty()) {
                const nb::object told = ask(prefixes);
                Arrays arrays;
                const double* added = arrays.read<double>(told, {"the language model's answer"}, questions.size(), K);
                for (std::size_t k = 0; k < questions.size() * K; ++k)
                    if (!(added[k] < std::numeric_limits<double>::infinity())) value_error("the language model's answer holds NaN or +inf");
                for (std::size_t q = 0; q < questions.size(); ++q) questions[q].search->answer(questions[q].node, added + q * K);
            }
            for (std::size_t place = 0; place < p.steps.size() && p.steps[place] > t; ++place)
                searches_[p.order[place]]->advance(Rows<T>{data, p.starts.data(), place, p.steps[place], K}[t]);
        }
    }

    BeamOptions options_;
    std::vector<nb::object> kept_;  // what options_ points into
    std::vector<std::unique_ptr<Search>> searches_;
    bool busy_ = false, broken_ = false;  // under the interpreter's lock
};

template <class T>
nb::list best_paths_of(Arrays& arrays, const Seen& seen, nb::handle sizes, nb::handle order, std::int32_t blank, int threads) {
    const auto N = static_cast<std::size_t>(seen.shape[0]), K = static_cast<std::size_t>(seen.shape[1]);
    const T* data = emissions<T>(arrays, seen, N, K);
    const Packing p = packing(sizes, order, N);
    std::vector<Reading> found(p.order.size());
    {
        const nb::gil_scoped_release unlocked;
        for_each_utterance(p.order.size(), threads, [&](std::size_t place) {
            found[p.order[place]] = best_path(Rows<T>{data, p.starts.data(), place, p.steps[place], K}, blank);
        });
    }
    nb::list list;
    for (const Reading& reading : found) list.append(tuple_of(reading));
    return list;
}

nb::list best_paths(nb::handle data, nb::handle sizes, nb::handle order, std::int64_t blank, int threads) {
    checked_int(threads, "threads", 1, most_threads);
    Arrays arrays;
    const Seen seen = matrix(arrays, data, 0);
    const auto label = static_cast<std::int32_t>(checked_int(blank, "blank", 0, seen.shape[1] - 1));
    if (seen.element == Element::float32) return best_paths_of<float>(arrays, seen, sizes, order, label, threads);
    if (seen.element == Element::float64) return best_paths_of<double>(arrays, seen, sizes, order, label, threads);
    type_error("data must hold float32 or float64");
}

}  // namespace

void bind_beam(nb::module_& m) {
    nb::class_<NGram>(m, "NGram", "A frozen copy of a back-off n-gram model, see saiki.decoding.NGram.")
        .def("__init__", [](NGram* self, std::int64_t words, nb::handle first, nb::handle word, nb::handle log_probability,
                            nb::handle backoff, nb::handle suffix, nb::handle state) {
                make_ngram(self, words, first, word, log_probability, backoff, suffix, state);
            },
            nb::arg("words"), nb::arg("first").none(), nb::arg("word").none(), nb::arg("log_probability").none(),
            nb::arg("backoff").none(), nb::arg("suffix").none(), nb::arg("state").none());
    nb::class_<Automaton>(m, "Automaton", "A frozen copy of a lexicon, see saiki.decoding.Lexicon.")
        .def("__init__", [](Automaton* self, nb::handle first, nb::handle label, nb::handle target, nb::handle accepting) {
                make_automaton(self, first, label, target, accepting);
            },
            nb::arg("first").none(), nb::arg("label").none(), nb::arg("target").none(), nb::arg("accepting").none());
    nb::class_<Beam>(m, "Beam", "Prefix beam searches of B utterances on their way.")
        .def(nb::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t, double, double, double, nb::object, nb::object,
                      double, double>(),
            nb::arg("B"), nb::arg("K"), nb::arg("width"), nb::arg("blank"), nb::arg("log_skip"), nb::arg("floor"),
            nb::arg("margin"), nb::arg("lexicon").none(), nb::arg("language").none(), nb::arg("weight"), nb::arg("bonus"),
            R"(Searches with these options.

Args:
    B, K: utterances and classes.
    width, blank, log_skip, floor, margin: as saiki.decoding.plain_beam.Settings has them.
    lexicon: an Automaton or None.
    language: None; () for a model that is asked through `ask`; (NGram, numbers, start, end) over labels;
        (NGram, numbers, start, end, spelling, separator, unknown) over words.
    weight, bonus: of the language model.)")
        .def("advance", &Beam::advance, nb::arg("data").none(), nb::arg("batch_sizes").none(), nb::arg("order").none(),
             nb::arg("ask").none(), nb::arg("threads") = 1,
             R"(Read more frames.

Args:
    data: (N, K) log-probabilities, packed and time-major.
    batch_sizes: (T,) int64, the utterances still running at each step.
    order: (B,) int64, the utterance in each place.
    ask: called with a list of prefixes, gives (n, K) float64; None where `language` is not ().
    threads: how many may work on it, an utterance each.)")
        .def("hypotheses", &Beam::readings, nb::arg("count"), nb::arg("final"),
             "Of each utterance at most `count` tuples (labels, starts, ends, log_probability, language), the best first.");
    m.def("ctc_greedy", &best_paths, nb::arg("data").none(), nb::arg("batch_sizes").none(), nb::arg("order").none(),
          nb::arg("blank"), nb::arg("threads") = 1,
          "The best path of each utterance, as Beam.hypotheses tells it; the arrays are those of Beam.advance.");
}

}  // namespace saiki::python
