"""The transcriber: it learns, says when, reads sound, withstands bad input, and survives a folder."""

from __future__ import annotations

import inspect
from dataclasses import fields

import numpy as np
import pytest
from sklearn.base import clone

import saiki
from saiki.core.errors import DataError, DTypeError, LabelError, LengthError, OptionError, ShapeError
from saiki.data import Audio, AudioFeatures
from saiki.decoding import PrefixBeam
from saiki.models.files import TASKS
from saiki.models.transcriber import Transcriber
from saiki.nn import ConvolutionConfig, LastConfig, LSTMConfig

QUICK = {"hidden_size": 6, "num_layers": 1, "max_epochs": 2, "random_state": 0, "verbose": False}
WORDS = "abc"


def tones(n=60, seed=0, labels=WORDS):
    """Frames in which feature k is large while label k is said, silence between; 1 to 3 labels each."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for _ in range(n):
        said = rng.integers(0, len(labels), size=rng.integers(1, 4))
        parts = [np.zeros((rng.integers(1, 4), len(labels)))]
        for k in said:
            parts += [np.tile(np.eye(len(labels))[k], (rng.integers(3, 6), 1)), parts[0] * 0]
        X.append(np.concatenate(parts) + 0.1 * rng.standard_normal((sum(map(len, parts)), len(labels))))
        y.append("".join(labels[k] for k in said))
    return X, y


@pytest.fixture(scope="module")
def learned():
    X, y = tones(120)
    model = Transcriber(
        **{**QUICK, "hidden_size": 12, "max_epochs": 40}, lr=2e-2, validation=0.2, patience=None
    )
    return model.fit(X, y)


def sounds(n=12, rate=8000, seed=0):
    """Recordings of one or two beeps: low is 'a', high is 'b'."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for _ in range(n):
        said = rng.integers(0, 2, size=rng.integers(1, 3))
        t = np.arange(int(0.08 * rate)) / rate
        gap = np.zeros(int(0.04 * rate))
        parts = [gap, *(p for k in said for p in (np.sin(2 * np.pi * (500, 2000)[k] * t), gap))]
        X.append(0.3 * np.concatenate(parts) + 0.01 * rng.standard_normal(sum(map(len, parts))))
        y.append("".join("ab"[k] for k in said))
    return X, y


# ---- learning --------------------------------------------------------------------------------------------


def test_it_learns_what_the_simple_models_cannot(learned):
    X, y = tones(30, seed=9)
    found = learned.evaluate(X, y)
    assert found["label_error_rate"] < 0.1 and found["label_error_rate"] == found["cer"]
    assert learned.score(X, y) == pytest.approx(1 - found["cer"])
    assert {b["name"] for b in learned.baselines_} == {
        "the commonest answer",
        "the nearest training utterance's answer",
    }
    assert learned.metrics_["cer"] < min(b["cer"] for b in learned.baselines_)
    assert learned.labels_.unit == "character" and learned.tokens_ == ("a", "b", "c", "<blank>")


def test_times_lie_where_the_labels_were(learned):
    frames = np.zeros((30, 3))
    frames[4:8, 0], frames[20:25, 2] = 1.0, 1.0
    found = learned.transcribe([frames])[0]
    assert found.answer == "ac" and not found.seconds
    first, second = found.labels
    assert first.start < first.end <= second.start < second.end
    assert abs(first.start - 6) <= 6 and abs(second.start - 22) <= 6
    assert 0 < first.score <= 1 and found.to_json()["labels"][1]["label"] == "c"


def test_probabilities_sum_to_one_and_batch_mates_do_not_matter(learned):
    X, _ = tones(5, seed=3)
    together = learned.predict_proba(X)
    for frames, p in zip(X, together):
        assert p.shape == (len(frames), 4)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(learned.predict_proba([frames])[0], p, atol=1e-6)


