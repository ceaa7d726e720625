"""What is private in a run's files, cut out: a path says who somebody is, and how their machine is laid out.

Of a path the last part is kept, since it tells which file was meant: …/x.png.
"""

import re
from itertools import pairwise
from pathlib import Path

from bench.runs.folder import RunFolder
from mgie.io.files import HALVES

CUT = "…"
FOLDERS = ("--data-root", "--weights", "--images", "--out", "--results", "--image-root")
PLACES = (*FOLDERS, "--lpips-weights", "--rewrite", "--wrong-captions", "--clip", "--dino", "--with")
WORDS = {  # of networks: open_clip's MODEL before what is cut, timm's names as they are
    "--clip": re.compile(r"((?:ViT|RN\d|EVA|PE|convnext|coca|roberta|xlm|nllb|mt5|Mobile|vit_)[\w.-]*)/(.+)"),
    "--dino": re.compile(r"(timm)/([\w.-]+)"),
}
PART = r"[^\s\"'<>|:;,()\[\]{}/\\]"
FOLDER = rf"{PART}(?:{PART}| )*[/\\]+"
QUOTED = re.compile(r"(?<!\w)([\"'])((?:~\w*|\.\.?|[A-Za-z]:)?[/\\][^\"'\n]*)\1")
ADDRESS = re.compile(rf"\b(?!https?://[^\s@]*(?:\s|$))[A-Za-z][\w+.-]*://(?:(?:{PART}|[:/\\])*{PART})?")
PATH = re.compile(  # /a/b, C:\\a\\b, ../a/b, \\\\server\\a\\b, and the /a/b of MODEL//a/b
    rf"(?:(?<![\w./\\])(?:~\w*|\.\.?|[A-Za-z]:)?|(?<=\w/))(?:(?<!:)//|\\\\|[/\\])(?:{FOLDER})+({PART}*)"
)
MARKUP = re.compile(r"<(?=[A-Za-z/!?])")
HOME = re.compile(rf"(?:~\w*|(?<![\w./\\])\.\.?)[/\\]({PART}*)")


class Private:
    """What must not be seen of the machine that a run was made on."""

    def __init__(self, roots: set[str]) -> None:
        """roots: folders of that machine, which may have spaces in their names."""
        self.roots = sorted((r for r in roots if len(Path(r).parts) > 1 + (r[0] == "/")), key=len, reverse=True)

    @classmethod
    def of(cls, reader: RunFolder) -> "Private":
        known = [Path.home(), Path.cwd(), reader.path, Path(__file__).parents[2]]
        roots = {str(path.absolute()) for path in known} | {str(path.resolve()) for path in known}
        for session in reader.sessions():
            words = list(map(str, session.get("command", ())))
            places = [word for flag, word in pairwise(words) if is_place(flag, FOLDERS)]
            places += [str(session.get("data_root", "")), *(word for word in words if word.startswith("/"))]
            roots |= {root for root in places if "/" in root and "://" not in root}
        return cls(roots)

    def text(self, text: str) -> str:
        for root in self.roots:
            below = rf"{re.escape(root)}(?:[/\\]{PART}+)*?([/\\]{PART}+)?[/\\]?(?![/\\\w])"
            text = re.sub(below, lambda path: CUT + (path[1] or "").replace("\\", "/"), text)
        text = QUOTED.sub(lambda quoted: quoted[1] + last(quoted[2]) + quoted[1], text)
        text = ADDRESS.sub(lambda address: last(address[0]), text)
        text = HOME.sub(rf"{CUT}/\1", PATH.sub(rf"{CUT}/\1", text))
        return MARKUP.sub("‹", text)  # an error's <class 'x'>, which bench.verify would take for a page's

    def cleaned(self, value, leave: tuple[str, ...] = ()):  # any JSON
        """The same JSON without paths. leave: names whose text is nobody's path."""
        if isinstance(value, str):
            return self.text(HALVES.sub("\N{REPLACEMENT CHARACTER}", value))
        if isinstance(value, list):
            return [self.cleaned(part, leave) for part in value]
        if not isinstance(value, dict):
            return value
        found = {self.text(key): part if key in leave else self.cleaned(part, leave) for key, part in value.items()}
        if isinstance(value.get("command"), list):
            found["command"] = self.command(value["command"])
        places = {key: f"--{key.replace('_', '-')}" for key, part in value.items() if isinstance(part, str)}
        return found | {key: place(flag, value[key]) for key, flag in places.items() if flag in PLACES}

    def command(self, words: list) -> list[str]:
        """A command line, of whose places only the last part is kept."""
        found: list[str] = []
        for word in map(str, words):
            flag, equals, value = word.partition("=")
            if equals and is_place(flag):
                found.append(f"{flag}={place(flag, value)}")
            else:
                found.append(place(found[-1], word) if found and is_place(found[-1]) else self.text(word))
        return found


def is_place(flag: str, among: tuple[str, ...] = PLACES) -> bool:
    """Whether a flag, which may be cut short, names a place."""
    return flag.startswith("--") and len(flag) > 3 and any(known.startswith(flag) for known in among)


def place(flag: str, value: str) -> str:
    """Of what a flag names, the words and the last part."""
    words = WORDS[flag].fullmatch(value) if flag in WORDS else None
    return f"{words[1]}/{last(words[2])}" if words else last(value)


def last(place: str) -> str:
    _, found, rest = place.partition("://")
    if found:  # the first part says whose it is
        return f"{CUT}/{last(rest).removeprefix(f'{CUT}/')}" if "/" in rest.rstrip("/") else CUT
    name = re.split(r"[/\\]", place.rstrip("/\\"))[-1]
    return f"{CUT}/{name}" if name != place else name
