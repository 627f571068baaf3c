"""What a training run is: stages, their lengths and rates. Every default stands here once; presets and the command line
override it (`affect-train run nano joint.steps=100`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from models.config import AffectConfig
from models.errors import AffectError


@dataclass(frozen=True)
class StageConfig:
    """One stage of training: linear warm-up, cosine to zero."""

    steps: int = 1000
    batch: int = 64
    lr: float = 2e-4
    warmup: int = 50
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.0  # decay of the averaged weights that are kept; 0: none
    label_smoothing: float = 0.1
    mixup: float = 0.0  # alpha of the Beta distribution; 0: none
    distil: float = 0.0  # share of the loss that follows a teacher's probabilities; 0: no teacher
    optimizer: str = "adamw"  # or sgd, with Nesterov's momentum of .9
    layer_decay: float = 1.0  # each layer towards the input learns this much slower
    log_every: int = 50
    save_every_s: float = 60.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise AffectError("a stage needs steps and batch of at least 1", "", "bad_config")
        if self.optimizer not in ("adamw", "sgd"):
            raise AffectError(f"no optimizer {self.optimizer}", "adamw or sgd", "bad_config")


@dataclass(frozen=True)
class MixtureConfig:
    """Shares of the kinds of composed items in the joint stage; they are drawn in proportion."""

    face: float = 0.11
    voice: float = 0.11
    words: float = 0.30
    face_voice: float = 0.08
    face_words: float = 0.08
    voice_words: float = 0.09
    all: float = 0.10
    conflict: float = 0.13
    reasoned: float = 0.4  # share of the items whose reason is taught too: it is half of their tokens


@dataclass(frozen=True)
class JointConfig(StageConfig):
    """The stage that teaches the language model to read soft tokens, to label and to give reasons."""

    steps: int = 500
    batch: int = 256
    positions: int = 32768  # most of a batch's, padding counted, that are held in memory at once
    compile: bool = True  # fuses the blocks of the language model on a card: it is bound by launches without
    lr: float = 4e-4
    qformer_lr: float = 5e-4
    measure_lr: float = 1e-3
    warmup: int = 100
    reason_weight: float = 4.0
    lines_read: int = 8000  # training lines that are read before refine: the clear ones may contradict
    mixture: MixtureConfig = field(default_factory=MixtureConfig)


@dataclass(frozen=True)
class TuneConfig:
    """Fine-tuning on one's own clips: few steps at a low rate, so that little of what was learned before is forgotten."""

    passes: int = 3  # over the clips that are learned from
    batch: int = 8
    positions: int = 512  # most of a batch's, padding counted, that are held in memory at once
    learns: str = "all"  # Q-Formers, soft tokens and LoRA; `lora`: the language model's correction alone
    lr: float = 1e-4
    qformer_lr: float = 1e-4
    drop: float = 0.5  # share of the draws of a clip with several senses in which some are left out
    reasoned: float = 0.5  # share of the draws whose reason is taught too
    reason_weight: float = 1.0
    save_every_s: float = 60.0

    def __post_init__(self) -> None:
        if min(self.passes, self.batch, self.positions) < 1:
            raise AffectError("train.tune needs passes, batch and positions of at least 1", "", "bad_config")
        if not (0 <= self.drop <= 1 and 0 <= self.reasoned <= 1):
            raise AffectError("train.tune.drop and train.tune.reasoned are shares of 0 to 1", "", "bad_config")
        if self.learns not in ("all", "lora"):
            raise AffectError(f"train.tune.learns can't be {self.learns}", "all or lora", "bad_config")

    def stage(self, clips: int) -> StageConfig:
        """The stage that goes over so many clips: a tenth of its steps to warm up."""
        steps = -(-self.passes * clips // self.batch)
        return StageConfig(
            steps,
            self.batch,
            self.lr,
            max(1, steps // 10),
            weight_decay=0.0,
            log_every=10,
            save_every_s=self.save_every_s,
        )


TEACHER = StageConfig(
    steps=8000, batch=256, lr=0.08, warmup=300, weight_decay=5e-4, clip_norm=5.0, ema=0.999, optimizer="sgd"
)
PUPIL = replace(TEACHER, steps=12000, distil=0.7)


@dataclass(frozen=True)
class TrainConfig:
    """The whole run of a preset."""

    seed: int = 0
    validation: int = 1500  # most items of each set of inputs that are read after joint and after refine
    voice: StageConfig = StageConfig(steps=1500, batch=64, lr=2e-4, ema=0.995, mixup=0.3, layer_decay=0.8, warmup=100)
    teacher: StageConfig = TEACHER
    face: StageConfig = PUPIL
    joint: JointConfig = field(default_factory=JointConfig)
    refine: JointConfig = JointConfig(steps=350, lr=3e-4, qformer_lr=3e-4, warmup=30)
    tune: TuneConfig = TuneConfig()


@dataclass(frozen=True)
class RunConfig:
    """What `affect-train run` resolves a preset and its overrides to; written beside every checkpoint."""

    model: AffectConfig = field(default_factory=AffectConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: str = ""  # JSON lines of one's own clips: with `init`, the run is the one stage `tune`
    init: str = ""  # where it starts from: a bundle's name or folder, or a checkpoint's folder