def test_a_beam_says_at_least_as_probable_things(learned):
    X, _ = tones(6, seed=4)
    greedy, beam = learned.transcribe(X), learned.transcribe(X, PrefixBeam(width=8))
    assert all(b.log_probability >= g.log_probability - 1e-5 for g, b in zip(greedy, beam))
    assert learned.predict(X, PrefixBeam(width=8)) == [b.answer for b in beam]
    with pytest.raises(DTypeError, match="decoder is str but must be a saiki"):
        learned.predict(X, "beam")


def test_the_seed_decides_every_bit():
    X, y = tones(20)
    first, second = (Transcriber(**QUICK, dropout=0.3).fit(X, y).predict_proba(X[:2]) for _ in range(2))
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


# ---- forms of X and y ------------------------------------------------------------------------------------


def test_labels_come_back_as_they_went_in():
    X, y = tones(12)
    numbers = [[10 * (ord(c) - 96) for c in text] for text in y]
    model = Transcriber(**QUICK).fit(X, numbers)
    assert model.labels_.kind == "int" and model.tokens_ == ("10", "20", "30", "<blank>")
    assert all(p.dtype == np.int64 for p in model.predict(X))
    assert set(model.metrics_) == {"label_error_rate", "exact"}
    single = Transcriber(**QUICK, validation=None).fit(X, [n[0] for n in numbers])
    assert single.labels_.kind == "int" and single.metrics_ == {} and single.baselines_ == []
    spoken = Transcriber(**QUICK, validation=None).fit(X, [[f"label {v}" for v in n] for n in numbers])
    assert spoken.tokens_[:2] == ("label 10", "label 20") and spoken.labels_.kind == "str"


def test_texts_are_cut_into_words_or_characters():
    X, y = tones(12)
    spoken = ["  ".join({"a": "one", "b": "two", "c": "three"}[c] for c in text) for text in y]
    model = Transcriber(**QUICK, units="words").fit(X, spoken)
    assert model.tokens_ == ("one", "three", "two", "<blank>") and model.labels_.unit == "word"
    assert set(model.metrics_) == {"label_error_rate", "wer", "cer", "exact"}
    lower = {"type": "characters", "lower": True}
    folded = Transcriber(**QUICK, units=lower, validation=None).fit(X, [text.upper() for text in y])
    assert folded.tokens_ == ("a", "b", "c", "<blank>") and folded._options()["units"] == lower
    small, large = folded.evaluate(X, y), folded.evaluate(X, [text.upper() for text in y])
    assert small == large, "capitals are no labels of this model, so they are no errors"
    plain = Transcriber(**QUICK, validation=None, convolution={"size": 4, "kernel_size": 3})
    assert " " in plain.fit(X[:4] * 3, [" ab", "a b", "b", "ba"] * 3).tokens_


def test_whole_groups_are_held_out():
    X, y = tones(30)
    groups = ["anna"] * 10 + ["ben"] * 8 + ["cleo"] * 12
    model = Transcriber(**QUICK, validation=0.3).fit(X, y, groups=groups)
    held = model.details_["splits"][1]["utterances"]
    assert held in (8, 10, 12) and model.details_["splits"][0]["utterances"] == 30 - held
    with pytest.raises(LabelError, match="one group alone, 'anna'"):
        Transcriber(**QUICK).fit(X, y, groups=["anna"] * 30)
    with pytest.raises(LengthError, match="groups has 2 entries but X has 30"):
        Transcriber(**QUICK).fit(X, y, groups=[1, 2])


def test_scaling_by_utterance_does_not_see_loudness():
    X, y = tones(20)
    model = Transcriber(**QUICK, scaling="utterance").fit(X, y)
    for a, b in zip(model.predict_proba(X[:3]), model.predict_proba([7 * x + 3 for x in X[:3]])):
        np.testing.assert_allclose(a, b, atol=1e-4)
    standard = Transcriber(**QUICK, validation=None).fit(X, y)
    np.testing.assert_allclose(standard.center_, np.concatenate(X).mean(axis=0))


