"""Makes visible what a terminal must not get: what moves its cursor, reorders a line, or cannot be seen."""

import re

# Of Unicode's format characters (Cf) these are left out: ZWJ and ZWNJ, which emoji, Persian and Indic scripts need, and
# the signs of Arabic, Syriac and Kaithi that are drawn.
UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0 with the line breaks, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f"  # bidi controls, invisible operators
    "\u2028\u2029"  # line and paragraph separator
    "\ud800-\udfff"  # lone surrogates: what the command line held beside UTF-8
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u3164\ufeff\uffa0\ufff0-\ufffb"  # nothing is drawn for them
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # layout of hieroglyphs, shorthand, music
    "\U000e0000-\U000e0fff"  # tags, supplementary variation selectors
    "]"
)


def visible(text: str) -> str:
    r"""The text on one line, with each unsafe character spelled as in Python: `\x1b`, `\u202e`, `\n`."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
