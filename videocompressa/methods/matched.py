"""DM and MTT on video: random real clips whose latents are tuned until networks read the same in them as in real ones.

1. Start.  VPC random videos of each class, K keyframes by a fixed rule: the same set that `random-real` stores of the
           same seed, so that the table shows the gain of tuning.
2. Tune.   SGD on the scaled latents (`matching.tune`), a finished stage; keyframes and their times stay.
           `dm` (Zhao and Bilen 2023, "Dataset Condensation with Distribution Matching"): 5,000 steps.
           `mtt` (Cazenavette et al. 2022): 30 experts of 50 epochs, then 8,000 steps. See `matching/objectives.py`.
3. Labels. Hard as published, or soft ones of a teacher. Inside, labels are hard.

As published with the pixel codec and K = T; with fewer keyframes or a latent codec it is our transfer. The rates of MTT
(1000, and 1e-5 for the inner rate) and its momentum are those of the image paper: none are published for video.
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import check_known
from videocompressa.matching.objectives import MTTConfig
from videocompressa.matching.tuning import decoded_clips, tune
from videocompressa.methods.config import MethodConfig, TunedConfig
from videocompressa.run import Run
from videocompressa.selection.keyframes import FIXED_SELECTORS, check_keyframes
from videocompressa.selection.videos import choose_videos
from videocompressa.synthetic import Budget, SyntheticSet


@dataclass(frozen=True)
class MatchedConfig(TunedConfig):
    """How clips are tuned by a matching objective; the defaults are the published ones of DM, `MTT` those of MTT."""

    selector: str = "uniform"
    """Rule that chooses the keyframes to start from; a name of `selection.FIXED_SELECTORS`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("unknown selector", self.selector, FIXED_SELECTORS)

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return self.matching.name

    def reference(self) -> MethodConfig:
        """See `MethodConfig.reference`."""
        return MTT if isinstance(self.matching, MTTConfig) else DM

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return random real clips, tuned by the objective; raises `DivergedError` too when a loss is not finite."""
        check_keyframes(budget.keyframes, train_data.clip.num_frames)
        rows = choose_videos(train_data, "random", budget, run.generator("videos"))  # 1.
        picker = FIXED_SELECTORS[self.selector]()
        positions = picker.positions(train_data.frames[rows], budget.keyframes, run.generator("keyframes"))
        start = self.gather(train_data, rows, positions, codec, run)
        teachers = self.train_teachers(train_data, codec, budget.keyframes, run)
        latents = self._tuned(start, train_data, codec, budget, run)  # 2.
        return self.relabel(dataclasses.replace(start, latents=latents), teachers, run)  # 3.

    def _tuned(self, start: SyntheticSet, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> Tensor:
        """Step 2; the objective is built only where the stage is not finished yet."""

        def compute() -> dict[str, Tensor]:
            latents = start.latents.to(run.device, copy=True).requires_grad_()
            show, matching = decoded_clips(latents, start, codec), self.matching.build(train_data, run)
            tune([latents], matching, show, start.labels, self, run=run, name=self.name)
            return {"latents": latents.detach().cpu()}

        # Labels and their teacher come after.
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("labels", "teacher")}
        key = {"config": settings, "budget": dataclasses.asdict(budget), "codec": codec.spec.weights_sha256}
        return run.recall(self.name, key, compute)["latents"]


DM = MatchedConfig()
MTT = MatchedConfig(matching=MTTConfig(), steps=8000, lr=1000.0)