def test_a_convolution_in_front_makes_it_shorter():
    X, y = tones(20)
    front = ConvolutionConfig(size=5, kernel_size=3, stride=2)
    model = Transcriber(**QUICK, convolution=front).fit(X, y)
    assert list(model.network_.layers) == ["convolution", "activation", "lstm", "head"]
    assert [len(p) for p in model.predict_proba(X)] == [-(-len(x) // 2) for x in X]
    again = Transcriber(**QUICK, convolution={"size": 5, "kernel_size": 3, "stride": 2}).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X)[0], model.predict_proba(X)[0])
    with pytest.raises(OptionError, match="network and convolution are both given"):
        Transcriber(network=[LSTMConfig(hidden_size=3)], convolution=front).fit(X, y)


def test_a_network_of_ones_own():
    X, y = tones(12)
    model = Transcriber(**QUICK, network=[LSTMConfig(hidden_size=3), LSTMConfig(hidden_size=4)]).fit(X, y)
    assert list(model.network_.layers) == ["lstm", "lstm_2", "head"]
    with pytest.raises(ShapeError, match="a transcriber answers at every step"):
        Transcriber(**QUICK, network=[LSTMConfig(hidden_size=3), LastConfig()]).fit(X, y)


# ---- sound -----------------------------------------------------------------------------------------------


def test_recordings_are_heard_and_times_are_seconds():
    X, y = sounds()
    options = {**QUICK, "max_epochs": 40, "hidden_size": 8, "batch_size": 3}
    model = Transcriber(**options, rate_hz=8000, lr=2e-2, validation=None).fit(X, y)
    assert model.audio_ == AudioFeatures(rate_hz=8000) and model.n_features_in_ == 40
    assert model.score(X, y) > 0.9
    found = model.transcribe(X[:1])[0]
    assert found.seconds and 0 <= found.labels[0].start < found.labels[-1].end <= len(X[0]) / 8000 + 0.01
    mfcc = Transcriber(**QUICK, features="mfcc", validation=None).fit([Audio(x, 8000) for x in X], y)
    assert mfcc.n_features_in_ == 39 and mfcc.audio_.rate_hz == 8000


def test_files_of_another_rate_and_stereo_are_mended_and_said(tmp_path, caplog):
    soundfile = pytest.importorskip("soundfile", reason="reading sound files is the extra saiki[audio]")
    X, y = sounds(4)
    files = []
    for k, x in enumerate(X):
        files.append(tmp_path / f"{k}.wav")
        soundfile.write(files[-1], np.repeat(x, 2) if k == 1 else x, 16000 if k == 1 else 8000)
    soundfile.write(files[3], np.stack([X[3], X[3]], axis=1), 8000)
    with caplog.at_level("INFO", logger="saiki"):
        model = Transcriber(**QUICK, validation=None).fit(files, y)
    assert model.audio_.rate_hz == 8000
    assert "1 of 4 recordings was resampled from 16,000 to 8,000 Hz: 1.wav." in caplog.text
    assert "1 of 4 recordings was mixed from 2 channels to one: 3.wav." in model.notes_
    whole = files[2].read_bytes()
    files[2].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2\.wav is cut short: its header promises"):
        model.predict(files)


@pytest.mark.parametrize(
    ("X", "options", "error", "said"),
    [
        ("a.wav", {}, DTypeError, r"X is one path, 'a\.wav', but must be a list"),
        (["a.wav"], {}, DataError, r"there is no sound file a\.wav"),
        ([np.zeros(800)], {}, OptionError, "rows of samples, which do not say how many"),
        ([np.zeros((9, 2))], {"features": "mfcc"}, OptionError, "'mfcc', which is heard in recordings"),
        ([np.zeros((9, 2))], {"features": "mel"}, OptionError, "features is 'mel' but must be 'auto'"),
        ([np.zeros(0)], {"rate_hz": 8000}, ShapeError, r"X\[0\] holds no sample"),
        (
            [np.zeros(800)],
            {"features": AudioFeatures(), "rate_hz": 8000},
            OptionError,
            "rate_hz is 8000 but features take 16000",
        ),
    ],
)
def test_what_cannot_be_heard_is_named(X, options, error, said):
    with pytest.raises(error, match=said):
        Transcriber(**QUICK, **options).fit(X, ["a"])


