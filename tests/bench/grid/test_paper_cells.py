"""The numbers printed in the paper: the right cell, on our scale, with how sure we are of it."""

from bench.grid.cells import cells_of
from bench.grid.paper import MARK, as_printed, reported, reported_cells
from bench.registry import BENCHMARKS, DATASETS, METRICS


def test_the_papers_values_are_unscaled_and_what_was_printed_is_kept():
    ssim = reported(1, "zero-shot", "e2e", "ma5k", "lgie", "ssim")
    assert (ssim.value, ssim.printed, ssim.confirmed, ssim.mark) == (0.646, "64.60", "yes", "")
    l1 = reported(1, "zero-shot", "e2e", "evr", "mgie", "l1")
    assert (l1.value, l1.printed, l1.mark) == (0.163, "0.163", MARK)


def test_an_empty_cell_of_the_paper_stays_empty():
    for key in (("fine-tuned", "e2e", "evr", "mgie", "l1"), ("zero-shot", "none", "evr", "identity", "l1")):
        cell = reported(2, *key)
        assert (cell.value, cell.printed, cell.mark) == (None, "", "")


def test_every_cell_of_tables_1_to_3_has_its_line_in_the_paper_file():
    keys = reported_cells()
    for table in (1, 2, 3):
        models = ("lgie", "mgie") if table == 3 else ("inspix2pix", "lgie", "mgie")
        for cell in cells_of(table, "paper", models, BENCHMARKS):
            for metric in DATASETS[cell.dataset].metrics:
                where = cell.form.upper() if table == 3 else cell.setting
                assert (f"table{table}", where, cell.dataset, cell.model, metric) in keys


def test_metrics_are_printed_as_the_paper_prints_them():
    assert as_printed(0.7149, "dino") == "71.49" and as_printed(0.0824, "l1") == "0.082"
    assert as_printed(0.2976, "lpips") == "0.298" and as_printed(0.304, "cts") == "30.40"


def test_only_distances_are_better_when_lower():
    assert [name for name, entry in METRICS.items() if entry.lower] == ["l1", "l2", "lpips"]
