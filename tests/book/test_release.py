"""The release: what it is called, what it packs, and that the same files give the same bytes."""

import datetime
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import setuptools
import yaml
from helpers import ROOT, git, missing

import mixerlib
from book.tools import packing, pdf, release, toc

NOON = 1_700_000_000


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of one commit whose mixerlib is version 1.2.3."""
    monkeypatch.delenv("VERSION", raising=False)
    folder = tmp_path / "book"
    (folder / "mixerlib").mkdir(parents=True)
    (folder / "mixerlib" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3 - 2026-01-31\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "All")
    return folder


def test_the_package_s_version_is_read_without_importing_it():
    assert release.package_version() == mixerlib.__version__


def test_a_release_has_the_name_of_its_tag(checkout):
    git(checkout, "tag", "-a", "v1.2.3", "-m", "A release")
    git(checkout, "tag", "another")
    assert release.release_version(checkout) == "1.2.3"


def test_without_the_right_tag_the_error_says_what_to_do(checkout):
    with pytest.raises(ValueError, match=r"not have the tag v1\.2\.3.*git tag v1\.2\.3.*=dev"):
        release.release_version(checkout)
    git(checkout, "tag", "v1.2.4")
    with pytest.raises(ValueError, match=r"not have the tag v1\.2\.3"):
        release.release_version(checkout)


def test_a_changed_file_is_not_what_the_tag_names(checkout):
    git(checkout, "tag", "v1.2.3")
    (checkout / "new.txt").write_text("new")
    with pytest.raises(ValueError, match=r"differ from what v1\.2\.3 names.*\n.*new\.txt"):
        release.release_version(checkout)


def test_a_release_is_in_the_changelog(checkout):
    (checkout / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n## 1.2.30 - 2026-01-31\n"
    )
    git(checkout, "commit", "-q", "-a", "-m", "More")
    git(checkout, "tag", "v1.2.3")
    with pytest.raises(ValueError, match=r"needs a heading for this version: ## 1\.2\.3 - YYYY"):
        release.release_version(checkout)


def test_any_commit_can_be_tried_out_as_dev_and_as_nothing_else(checkout, monkeypatch):
    monkeypatch.setenv("VERSION", "dev")
    assert release.release_version(checkout) == "dev"
    monkeypatch.setenv("VERSION", "1.2.3")
    with pytest.raises(ValueError, match=r"`VERSION`='1\.2\.3' must be dev or absent"):
        release.release_version(checkout)


def test_nothing_is_packed_before_it_is_built(checkout, monkeypatch):
    monkeypatch.setenv("VERSION", "dev")
    with pytest.raises(ValueError, match="no pages in _build/html: make book"):
        release.make_release(checkout)
    (checkout / "_build" / "html").mkdir(parents=True)
    (checkout / "_build" / "html" / "index.html").write_text("A page")
    with pytest.raises(ValueError, match="no notebooks in _build/colab: make notebooks"):
        release.make_release(checkout)


def test_a_zip_depends_on_its_files_and_the_commit_s_time_alone(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    names = ["index.html", "book/a.html", "_static/z.css"]
    for folder, order in ((first, names), (second, names[::-1])):
        for name in order:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"The text of {name}")
        (folder / ".buildinfo").write_text(folder.name)
    (second / "index.html").chmod(0o600)
    for folder in (first, second):
        packing.write_zip(folder, folder.with_suffix(".zip"), "mixer-book-1", NOON)
    assert first.with_suffix(".zip").read_bytes() == second.with_suffix(".zip").read_bytes()
    with zipfile.ZipFile(first.with_suffix(".zip")) as archive:
        assert archive.namelist() == [f"mixer-book-1/{name}" for name in sorted(names)]
        assert archive.read("mixer-book-1/book/a.html") == b"The text of book/a.html"
        assert {entry.date_time for entry in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
        archive.extractall(tmp_path / "out")
    assert (tmp_path / "out" / "mixer-book-1" / "index.html").is_file()


def test_a_zip_can_hold_one_kind_of_file(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.ipynb", "notes.txt"):
        (tmp_path / "in" / name).write_text("{}")
    packing.write_zip(tmp_path / "in", tmp_path / "a.zip", "n", NOON, "*.ipynb")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["n/a.ipynb"]


def test_a_source_distribution_depends_on_its_files_and_the_commit_s_time_alone(tmp_path):
    for moment, mode, folder in ((1_600_000_000, 0o600, "one"), (1_650_000_000, 0o664, "two")):
        made = tmp_path / folder / "mixerlib-1.tar.gz"
        made.parent.mkdir()
        with tarfile.open(made, "w:gz") as archive:
            names = ["m/b.py", "m/a.py"] if folder == "one" else ["m/a.py", "m/b.py"]
            top = tarfile.TarInfo("m")
            top.type, top.mtime, top.mode = tarfile.DIRTYPE, moment, 0o700
            archive.addfile(top)
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime, entry.mode, entry.uname = len(name), moment, mode, folder
                archive.addfile(entry, io.BytesIO(name.encode()))
        packing.settle_sdist(made, NOON)
    assert (tmp_path / "one" / made.name).read_bytes() == made.read_bytes()
    with tarfile.open(made) as archive:
        assert archive.getnames() == ["m", "m/a.py", "m/b.py"]
        assert archive.extractfile("m/b.py").read() == b"m/b.py"
        assert {entry.mtime for entry in archive} == {NOON}
    assert sorted(path.name for path in made.parent.iterdir()) == [made.name]


def test_the_package_holds_every_module_and_every_file_that_modules_read():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = subprocess.run(
        ["git", "ls-files", "mixerlib"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [Path(name) for name in listed.stdout.split()]
    packages = {".".join(path.parent.parts) for path in paths if path.name == "__init__.py"}
    assert (
        set(setuptools.find_packages(ROOT, include=tools["packages"]["find"]["include"]))
        == packages
    )
    assert {".".join(path.parent.parts) for path in paths if path.suffix == ".py"} == packages
    data = {path for path in paths if path.suffix != ".py"}
    packed = {
        path.relative_to(ROOT)
        for package, patterns in tools["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
        if path.is_file()
    }
    assert data <= packed


def test_a_package_holds_the_library_and_nothing_that_only_the_project_needs(tmp_path):
    """Not hashes.txt, constraints.txt, the book or the workflows, of which the checkout is full."""
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, tmp_path)
    shutil.copytree(ROOT / "mixerlib", tmp_path / "mixerlib")
    for name in ("book", "notebooks", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.md").touch()
    assert (tmp_path / "hashes.txt").exists()
    code = "from setuptools.build_meta import *; build_sdist('dist'), build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    [sdist, wheel] = sorted((tmp_path / "dist").iterdir(), key=lambda path: path.suffix)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2].partition("/")[0] for name in archive.getnames()}
    written = {"PKG-INFO", "setup.cfg", "mixerlib.egg-info"}
    assert names - {""} - written == {"mixerlib", "pyproject.toml", "README.md", "LICENSE"}
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {"mixerlib", f"mixerlib-{mixerlib.__version__}.dist-info"}


def test_checksums_are_those_that_coreutils_checks(tmp_path):
    for name in ("b.pdf", "a.zip"):
        (tmp_path / name).write_text(f"The bytes of {name}")
    packing.write_checksums(tmp_path)
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["a.zip", "b.pdf"]
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "a.zip").write_text("Other bytes")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode


def test_the_pdf_has_every_page_of_the_contents_in_their_order():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    parts = toc.parts()
    assert parts[0] == ("", [contents["root"]])
    assert [caption for caption, _ in parts[1:]] == [part["caption"] for part in contents["parts"]]
    # the contents are flat: a page below a page would be lost
    listed = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    assert all(set(chapter) == {"file"} for chapter in listed)
    assert [name for _, names in parts[1:] for name in names] == [c["file"] for c in listed]


def test_headings_are_read_as_a_reader_sees_them(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<div><h1>Widths &amp; depths</h1></div>"  # the theme repeats the title, without its number
        '<section class="tex2jax_ignore" id="top">\n<h1>'
        '<span class="section-number">7. </span>Widths &amp; depths'
        '<a class="headerlink" href="#top" title="Link">#</a></h1>\n'
        '<section id="idea">\n<span id="an-idea"></span><h2>The <em>idea</em> of '
        '<span class="math">\\(s\\)</span>'
        '<a class="headerlink" href="#idea">#</a></h2><section id="x"><h3>Deeper</h3></section>'
    )
    assert pdf.headings(page) == ("7. Widths & depths", [("idea", "The idea of s")])


def test_without_chromium_the_message_says_what_is_missing(tmp_path, monkeypatch):
    pytest.importorskip("pypdf")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert pdf.find_chromium() == ""
    with pytest.raises(RuntimeError, match="printed by Chromium, and none is here"):
        pdf.write_pdf(tmp_path, tmp_path / "a.pdf", [("", ["index"])], "A book", NOON)


PAGE = """<!doctype html><title>{name}</title><article>
<section id="top"><h1>Page {name}</h1>
<section id="end"><h2>The end of {name}</h2>
<p style="margin-top: 90cm"><a href="#end">up</a> <a href="{other}.html#end">over</a>
<a href="{other}.html#nowhere">lost</a> <a href="../index.html">home</a>
<a href="notes.txt">notes</a> <a href="https://example.org/">out</a></p></section></section>
<script>
addEventListener("beforeprint", () => document.body.append("Printed with scripts."))
</script>
"""


def test_the_pdf_is_the_pages_with_bookmarks_and_links_that_stay_inside(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    if not pdf.find_chromium():
        missing("needs a Chromium")
    site = tmp_path / "site"
    (site / "book").mkdir(parents=True)
    for name, other in (("one", "two"), ("two", "one")):
        (site / "book" / f"{name}.html").write_text(PAGE.format(name=name, other=other))
    (site / "book" / "notes.txt").write_text("Notes")
    parts = [("", ["book/one"]), ("Part I", ["book/two"])]
    pdf.write_pdf(site, tmp_path / "a.pdf", parts, "A book", NOON)

    reader = pypdf.PdfReader(tmp_path / "a.pdf")
    texts = [sheet.extract_text() for sheet in reader.pages]
    first = {
        name: next(i for i, t in enumerate(texts) if f"Page {name}" in t) for name in ("one", "two")
    }
    assert first["one"] == 0 < first["two"] < len(texts) - 1
    assert sum("Printed with scripts." in text for text in texts) == 2
    assert reader.metadata.title == "A book"
    assert reader.metadata.creation_date.timestamp() == NOON

    def flat(items, depth=0):
        for item in items:
            if isinstance(item, list):
                yield from flat(item, depth + 1)
            else:
                yield depth, item.title, reader.get_destination_page_number(item)

    one, two = first["one"], first["two"]
    assert list(flat(reader.outline)) == [
        (0, "Page one", one),
        (1, "The end of one", one),
        (0, "Part I", two),
        (1, "Page two", two),
        (2, "The end of two", two),
    ]
    numbers = {sheet.indirect_reference.idnum: i for i, sheet in enumerate(reader.pages)}
    for sheet_number, other, sheet in (
        (one, two, reader.pages[two - 1]),
        (two, one, reader.pages[-1]),
    ):
        links = [reference.get_object() for reference in sheet["/Annots"]]
        inside = [link["/Dest"] for link in links if "/Dest" in link]
        assert [numbers[list.__getitem__(place, 0).idnum] for place in inside] == [
            sheet_number,
            other,
            other,
            one,
        ]
        # a known anchor is met exactly, an unknown one by the top of its page
        assert [place[3] is not None and float(place[3]) > 0 for place in inside[:2]] == [True] * 2
        assert inside[0][3] == inside[1][3]
        outside = [link["/A"]["/URI"] for link in links if "/A" in link]
        assert outside == ["https://example.org/"]
    assert str(tmp_path).encode() not in (tmp_path / "a.pdf").read_bytes()


def test_the_citation_is_complete_and_of_this_version():
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(facts)  # those the schema requires
    assert (facts["cff-version"], facts["type"]) == ("1.2.0", "software")
    assert facts["version"] == mixerlib.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert facts["authors"] == project["authors"] and facts["license"] == project["license"]
    assert facts["title"] in (ROOT / "README.md").read_text()
    for paper in facts["references"]:
        assert {"type", "title", "authors", "year"} <= set(paper)
        number = paper["identifiers"][0]["value"].removeprefix("10.48550/arXiv.")
        assert number in (ROOT / "README.md").read_text()


def test_the_changelog_has_the_form_that_it_names():
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (.+)$", text, re.M)
    assert heads[0] == "Unreleased"
    dated = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)", head) for head in heads[1:]]
    assert all(dated)
    versions = [tuple(map(int, actual.groups()[:3])) for actual in dated]
    assert versions == sorted(set(versions), reverse=True)
    for actual in dated:
        datetime.date.fromisoformat(actual[4])
    kinds = set(re.findall(r"^### (.+)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_page_of_changes_shows_the_changelog_and_the_files_lead_to_each_other():
    page = (ROOT / "book" / "changes.md").read_text()
    start = int(re.search(r"\{include\} \.\./CHANGELOG\.md\n:start-line: (\d+)\n", page)[1])
    # the file's title is left out, for the page has its own
    assert (ROOT / "CHANGELOG.md").read_text().splitlines()[:start] == ["# Changelog"]
    links = re.findall(r"\]\(([\w./]+)\)", (ROOT / "CONTRIBUTING.md").read_text())
    assert "book/contributing.md" in links
    assert all((ROOT / link).is_file() for link in links)
