// The binding of connectionist temporal classification (ctc.h): whatever decides where a kernel reads or writes is
// copied and checked here. Included by binding.cpp alone, whose functions it uses.
#pragma once

namespace saiki::python {

/// The arguments that all these functions take, checked and copied.
struct CtcArguments {
    nb::handle logits, lengths, batch_sizes, order, targets, target_lengths;
    std::int64_t blank;
};

template <class T>
class CtcBatch {
public:
    Ctc<T> batch{};
    std::vector<std::size_t> path_starts;  // (B + 1,)

    CtcBatch(Arrays& arrays, const CtcArguments& from) {
        const Seen a = arrays.see(from.logits, {"logits"});
        if (a.rank != 2 || a.shape[1] < 1) value_error("logits is " + a.shape_text() + " but must be (N, K), K at least 1");
        const auto N = static_cast<std::size_t>(a.shape[0]), K = static_cast<std::size_t>(a.shape[1]);
        if (K > max_size) value_error("logits has more than " + std::to_string(max_size) + " columns");
        if (from.blank < 0 || static_cast<std::size_t>(from.blank) >= K) value_error("blank must be a column of logits");
        lengths_ = copied(arrays, from.lengths, {"lengths"});
        const std::size_t B = lengths_.size();
        if (from.batch_sizes.is_none()) padded(N);
        else packed(arrays, from, N);
        for (std::size_t b = 0, steps = 0; b <= B; ++b) {
            path_starts.push_back(steps);
            if (b < B) steps += static_cast<std::size_t>(lengths_[b]);
        }
        labels(arrays, from, K);
        batch.logits = arrays.read<T>(from.logits, {"logits"}, N, K);
        batch.rows = N, batch.classes = K;
        batch.steps = sizes_.size(), batch.batch = B;
        batch.sizes = sizes_.data(), batch.starts = starts_.data(), batch.order = order_.data();
        batch.lengths = lengths_.data();
        batch.labels = labels_.data(), batch.label_starts = label_starts_.data();
        batch.blank = static_cast<std::int32_t>(from.blank);
    }

    std::size_t B() const { return lengths_.size(); }
    /// Labels that there is room for: a row of `saved` depends on it.
    std::size_t longest() const { return batch.longest; }

private:
    static std::vector<std::int64_t> copied(Arrays& arrays, nb::handle object, Name name) {
        const Seen seen = arrays.see(object, name);
        if (seen.rank != 1) value_error(name.str() + " is " + seen.shape_text() + " but must have one axis");
        const auto count = static_cast<std::size_t>(seen.shape[0]);
        std::size_t stride;
        Arrays::checked<std::int64_t>(seen, name, count, 0, &stride, true);
        const auto* from = reinterpret_cast<const std::int64_t*>(seen.data);
        return {from, from + count};
    }

    /// Every step has a row of every utterance.
    void padded(std::size_t N) {
        const std::size_t B = lengths_.size(), steps = B ? N / B : 0;
        if (N != steps * B) value_error("logits has " + std::to_string(N) + " rows, which is no multiple of the " +
                                        std::to_string(B) + " lengths");
        if (steps > max_size) value_error("an utterance has more than " + std::to_string(max_size) + " steps");
        for (std::size_t b = 0; b < B; ++b) {
            if (lengths_[b] < 0 || static_cast<std::uint64_t>(lengths_[b]) > steps)
                value_error("lengths[" + std::to_string(b) + "] is " + std::to_string(lengths_[b]) +
                            " but must be between 0 and " + std::to_string(steps));
            order_.push_back(static_cast<std::int64_t>(b));
        }
        sizes_.assign(steps, static_cast<std::int64_t>(B));
        for (std::size_t t = 0; t < steps; ++t) starts_.push_back(t * B);
    }

