"""The report's Markdown as one HTML page: images inside it, wide tables in a scroller, light and dark, no network."""

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.token import Token

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
    tokens = captioned(reader.parse(re.sub(r"<(?!br>|/?details>|/?summary>)", "&lt;", markdown)))
    anchors: set[str] = set()
    first = False  # of a row
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[place + 1].content, anchors))
        elif token.type == "tr_open":
            first = True
        elif token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "td_open":
            if max(map(len, re.split("<br>", tokens[place + 1].content))) > WORDS:
                token.attrSet("class", "words")
            if first:
                token.tag = tokens[place + 2].tag = "th"
                token.attrSet("scope", "row")
            first = False
        for child in token.children or ():
            if child.type == "image" and (folder / str(child.attrGet("src"))).is_file():
                child.attrSet("src", inlined(folder / str(child.attrGet("src"))))
    body = reader.renderer.render(tokens, reader.options, {})

    def opened(found: re.Match) -> str:
        # inside: a link to what is folded opens it
        return f'<details><summary>{found[1]}</summary><span class="anchor" id="{anchor(found[1], anchors)}"></span>'

    body = re.sub(r"<details>\s*<summary>(.*?)</summary>", opened, body)
    body = body.replace("<table>", '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>')
    body = body.replace("</table>", "</table></div>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>\n{body}</body></html>\n"
    )


def anchor(title: str, taken: set[str]) -> str:
    """Its slug; a second one of the same title has a number, as on GitHub."""
    name = first = slug(title)
    number = 0
    while name in taken:
        number += 1
        name = f"{first}-{number}"
    taken.add(name)
    return name


def captioned(tokens: "list[Token]") -> "list[Token]":
    """A line in bold right above a table becomes its caption; other tables are captioned by their heading, unseen."""
    from html import escape

    from markdown_it.token import Token

    def raw(text: str) -> Token:
        return Token("html_block", "", 0, content=text)

    made: list[Token] = []
    heading = "Numbers"
    for token in tokens:
        if token.type == "inline" and made[-1].type == "heading_open":
            heading = token.content
        elif token.type == "html_block" and (title := re.search("<summary>(.*?)</summary>", token.content)):
            heading = title[1]
        made.append(token)
        if token.type != "table_open":
            continue
        above = made[-4:-1]
        kinds = [t.type for t in above]
        if kinds == ["paragraph_open", "inline", "paragraph_close"] and above[1].content.startswith("**"):
            made[-4:] = [token, raw("<caption>"), above[1], raw("</caption>")]
        else:
            made.append(raw(f'<caption class="unseen">{escape(heading, quote=False)}</caption>'))
    return made


def inlined(path: Path) -> str:
    """A PNG as a data address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
