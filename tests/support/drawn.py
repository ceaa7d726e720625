"""Small datasets in exactly the official layouts, drawn by code: what the loaders and the audit are tested on.

Each function fills a dataset's own folder and returns it. Every oddity of the official files is in there once: see the
comments. Pictures are smooth noise, so that they survive JPEG and differ from each other.
"""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Image.Image:
    coarse = np.random.RandomState(seed).randint(0, 256, (4, 4, len(Image.new(mode, (1, 1)).getbands())), np.uint8)
    return Image.fromarray(coarse.squeeze(), mode if mode != "RGBA" else None).resize(size, Image.Resampling.BICUBIC)


def save(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def write_json(path: Path, data: object, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, **options), encoding="utf-8")


def draw_evr(root: Path) -> Path:
    """train 3 records of 2 pairs, valid 2, test 6 (18 triples); one pair is in valid and test."""

    def record(uid: str, img0: str, img1: str, *sents: str) -> dict:
        return {"img0": img0, "img1": img1, "sents": list(sents), "uid": uid}

    shared = ("Reddit.com_4wfxf2_4wfxf2.jpg", "Reddit.com_4wfxf2_d66nm3m_2.jpg")
    twice = ("Zhopped.com_gc9hq_gc9hq.jpg", "Zhopped.com_gc9hq_cxyv8.jpg")  # one pair, a record a sentence
    splits = {
        "train": [
            record("Zhopped_2", *twice, "change the back ground"),
            record("Zhopped_3", *twice, "make the background blue"),
            record("Reddit_7", "Reddit.com_5a_5a.jpg", "Reddit.com_5a_d1.jpg", "brighten"),
        ],
        "valid": [
            record("Reddit_20", *shared, "remove the two people", "only the couple", "clean up the back"),
            record("Reddit_21", "Reddit.com_6b_6b.png", "Reddit.com_6b_d2.png", "crop it", "cut the top", "closer"),
        ],
        "test": [
            record("Reddit_1052", *shared, "take the people out ", "remove two people", "remove people in the back"),
            record("Reddit_30", "Reddit.com_7c_7c.JPG", "Reddit.com_7c_d3.jpg", "sharpen", "more contrast", "fix it"),
            record("Reddit_31", "Reddit.com_46op9g_46op9g.gif", "Reddit.com_46op9g_SOURCE_1_16.gif", "add", "b", "c"),
            record("Zhopped_32", "Zhopped.com_8d_8d.jpg", "Zhopped.com_8d_e4.png", "cut the dog out", "dog", "white"),
            record("Reddit_33", "Reddit.com_9e_9e.jpg", "Reddit.com_9e_d5_1_2.jpg", "crop", "zoom in", "nearer"),
            record("Reddit_34", "Reddit.com_0f_0f.jpg", "Reddit.com_0f_d6.jpg", "warm", "warmer", "orange"),
        ],
    }
    for split, records in splits.items():
        write_json(root / "dataset" / "adobe" / f"{split}.json", records, indent=4)
    names = {name for records in splits.values() for r in records for name in (r["img0"], r["img1"])}
    for seed, name in enumerate(sorted(names - {"Reddit.com_0f_d6.jpg"})):  # one file is missing
        if name.endswith(".gif"):  # two frames
            save(root / "images" / name, picture(seed), save_all=True, append_images=[picture(seed + 500)])
        else:
            size = (30, 36) if name == "Reddit.com_9e_d5_1_2.jpg" else (48, 40)  # one pair of unequal size
            save(root / "images" / name, picture(seed, size, "RGBA" if name == "Zhopped.com_8d_e4.png" else "RGB"))
    return root


def rle(mask: np.ndarray) -> dict:
    """(H, W) bool -> compressed COCO RLE, as in GIER's mask files."""
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in encoded["size"]], "counts": encoded["counts"].decode()}


def gier_record(input_name: str, output: str, operator: dict, expert: list, amateur: list, detail: object) -> dict:
    post = input_name.split("_")[0]
    return {
        "input": input_name,
        "output": output,
        "segment": f"{post}/{post}.jpg",
        "palette": f"{post}/{post}plt.jpg",
        "request": amateur[0] if amateur else "please",
        "detailed_request": detail,
        "dataset": "reddit",
        "workerId": "A000000000000",
        "operator": operator,
        "expert_summary": expert,
        "amateur_summary": amateur,
    }


