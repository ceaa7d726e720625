"""`python -m mgie.mini.finetune`: the name by custom of bench.mini.finetune."""

from runpy import run_module

if __name__ == "__main__":
    run_module("bench.mini.finetune", run_name="__main__", alter_sys=True)
