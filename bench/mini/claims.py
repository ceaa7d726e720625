"""`python -m mgie.mini.claims` (`make claims`): the paper's three claims, tested on the miniature; whatever comes out.

    1  MGIE over LGIE over InsPix2Pix on ambiguous instructions, which cannot be carried out without seeing the image
    2  E2E over FT over FZ, for LGIE and MGIE
    3  CLIP-S of MGIE's expressive instruction over the human one over LGIE's

Runs what is missing of the cells of Tables 1 and 3 (200 examples a dataset, 1 seed), and of Table 2's on MA5k where
make table2 has trained them, then writes claims.md, claims.csv, claims-figures.csv, claims-examples.png and
comparison-<dataset>.png below results/mini/. Exit codes as bench.tables.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.grid.cells import Options
from bench.grid.reference import made_here
from bench.registry import BENCHMARKS, SUITES, short_name
from bench.settings import MetricSettings

if TYPE_CHECKING:
    from bench.mini.evidence import Runs
    from bench.mini.verdicts import ClaimTest, Figure
    from bench.records import Score

SIGHT, FORM, TEXT = "1 sight", "2 form", "3 text"
WITH_CVS = ("evr", "gier", "magicbrush")
TEXTS = {"mgie": "MGIE's text", "instruction": "human text", "lgie": "LGIE's text"}


def all_tests(runs: "Runs") -> "list[ClaimTest]":
    from bench.mini import verdicts

    return verdicts.judged([*sight(runs), *form(runs), *text(runs), *brushed(runs)])


def sight(runs: "Runs") -> "list[ClaimTest]":
    """Claim 1, and the same on instructions that need no eyes."""
    from bench.mini.verdicts import test

    found, datasets = [], set(runs.datasets)
    for subset, wanted in (("ambiguous", runs.ambiguous), ("not ambiguous", lambda *of: not runs.ambiguous(*of))):
        parts = [("l1", runs.datasets), ("cvs", [d for d in WITH_CVS if d in datasets])]
        parts += [("l1", [d]) for d in runs.datasets]
        for metric, where in parts:
            for a, b in combinations(("mgie", "lgie", "inspix2pix"), 2):
                one, other = (runs.scores(metric, m, datasets=where, wanted=wanted) for m in (a, b))
                names = short_name(a), short_name(b)
                found.append(test(SIGHT, subset, f"{metric} ({', '.join(where)})", names, one, other,
                                  why=runs.why(a) or runs.why(b)))  # fmt: skip
    return found


def form(runs: "Runs") -> "list[ClaimTest]":
    from bench.mini.verdicts import test

    found = []
    for subset, wanted in (("all", lambda *of: True), ("ambiguous", runs.ambiguous)):
        for metric, where in (("l1", runs.datasets), ("cvs", [d for d in WITH_CVS if d in runs.datasets])):
            for model in ("mgie", "lgie"):
                for a, b in combinations(("e2e", "ft", "fz"), 2):
                    one, other = (runs.scores(metric, model, f, where, wanted) for f in (a, b))
                    names = f"{short_name(model)} {a.upper()}", f"{short_name(model)} {b.upper()}"
                    found.append(test(FORM, subset, f"{metric} ({', '.join(where)})", names, one, other,
                                      why=runs.why(model, a) or runs.why(model, b)))  # fmt: skip
    return found


def text(runs: "Runs") -> "list[ClaimTest]":
    """Claim 3, by the command of Figure 4."""
    from bench.mini.verdicts import test

    scores = clip_s(runs)
    found = []
    for subset, wanted in (("all", lambda name: True), ("ambiguous", ambiguous_ids(runs).__contains__)):
        for image in ("goal image", "input image"):
            for a, b in combinations(TEXTS, 2):
                one, other = ([s for s in scores if s.metric == f"clip_s({image}, {kind})" and wanted(s.example_id)]
                              for kind in (a, b))  # fmt: skip
                found.append(test(TEXT, subset, f"clip_s ({image})", (TEXTS[a], TEXTS[b]), one, other,
                                  why=runs.why("mgie") or runs.why("lgie")))  # fmt: skip
    return found


def ambiguous_ids(runs: "Runs") -> set[str]:
    return {e.id for d in runs.datasets for e in runs.examples[d] if runs.ambiguous(d, e.id)}


def clip_s(runs: "Runs") -> "list[Score]":
    from bench.figures import texts as clip_score
    from bench.grid.options import Selection
    from bench.registry import metric_settings

    asked = Selection("mini", (), runs.datasets, runs.options, Path("results"), False)
    nothing: Any = None  # given: the suite's own networks are taken
    networks = metric_settings("mini", MetricSettings(nothing, nothing, nothing, None, nothing))
    return clip_score.measure(asked, networks)[2]


def brushed(runs: "Runs") -> "list[ClaimTest]":
    """mini-MagicBrush: CTS above the input copy's; L1 inside the mask below, outside it like the codec copy's."""
    from bench.mini.evidence import EDITORS, in_and_out
    from bench.mini.verdicts import test

    if "magicbrush" not in runs.datasets:
        return []
    parts, found = {m: in_and_out(runs, "magicbrush", m) for m in ("identity", "codec", *EDITORS)}, []
    for model in EDITORS:
        one, other = (runs.scores("cts", m, datasets=["magicbrush"]) for m in (model, "identity"))
        names = short_name(model), short_name("identity")
        found.append(test("MagicBrush", "all", "cts", names, one, other, why=runs.why(model)))
        for k, metric, against in ((0, "l1 inside", "identity"), (0, "l1 inside", "codec"), (1, "l1 outside", "codec")):
            names = short_name(model), short_name(against)
            found.append(test("MagicBrush", "all", metric, names, parts[model][k], parts[against][k],
                              why=runs.why(model)))  # fmt: skip
    return found


def all_figures(runs: "Runs") -> "list[Figure]":
    from bench.mini.evidence import EDITORS, copied
    from bench.mini.verdicts import mean, ratio

    figures = []
    for dataset in runs.datasets:
        error, signal = copied(runs, dataset)
        figures += [
            mean(f"mini-{dataset}: L1 to the input image", short_name("codec"), error, 0.02),
            mean(f"mini-{dataset}: PSNR to the input image, dB", short_name("codec"), signal, least=28),
        ]
    for dataset in runs.datasets:
        same = runs.scores("l1", "identity", datasets=[dataset])
        for model in EDITORS:
            limit = {"mgie": 0.6}.get(model, 0.75) if dataset == "ma5k" else None
            figures.append(ratio(f"mini-{dataset}: L1 over the input copy's, zero-shot", short_name(model),
                                 runs.scores("l1", model, datasets=[dataset]), same, limit))  # fmt: skip
            if dataset == "ma5k":
                tuned = runs.scores("l1", model, "tuned", [dataset])
                figures.append(ratio("mini-ma5k: L1 over the input copy's, fine-tuned", short_name(model), tuned, same,
                                     0.5, "" if tuned else "not run: make table2 trains it"))  # fmt: skip
    return figures + (masked(runs) if "magicbrush" in runs.datasets else []) + right(runs)


def masked(runs: "Runs") -> "list[Figure]":
    from bench.mini.evidence import EDITORS, in_and_out, recognised
    from bench.mini.verdicts import mean, ratio

    parts, figures = {m: in_and_out(runs, "magicbrush", m) for m in ("identity", "codec", *EDITORS)}, []
    for model in EDITORS:
        figures.append(ratio("mini-magicbrush: L1 inside the mask over the input copy's", short_name(model),
                             parts[model][0], parts["identity"][0], 0.7 if model == "mgie" else None))  # fmt: skip
    codec = mean("", "", parts["codec"][1]).value
    for model, (_, outside) in parts.items():
        limit = None if codec is None or model not in EDITORS else round(codec + 0.01, 4)
        figures.append(mean("mini-magicbrush: L1 outside the mask", short_name(model), outside, limit))
    for kind in ("added", "replaced"):
        for who, see in seen_by(runs).items():
            least = 0.5 if kind == "added" and who in (short_name(m) for m in EDITORS) else None
            figures.append(mean(f"mini-magicbrush: {kind} objects recognised", who,
                                recognised(runs, "magicbrush", see, kind), least=least))  # fmt: skip
    return figures


def seen_by(runs: "Runs") -> dict[str, Callable]:
    """Whose picture of an example the judge's eye looks at."""
    from bench.mini.evidence import EDITORS
    from mgie.io.images import load

    found = {"goal image": lambda e: load(e.goal_image), short_name("identity"): lambda e: load(e.input_image)}
    return found | {short_name(m): lambda e, m=m: runs.image("magicbrush", m, e) for m in EDITORS}


