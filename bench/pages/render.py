"""The report's Markdown as one HTML page: images inside it, wide tables in a scroller, light and dark, no network."""

import base64
import re
from pathlib import Path

STYLE = Path(__file__).parent / "report.css"
WORDS = 40  # characters from which a cell of a table may break


def slug(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def html(markdown: str, title: str, folder: Path) -> str:
    """folder: where the images that the Markdown names lie."""
    from html import escape

    from markdown_it import MarkdownIt

    style = STYLE.read_text("utf-8")
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    # of HTML only what the report writes itself; anything else in a reason or a path is text
    tokens = reader.parse(re.sub(r"<(?!br>|/?details>|/?summary>)", "&lt;", markdown))
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", slug(tokens[place + 1].content))
        elif token.type == "td_open" and max(map(len, re.split("<br>", tokens[place + 1].content))) > WORDS:
            token.attrSet("class", "words")
        for child in token.children or ():
            if child.type == "image" and (folder / str(child.attrGet("src"))).is_file():
                child.attrSet("src", inlined(folder / str(child.attrGet("src"))))
    body = reader.renderer.render(tokens, reader.options, {})
    body = body.replace("<table>", '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>')
    body = body.replace("</table>", "</table></div>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>\n{body}</body></html>\n"
    )


def inlined(path: Path) -> str:
    """A PNG as a data address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
