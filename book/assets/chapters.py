"""What the chapters say of themselves: title, hours, what they build on, and their exercises."""

import re
from dataclasses import dataclass
from pathlib import Path

from mixerlib.pages import book_folder

MINUTES = {
    "ten minutes": 10,
    "fifteen minutes": 15,
    "a quarter of an hour": 15,
    "twenty minutes": 20,
    "twenty-five minutes": 25,
    "half an hour": 30,
    "thirty minutes": 30,
    "thirty-five minutes": 35,
    "forty minutes": 40,
    "forty-five minutes": 45,
    "three quarters of an hour": 45,
    "fifty minutes": 50,
    "an hour": 60,
    "an hour and a quarter": 75,
    "an hour and a half": 90,
    "two hours": 120,
}
FENCE = r"(?::{3,}|`{3,})"
EXERCISE = re.compile(
    rf"^{FENCE}\{{exercise\}}[ ]*(?P<title>.*)\n(?P<body>(?:.*\n)*?){FENCE}[ ]*$", re.M
)


@dataclass(frozen=True)
class Exercise:
    """One exercise, without its hint and its solution: `text` is MyST Markdown, and `checked` says
    whether the machine checks an answer to it."""

    title: str
    label: str
    text: str
    checked: bool


@dataclass(frozen=True)
class Chapter:
    """A chapter as its own text describes it.

    Args:
        name: of its file, such as "01-patches".
        title: its heading.
        minutes: that reading takes, as it says; None where it says nothing.
        builds_on: the names of the earlier chapters that it says it builds on.
        exercises: in their order.
    """

    name: str
    title: str
    minutes: int | None
    builds_on: tuple[str, ...]
    exercises: tuple[Exercise, ...]

    @property
    def number(self) -> str:
        """Of its file: "01", or "13b" for what was split from 13."""
        return self.name.partition("-")[0]


def exercises_of(text: str) -> tuple[Exercise, ...]:
    """The exercises of a chapter's text, their links led from another folder."""
    found = []
    for match in EXERCISE.finditer(text):
        label = re.search(r"^:label: (\S+)$", match["body"], re.M)
        body = re.sub(r"^:\w+:.*\n", "", match["body"], flags=re.M).strip()
        body = re.sub(r"\{doc\}`(?!/|\.\./)([\w-]+)`", r"{doc}`../notebooks/\1`", body)
        name = label[1] if label else ""
        checked = f'\ncheck("{name.removeprefix("ex-")}", ' in text
        found.append(Exercise(match["title"].strip(), name, body, checked))
    return tuple(found)


def minutes_of(text: str) -> int | None:
    """How long reading takes, by the chapter's own sentence. `ValueError` for other words."""
    said = re.search(r"[Rr]eading takes (?:about )?([a-z0-9 -]+?)[;.,]", text)
    if not said:
        return None
    if number := re.fullmatch(r"(\d+) minutes", said[1]):
        return int(number[1])
    if said[1] not in MINUTES:
        raise ValueError(f"`reading takes {said[1]}` must be one of {', '.join(MINUTES)}")
    return MINUTES[said[1]]


def builds_on(text: str, name: str, names: list[str]) -> tuple[str, ...]:
    """The earlier chapters that a chapter says it builds on, in its sentence that does so."""
    sentence = re.search(r"builds on (?:[^.`]|`[^`]*`)*\.", text)
    if not sentence:
        return ()
    linked = re.findall(r"\{doc\}`([\w-]+)`( to )?", sentence[0])
    chosen: list[str] = []
    for place, (target, onwards) in enumerate(linked):
        if target not in names or target >= name:
            continue
        last = linked[place + 1][0] if onwards else target
        chosen += [other for other in names if target <= other <= last]
    return tuple(dict.fromkeys(chosen))


def read_chapters(folder: Path | None = None) -> list[Chapter]:
    """All chapters in their order, from the notebooks."""
    folder = folder or book_folder().parent / "notebooks"
    paths = sorted(folder.glob("[0-9][0-9]*.md"))
    names = [path.stem for path in paths]
    chapters = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        title = re.search(r"^# (.+)$", re.sub(r"\A---.*?^---$", "", text, flags=re.M | re.S), re.M)
        try:
            minutes = minutes_of(text)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
        before = builds_on(text, path.stem, names)
        heading = title[1] if title else path.stem
        chapters.append(Chapter(path.stem, heading, minutes, before, exercises_of(text)))
    return chapters
