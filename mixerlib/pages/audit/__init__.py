"""The audit of the published numbers: each is recomputed, and code alone gives the verdict.

>>> from mixerlib.pages import audit
>>> published = audit.load("book/published.yaml")  # what is printed, where, and of what
>>> entry = published.entries["readme-cifar10/convmixer/flops"]
>>> entry.printed, entry.unit
('152.6', 'M')
>>> audit.check(published)[entry.id].kind
'reproduced'

A number counts as reproduced when the recomputed one has the printed digits: rounded or cut off at
the printed decimals, or rounded twice where an earlier print shows it; counted as its source says,
or as most numbers of its source are. An accuracy does when it lies where one more of our own runs
would fall. Where a count has other digits, a declared list of alternatives is tried
(`candidates`): another kernel, another strategy, a tool's own way of counting. Shown on the
book's page *Audit of the published numbers*.
"""

from mixerlib.pages.audit.accuracy import (
    CONFIDENCE,
    DATA,
    IMAGES,
    SEEDS,
    Interval,
    matching,
)
from mixerlib.pages.audit.alternatives import (
    CHANGES,
    Alternative,
    candidates,
    explanations,
    parameter_twins,
)
from mixerlib.pages.audit.claims import (
    plain,
    whole_saving,
)
from mixerlib.pages.audit.counting import (
    CONVENTIONS,
    HABITS,
    PADDED,
    STATED,
    TWICE,
    exchanged,
    fits,
    fvcore,
    fvcore_training,
    rounded_again,
    rounding,
    shown,
    ways_of,
)
from mixerlib.pages.audit.entries import (
    COSTS,
    QUANTITIES,
    Configuration,
    Entry,
    Published,
    claim,
    configurations,
    family_of,
    load,
)
from mixerlib.pages.audit.logs import PublishedLog
from mixerlib.pages.audit.others import (
    OtherCounts,
    OtherModel,
    read_others,
)
from mixerlib.pages.audit.outcome import (
    CANNOT_BE_CHECKED,
    NEEDS_EVALUATION,
    NEEDS_TRAINING,
    NOT_REPRODUCED,
    REPRODUCED,
    VERDICTS,
    Verdict,
)
from mixerlib.pages.audit.prints import (
    agree,
    outvoted,
    repeated_row,
    row_of,
)
from mixerlib.pages.audit.verdicts import check

__all__ = [
    "CANNOT_BE_CHECKED",
    "CHANGES",
    "CONFIDENCE",
    "CONVENTIONS",
    "COSTS",
    "DATA",
    "HABITS",
    "IMAGES",
    "NEEDS_EVALUATION",
    "NEEDS_TRAINING",
    "NOT_REPRODUCED",
    "PADDED",
    "QUANTITIES",
    "REPRODUCED",
    "SEEDS",
    "STATED",
    "TWICE",
    "VERDICTS",
    "Alternative",
    "Configuration",
    "Entry",
    "Interval",
    "OtherCounts",
    "OtherModel",
    "Published",
    "PublishedLog",
    "Verdict",
    "agree",
    "candidates",
    "check",
    "claim",
    "configurations",
    "exchanged",
    "explanations",
    "family_of",
    "fits",
    "fvcore",
    "fvcore_training",
    "load",
    "matching",
    "outvoted",
    "parameter_twins",
    "plain",
    "read_others",
    "repeated_row",
    "rounded_again",
    "rounding",
    "row_of",
    "shown",
    "ways_of",
    "whole_saving",
]
