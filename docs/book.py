"""Makes one book of pages that stand in several folders: a preprocessor of mdBook (book.toml).

    mdbook build docs                       # calls it
    python3 docs/book.py check target/book  # do all links of the finished book lead somewhere?

SUMMARY.md lists pages outside of this folder by `../`, as GitHub needs it. mdBook would write those beside the book. So
each such page gets a place inside (`../README.md` is `index.md`), and every link that names a page is led there. A link to
a file that the book does not have, such as a script of the repository, becomes its text alone.
"""

import html.parser
import json
import pathlib
import posixpath
import re
import sys
import urllib.parse

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
ATTRIBUTE = re.compile(r'\b(src|srcset|href)="([^"]+)"')


def chapters(items):
    """Yields all chapters of a book that have a text, at any depth."""
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            if chapter.get("path"):
                yield chapter
            yield from chapters(chapter["sub_items"])


def place(page):
    """Where the book has a page, both from the root: of the repository, and of the book."""
    folder, name = posixpath.split(page)
    name = "index.md" if name == "README.md" else name
    return posixpath.relpath(posixpath.join(folder, name), "docs") if folder == "docs" else posixpath.join(folder, name)


def target(link, page, places):
    """What a link of a page is in the book; None where the book has no such thing."""
    if re.match(r"[a-z]+:|#", link):
        return link
    path, anchor, fragment = link.partition("#")
    named = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    if named in places:
        found = places[named]
    elif named.startswith("docs/") and not named.endswith(".md"):
        found = posixpath.relpath(named, "docs")
    else:
        return None
    return posixpath.relpath(found, posixpath.dirname(places[page]) or ".") + anchor + fragment


def rewritten(text, page, places):
    """The text of a page with its links led to places of the book, code as it was."""

    def link(match):
        mark, words, named = match.groups()
        words = LINK.sub(link, words)
        led = target(named, page, places)
        return f"{mark}[{words}]({led})" if led else words

    def attribute(match):
        led = target(match[2], page, places)
        return f'{match[1]}="{led or match[2]}"'

    lines, is_code = [], False
    for line in text.split("\n"):
        if line.startswith("```"):
            is_code = not is_code
        if not is_code and not line.startswith("    "):
            line = ATTRIBUTE.sub(attribute, LINK.sub(link, line))
        lines.append(line)
    return "\n".join(lines)


class Leaf(html.parser.HTMLParser):
    """A page of the finished book: its links and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "srcset" and value:
                self.links.extend(part.split()[0] for part in value.split(","))
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def check(book):
    """Ends with 1 where a link of the book leads nowhere."""
    leaves = {path: Leaf(path) for path in book.rglob("*.html") if path.name not in ("print.html", "404.html", "toc.html")}
    count, wrong = 0, []
    for path, leaf in leaves.items():
        for link in leaf.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme:
                continue
            count += 1
            to = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path.resolve()
            anchor = urllib.parse.unquote(url.fragment)
            page = next((leaf for page, leaf in leaves.items() if page.resolve() == to), None)
            if not to.is_file() or (anchor and page and anchor not in page.anchors):
                wrong.append(f"{path}: {link}")
    print(*wrong, f"{count} links of {len(leaves)} pages, {len(wrong)} lead nowhere", sep="\n")
    return 1 if wrong or len(leaves) < 20 else 0


def main():
    if sys.argv[1:2] == ["check"]:
        sys.exit(check(pathlib.Path(sys.argv[2])))
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    items = book["items"]
    pages = {posixpath.normpath(posixpath.join("docs", c["path"])): c for c in chapters(items)}
    places = {page: place(page) for page in pages}
    for page, chapter in pages.items():
        chapter["content"] = rewritten(chapter["content"], page, places)
        chapter["path"] = places[page]
    json.dump(book, sys.stdout)


if __name__ == "__main__":
    main()
