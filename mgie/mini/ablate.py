"""`python -m mgie.mini.ablate`: the name by custom of bench.mini.ablate."""

from runpy import run_module

if __name__ == "__main__":
    run_module("bench.mini.ablate", run_name="__main__", alter_sys=True)
