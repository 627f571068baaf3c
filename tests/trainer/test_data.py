"""What training is fed: splits hold, test pictures are kept out, clues are true of what is shown, quotes are verbatim."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models.clues import FACE_WORDS, VOICE_WORDS
from models.config import AffectConfig
from models.emotions import LABELS
from models.sound import log_mel
from trainer import reasons
from trainer.augment import LogMel, augment_faces, augment_waves, mask_mel, warp_mel
from trainer.config import MixtureConfig, StageConfig
from trainer.datasets import (
    Sources,
    load,
    near_duplicates,
    prepare_faces,
    read_fer,
    read_goemotions,
    read_meld,
    split_of_actor,
)
from trainer.mixture import BLEND, Composer, norm_of, only
from trainer.reasons import KEYWORDS
from trainer.schedule import rate
from trainer.smoke import make_smoke_data


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """Training items of the data made in code."""
    folder, _ = make_smoke_data(AffectConfig(), tmp_path_factory.mktemp("data"))
    return Composer(load(folder), "train", MixtureConfig())


def test_actors_keep_to_their_split() -> None:
    assert [split_of_actor(actor) for actor in (1, 18, 19, 20, 21, 24)] == ["train"] * 2 + ["validation"] * 2 + [
        "test"
    ] * 2


def test_training_pictures_of_test_faces_are_found() -> None:
    """A twin, also a little darker or noisy, is found; another face is not; nothing outside training is touched."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (4, 6, 6)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    darker = (faces[3] * 0.8).astype(np.uint8)
    noisy = np.clip(faces[3] + rng.normal(0, 8, (48, 48)), 0, 255).astype(np.uint8)
    stack = np.stack([*faces, darker, noisy])
    found = near_duplicates(stack, ["train", "train", "validation", "test", "train", "train"])
    assert found.tolist() == [False, False, False, False, True, True]


def test_the_same_number_gives_the_same_item(composer: Composer) -> None:
    assert composer.item(3, 17) == composer.item(3, 17) != composer.item(3, 18)


def test_items_keep_to_their_split(composer: Composer) -> None:
    items = [composer.item(0, n) for n in range(300)]
    faces = {composer.corpus.faces.splits[i.face] for i in items if i.face is not None}
    voices = {composer.corpus.voices.splits[i.voice] for i in items if i.voice is not None}
    assert faces == voices == {"train"}


def half_right(sources: Sources) -> np.ndarray:
    """A reading of every row that is right in every other row of a label."""
    truth = np.array([LABELS.index(label) for label in sources.labels])
    read = truth.copy()
    for label in range(len(LABELS)):
        read[np.flatnonzero(truth == label)[1::2]] = (label + 1) % len(LABELS)
    return read


def test_a_mistaken_sense_is_blended_beside_one_other_and_plain_beside_two(composer: Composer) -> None:
    """The label stays the truth; a blend keeps a row of it, and its reason, which nobody measured, is not taught."""
    corpus = composer.corpus
    unsure = Composer(
        corpus, "train", MixtureConfig(), {"visual": half_right(corpus.faces), "audio": half_right(corpus.voices)}
    )
    items = [unsure.item(5, n) for n in range(600)]
    blended = [item for item in items if item.blends]
    assert blended and {item.kind for item in blended} <= {"face_voice", "face_words", "voice_words"}
    for item in blended:
        assert not item.reasoned and all(BLEND[0] <= share <= BLEND[1] for _, share in item.blends.values())
        assert item.face is None or corpus.faces.labels[item.face] in (item.label, "neutral")
    plain = [i for i in items if i.kind == "all"]
    assert any(corpus.faces.labels[i.face] != i.label for i in plain if i.face is not None)


def test_only_rows_that_are_read_rightly_contradict_each_other(composer: Composer) -> None:
    """A sense that does not show its feeling teaches to name what can't be known."""
    corpus = composer.corpus
    lines = np.full(len(corpus.lines), -1)
    seen = [row for row in composer.words if row % 3 == 0]
    lines[seen] = [LABELS.index(corpus.lines[row].label) for row in seen]
    read = {"visual": half_right(corpus.faces), "audio": half_right(corpus.voices), "text": lines}
    some = Composer(corpus, "train", MixtureConfig(), read)
    clear = {some.words[row] for row in seen}
    found = [item for item in (some.item(6, n) for n in range(900)) if item.kind == "conflict"]
    assert found
    for item in found:
        assert item.face is None or LABELS[read["visual"][item.face]] == corpus.faces.labels[item.face]
        assert item.voice is None or LABELS[read["audio"][item.voice]] == corpus.voices.labels[item.voice]
        assert item.present.words is None or item.present.words in clear


