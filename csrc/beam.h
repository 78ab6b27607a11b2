// CTC decoding: the best path, and prefix beam search with an n-gram model and a lexicon. The plain twin, which says
// what is computed, is saiki/decoding/plain_beam.py. No vectors: compiled once, for the baseline machine. Knows arrays,
// neither Python nor torch; what it is given has been checked.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace saiki {

constexpr double impossible = -std::numeric_limits<double>::infinity();  // ln 0

/// A back-off n-gram model as a tree, see saiki/decoding/ngram.py: the children of node m are first[m] ≤ k < first[m+1],
/// in the order of their words; node 0 is the root and node 1 + w the unigram of word w.
struct NGram {
    std::int32_t words = 0;
    std::vector<std::int32_t> first, word, suffix, state;
    std::vector<double> log_probability, backoff;

    /// ln p(word | state) and the state after it; word -1 is impossible.
    double step(std::int32_t from, std::int32_t of, std::int32_t& to) const;
    /// No step gives more than this; at least 0.
    double most() const;
};

/// A deterministic automaton over labels, see saiki/decoding/lexicon.py: the arcs of state s are first[s] ≤ k <
/// first[s+1], labels rising. State 0 is the start.
struct Automaton {
    std::vector<std::int32_t> first, label, target;
    std::vector<std::uint8_t> accepting;

    /// The state after a label; -1: there is none, and from -1.
    std::int32_t step(std::int32_t from, std::int32_t of) const;
};

enum class Language : std::uint8_t { none, labels, words, external };

/// What all searches of a batch share. Pointers outlive the searches.
struct BeamOptions {
    std::size_t classes = 0;       // K
    std::size_t width = 1;         // prefixes that stay after a frame
    std::int32_t blank = 0;
    double log_skip = -impossible; // a frame with such a blank counts as a blank
    double floor = impossible;     // less probable classes are impossible, the frame's best aside
    double margin = -impossible;   // nats below the best at which prefixes are dropped
    const Automaton* lexicon = nullptr;

    Language language = Language::none;
    double weight = 0, bonus = 0;
    const NGram* ngram = nullptr;
    std::vector<std::int32_t> numbers;  // labels: (K,) the word of each class; words: of each state of `spelling`
    std::int32_t start = 0;             // state at the beginning
    std::int32_t end = -1;              // the word </s>, or -1
    const Automaton* spelling = nullptr;  // words: their prefix tree
    std::int32_t separator = -1;          // the label between words
    std::int32_t unknown = -1;            // the word <unk>, or -1
    double most = 0;                      // no label adds more than this; at least 0
};

/// One reading of an utterance: labels, the frames of each, ln p of its alignments, what the language model added.
struct Reading {
    std::vector<std::int32_t> labels;
    std::vector<std::int64_t> starts, ends;
    double log_probability, language;
};

/// The search of one utterance. `options` outlives it. T is float or double: a row is K log-probabilities.
class Search {
public:
    explicit Search(const BeamOptions& options);

    template <class T>
    void advance(const T* row);

    /// At most `count`, the best first. Final: whole words alone, and with what the end adds.
    std::vector<Reading> readings(std::size_t count, bool final) const;

    // With an outside language model, before each `advance` of a row that does not count as a blank: the prefixes it has
    // not been asked about, and its answers, (K,) nats that each class adds.
    template <class T>
    bool counts_as_blank(const T* row) const { return static_cast<double>(row[options_.blank]) >= options_.log_skip; }
    const std::vector<std::int32_t>& unasked();
    std::vector<std::int32_t> prefix(std::int32_t node) const;
    void answer(std::int32_t node, const double* added);

    std::size_t nodes() const { return nodes_.size(); }  // for tests

private:
    /// A prefix: its parent's with one label more. Numbers rise from parent to child.
    struct Node {
        std::int32_t parent, label;
        double language;         // nats added so far
        std::int32_t state;      // of the n-gram model
        std::int32_t spelled;    // words: where the open word stands in `spelling`, 0 if none is open, -1 if unknown
        std::int32_t lexicon;
        std::int32_t live;       // place in the beam, or -1
        std::int32_t slot;       // external: place of its answers, or -1
    };
    /// The frames of a label, and those of the labels before it; lists share their beginnings.
    struct Span {
        std::int32_t before;
        std::int64_t start, end;
    };
    struct Entry {
        std::int32_t node, label;              // label: the last one, -1 for the empty prefix
        double blank, ending, total, score;    // ln sums over alignments that end in a blank, in the label, both
        double best_blank, best_ending;        // ln of the best of them
        std::int32_t spans_blank, spans_ending;  // frames of all labels; of all but the last
        std::int64_t start;                    // where the last began in the best that ends in it
    };
    struct Candidate {
        double score, total;
        std::int32_t rank, label;  // label -1: the prefix itself
    };
    struct Class {
        double value;
        std::int32_t label;
    };
    struct Grown {  // what a label makes of a prefix
        double added;
        std::int32_t state, spelled, lexicon;
    };

    static bool better(const Candidate& a, const Candidate& b);
    void blank_frame(double value);
    void frame();
    void stay(double blank);
    void grow();
    void keep();
    bool grown(const Node& node, std::int32_t label, Grown& to) const;
    std::int32_t find_or_add(std::int32_t parent, std::int32_t label);
    std::int32_t* place(std::int32_t parent, std::int32_t label);
    std::int32_t ended(std::size_t rank);
    void enlarge();
    void sweep();

    const BeamOptions& options_;
    std::int64_t frame_ = 0;
    std::vector<Node> nodes_;
    std::vector<Span> spans_;
    std::vector<std::int32_t> table_;  // open addressing: node by (parent, label)
    std::vector<Entry> beam_, stays_, next_;
    std::vector<double> row_;
    std::vector<Class> classes_;
    std::vector<Candidate> candidates_;
    std::vector<std::int32_t> first_child_, next_child_, taken_, ended_;
    std::vector<std::int32_t> unasked_, free_slots_;
    std::vector<double> answers_;  // (slots, K)
    std::size_t limit_;            // nodes or spans at which those no longer in use are swept away
    double bound_ = 0, most_;
};

/// The rows of one utterance in a packed batch: step t has row starts[t] + place.
template <class T>
struct Rows {
    const T* data;
    const std::size_t* starts;
    std::size_t place, steps, classes;

    const T* operator[](std::size_t t) const { return data + (starts[t] + place) * classes; }
};

/// The best class of each row, runs merged, blanks left out; of equal classes the lowest.
template <class T>
Reading best_path(const Rows<T>& rows, std::int32_t blank);

}  // namespace saiki