def right(runs: "Runs") -> "list[Figure]":
    """Expressive instructions that name the right cause: macro over families, and by family."""
    from bench.mini.evidence import answers, chance_interval
    from bench.mini.verdicts import Figure, yes

    figures = []
    for model in ("mgie", "lgie"):
        families = answers(runs, model)
        if not families:
            figures.append(
                Figure("right expressive instructions", short_name(model), None, None, None, 0, 0, "", "", "not run")
            )
            continue
        chance, low, high = chance_interval(families)
        macro, n = sum(f.share for f in families) / len(families), sum(f.n for f in families)
        said = f"{len(families)} families; chance {chance:.3f}, 95 % of guesses in [{low:.3f}, {high:.3f}]"
        target, met = ("at least 0.8", macro >= 0.8) if model == "mgie" else ("within chance", low <= macro <= high)
        figures.append(Figure("right expressive instructions, macro over ambiguous families", short_name(model), macro,
                              None, None, n, 0, target, yes(met), said))  # fmt: skip
        figures += [Figure(f"right expressive instructions: {f.family}", short_name(model), f.share, None, None, f.n, 0,
                           "", "", f"chance {f.chance:.3f}") for f in families]  # fmt: skip
    return figures


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("python -m mgie.mini.claims", description=__doc__, formatter_class=raw)
    p.add_argument("--split", default="test", choices=SUITES["mini"].splits, help="default: test, 200 a dataset")
    p.add_argument("--datasets", help=f"comma-separated, of {', '.join(BENCHMARKS)}; default: all of them")
    p.add_argument("--seeds", type=int, default=1, help="how many: seeds 0 to N-1 (default 1)")
    p.add_argument("--data-root", type=Path, default=Path("data"), help="the miniature lies below it (default data)")
    p.add_argument("--out", type=Path, default=Path("runs"), help="run folders go below it (default: runs)")
    p.add_argument("--results", type=made_here, default=Path("results"), help="files go below it (default: results)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    from bench.grid.options import chosen
    from mgie.io.command import command, written

    args = parser().parse_args(argv)

    def make() -> int:
        if args.seeds < 1:
            raise ValueError(f"--seeds {args.seeds}: expected at least 1")
        datasets = chosen(args.datasets, BENCHMARKS, dict.fromkeys(BENCHMARKS), "dataset")
        from bench.grid.reference import against
        from bench.mini import claims_report
        from bench.mini.evidence import Runs

        print("suite mini: the paper's claims, tested on the built-in miniature; nothing is said of the paper's models",
              flush=True)  # fmt: skip
        runs = Runs(Options(args.split, args.seeds, (), args.data_root, None, args.out), datasets).run()
        tests, figures = all_tests(runs), all_figures(runs)
        paths = claims_report.write(runs, tests, figures, args.results / "mini")
        print("\n".join(claims_report.summary(tests, figures)))
        print(written(paths))
        print("\n".join(line for p in paths if p.suffix == ".csv" for line in against(p, "mini")))
        return 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