def draw_gier(root: Path) -> Path:
    """train 3 pairs, val 1, test 5 (12 triples); one input image is in train and test; one image has 0 bytes."""
    everywhere, somewhere = {"local": False, "ids": []}, {"local": True, "ids": [1, 0]}
    nan = float("nan")
    splits = {
        "train": [
            gier_record("aa1_aa1.jpg", "aa1_b1.jpg", {"brightness": everywhere}, ["brighten"], ["more light"], nan),
            gier_record("aa1_aa1.jpg", "aa1_b2.jpg", {"crop": everywhere}, ["crop"], [], "cut off the left"),
            gier_record("aa2_aa2.jpg", "aa2_b3.png", {}, [], ["fix it", "fix it"], nan),  # no operator
        ],
        "val": [gier_record("aa3_aa3.png", "aa3_b4.jpg", {"hue": everywhere}, ["warmer"], ["orange"], nan)],
        "test": [
            gier_record("aa1_aa1.jpg", "aa1_b5.jpg", {"contrast": everywhere}, ["contrast", "more"], ["a", "b"], nan),
            gier_record("aa4_aa4.jpg", "aa4_b6.jpg", {"inpaint_obj": somewhere}, [], ["remove the dog"], "the dog"),
            gier_record("aa5_aa5.jpg", "aa5_b7.png", {"lightness": {"local": True, "ids": []}}, ["lighter"], [], nan),
            gier_record("aa6_aa6.jpg", "aa6_b8.jpg", {"crop": everywhere, "color_bg": somewhere}, ["x"], ["y", "z"], 0),
            gier_record("aa7_aa7.jpg", "aa7_b9.jpg", {"tint": everywhere}, ["less red"], ["greener", "cooler"], nan),
        ],
    }
    subsets = {"global": {"train": [0, 1, 2], "val": [0], "test": [0, 2, 4]}}
    subsets["shapeAlign"] = {"train": [0, 2], "val": [0], "test": [0, 1, 2, 4]}
    for split, records in splits.items():
        write_json(root / "splits" / f"{split}_sess_3.json", records)  # NaN as the official files have it
        for subset, indices in subsets.items():
            write_json(root / "splits" / f"{split}_{subset}_sess_3.json", indices[split])
    records = [record for part in splits.values() for record in part]
    order = np.arange(len(records))
    np.random.RandomState(0).shuffle(order)
    unshuffled = sorted(zip(order.tolist(), records, strict=True), key=lambda pair: pair[0])
    write_json(root / "GIER.json", [record for _, record in unshuffled])
    names = sorted({name for r in records for name in (r["input"], r["output"])})
    write_json(root / "url_dict.json", {name: f"https://example.invalid/{name}" for name in names})
    for seed, name in enumerate(names):
        size = (40, 30) if name in ("aa1_b2.jpg", "aa6_b8.jpg") else (48, 40)  # cropped pairs
        save(root / "images" / name, picture(seed, size, "RGBA" if name == "aa5_b7.png" else "RGB"))
    (root / "images" / "aa7_b9.jpg").write_bytes(b"")
    top, left = np.zeros((20, 24), bool), np.zeros((20, 24), bool)  # half the image's size
    top[:10, 12:], left[:, :6] = True, True
    write_json(root / "masks" / "aa4_aa4_mask.json", [rle(top), rle(left), rle(~(top | left))])
    return root


def draw_ma5k(root: Path) -> Path:
    """10 inputs of 5 experts, split 7/1/2 as the official ones are; id 4 is absent; one JPEG is rotated by EXIF."""
    ids = [i for i in range(1, 12) if i != 4]
    records = [
        {"input": f"{i:04}_O.jpg", "output": f"{i:04}_{expert}.jpg", "request": f"make photo {i} like {expert}"}
        for i in ids
        for expert in "ABCDE"
    ]
    inputs = np.unique([record["input"] for record in records])
    np.random.RandomState(0).shuffle(inputs)
    parts = {"train": inputs[:7], "val": inputs[7:8], "test": inputs[8:]}
    in_test = [record for record in records if record["input"] in set(parts["test"])]
    in_test[0]["request"], in_test[1]["request"] = "“brighter” please…", "v"
    write_json(root / "FiveK.json", records, ensure_ascii=False)
    for split, names in parts.items():
        tokens = {"request_idx": [1, 5, 5, 2, *[0] * 13]}
        chosen = [record | tokens for record in records if record["input"] in set(names)]
        write_json(root / "annotations" / f"{split}_sess_1.json", chosen, ensure_ascii=False)
    for i in ids:
        for expert in "OABCDE":
            save(root / "images" / f"{i:04}_{expert}.jpg", picture(10 * i + ord(expert), (36, 24)))
    turned = root / "images" / in_test[0]["output"]
    exif = Image.Exif()
    exif[0x0112] = 6
    save(turned, picture(3, (24, 36)), exif=exif)  # stored lying, shown standing: 36x24 after transposing
    return root


