#include "beam.h"

#include <algorithm>
#include <new>

namespace saiki {
namespace {

constexpr std::size_t first_sweep = 1 << 16;
constexpr double rounding = 1e-9;  // sums in another order differ by less

/// ln(e^a + e^b).
double log_add(double a, double b) {
    if (a < b) std::swap(a, b);
    const double difference = b - a;  // NaN if both are impossible
    return difference > -40 ? a + std::log1p(std::exp(difference)) : a;  // e⁻⁴⁰ is lost in rounding
}

/// The first of the largest of n ≥ 1 numbers. Eight at a time, which the compiler turns into vectors: the library's
/// max_element takes many times as long.
template <class T>
std::size_t first_largest(const T* x, std::size_t n) {
    T most[8];
    std::fill(most, most + 8, x[0]);
    std::size_t k = 0;
    for (; k + 8 <= n; k += 8)
        for (std::size_t j = 0; j < 8; ++j) most[j] = x[k + j] > most[j] ? x[k + j] : most[j];
    for (; k < n; ++k) most[0] = x[k] > most[0] ? x[k] : most[0];
    const T largest = *std::max_element(most, most + 8);
    for (k = 0; x[k] != largest;) ++k;
    return k;
}

}  // namespace

double NGram::step(std::int32_t from, std::int32_t of, std::int32_t& to) const {
    to = 0;
    if (of < 0) return impossible;
    double total = 0;
    for (;; from = suffix[static_cast<std::size_t>(from)]) {
        const auto node = static_cast<std::size_t>(from);
        std::size_t child = static_cast<std::size_t>(of) + 1;
        if (node) {
            const auto begin = word.begin() + first[node], end = word.begin() + first[node + 1];
            const auto found = std::lower_bound(begin, end, of);
            if (found == end || *found != of) {
                total += backoff[node];
                continue;
            }
            child = static_cast<std::size_t>(found - word.begin());
        }
        to = state[child];
        return total + log_probability[child];
    }
}

double NGram::most() const {
    // the most that can be added on the way from each node to the root; suffixes have lower numbers
    std::vector<double> way(backoff.size(), 0.0);
    double highest_way = 0, highest = impossible;
    for (std::size_t m = 1; m < backoff.size(); ++m) {
        way[m] = backoff[m] + way[static_cast<std::size_t>(suffix[m])];
        highest_way = std::max(highest_way, way[m]);
        highest = std::max(highest, log_probability[m]);
    }
    return std::max(0.0, highest + highest_way);
}

std::int32_t Automaton::step(std::int32_t from, std::int32_t of) const {
    if (from < 0) return -1;
    const auto s = static_cast<std::size_t>(from);
    const auto begin = label.begin() + first[s], end = label.begin() + first[s + 1];
    const auto found = std::lower_bound(begin, end, of);
    return found == end || *found != of ? -1 : target[static_cast<std::size_t>(found - label.begin())];
}

Search::Search(const BeamOptions& options)
    : options_(options), row_(options.classes), taken_(options.classes, -1), limit_(first_sweep), most_(options.most) {
    nodes_.push_back({-1, -1, 0.0, options.start, 0, 0, 0, -1});
    table_.assign(1024, -1);
    beam_.push_back({0, -1, 0.0, impossible, 0.0, 0.0, 0.0, impossible, -1, -1, 0});
}

template <class T>
void Search::advance(const T* row) {
    for (std::size_t k = 0; k < options_.classes; ++k) row_[k] = static_cast<double>(row[k]);
    const double blank = row_[static_cast<std::size_t>(options_.blank)];
    if (blank >= options_.log_skip)
        blank_frame(blank);
    else
        frame();
    ++frame_;
    if (std::max(nodes_.size(), spans_.size()) > limit_) sweep();
}

void Search::blank_frame(double value) {
    ended_.assign(beam_.size(), -2);
    for (std::size_t rank = 0; rank < beam_.size(); ++rank) {
        Entry& e = beam_[rank];
        if (e.best_ending > e.best_blank) e.spans_blank = ended(rank);
        e.best_blank = std::max(e.best_blank, e.best_ending) + value;
        e.total += value;
        e.score += value;
        e.blank = e.total;
        e.ending = e.best_ending = impossible;
    }
}

void Search::frame() {
    if (options_.floor > impossible) {
        const std::size_t best = first_largest(row_.data(), row_.size());
        const double kept = row_[best];
        for (double& value : row_) value = value < options_.floor ? impossible : value;
        row_[best] = kept;
    }
    if (beam_.empty()) return;  // nothing was possible, and nothing will be
    ended_.assign(beam_.size(), -2);
    candidates_.clear();
    stay(row_[static_cast<std::size_t>(options_.blank)]);
    grow();
    keep();
}

/// Every prefix after a blank, or after one more frame of its last label; joined with its parent, grown by that label,
/// where the parent is in the beam too.
void Search::stay(double blank) {
    const std::size_t count = beam_.size();
    stays_.resize(count);
    first_child_.assign(count, -1);
    next_child_.assign(count, -1);
    double lowest = -impossible, highest = impossible;
    for (std::size_t rank = 0; rank < count; ++rank) {
        const Entry& e = beam_[rank];
        Entry& n = stays_[rank];
        n = e;
        if (e.best_ending > e.best_blank) n.spans_blank = ended(rank);
        n.best_blank = std::max(e.best_blank, e.best_ending) + blank;
        n.blank = e.total + blank;
        n.ending = n.best_ending = impossible;
        if (e.label >= 0) {
            const double value = row_[static_cast<std::size_t>(e.label)];
            n.ending = e.ending + value;
            n.best_ending = e.best_ending + value;
            const std::int32_t above = nodes_[static_cast<std::size_t>(nodes_[static_cast<std::size_t>(e.node)].parent)].live;
            if (above >= 0) {
                const auto from = static_cast<std::size_t>(above);
                const Entry& p = beam_[from];
                next_child_[rank] = first_child_[from];
                first_child_[from] = static_cast<std::int32_t>(rank);
                const bool repeated = p.label == e.label;  // then a blank must stand between
                n.ending = log_add(n.ending, (repeated ? p.blank : p.total) + value);
                const bool of_blank = repeated || p.best_blank >= p.best_ending;
                const double best = (of_blank ? p.best_blank : p.best_ending) + value;
                if (best > n.best_ending) {
                    n.best_ending = best;
                    n.spans_ending = of_blank ? p.spans_blank : ended(from);
                    n.start = frame_;
                }
            }
        }
        n.total = log_add(n.blank, n.ending);
        n.score = n.total + nodes_[static_cast<std::size_t>(n.node)].language;
        if (n.score == impossible) continue;
        candidates_.push_back({n.score, n.total, static_cast<std::int32_t>(rank), -1});
        lowest = std::min(lowest, n.score);
        highest = std::max(highest, n.score);
    }
    bound_ = candidates_.size() >= options_.width ? lowest : impossible;
    bound_ = std::max(bound_, highest - options_.margin);
}

bool Search::better(const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.rank != b.rank ? a.rank < b.rank : a.label < b.label;
}

/// Every prefix with one label more that is not in the beam already. What cannot be among the best is not looked at: the
/// beam and the classes are walked in falling order, and `bound_` is a score that `width` candidates have.
void Search::grow() {
    const auto K = static_cast<std::int32_t>(options_.classes);
    const std::size_t width = options_.width, full = std::max(2 * width, width + 32);
    classes_.clear();
    const double least = std::max(bound_ - beam_[0].score - most_ - rounding, std::numeric_limits<double>::lowest());
    for (std::int32_t k = 0; k < K; ++k) {
        const double value = row_[static_cast<std::size_t>(k)];
        if (value >= least && k != options_.blank) classes_.push_back({value, k});
    }
    const auto falling = [](const Class& a, const Class& b) {
        return a.value != b.value ? a.value > b.value : a.label < b.label;
    };
    // alone, a prefix needs no more than `width` classes, those aside that lead to others in the beam or repeat its last
    const std::size_t enough = 2 * width + 1;
    if (classes_.size() > enough && !options_.lexicon && options_.language == Language::none) {
        std::nth_element(classes_.begin(), classes_.begin() + static_cast<std::ptrdiff_t>(enough), classes_.end(), falling);
        classes_.resize(enough);
    }
    std::sort(classes_.begin(), classes_.end(), falling);
    for (std::size_t rank = 0; rank < beam_.size(); ++rank) {
        const Entry& e = beam_[rank];
        if (classes_.empty() || e.score + classes_[0].value + most_ < bound_ - rounding) break;
        for (std::int32_t child = first_child_[rank]; child >= 0; child = next_child_[static_cast<std::size_t>(child)])
            taken_[static_cast<std::size_t>(beam_[static_cast<std::size_t>(child)].label)] = static_cast<std::int32_t>(rank);
        const Node& node = nodes_[static_cast<std::size_t>(e.node)];
        for (const Class c : classes_) {
            if (e.score + c.value + most_ < bound_ - rounding) break;
            if (taken_[static_cast<std::size_t>(c.label)] == static_cast<std::int32_t>(rank)) continue;
            const double total = (c.label == e.label ? e.blank : e.total) + c.value;
            Grown to;
            if (total == impossible || !grown(node, c.label, to)) continue;
            const double score = total + (node.language + to.added);
            if (score < bound_ || score == impossible) continue;
            candidates_.push_back({score, total, static_cast<std::int32_t>(rank), c.label});
            bound_ = std::max(bound_, score - options_.margin);
            if (candidates_.size() < full) continue;
            const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(width) - 1;
            std::nth_element(candidates_.begin(), last, candidates_.end(), better);
            bound_ = std::max(bound_, last->score);
            candidates_.resize(width);
        }
        for (std::int32_t child = first_child_[rank]; child >= 0; child = next_child_[static_cast<std::size_t>(child)])
            taken_[static_cast<std::size_t>(beam_[static_cast<std::size_t>(child)].label)] = -1;
    }
}

/// The best candidates become the beam.
void Search::keep() {
    if (candidates_.size() > options_.width) {
        const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(options_.width);
        std::nth_element(candidates_.begin(), last, candidates_.end(), better);
        candidates_.resize(options_.width);
    }
    std::sort(candidates_.begin(), candidates_.end(), better);
    next_.clear();
    for (const Candidate& c : candidates_) {
        if (c.score < candidates_[0].score - options_.margin) break;
        const auto rank = static_cast<std::size_t>(c.rank);
        if (c.label < 0) {
            next_.push_back(stays_[rank]);
            continue;
        }
        const Entry& e = beam_[rank];
        const bool of_blank = c.label == e.label || e.best_blank >= e.best_ending;
        Entry n{};
        n.label = c.label;
        n.blank = n.best_blank = impossible;
        n.ending = n.total = c.total;
        n.score = c.score;
        n.best_ending = (of_blank ? e.best_blank : e.best_ending) + row_[static_cast<std::size_t>(c.label)];
        n.spans_blank = -1;
        n.spans_ending = of_blank ? e.spans_blank : ended(rank);
        n.start = frame_;
        n.node = find_or_add(e.node, c.label);
        next_.push_back(n);
    }
    for (const Entry& e : beam_) nodes_[static_cast<std::size_t>(e.node)].live = -1;
    for (std::size_t rank = 0; rank < next_.size(); ++rank)
        nodes_[static_cast<std::size_t>(next_[rank].node)].live = static_cast<std::int32_t>(rank);
    for (const Entry& e : beam_) {
        Node& node = nodes_[static_cast<std::size_t>(e.node)];
        if (node.live >= 0 || node.slot < 0) continue;
        free_slots_.push_back(node.slot);
        node.slot = -1;
    }
    beam_.swap(next_);
}

/// What one label more makes of a prefix; false where the lexicon forbids it.
bool Search::grown(const Node& node, std::int32_t label, Grown& to) const {
    const BeamOptions& o = options_;
    to = {0.0, node.state, node.spelled, 0};
    if (o.lexicon && (to.lexicon = o.lexicon->step(node.lexicon, label)) < 0) return false;
    switch (o.language) {
        case Language::none: break;
        case Language::external:
            to.added = answers_[static_cast<std::size_t>(node.slot) * o.classes + static_cast<std::size_t>(label)];
            break;
        case Language::labels: {
            const double value = o.ngram->step(node.state, o.numbers[static_cast<std::size_t>(label)], to.state);
            to.added = (o.weight > 0 ? o.weight * value : 0.0) + o.bonus;
            break;
        }
        case Language::words:
            if (label != o.separator) {
                to.spelled = o.spelling->step(node.spelled, label);
            } else if (node.spelled) {
                const std::int32_t word = node.spelled < 0 ? o.unknown : o.numbers[static_cast<std::size_t>(node.spelled)];
                const double value = o.ngram->step(node.state, word, to.state);
                to.added = (o.weight > 0 ? o.weight * value : 0.0) + o.bonus;
                to.spelled = 0;
            }
            break;
    }
    return true;
}

/// The one node of a prefix: also where it has left the beam and comes back while longer prefixes still need it.
std::int32_t Search::find_or_add(std::int32_t parent, std::int32_t label) {
    std::int32_t* at = place(parent, label);
    if (*at >= 0) return *at;
    if (nodes_.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) throw std::bad_alloc();
    const Node& above = nodes_[static_cast<std::size_t>(parent)];
    Grown to;
    grown(above, label, to);
    const auto number = static_cast<std::int32_t>(nodes_.size());
    nodes_.push_back({parent, label, above.language + to.added, to.state, to.spelled, to.lexicon, -1, -1});
    *at = number;
    if (2 * nodes_.size() > table_.size()) enlarge();
    return number;
}

std::int32_t* Search::place(std::int32_t parent, std::int32_t label) {
    const std::size_t mask = table_.size() - 1;
    const auto key = static_cast<std::uint64_t>(parent) << 32 | static_cast<std::uint32_t>(label);
    std::size_t at = static_cast<std::size_t>((key * 0x9E3779B97F4A7C15u) >> 32) & mask;
    for (;; at = (at + 1) & mask) {
        if (table_[at] < 0) return &table_[at];
        const Node& node = nodes_[static_cast<std::size_t>(table_[at])];
        if (node.parent == parent && node.label == label) return &table_[at];
    }
}

void Search::enlarge() {
    std::size_t size = 1024;
    while (size < 4 * nodes_.size()) size *= 2;
    table_.assign(size, -1);
    for (std::size_t number = 1; number < nodes_.size(); ++number)
        *place(nodes_[number].parent, nodes_[number].label) = static_cast<std::int32_t>(number);
}

/// The frames of all labels in the best alignment that ends in the last one, which ends before this frame.
std::int32_t Search::ended(std::size_t rank) {
    if (ended_[rank] == -2) {
        if (spans_.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) throw std::bad_alloc();
        ended_[rank] = static_cast<std::int32_t>(spans_.size());
        spans_.push_back({beam_[rank].spans_ending, beam_[rank].start, frame_});
    }
    return ended_[rank];
}

/// Drop the nodes and spans that nothing in the beam goes back to.
void Search::sweep() {
    std::vector<std::int32_t> node_to(nodes_.size(), -1), span_to(spans_.size(), -1);
    node_to[0] = 0;
    for (const Entry& e : beam_) {
        for (std::int32_t n = e.node; node_to[static_cast<std::size_t>(n)] < 0; n = nodes_[static_cast<std::size_t>(n)].parent)
            node_to[static_cast<std::size_t>(n)] = 0;
        for (std::int32_t list : {e.spans_blank, e.spans_ending})
            for (; list >= 0 && span_to[static_cast<std::size_t>(list)] < 0; list = spans_[static_cast<std::size_t>(list)].before)
                span_to[static_cast<std::size_t>(list)] = 0;
    }
    // parents have lower numbers than children, so one pass renumbers both
    std::int32_t count = 0;
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
        if (node_to[n] < 0) continue;
        Node node = nodes_[n];
        if (node.parent >= 0) node.parent = node_to[static_cast<std::size_t>(node.parent)];
        node_to[n] = count;
        nodes_[static_cast<std::size_t>(count++)] = node;
    }
    nodes_.resize(static_cast<std::size_t>(count));
    count = 0;
    for (std::size_t s = 0; s < spans_.size(); ++s) {
        if (span_to[s] < 0) continue;
        Span span = spans_[s];
        if (span.before >= 0) span.before = span_to[static_cast<std::size_t>(span.before)];
        span_to[s] = count;
        spans_[static_cast<std::size_t>(count++)] = span;
    }
    spans_.resize(static_cast<std::size_t>(count));
    for (Entry& e : beam_) {
        e.node = node_to[static_cast<std::size_t>(e.node)];
        if (e.spans_blank >= 0) e.spans_blank = span_to[static_cast<std::size_t>(e.spans_blank)];
        if (e.spans_ending >= 0) e.spans_ending = span_to[static_cast<std::size_t>(e.spans_ending)];
    }
    enlarge();
    limit_ = std::max(first_sweep, 2 * std::max(nodes_.size(), spans_.size()));
}

