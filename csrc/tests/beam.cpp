// Prefix beam search against the sum over every path, and long streams against short ones joined. A program of its own,
// so that it can be built with the sanitizers; the searches of Python's tests are compared there.

#include "../beam.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

namespace {

using saiki::impossible;
using Labels = std::vector<std::int32_t>;

int cases = 0;

void expect(bool holds, const char* what) {
    ++cases;
    if (holds) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::exit(1);
}

bool close(double a, double b) { return std::fabs(a - b) < 1e-9; }

/// T rows of K log-probabilities.
std::vector<double> random_rows(std::mt19937& random, std::size_t T, std::size_t K) {
    std::normal_distribution<double> normal;
    std::vector<double> rows(T * K);
    for (std::size_t t = 0; t < T; ++t) {
        double sum = 0;
        for (std::size_t k = 0; k < K; ++k) sum += std::exp(rows[t * K + k] = 2 * normal(random));
        for (std::size_t k = 0; k < K; ++k) rows[t * K + k] -= std::log(sum);
    }
    return rows;
}

/// p of every label sequence, by walking all K^T paths.
std::map<Labels, double> every_path(const std::vector<double>& rows, std::size_t T, std::size_t K, std::int32_t blank) {
    std::map<Labels, double> found;
    std::vector<std::size_t> path(T, 0);
    for (;;) {
        double value = 0;
        Labels labels;
        for (std::size_t t = 0; t < T; ++t) {
            value += rows[t * K + path[t]];
            const auto k = static_cast<std::int32_t>(path[t]);
            if (k != blank && (!t || path[t] != path[t - 1])) labels.push_back(k);
        }
        found[labels] += std::exp(value);
        std::size_t t = 0;
        while (t < T && ++path[t] == K) path[t++] = 0;
        if (t == T) return found;
    }
}

template <class T>
void advance(saiki::Search& search, const std::vector<T>& rows, std::size_t K) {
    for (std::size_t t = 0; t * K < rows.size(); ++t) search.advance(rows.data() + t * K);
}

void a_wide_beam_adds_up_every_path() {
    std::mt19937 random(1);
    for (std::size_t K : {1, 2, 3, 4}) {
        for (std::size_t T = 0; T <= 5; ++T) {
            const std::vector<double> rows = random_rows(random, T, K);
            saiki::BeamOptions options;
            options.classes = K;
            options.width = 2000;
            options.blank = static_cast<std::int32_t>(K - 1);
            saiki::Search search(options);
            advance(search, rows, K);
            const auto truth = every_path(rows, T, K, options.blank);
            const auto found = search.readings(2000, true);
            expect(found.size() == truth.size(), "every label sequence is in a wide beam");
            double before = 1e-12;  // probability 1, but for rounding
            for (const saiki::Reading& reading : found) {
                expect(close(std::exp(reading.log_probability), truth.at(reading.labels)), "its sum is that of its paths");
                expect(reading.log_probability <= before, "the best come first");
                expect(reading.starts.size() == reading.labels.size() && reading.ends.size() == reading.labels.size(),
                       "each label has its frames");
                before = reading.log_probability;
            }
        }
    }
}

/// Chains of words over {1, 2}: "1" and "1 2", no separator, so that state 1 may begin anew.
saiki::Automaton small_lexicon() {
    saiki::Automaton lexicon;
    lexicon.first = {0, 1, 3, 4};
    lexicon.label = {1, 1, 2, 1};
    lexicon.target = {1, 1, 2, 1};
    lexicon.accepting = {1, 1, 1};
    return lexicon;
}

void a_lexicon_forbids() {
    std::mt19937 random(2);
    const saiki::Automaton lexicon = small_lexicon();
    const std::vector<double> rows = random_rows(random, 5, 4);
    saiki::BeamOptions options;
    options.classes = 4;
    options.width = 2000;
    options.lexicon = &lexicon;
    saiki::Search search(options);
    advance(search, rows, 4);
    auto truth = every_path(rows, 5, 4, 0);
    std::size_t allowed = 0;
    for (const auto& [labels, p] : truth) {
        std::int32_t state = 0;
        for (std::int32_t label : labels) state = lexicon.step(state, label);
        allowed += state >= 0;
    }
    const auto found = search.readings(2000, true);
    expect(found.size() == allowed, "what the lexicon allows is found, and nothing else");
    for (const saiki::Reading& reading : found)
        expect(close(std::exp(reading.log_probability), truth.at(reading.labels)), "with its own sum");
}

/// A model over two words with one bigram: p(1 | 0), the back-off of word 0, and the unigrams.
saiki::NGram small_model() {
    saiki::NGram model;
    model.words = 2;
    model.first = {1, 3, 4, 4, 4};
    model.word = {-1, 0, 1, 1};
    model.log_probability = {0, -0.5, -1.0, -0.25};
    model.backoff = {0, -0.125, 0, 0};
    model.suffix = {0, 0, 0, 2};
    model.state = {0, 1, 0, 0};
    return model;
}

void a_model_backs_off() {
    const saiki::NGram model = small_model();
    std::int32_t state;
    expect(model.step(0, 0, state) == -0.5 && state == 1, "a unigram");
    expect(model.step(1, 1, state) == -0.25 && state == 0, "a bigram");
    expect(model.step(1, 0, state) == -0.625 && state == 1, "the back-off and a unigram");
    expect(model.step(1, -1, state) == impossible && state == 0, "an unknown word");
    expect(model.most() == 0, "nothing adds more than 0");
}

void a_model_weighs_in() {
    std::mt19937 random(3);
    const saiki::NGram model = small_model();
    const std::vector<double> rows = random_rows(random, 4, 3);
    saiki::BeamOptions options;
    options.classes = 3;
    options.width = 2000;
    options.language = saiki::Language::labels;
    options.weight = 0.75;
    options.bonus = 0.5;
    options.ngram = &model;
    options.numbers = {-1, 0, 1};
    options.most = 0.5;
    saiki::Search search(options);
    advance(search, rows, 3);
    const auto truth = every_path(rows, 4, 3, 0);
    const auto found = search.readings(2000, true);
    expect(found.size() == truth.size(), "all are found");
    for (const saiki::Reading& reading : found) {
        double language = 0;
        std::int32_t state = 0;
        for (std::int32_t label : reading.labels) language += 0.75 * model.step(state, label - 1, state) + 0.5;
        expect(close(reading.language, language), "what the model adds");
        expect(close(std::exp(reading.log_probability), truth.at(reading.labels)), "apart from the sum");
    }
}

/// Peaked rows, so that few prefixes are alike and many nodes come and go: what is swept away must not be missed.
void long_streams_are_swept() {
    std::mt19937 random(4);
    const std::size_t K = 12, T = 6000;
    saiki::BeamOptions options;
    options.classes = K;
    options.width = 60;
    saiki::Search search(options), copy(options);
    std::vector<double> rows = random_rows(random, T, K);
    std::size_t most = 0;
    for (std::size_t t = 0; t < T; ++t) {
        search.advance(rows.data() + t * K);
        if (search.nodes() > most) most = search.nodes();
    }
    expect(most > 60000 && search.nodes() < most, "nodes were swept away");
    advance(copy, rows, K);
    const auto found = search.readings(60, false), again = copy.readings(60, false);
    expect(found.size() == 60 && again.size() == 60, "the beam is full");
    for (std::size_t r = 0; r < found.size(); ++r) {
        expect(found[r].labels == again[r].labels && found[r].log_probability == again[r].log_probability, "the same again");
        for (std::size_t u = 0; u < found[r].labels.size(); ++u) {
            expect(found[r].starts[u] < found[r].ends[u], "a label takes a frame");
            expect(!u || found[r].ends[u - 1] <= found[r].starts[u], "labels follow one another");
        }
    }
}

void nothing_is_possible() {
    const saiki::Automaton lexicon = small_lexicon();
    saiki::BeamOptions options;
    options.classes = 4;
    options.width = 3;
    options.lexicon = &lexicon;
    saiki::Search search(options);
    const std::vector<float> row = {static_cast<float>(impossible), static_cast<float>(impossible), 0, 0};
    for (int t = 0; t < 3; ++t) search.advance(row.data());
    expect(search.readings(3, true).empty(), "no hypothesis is left");
}

void an_outside_model_is_asked() {
    std::mt19937 random(5);
    const std::vector<double> rows = random_rows(random, 8, 3), nothing(3, 0.0);
    saiki::BeamOptions options;
    options.classes = 3;
    options.width = 4;
    saiki::BeamOptions outside = options;
    outside.language = saiki::Language::external;
    saiki::Search alone(options), search(outside);
    for (std::size_t t = 0; t < 8; ++t) {
        for (std::int32_t node : std::vector<std::int32_t>(search.unasked())) search.answer(node, nothing.data());
        expect(search.unasked().empty(), "all have been asked about");
        search.advance(rows.data() + t * 3);
        alone.advance(rows.data() + t * 3);
    }
    const auto found = search.readings(4, true), without = alone.readings(4, true);
    for (std::size_t r = 0; r < 4; ++r) expect(found[r].labels == without[r].labels, "a model that says nothing changes nothing");
}

}  // namespace

int main() {
    a_wide_beam_adds_up_every_path();
    a_lexicon_forbids();
    a_model_backs_off();
    a_model_weighs_in();
    long_streams_are_swept();
    nothing_is_possible();
    an_outside_model_is_asked();
    std::printf("beam: %d checks\n", cases);
}
