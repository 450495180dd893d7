"""Methods and corruptions as the field prints them: IR-Net, LCR on IR-Net, FP32, Gaussian noise.

An entry of ours is called what its docstring says before the first colon, `IR-Net: balanced, ...`, unless it has a
shorter name here. An entry from outside is called by its name, because its file is not opened for a report.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from lcrbench import registry
from lcrbench.bench.records.spec import MethodId
from lcrbench.reports.words import plain

SHORT = {
    "full_precision": "FP32",
    "dorefa": "DoReFa-Net",
    "lcr": "LCR",
    "lcr_released": "LCR as released",
    "lcr_fixed": "LCR repaired",
    "jacobian_penalty": "Jacobian penalty",
    "parseval": "Parseval",
    "spectral_norm": "spectral norm",
    "spectral_penalty": "spectral penalty",
}
CORRUPTIONS = {"jpeg_compression": "JPEG compression"}
DAGGER = "†: not ranked, because its budget is another one, or not known."
LONGEST = 24
"""Of what stands before a docstring's colon."""


def method_name(method: MethodId | None, label: str) -> str:
    """Return a method's name; the label of a network that no record describes.

    >>> method_name(MethodId(name="irnet", regularizers={"lcr": {"weight": 2.0}}), "irnet+lcr:weight=2.0")
    'LCR (weight 2) on IR-Net'
    """
    if method is None:
        return label
    own = _with_options(entry_name("method", method.name), method.options)
    terms = [_with_options(entry_name("regularizer", n), options) for n, options in method.regularizers.items()]
    return f"{' + '.join(terms)} on {own}" if terms else own


@cache
def entry_name(kind: Literal["method", "regularizer"], name: str) -> str:
    """Return the name of an entry of the registry."""
    if name in SHORT:
        return SHORT[name]
    if name not in registry.files(kind):
        return name
    title, colon, _ = registry.summary(kind, name).partition(":")
    return title if colon and len(title) <= LONGEST else name


def _with_options(name: str, options: dict[str, Any]) -> str:
    told = ", ".join(f"{key} {plain(value)}" for key, value in options.items())
    return f"{name} ({told})" if told else name


def corruption_name(name: str) -> str:
    """Return a corruption's name.

    >>> corruption_name("gaussian_noise"), corruption_name("jpeg_compression"), corruption_name("fog")
    ('Gaussian noise', 'JPEG compression', 'Fog')
    """
    if name in CORRUPTIONS:
        return CORRUPTIONS[name]
    plainly = name.replace("_", " ")
    return plainly[:1].upper() + plainly[1:]