    void packed(Arrays& arrays, const CtcArguments& from, std::size_t N) {
        const std::size_t B = lengths_.size();
        sizes_ = copied(arrays, from.batch_sizes, {"batch_sizes"});
        order_ = copied(arrays, from.order, {"order"});
        const std::size_t steps = sizes_.size();
        if (steps > max_size) value_error("an utterance has more than " + std::to_string(max_size) + " steps");
        if (!describe(sizes_.data(), steps, N))
            value_error("batch_sizes must be at least 1, never rise, and add up to the rows of logits, " + std::to_string(N));
        std::vector<bool> met(B, false);
        bool fits = order_.size() == B && (!steps || static_cast<std::uint64_t>(sizes_[0]) <= B);
        for (std::size_t j = 0, t = steps; fits && j < B; ++j) {
            while (t && static_cast<std::size_t>(sizes_[t - 1]) <= j) --t;  // steps of the j-th longest
            const std::int64_t b = order_[j];
            fits = b >= 0 && static_cast<std::uint64_t>(b) < B && !met[static_cast<std::size_t>(b)] &&
                   lengths_[static_cast<std::size_t>(b)] == static_cast<std::int64_t>(t);
            if (fits) met[static_cast<std::size_t>(b)] = true;
        }
        if (!fits) value_error("order and lengths must be those of the batch that batch_sizes describes");
        std::size_t row = 0;
        for (const std::int64_t size : sizes_) starts_.push_back(row), row += static_cast<std::size_t>(size);
    }

    void labels(Arrays& arrays, const CtcArguments& from, std::size_t K) {
        const std::size_t B = lengths_.size();
        const Seen seen = arrays.see(from.targets, {"targets"});
        const std::vector<std::int64_t> counts = copied(arrays, from.target_lengths, {"target_lengths"});
        Arrays::require_element<std::int64_t>(seen, {"targets"});
        if (seen.rank != 2 || static_cast<std::uint64_t>(seen.shape[0]) != B || counts.size() != B)
            value_error("targets is " + seen.shape_text() + " with " + std::to_string(counts.size()) +
                        " target_lengths but must be (" + std::to_string(B) + ", L) with " + std::to_string(B));
        const auto L = static_cast<std::size_t>(seen.shape[1]);
        if (L > max_size) value_error("targets has more than " + std::to_string(max_size) + " columns");
        if (reinterpret_cast<std::uintptr_t>(seen.data) % alignof(std::int64_t))
            value_error("targets must be aligned to the size of its elements");
        label_starts_.push_back(0);
        for (std::size_t b = 0; b < B; ++b) {
            const std::string of = " of utterance " + std::to_string(b) + " ";
            if (counts[b] < 0 || static_cast<std::uint64_t>(counts[b]) > L)
                value_error("target_lengths[" + std::to_string(b) + "] is " + std::to_string(counts[b]) +
                            " but must be between 0 and " + std::to_string(L));
            for (std::int64_t j = 0; j < counts[b]; ++j) {
                const std::int64_t label = *reinterpret_cast<const std::int64_t*>(
                    seen.data + (static_cast<std::int64_t>(b) * seen.stride[0] + j * seen.stride[1]) * 8);
                if (label < 0 || static_cast<std::uint64_t>(label) >= K || label == from.blank)
                    value_error("label " + std::to_string(j) + of + "is " + std::to_string(label) +
                                " but must be a column of logits, and not the blank");
                labels_.push_back(static_cast<std::int32_t>(label));
            }
            label_starts_.push_back(labels_.size());
        }
        batch.longest = L;
    }