def test_agreeing_items_name_one_label_and_conflicts_two(composer: Composer) -> None:
    for item in (composer.item(1, n) for n in range(300)):
        assert len(item.reply.labels) == (2 if item.kind == "conflict" else 1)


def test_one_sense_of_an_item_is_read_without_the_others(composer: Composer) -> None:
    item = next(item for item in (composer.item(7, n) for n in range(300)) if item.kind == "all")
    alone = {sense: only(item, sense) for sense in item.present.modalities}
    assert all(part.present.modalities == (sense,) and part.label == item.label for sense, part in alone.items())
    assert (alone["visual"].face, alone["audio"].voice) == (item.face, item.voice)
    assert alone["text"].present.words == item.present.words and alone["text"].face is alone["text"].voice is None


def test_quotes_stand_in_the_line_to_the_letter(composer: Composer) -> None:
    for item in (composer.item(2, n) for n in range(300)):
        if item.present.words:
            quoted = item.reply.clues["text"].split('"')[1]
            assert quoted and quoted in item.present.words


def test_clues_say_what_was_measured_whatever_the_label() -> None:
    """A clue is made without the label; the words of a level are the measurement's."""
    rng = np.random.default_rng(0)
    for z, wanted in ((-2.0, 0), (0.0, 1), (2.0, 2)):
        for _ in range(30):
            said = reasons.voice_clue(rng, {"pitch_hz": z, "rate": z})
            assert any(word in said for word in VOICE_WORDS["pitch_hz"][wanted])
            assert any(word in said for word in VOICE_WORDS["rate"][wanted])
    assert reasons.face_clue(rng, {"smile": float("nan")}) == "The face is too unclear for its features."


def test_a_levels_keyword_stands_in_its_first_wording_alone() -> None:
    """So that a measured token starts out near what is to be said of it, and far from the other levels."""
    for name, keywords in KEYWORDS.items():
        levels = (VOICE_WORDS | FACE_WORDS)[name]
        for at, keyword in enumerate(keywords):
            held = [keyword in re.split(r"\W", wordings[0]) for wordings in levels]
            assert held == [at == other for other in range(3)], (name, keyword)


def test_unknown_measurements_do_not_spoil_the_norm(composer: Composer) -> None:
    norm = norm_of(composer.corpus.voices)
    assert np.isfinite(norm.apply(composer.corpus.voices.measures)).all()


def test_the_cards_log_mel_is_the_runtimes() -> None:
    """fast path == plain path: training and live use hear the same."""
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    fast = LogMel(torch.device("cpu"))(torch.from_numpy(wave)[None])[0].numpy()
    assert np.abs(fast - log_mel(wave, 100)).max() < 1e-4


def test_augmentation_keeps_shapes_and_repeats_with_its_seed() -> None:
    waves, pixels = torch.randn(3, 16000) * 0.1, torch.rand(3, 1, 48, 48) * 2 - 1
    mel = torch.randn(3, 80, 100)
    for make, x in ((augment_waves, waves), (augment_faces, pixels), (warp_mel, mel), (mask_mel, mel)):
        first, again = (make(x, torch.Generator().manual_seed(5)) for _ in range(2))
        assert first.shape == x.shape and torch.equal(first, again) and torch.isfinite(first).all()


def test_rates_warm_up_and_fall_to_zero() -> None:
    stage = StageConfig(steps=100, warmup=10)
    rates = [rate(step, stage) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0 and rates[99] < 0.001


@pytest.mark.needs_data
def test_real_faces_lose_their_twins(affect_data: Path) -> None:
    """Twin: test_training_pictures_of_test_faces_are_found. FER2013 has hundreds."""
    faces, labels, splits = read_fer(affect_data / "fer2013.parquet")
    found = near_duplicates(faces, splits)
    assert set(labels) == set(LABELS) - {"calm"} and 900 < found.sum() < 2000
    assert {splits[i] for i in np.flatnonzero(found)} == {"train"} and callable(prepare_faces)


@pytest.mark.needs_data
def test_real_lines_have_known_labels_and_sizes(affect_data: Path) -> None:
    """Twin: the smoke lines of `composer`."""
    meld, goemotions = list(read_meld(affect_data / "text")), list(read_goemotions(affect_data / "text"))
    assert sum(line.split == "test" for line in meld) == 2610
    assert {line.label for line in [*meld, *goemotions]} <= set(LABELS)
