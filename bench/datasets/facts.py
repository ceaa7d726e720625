"""What a dataset's annotations hold, counted: units, repeats, leaks between splits, defects. No image is opened here.

A fact has a name, the place it is about (a split, `all`, `valid and test`) and a value; official.csv has the same
facts as measured on the official files. Convention for EVR in GIER: the same file names behind the site's prefix.
"""

import math
from collections import Counter
from pathlib import Path

from bench.datasets import evr, gier, ma5k, magicbrush
from bench.datasets.annotations import field, read_json
from bench.datasets.counting import (
    Fact,
    Record,
    counted,
    leak_facts,
    read_splits,
    spread,
    stem,
    suffix,
    texts_facts,
    type_facts,
    with_all,
)


def evr_pair(record: Record) -> tuple[str, str]:
    return record["img0"], record["img1"]


def plain_pair(record: Record) -> tuple[str, str]:
    return record["input"], record["output"]


def evr_facts(root: Path, data_root: Path) -> list[Fact]:
    splits = read_splits(evr, root, {"img0": str, "img1": str, "uid": str, "sents": list})
    facts = []
    for split, records in with_all(splits).items():
        pairs = Counter(map(evr_pair, records))
        facts += [
            Fact("records", split, len(records)),
            Fact("unique pairs", split, len(pairs)),
            Fact("triples", split, sum(len(r["sents"]) for r in records)),
            Fact("instructions a record", split, spread(len(r["sents"]) for r in records)),
            Fact("pairs in more than one record", split, sum(n > 1 for n in pairs.values())),
            Fact("most records of one pair", split, max(pairs.values(), default=0)),
            *type_facts(split, map(evr_pair, records)),
            *texts_facts(split, [text for r in records for text in r["sents"]]),
        ]
    goals = [r["img1"] for r in records]
    facts += [
        Fact("uids that occur twice", "all", sum(n > 1 for n in Counter(r["uid"] for r in records).values())),
        Fact("records whose input is their goal", "all", sum(r["img0"] == r["img1"] for r in records)),
        Fact("types of input image", "all", counted(suffix(r["img0"]) for r in records)),
        Fact("types of goal image", "all", counted(map(suffix, goals))),
        Fact("goal names with a number behind the comment", "all", sum(stem(name).count("_") > 2 for name in goals)),
        Fact("goal names with SOURCE", "all", sum("SOURCE" in name for name in goals)),
        *leak_facts(splits, evr_pair, evr.post),
    ]
    others = data_root / "gier"
    return facts + (evr_in_gier(splits, others) if gier.annotation_file(others, "train").is_file() else [])


def gier_facts(root: Path, data_root: Path) -> list[Fact]:
    kinds = {"input": str, "output": str, "expert_summary": list, "amateur_summary": list, "operator": dict}
    splits = read_splits(gier, root, kinds)
    facts = []
    for split, records in with_all(splits).items():
        texts = [record["expert_summary"] + record["amateur_summary"] for record in records]
        operators = [op for r in records for op in r["operator"].values() if isinstance(op, dict)]
        facts += [
            Fact("records", split, len(records)),
            Fact("unique pairs", split, len(set(map(plain_pair, records)))),
            Fact("triples", split, sum(map(len, texts))),
            Fact("input images", split, len({r["input"] for r in records})),
            Fact("goal images", split, len({r["output"] for r in records})),
            Fact("instructions a pair", split, spread(map(len, texts))),
            Fact("mean instructions a pair", split, round(sum(map(len, texts)) / max(1, len(texts)), 2)),
            Fact("expert instructions a pair", split, spread(len(r["expert_summary"]) for r in records)),
            Fact("amateur instructions a pair", split, spread(len(r["amateur_summary"]) for r in records)),
            Fact("pairs with a repeated sentence", split, sum(len(set(map(str, t))) < len(t) for t in texts)),
            Fact(
                "pairs whose request is among the amateurs' instructions",
                split,
                sum(r.get("request") in r["amateur_summary"] for r in records),
            ),
            Fact(
                "pairs whose detailed request is NaN",
                split,
                sum(isinstance(v := r.get("detailed_request"), float) and math.isnan(v) for r in records),
            ),
            Fact("pairs by site", split, counted(str(r.get("dataset")) for r in records)),
            *type_facts(split, map(plain_pair, records)),
            Fact("operators", split, counted(name for r in records for name in r["operator"])),
            Fact(
                "posts of pairs without an operator",
                split,
                sorted(r["input"].split("_")[0] for r in records if not r["operator"]),
            ),
            Fact(
                "operators that are local without mask ids",
                split,
                sum(bool(op.get("local")) and not op.get("ids") for op in operators),
            ),
            Fact(
                "operators that are not local, with mask ids",
                split,
                sum(not op.get("local") and bool(op.get("ids")) for op in operators),
            ),
            *texts_facts(split, [text for some in texts for text in some]),
        ]
    for split, records in splits.items():
        facts += subset_facts(root, split, records)
    facts += leak_facts(splits, plain_pair, lambda name: name.split("_")[0])
    others = data_root / "evr"
    if evr.annotation_file(others, "train").is_file():
        facts += evr_in_gier(read_splits(evr, others, {"img0": str, "img1": str}), root)
    return facts + rebuilt_gier(root, splits)