def sessions(count: int) -> dict[str, list[dict]]:
    """count sessions of 1, 2, 3, 1, 2, ... turns."""
    return {
        str(100 + s): [
            {
                "input": f"{100 + s}-{'input' if t == 1 else f'output{t - 1}'}.png",
                "mask": f"{100 + s}-mask{t}.png",
                "output": f"{100 + s}-output{t}.png",
                "instruction": f"put {t} cats on seat {s}",
            }
            for t in range(1, s % 3 + 2)
        ]
        for s in range(count)
    }


def masked(seed: int, size: tuple[int, int]) -> Image.Image:
    """The RGBA image that marks by transparency: the left half is to be edited."""
    image = picture(seed, size, "RGBA")
    alpha = np.full(size[::-1], 255, np.uint8)
    alpha[:, : size[0] // 2] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


def draw_magicbrush(root: Path, split: str = "test", count: int = 10) -> Path:
    """The layout of the authors' zip: count sessions of one to three turns; masks are half as large as the images."""
    drawn = sessions(count)
    folder = root / split
    turns = [turn for session in drawn.values() for turn in session]
    write_json(folder / "edit_turns.json", turns)
    write_json(folder / "edit_sessions.json", drawn)
    for kind in ("global", "local"):
        captions = {k: {t["output"]: f"a {kind} caption of {t['output']}" for t in s} for k, s in drawn.items()}
        if kind == "global":
            captions = {k: {f"{k}-input.png": f"a seat, {k}"} | named for k, named in captions.items()}
        write_json(folder / f"{kind}_descriptions.json", captions)
    for s, (img_id, session) in enumerate(drawn.items()):
        place = folder / "images" / img_id
        save(place / f"{img_id}-input.png", picture(100 * s, (40, 40)))
        for t, turn in enumerate(session, 1):
            save(place / turn["output"], picture(100 * s + t, (40, 40)))
            save(place / turn["mask"], masked(100 * s + t, (20, 20)))
    return root


def png(image: Image.Image) -> dict:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return {"bytes": file.getvalue(), "path": None}


def draw_magicbrush_hub(root: Path, split: str = "dev", count: int = 4, kind: str = "parquet") -> Path:
    """The Hub's files: data/<split>-0000n-of-00002-<hash>.parquet, or an arrow file as the datasets library has it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [
            ("img_id", pa.string()),
            ("turn_index", pa.int32()),
            ("source_img", image),
            ("mask_img", image),
            ("instruction", pa.string()),
            ("target_img", image),
        ]
    )
    rows = []
    for s, (img_id, session) in enumerate(sessions(count).items()):
        source = png(picture(100 * s, (40, 40)))
        for t, turn in enumerate(session, 1):
            goal = png(picture(100 * s + t, (40, 40)))
            rows.append(
                {
                    "img_id": img_id,
                    "turn_index": t,
                    "source_img": source,
                    "mask_img": png(masked(100 * s + t, (40, 40))),
                    "instruction": turn["instruction"],
                    "target_img": goal,
                }
            )
            source = goal
    table, half = pa.Table.from_pylist(rows, schema=schema), len(rows) // 2
    (root / "data").mkdir(parents=True)
    if kind == "parquet":
        for n, part in enumerate((table.slice(0, half), table.slice(half))):
            pq.write_table(part, root / "data" / f"{split}-0000{n}-of-00002-0123456789abcdef.parquet")
    else:
        path = str(root / f"magic_brush-{split}.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            writer.write_table(table)
    return root


def draw_ipr2pr(root: Path, folders: int = 40) -> Path:
    """Folders 0000000, 0000007, ... with two seeds each; every 13th is named in seeds.json only."""
    seeds = []
    for n in range(folders):
        name, numbers = f"{7 * n:07}", [f"{1000 + n}", f"{900000 + n}"]
        seeds.append([name, numbers])
        if n % 13 == 12:
            continue
        prompt = {"edit": f"make it look like painting {n}"}
        if n % 3 == 0:
            prompt = {"input": f"a photo {n}", **prompt, "output": f"a painting {n}", "url": "https://example.invalid"}
        elif n % 3 == 1:  # what the generator's own scripts write
            prompt = {"caption": f"a photo {n}", **prompt, "output": f"a painting {n}"}
        write_json(root / name / "prompt.json", prompt)
        lines = [json.dumps({"seed": int(number), "clip_sim_dir": 0.3}) for number in numbers]
        (root / name / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        for s, number in enumerate(numbers):
            for side in (0, 1):
                save(root / name / f"{number}_{side}.jpg", picture(10 * n + 2 * s + side, (32, 32)), quality=100)
    write_json(root / "seeds.json", seeds)
    return root
