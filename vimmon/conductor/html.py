"""HTML from Python, in which every text is escaped unless it is HTML already. No I/O."""

import html
from typing import Any

VOID = frozenset({"input", "link", "meta"})


class Html(str):
    """Text that is HTML: what `tag` makes, and nothing that came from outside."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: Any) -> Html:
    """An element. A trailing _ of an attribute's name is dropped, another becomes -; None: without that attribute, or
    without that child; True: an attribute without a value."""
    parts = ["<", name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        parts += [" ", key.rstrip("_").replace("_", "-")]
        if value is not True:
            parts += ['="', value if isinstance(value, Html) else html.escape(shown(str(value))), '"']
    parts.append(">")
    if name in VOID:
        return Html("".join(parts))
    parts += [escaped(child) for child in children if child is not None]
    return Html("".join([*parts, "</", name, ">"]))


def escaped(child: object) -> str:
    return child if isinstance(child, Html) else html.escape(shown(str(child)), quote=False)


def shown(text: str) -> str:
    """Without characters that steer: control characters, marks that turn the direction of what follows, surrogates."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def together(*parts: Html | None) -> Html:
    """One after the other."""
    return Html("".join(part for part in parts if part is not None))