# ---- bad input -------------------------------------------------------------------------------------------


def test_a_transcript_longer_than_its_frames_names_the_utterance():
    X, y = tones(6)
    X[4] = np.zeros((4, 3))
    for text, need in (("abcab", 5), ("aab", 4), ("aabb", 6)):
        y[4] = text
        if need <= 4:
            Transcriber(**QUICK, validation=None).fit(X, y)
            continue
        with pytest.raises(LengthError, match=f"utterance 4 has 4 frames, but .* needs at least {need}"):
            Transcriber(**QUICK).fit(X, y)
    y[4] = "abc"
    with pytest.raises(LengthError, match="utterance 4 has 4 frames, which become 2 steps, but"):
        Transcriber(**QUICK, convolution={"size": 3, "kernel_size": 3, "stride": 2}).fit(X, y)


@pytest.mark.parametrize(
    ("y", "error", "said"),
    [
        (["a", "b", " ", "c"], LabelError, "the transcript of utterance 2 is empty"),
        ([[1], [2], [], [3]], LabelError, "the transcript of utterance 2 is empty"),
        (["a", "b", 3, "c"], LabelError, "answer of utterance 2 is a sequence of whole numbers, but those"),
        ([[1], [2], [2.5], [3]], LabelError, "answer of utterance 2 holds 2.5"),
        ([[1], [True], [2], [3]], LabelError, "answer of utterance 1 holds True"),
        (["a", "b"], LengthError, "y has 2 answers but X has 4 utterances"),
        ("abcd", DTypeError, "y is str but must be a list of texts"),
        (None, DTypeError, "y is NoneType"),
    ],
)
def test_what_is_no_transcript_is_named(y, error, said):
    X, _ = tones(4)
    model = Transcriber(**QUICK)
    with pytest.raises(error, match=said):
        model.fit(X, y)
    assert not hasattr(model, "network_")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"scaling": "minmax"}, OptionError, "scaling is 'minmax' but must be 'standard', 'utterance'"),
        ({"beam_width": 0}, OptionError, "beam_width is 0"),
        ({"units": "letters"}, OptionError, "unknown tokenizer 'letters'"),
        ({"convolution": {"size": 3}}, ValueError, "kernel_size"),
        ({"convolution": 3}, DTypeError, "convolution is int"),
        ({"validation": 2}, OptionError, "validation is 2"),
        ({"cell": "lstn"}, OptionError, "unknown cell 'lstn'"),
    ],
)
def test_bad_options_are_named_before_training(options, error, said):
    with pytest.raises(error, match=said):
        Transcriber(**{**QUICK, **options}).fit(*tones(4))


def test_new_labels_are_errors_in_training_and_count_in_evaluation(learned):
    X, _ = tones(2, seed=5)
    with pytest.raises(LabelError, match=r"the transcript of utterance 0: token 'x' at place 1"):
        Transcriber(**QUICK, validation=([X[0]], ["ax"])).fit(*tones(6))
    assert learned.evaluate(X, ["xyz", "xyz"])["cer"] > 0.5
    with pytest.raises(LabelError, match="is a sequence of whole numbers, but this model's answers are text"):
        learned.evaluate(X, [[1], [2]])
    with pytest.raises(ShapeError, match="features"):
        learned.predict([np.zeros((4, 5))])
    assert learned.predict([X[0], np.zeros((0, 3))])[1] == ""


