"""--limit-gb: so many bytes for all sets of a thing, from wherever they come; what one leaves goes to the next."""

import pytest

SETS = [{"how": "hub", "repo": "who/data", "kind": "dataset", "revision": "main", "name": f"data/{name}-*.parquet"}
        for name in ("a", "b")]  # fmt: skip
FILES = {"data/a-0.parquet": bytes(60_000), "data/b-0.parquet": bytes(30_000), "data/b-1.parquet": bytes(30_000)}
LIMIT = ("--limit-gb", "0.0001")  # 100,000 bytes


@pytest.mark.parametrize("place", ["hub", "address", "folder", "given"])
def test_what_the_first_set_leaves_of_the_limit_goes_to_the_next(hub_fetch, host, tmp_path, place):
    copy = tmp_path / "copy" / "thing"
    for name, data in FILES.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    host.hub("who/data", FILES, "dataset")
    host.serve(tmp_path / "copy", "/copy")
    host.files["/copy/thing/index.txt"] = "".join(f"{name} {len(data)}\n" for name, data in FILES.items()).encode()
    where = {"hub": (), "address": ("--mirror", f"{host.url}/copy"), "folder": ("--mirror", str(tmp_path / "copy")),
             "given": ("--from", str(copy))}[place]  # fmt: skip
    for _ in range(2):  # the second time all is there
        done = hub_fetch(*SETS, flags=(*where, *LIMIT))
        assert done.returncode == 0, done.stderr
        got = sorted(path.name for path in (tmp_path / "thing" / "data").glob("*.parquet"))
        assert got == ["a-0.parquet", "b-0.parquet"]
    assert f"{tmp_path / 'thing'}: 0 files fetched" in done.stdout


def test_a_set_for_which_nothing_is_left_is_no_missing_file(hub_fetch, tmp_path):
    copy = tmp_path / "copy" / "thing" / "data"
    copy.mkdir(parents=True)
    (copy / "a-0.parquet").write_bytes(bytes(90_000))
    (copy / "b-0.parquet").write_bytes(bytes(30_000))
    done = hub_fetch(*SETS, flags=("--mirror", str(tmp_path / "copy"), *LIMIT))
    assert done.returncode == 0 and not (tmp_path / "thing" / "data" / "b-0.parquet").exists()
    assert "thing: --limit-gb leaves out data/b-0.parquet and what follows it in data/b-*.parquet" in done.stdout