def subset_facts(root: Path, split: str, records: list[Record]) -> list[Fact]:
    subsets = {
        name: gier.subset_indices(root, split, name, len(records))
        for name in gier.SUBSETS
        if (root / "splits" / f"{split}_{name}_sess_3.json").is_file()
    }
    facts = []
    if {"global", "shapeAlign"} <= set(subsets):
        subsets["global and shapeAlign"] = subsets["global"] & subsets["shapeAlign"]
    for name, indices in subsets.items():
        texts = (len(records[i]["expert_summary"]) + len(records[i]["amateur_summary"]) for i in indices)
        facts += [Fact(f"pairs in {name}", split, len(indices)), Fact(f"triples in {name}", split, sum(texts))]
    if "shapeAlign" in subsets:
        unequal = [r for i, r in enumerate(records) if i not in subsets["shapeAlign"]]
        facts += [
            Fact("pairs of unequal size, by the shapeAlign list", split, len(unequal)),
            Fact("of them with the operator crop", split, sum("crop" in r["operator"] for r in unequal)),
        ]
    if "global" in subsets:
        local = sum(any(is_local(op) for op in records[i]["operator"].values()) for i in subsets["global"])
        facts.append(Fact("pairs in global with a local operator", split, local))
    return facts


def is_local(operator: object) -> bool:
    return isinstance(operator, dict) and bool(operator.get("local"))


def rebuilt_gier(root: Path, splits: dict[str, list[Record]]) -> list[Fact]:
    """GIER.json is the three splits, unshuffled; the lists beside them, by length."""
    import json

    import numpy as np

    facts = []
    for name, kind in (("splits/Ids_L1Thr_0.06.json", list), ("url_dict.json", dict)):
        if (root / name).is_file():
            facts.append(Fact(f"entries in {name}", "all", len(read_json(root / name, kind, gier.SOURCE, root))))
    if (root / "GIER.json").is_file() and len(splits) == len(gier.SPLITS):
        whole = read_json(root / "GIER.json", list, gier.SOURCE, root)
        records = [record for split in splits.values() for record in split]
        order = np.arange(len(records))
        np.random.RandomState(0).shuffle(order)
        unshuffled = [record for _, record in sorted(zip(order.tolist(), records, strict=True), key=lambda p: p[0])]
        same = json.dumps(unshuffled) == json.dumps(whole)  # as text: NaN is not equal to itself
        facts += [
            Fact("records in GIER.json", "all", len(whole)),
            Fact("the splits are GIER.json, shuffled with seed 0", "all", "yes" if same else "no"),
        ]
    return facts


def evr_in_gier(evr_splits: dict[str, list[Record]], gier_root: Path) -> list[Fact]:
    """EVR's names are GIER's behind `<Site>.com_`."""
    gier_splits = read_splits(gier, gier_root, {"input": str, "output": str})
    ours = {
        split: {tuple(name.partition("_")[2] for name in evr_pair(r)) for r in rs} for split, rs in evr_splits.items()
    }
    theirs = {split: set(map(plain_pair, rs)) for split, rs in gier_splits.items()}
    both = set().union(*ours.values()) & set().union(*theirs.values())
    facts = [Fact("EVR pairs that are in GIER", "EVR all, GIER all", len(both))]
    facts += [
        Fact("EVR pairs that are in GIER", f"EVR {a}, GIER {b}", len(ours[a] & theirs[b])) for a in ours for b in theirs
    ]
    if {"test", "valid"} <= set(ours) and "train" in theirs:
        alone = (ours["test"] - ours["valid"]) & theirs["train"]
        facts.append(Fact("of them not also in EVR valid", "EVR test, GIER train", len(alone)))
    aligned = set()
    for split, records in gier_splits.items():
        if (gier_root / "splits" / f"{split}_shapeAlign_sess_3.json").is_file():
            indices = gier.subset_indices(gier_root, split, "shapeAlign", len(records))
            aligned |= {plain_pair(records[i]) for i in indices}
    facts.append(Fact("of them of equal size, by GIER's shapeAlign lists", "EVR all, GIER all", len(both & aligned)))
    return facts


