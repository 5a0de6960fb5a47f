"""The audit of the published numbers: each is recomputed, and code alone gives the verdict.

>>> from mixerlib.pages import audit
>>> published = audit.load("book/published.yaml")  # what is printed, where, and of what
>>> entry = published.entries["readme-cifar10/convmixer/flops"]
>>> entry.printed, entry.unit
('152.6', 'M')
>>> audit.check(published)[entry.id].kind
'reproduced'

A number counts as reproduced when the recomputed one, rounded or cut off at the printed decimals,
has the printed digits. Where it has not, a declared list of alternatives is tried
(`candidates`): another kernel, another strategy, a tool's own way of counting. Shown on the
book's page *Audit of the published numbers*.
"""

from mixerlib.pages.audit.alternatives import (
    CHANGES,
    Alternative,
    candidates,
    explanations,
    parameter_twins,
)
from mixerlib.pages.audit.counting import CONVENTIONS, HABITS, fits, fvcore, rounding, shown
from mixerlib.pages.audit.entries import (
    QUANTITIES,
    Configuration,
    Entry,
    Published,
    claim,
    configurations,
    family_of,
    load,
)
from mixerlib.pages.audit.prints import agree, outvoted, repeated_row, row_of
from mixerlib.pages.audit.verdicts import (
    CANNOT_BE_CHECKED,
    DATA,
    NEEDS_TRAINING,
    NOT_REPRODUCED,
    REPRODUCED,
    VERDICTS,
    Verdict,
    check,
    matching,
    plain,
    whole_saving,
)

__all__ = [
    "CANNOT_BE_CHECKED",
    "CHANGES",
    "CONVENTIONS",
    "DATA",
    "HABITS",
    "NEEDS_TRAINING",
    "NOT_REPRODUCED",
    "QUANTITIES",
    "REPRODUCED",
    "VERDICTS",
    "Alternative",
    "Configuration",
    "Entry",
    "Published",
    "Verdict",
    "agree",
    "candidates",
    "check",
    "claim",
    "configurations",
    "explanations",
    "family_of",
    "fits",
    "fvcore",
    "load",
    "matching",
    "outvoted",
    "parameter_twins",
    "plain",
    "repeated_row",
    "rounding",
    "row_of",
    "shown",
    "whole_saving",
]
