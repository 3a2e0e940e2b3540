"""Text in an HTML page: what runs hold is shown as text, whatever it looks like."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from typing import Any

PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# What ends a script element, begins a comment in one, or ends a line of JavaScript.
ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the template with every `{{name}}` replaced in a single pass.

    A value that holds a placeholder itself stays as it is: values come from run folders.

    Raises:
        KeyError: the template names a value that there is not.
    """
    return PLACEHOLDER.sub(lambda found: values[found[1]], template)


def script_json(value: Any) -> str:
    """Return JSON for a script element: nothing in it can end the element, or begin a comment or another one.

    Raises:
        ValueError: a number is not finite, which JSON has no word for.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).translate(ESCAPES)


def text(value: str) -> str:
    """Return markup that shows `value`; control characters and what is no Unicode are shown as escapes."""
    visible = CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
    return html.escape(visible.encode("utf-8", "backslashreplace").decode())


def content_security_policy(template: str) -> str:
    """Return a policy that allows the template's own script and style, by their hashes, and images in data: URIs.

    No other script runs, no event handler of an attribute, and nothing is asked of a network.
    """
    script, style = (_hash(element, template) for element in ("script", "style"))
    return f"default-src 'none'; img-src data:; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"


def _hash(element: str, template: str) -> str:
    """Return the source expression of the one element that is code, as a browser computes it."""
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", template, flags=re.S)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