const std::vector<std::int32_t>& Search::unasked() {
    unasked_.clear();
    for (const Entry& e : beam_)
        if (nodes_[static_cast<std::size_t>(e.node)].slot < 0) unasked_.push_back(e.node);
    return unasked_;
}

std::vector<std::int32_t> Search::prefix(std::int32_t node) const {
    std::vector<std::int32_t> labels;
    for (; node > 0; node = nodes_[static_cast<std::size_t>(node)].parent)
        labels.push_back(nodes_[static_cast<std::size_t>(node)].label);
    std::reverse(labels.begin(), labels.end());
    return labels;
}

void Search::answer(std::int32_t node, const double* added) {
    const std::size_t K = options_.classes;
    if (free_slots_.empty()) {
        free_slots_.push_back(static_cast<std::int32_t>(answers_.size() / K));
        answers_.resize(answers_.size() + K);
    }
    const std::int32_t slot = free_slots_.back();
    free_slots_.pop_back();
    nodes_[static_cast<std::size_t>(node)].slot = slot;
    for (std::size_t k = 0; k < K; ++k) {
        answers_[static_cast<std::size_t>(slot) * K + k] = added[k];
        most_ = std::max(most_, added[k]);
    }
}

std::vector<Reading> Search::readings(std::size_t count, bool final) const {
    struct Ranked {
        double score, language;
        std::size_t rank;
    };
    const BeamOptions& o = options_;
    std::vector<Ranked> ranked;
    for (std::size_t rank = 0; rank < beam_.size(); ++rank) {
        const Node& node = nodes_[static_cast<std::size_t>(beam_[rank].node)];
        double language = node.language;
        if (final) {
            if (o.lexicon && !o.lexicon->accepting[static_cast<std::size_t>(node.lexicon)]) continue;
            double added = 0, bonus = 0;
            std::int32_t state = node.state, after;
            if (o.language == Language::words && node.spelled) {
                added = o.ngram->step(
                    state, node.spelled < 0 ? o.unknown : o.numbers[static_cast<std::size_t>(node.spelled)], after);
                state = after;
                bonus = o.bonus;
            }
            if (o.ngram && o.end >= 0) added += o.ngram->step(state, o.end, after);
            language += (o.weight > 0 ? o.weight * added : 0.0) + bonus;
        }
        if (language > impossible) ranked.push_back({beam_[rank].total + language, language, rank});
    }
    std::stable_sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) { return a.score > b.score; });
    if (ranked.size() > count) ranked.resize(count);
    std::vector<Reading> found;
    for (const Ranked& r : ranked) {
        const Entry& e = beam_[r.rank];
        Reading reading{prefix(e.node), {}, {}, e.total, r.language};
        std::int32_t list = e.spans_blank;
        if (e.best_ending > e.best_blank) {
            reading.starts.push_back(e.start);
            reading.ends.push_back(frame_);
            list = e.spans_ending;
        }
        for (; list >= 0; list = spans_[static_cast<std::size_t>(list)].before) {
            reading.starts.push_back(spans_[static_cast<std::size_t>(list)].start);
            reading.ends.push_back(spans_[static_cast<std::size_t>(list)].end);
        }
        std::reverse(reading.starts.begin(), reading.starts.end());
        std::reverse(reading.ends.begin(), reading.ends.end());
        found.push_back(std::move(reading));
    }
    return found;
}

template <class T>
Reading best_path(const Rows<T>& rows, std::int32_t blank) {
    Reading reading{{}, {}, {}, 0.0, 0.0};
    std::int32_t before = -1;
    for (std::size_t t = 0; t < rows.steps; ++t) {
        const T* row = rows[t];
        const auto label = static_cast<std::int32_t>(first_largest(row, rows.classes));
        reading.log_probability += static_cast<double>(row[label]);
        if (label != before) {
            if (before >= 0 && before != blank) reading.ends.push_back(static_cast<std::int64_t>(t));
            if (label != blank) {
                reading.labels.push_back(label);
                reading.starts.push_back(static_cast<std::int64_t>(t));
            }
        }
        before = label;
    }
    if (before >= 0 && before != blank) reading.ends.push_back(static_cast<std::int64_t>(rows.steps));
    return reading;
}

template void Search::advance(const float*);
template void Search::advance(const double*);
template Reading best_path(const Rows<float>&, std::int32_t);
template Reading best_path(const Rows<double>&, std::int32_t);

}  // namespace saiki