@pytest.mark.parametrize(
    ("X", "error", "said"),
    [
        ([np.zeros((3, 3)), np.full((2, 3), np.nan)], ValueError, "sequence 1 is NaN"),
        ([], LengthError, "holds no sequence"),
        ([np.zeros((3, 3)), np.zeros((3, 2))], ShapeError, "sequence 1 of X has 2 features"),
        (["a.wav"], DTypeError, "X holds recordings, but this model reads frames"),
        (None, TypeError, "X"),
        ([np.full((4, 3), 1e300)], ValueError, "utterance 0 reaches 1e\\+300"),
    ],
)
def test_malformed_frames_are_named(learned, X, error, said):
    with pytest.raises(error, match=said):
        learned.predict(X)


# ---- scikit-learn's rules --------------------------------------------------------------------------------


def test_parameters_follow_the_rules():
    names = [name for name in inspect.signature(Transcriber.__init__).parameters if name != "self"]
    given = {name: object() for name in names}
    assert vars(Transcriber(**given)) == given, "the constructor only stores"
    assert {field.name for field in fields(Transcriber.OptionsFile)} == set(names)
    front = ConvolutionConfig(size=3, kernel_size=3)
    copy = clone(Transcriber(convolution=front, features=AudioFeatures(bands=20)))
    assert copy.convolution == front and copy.features == AudioFeatures(bands=20)
    copy.set_params(training__clip_norm=0.5)
    assert copy.training.clip_norm == 0.5
    with pytest.raises(OptionError, match="did you mean 'hidden_size'"):
        copy.set_params(hiden_size=3)
    with pytest.raises(ValueError, match="is not fitted yet; call fit first"):
        copy.predict([np.zeros((3, 3))])


# ---- files -----------------------------------------------------------------------------------------------


def test_a_folder_gives_the_same_model_back(learned, tmp_path):
    X, _ = tones(5, seed=6)
    learned._kept = None  # the look inside is tested elsewhere, and takes its time
    folder = learned.save(tmp_path / "model")
    again = saiki.load(folder)
    assert TASKS["transcriber"] is Transcriber and again.labels_ == learned.labels_
    for a, b in zip(again.predict_proba(X), learned.predict_proba(X)):
        np.testing.assert_array_equal(a, b)
    assert again.metrics_ == learned.metrics_
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in ("Alignment of utterance", "character error rate", "what the model understood"):
        assert words in page


def test_sound_models_keep_their_ears(tmp_path):
    X, y = sounds()
    hear = AudioFeatures(kind="mfcc", rate_hz=8000, bands=20, coefficients=6, deltas=1)
    front = ConvolutionConfig(size=5, kernel_size=3, stride=2, causal=True)
    model = Transcriber(**QUICK, features=hear, convolution=front, units="words").fit(X, y)
    model._kept = None  # the look inside is tested elsewhere, and takes its time
    again = saiki.load(model.save(tmp_path / "model"))
    assert again.audio_ == hear and again.features == hear
    assert ConvolutionConfig(**again.convolution) == front
    np.testing.assert_array_equal(again.predict_proba(X)[0], model.predict_proba(X)[0])


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path):
    X, y = tones(16)
    whole = Transcriber(**{**QUICK, "max_epochs": 3}).fit(X, y, checkpoint=tmp_path / "a")
    Transcriber(**{**QUICK, "max_epochs": 3}).fit(X, y, checkpoint=tmp_path / "b")
    newest = sorted((tmp_path / "b").iterdir())[-1]
    loaded = saiki.load(tmp_path / "b")
    assert loaded.labels_ == whole.labels_ and newest.exists()
    resumed = Transcriber(**{**QUICK, "max_epochs": 3}).fit(X, y, checkpoint=tmp_path / "b", resume=True)
    np.testing.assert_array_equal(resumed.predict_proba(X)[0], whole.predict_proba(X)[0])
