"""`python -m mgie.mini.claims`: the name by custom of bench.mini.claims."""

from runpy import run_module

if __name__ == "__main__":
    run_module("bench.mini.claims", run_name="__main__", alter_sys=True)
