"""What is private in a run's files, cut out: a path says who somebody is, and how their machine is laid out.

Of a path the last part is kept, since it tells which file was meant: …/x.png.
"""

import re
from pathlib import Path

from bench.runs.folder import RunFolder
from mgie.io.files import HALVES

CUT = "…"
PLACES = (
    "--data-root", "--weights", "--images", "--out", "--results", "--image-root", "--lpips-weights", "--rewrite",
    "--wrong-captions",
)  # fmt: skip
PART = r"[^\s\"'<>|:;,()\[\]{}/\\]"
PATH = re.compile(rf"(?<![\w./\\])(?:~\w*|[A-Za-z]:)?[/\\](?:{PART}+[/\\])+({PART}*)")
MARKUP = re.compile(r"<(?=[A-Za-z/!?])")
HOME = re.compile(rf"~\w*[/\\]({PART}*)")


class Private:
    """What must not be seen of the machine that a run was made on."""

    def __init__(self, roots: set[str]) -> None:
        """roots: folders of that machine, which may have spaces in their names."""
        self.roots = sorted((root for root in roots if len(Path(root).parts) > 2), key=len, reverse=True)

    @classmethod
    def of(cls, reader: RunFolder) -> "Private":
        known = [Path.home(), Path.cwd(), reader.path, Path(__file__).parents[2]]
        roots = {str(path.absolute()) for path in known} | {str(path.resolve()) for path in known}
        for session in reader.sessions():
            roots |= {word for word in (session.get("data_root"), *session.get("command", ()))
                      if isinstance(word, str) and word.startswith("/")}  # fmt: skip
        return cls(roots)

    def text(self, text: str) -> str:
        for root in self.roots:
            below = rf"{re.escape(root)}(?:[/\\]{PART}+)*?([/\\]{PART}+)?[/\\]?(?![/\\\w])"
            text = re.sub(below, lambda path: CUT + (path[1] or "").replace("\\", "/"), text)
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
        if isinstance(value.get("data_root"), str):
            found["data_root"] = last(value["data_root"])
        return found

    def command(self, words: list) -> list[str]:
        """A command line, of whose places only the last part is kept."""
        found: list[str] = []
        for word in map(str, words):
            flag, equals, value = word.partition("=")
            if equals and flag in PLACES:
                found.append(f"{flag}={last(value)}")
            else:
                found.append(last(word) if found and found[-1] in PLACES else self.text(word))
        return found


def last(place: str) -> str:
    name = re.split(r"[/\\]", place.rstrip("/\\"))[-1]
    return f"{CUT}/{name}" if name != place else name
