"""The glossary: under letters, in order, each word once; and what the book leans on is in it."""

import re

from helpers import ROOT

PAGE = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
NEEDED = {
    *("Stem", "Recipe", "Preset", "Pass", "Eager", "Fused", "Record", "thop", "AdamW", "Race"),
    *("Augmentation", "Intensity", "Roofline", "Checkpoint", "Epoch", "Batch", "EMA", "Fold"),
    *("Rank", "Jacobian", "Throughput", "Softmax", "Stride", "Padding", "fvcore"),
}


def groups() -> dict[str, list[str]]:
    """The terms of each letter, in their order; several may share one meaning."""
    found = {}
    for letter, body in re.findall(r"^## (\w)\n\n:::\{glossary\}\n(.*?)^:::$", PAGE, re.M | re.S):
        found[letter] = re.findall(r"^(\S.*)$", body, re.M)
    return found


def test_every_term_stands_under_its_letter_once_and_in_order():
    terms = [term for words in groups().values() for term in words]
    assert len({term.lower() for term in terms}) == len(terms) > 70
    for letter, body in re.findall(r"^## (\w)\n\n:::\{glossary\}\n(.*?)^:::$", PAGE, re.M | re.S):
        firsts = [entry.split("\n")[0] for entry in re.split(r"\n\n(?=\S)", body.strip())]
        assert all(first[0].upper() == letter for first in firsts)
        assert firsts == sorted(firsts, key=str.lower)
    assert "".join(groups()) == "".join(sorted(groups()))


def test_the_letters_lead_to_their_sections():
    links = re.findall(r"\{ref\}`(\w) <letter-(\w)>`", PAGE)
    assert [letter for letter, _ in links] == [*groups()]
    targets = re.findall(r"^\(letter-(\w)\)=\n## (\w)$", PAGE, re.M)
    assert links == [(letter, anchor) for anchor, letter in targets]


def test_what_the_book_leans_on_is_explained():
    terms = {term for words in groups().values() for term in words}
    assert NEEDED - terms == set()


def test_each_term_has_a_meaning():
    for entry in re.findall(r"^\S[^\n]*\n(?:\S[^\n]*\n)?  (\S.*)$", PAGE, re.M):
        assert entry[0].isupper() or entry.startswith(("$", "bfloat"))
        assert entry.rstrip().endswith((".", ".)")), entry
