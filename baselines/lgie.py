"""LGIE: the LLM derives the expressive instruction from the instruction alone, without seeing the image.

Forms: e2e (MGIEPipeline without eyes), fz and ft (any LLaMA or LLaVA writes, InsPix2Pix edits; baselines/two_step.py).
Assumptions, since the paper does not say: the same question and template without image tokens, and an e2e form with
edit head and visual tokens. No checkpoint was released.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from bench.records import Example, Output
from bench.settings import EditSettings, ModelSettings

if TYPE_CHECKING:
    from baselines.mgie import EndToEnd
    from baselines.rewriters.written import Rewriter
    from baselines.two_step import TwoStep


class LGIE:
    name = "lgie"
    form: "EndToEnd | TwoStep"

    def __init__(self, spec: ModelSettings) -> None:
        if spec.form == "e2e":
            from baselines.mgie import EndToEnd

            self.form = EndToEnd(spec, eyes=False)
        else:
            from baselines.two_step import TwoStep

            self.form = TwoStep(spec, eyes=False)

    @property
    def defaults(self) -> EditSettings:
        return self.form.defaults

    def fingerprint(self) -> dict[str, str]:
        return self.form.fingerprint()

    def parts(self) -> dict[Path, float]:
        return self.form.parts()

    @property
    def rewriter(self) -> "Rewriter | None":
        """Who writes the texts of forms FZ and FT, before the edits; e2e writes its own as it draws."""
        return getattr(self.form, "rewriter", None)

    def load(self) -> None:
        self.form.load()

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        return self.form.edit(examples, settings, seeds)