    std::vector<std::int64_t> lengths_, sizes_, order_;
    std::vector<std::size_t> starts_, label_starts_;
    std::vector<std::int32_t> labels_;
};

/// The element type that the logits decide.
inline Element ctc_element(const CtcArguments& from) {
    Arrays arrays;
    const Element element = arrays.see(from.logits, {"logits"}).element;
    if (element != Element::float32 && element != Element::float64) type_error("logits must hold float32 or float64");
    return element;
}

template <class T>
void ctc_forward_of(const Target& on, const CtcArguments& from, nb::handle loss, nb::handle saved, nb::handle posteriors,
                    int threads) {
    Arrays arrays;
    const CtcBatch<T> made(arrays, from);
    const Kernels<T>& kernels = kernels_of<T>(on);
    const std::size_t N = made.batch.rows, L = made.longest();
    CtcForward<T> out{arrays.write<T>(loss, {"loss"}, made.B(), 0)};
    T nothing;  // an array without numbers may have no address
    if (!saved.is_none()) {
        out.saved = arrays.write<T>(saved, {"saved"}, N, kernels.ctc_columns(L));
        if (!N) out.saved = &nothing;
    }
    if (!posteriors.is_none()) {
        out.posterior_columns = 2 * L + 1;
        out.posteriors = arrays.write<T>(posteriors, {"posteriors"}, N, out.posterior_columns);
        if (!N) out.posteriors = &nothing;
    }
    arrays.require_apart();
    const nb::gil_scoped_release unlocked;
    for (std::size_t k = 0; out.posteriors && k < N * out.posterior_columns; ++k) out.posteriors[k] = 0;
    kernels.ctc_forward(made.batch, out, threads);
}

template <class T>
void ctc_backward_of(const Target& on, const CtcArguments& from, nb::handle loss, nb::handle saved, nb::handle d_loss,
                     nb::handle d_logits, int threads) {
    Arrays arrays;
    const CtcBatch<T> made(arrays, from);
    const Kernels<T>& kernels = kernels_of<T>(on);
    const std::size_t N = made.batch.rows;
    const CtcBackward<T> in{arrays.read<T>(loss, {"loss"}, made.B(), 0),
                            arrays.read<T>(saved, {"saved"}, N, kernels.ctc_columns(made.longest())),
                            arrays.read<T>(d_loss, {"d_loss"}, made.B(), 0),
                            arrays.write<T>(d_logits, {"d_logits"}, N, made.batch.classes)};
    arrays.require_apart();
    const nb::gil_scoped_release unlocked;
    kernels.ctc_backward(made.batch, in, threads);
}

template <class T>
void ctc_paths_of(const Target& on, const CtcArguments& from, nb::handle states, nb::handle log_p, int threads) {
    Arrays arrays;
    const CtcBatch<T> made(arrays, from);
    const std::size_t steps = made.path_starts.back();
    const CtcPaths<T> out{made.path_starts.data(), arrays.write<std::int64_t>(states, {"states"}, steps, 0),
                          arrays.write<double>(log_p, {"log_p"}, steps, 0)};
    arrays.require_apart();
    const nb::gil_scoped_release unlocked;
    kernels_of<T>(on).ctc_paths(made.batch, out, threads);
}

using Text = std::optional<std::string>;

inline void ctc_forward(nb::handle logits, nb::handle lengths, nb::handle batch_sizes, nb::handle order, nb::handle targets,
                        nb::handle target_lengths, std::int64_t blank, nb::handle loss, nb::handle saved,
                        nb::handle posteriors, int threads, const Text& target) {
    const CtcArguments from{logits, lengths, batch_sizes, order, targets, target_lengths, blank};
    const Target& on = target_of(target);
    checked_threads(threads);
    if (ctc_element(from) == Element::float32) ctc_forward_of<float>(on, from, loss, saved, posteriors, threads);
    else ctc_forward_of<double>(on, from, loss, saved, posteriors, threads);
}

inline void ctc_backward(nb::handle logits, nb::handle lengths, nb::handle batch_sizes, nb::handle order, nb::handle targets,
                         nb::handle target_lengths, std::int64_t blank, nb::handle loss, nb::handle saved, nb::handle d_loss,
                         nb::handle d_logits, int threads, const Text& target) {
    const CtcArguments from{logits, lengths, batch_sizes, order, targets, target_lengths, blank};
    const Target& on = target_of(target);
    checked_threads(threads);
    if (ctc_element(from) == Element::float32) ctc_backward_of<float>(on, from, loss, saved, d_loss, d_logits, threads);
    else ctc_backward_of<double>(on, from, loss, saved, d_loss, d_logits, threads);
}

inline void ctc_paths(nb::handle logits, nb::handle lengths, nb::handle batch_sizes, nb::handle order, nb::handle targets,
                      nb::handle target_lengths, std::int64_t blank, nb::handle states, nb::handle log_p, int threads,
                      const Text& target) {
    const CtcArguments from{logits, lengths, batch_sizes, order, targets, target_lengths, blank};
    const Target& on = target_of(target);
    checked_threads(threads);
    if (ctc_element(from) == Element::float32) ctc_paths_of<float>(on, from, states, log_p, threads);
    else ctc_paths_of<double>(on, from, states, log_p, threads);
}

inline std::size_t ctc_columns(const std::string& dtype, std::size_t longest, const Text& target) {
    if (longest > max_size) value_error("longest is more than " + std::to_string(max_size));
    const Target& on = target_of(target);
    return element_named(dtype) == Element::float32 ? on.float32->ctc_columns(longest) : on.float64->ctc_columns(longest);
}

inline void bind_ctc(nb::module_& m) {
    m.def("ctc_columns", &ctc_columns, nb::arg("dtype"), nb::arg("longest"), nb::arg("target").none() = nb::none(),
          "Numbers a row that ctc_forward keeps for ctc_backward, where targets is (B, longest).");
    m.def("ctc_forward", &ctc_forward, nb::arg("logits").none(), nb::arg("lengths").none(), nb::arg("batch_sizes").none(),
          nb::arg("order").none(), nb::arg("targets").none(), nb::arg("target_lengths").none(), nb::arg("blank"),
          nb::arg("loss").none(), nb::arg("saved").none(), nb::arg("posteriors").none(), nb::arg("threads") = 1,
          nb::arg("target").none() = nb::none(),
          R"(Connectionist temporal classification: -ln P of each utterance's labels over all their alignments.

Args:
    logits: (N, K) before the softmax; row t * B + b is step t of utterance b, or rows are packed.
    lengths: (B,) int64, the steps of each utterance.
    batch_sizes, order: of a packed batch, (T,) and (B,) int64: rows by step, and whose they are, longest first; or None.
    targets: (B, L) int64 labels, as many of each row as target_lengths (B,) int64 says.
    blank: the blank's column.
    loss: (B,) to be written.
    saved: (N, ctc_columns) to be written for ctc_backward, or None.
    posteriors: (N, 2 L + 1) to be written, the share of all paths that goes through each state; or None.
    threads: how many may work on it.)");
    m.def("ctc_backward", &ctc_backward, nb::arg("logits").none(), nb::arg("lengths").none(), nb::arg("batch_sizes").none(),
          nb::arg("order").none(), nb::arg("targets").none(), nb::arg("target_lengths").none(), nb::arg("blank"),
          nb::arg("loss").none(), nb::arg("saved").none(), nb::arg("d_loss").none(), nb::arg("d_logits").none(),
          nb::arg("threads") = 1, nb::arg("target").none() = nb::none(),
          R"(The gradient of ctc_forward, which has filled loss and saved on the same target: d_logits (N, K), written.)");
    m.def("ctc_paths", &ctc_paths, nb::arg("logits").none(), nb::arg("lengths").none(), nb::arg("batch_sizes").none(),
          nb::arg("order").none(), nb::arg("targets").none(), nb::arg("target_lengths").none(), nb::arg("blank"),
          nb::arg("states").none(), nb::arg("log_p").none(), nb::arg("threads") = 1, nb::arg("target").none() = nb::none(),
          R"(The likeliest alignment of each utterance, one utterance after another: int64 states (sum of lengths,), 2j + 1
for label j and 2j for the blank before it, and float64 ln p of what is said at each step.)");
}

}  // namespace saiki::python