def ma5k_facts(root: Path, data_root: Path) -> list[Fact]:
    splits = read_splits(ma5k, root, {"input": str, "output": str})
    facts = []
    for split, records in with_all(splits).items():
        inputs = Counter(record["input"] for record in records)
        requests = [record.get("request") for record in records]
        facts += [
            Fact("records", split, len(records)),
            Fact("unique pairs", split, len(set(map(plain_pair, records)))),
            Fact("triples", split, len(requests)),
            Fact("input images", split, len(inputs)),
            Fact("goal images an input image", split, spread(inputs.values())),
            Fact(
                "records whose ids differ",
                split,
                sum(r["input"].split("_")[0] != r["output"].split("_")[0] for r in records),
            ),
            Fact(
                "lengths of request_idx",
                split,
                spread(map(len, (r["request_idx"] for r in records if isinstance(r.get("request_idx"), list)))),
            ),
            *texts_facts(split, requests),
        ]
    common = Counter(text for text in requests if isinstance(text, str)).most_common(2)
    ids = {int(name) for name in (n.split("_")[0] for n in inputs) if name.isdecimal()}
    facts += [
        Fact("most frequent instructions", "all", dict(common)),
        Fact("ids of FiveK that are absent (1 to 5000)", "all", sorted(set(range(1, 5001)) - ids)),
        *leak_facts(splits, plain_pair, lambda name: name.split("_")[0]),
    ]
    return facts + resplit_ma5k(root, splits)


def resplit_ma5k(root: Path, splits: dict[str, list[Record]]) -> list[Fact]:
    """The three files are FiveK.json, its sorted inputs shuffled with seed 0 and cut 70/10/20."""
    import numpy as np

    if not (root / "FiveK.json").is_file() or len(splits) < len(ma5k.SPLITS):
        return []
    whole = read_json(root / "FiveK.json", list, ma5k.SOURCE, root)
    inputs = np.unique([field(r, "input", str, f"{root / 'FiveK.json'}, record {i}") for i, r in enumerate(whole)])
    np.random.RandomState(0).shuffle(inputs)
    train, val = int(len(inputs) * 0.7), int(len(inputs) * 0.1)
    parts = {"train": inputs[:train], "val": inputs[train : train + val], "test": inputs[train + val :]}
    same = all(set(parts[split]) == {r["input"] for r in splits[split]} for split in parts)
    return [
        Fact("records in FiveK.json", "all", len(whole)),
        Fact("the splits are FiveK.json, shuffled with seed 0, 70/10/20", "all", "yes" if same else "no"),
    ]


def magicbrush_folders(root: Path) -> dict[str, Path]:
    """Splits in the zip's layout, and those already laid out from the Hub's files."""
    if not root.is_dir():
        raise magicbrush.SOURCE.missing(f"no folder {root}", root)
    found = {path.parent.name: path.parent for path in root.glob(f"{magicbrush.FOLDER}/*/edit_turns.json")}
    found |= {path.parent.name: path.parent for path in sorted(root.glob("*/edit_turns.json"))}
    if not found:
        raise magicbrush.SOURCE.missing(f"no <split>/edit_turns.json in {root}", root)
    return found


def magicbrush_facts(root: Path, data_root: Path) -> list[Fact]:
    splits, facts = {}, []
    for split, folder in magicbrush_folders(root).items():
        path = folder / "edit_turns.json"
        turns = read_json(path, list, magicbrush.SOURCE, root)
        read = [magicbrush.read_turn(t, folder / "images", f"{path}, record {i}") for i, t in enumerate(turns)]
        sessions = Counter(turn.img_id for turn in read)
        splits[split] = turns
        facts += [
            Fact("turns", split, len(turns)),
            Fact("unique pairs", split, len(set(map(plain_pair, turns)))),
            Fact("triples", split, len(turns)),
            Fact("sessions", split, len(sessions)),
            *(Fact(f"sessions of {n} turns", split, sum(v == n for v in sessions.values())) for n in (1, 2, 3)),
            Fact("turns without a mask", split, sum(turn.mask is None for turn in read)),
            *texts_facts(split, [t.get("instruction") for t in turns]),
        ]
        if (folder / "edit_sessions.json").is_file():
            listed = read_json(folder / "edit_sessions.json", dict, magicbrush.SOURCE, root)
            same = {k: isinstance(v, list) and len(v) for k, v in listed.items()} == dict(sessions)
            facts.append(Fact("edit_sessions.json has the same turns", split, "yes" if same else "no"))
        for kind in ("global", "local"):
            captions = folder / f"{kind}_descriptions.json"
            known = read_json(captions, dict, magicbrush.SOURCE, root) if captions.is_file() else {}
            known = {img_id: named for img_id, named in known.items() if isinstance(named, dict)}
            lacking = sum(not known.get(turn.img_id, {}).get(turn.goal_name) for turn in read)
            facts.append(Fact(f"turns without a {kind} goal caption", split, lacking))
    return facts + leak_facts(splits, plain_pair, lambda name: name.split("-")[0])


FACTS = {"evr": evr_facts, "gier": gier_facts, "ma5k": ma5k_facts, "magicbrush": magicbrush_facts}
