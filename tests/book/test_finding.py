"""The index that the search reads: the sections of a page, and what of a page is no text."""

import json
import sys
from types import SimpleNamespace

import pytest
from helpers import ROOT, Later

pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")
sys.path.insert(0, str(ROOT / "book" / "_ext"))

finding = Later("finding")

PAGE = """<html><body><nav>Menu</nav><article>
<section id="counting"><h1>4. Counting<a class="headerlink" href="#counting">#</a></h1>
<p>Of <em>594,186</em> weights<br/>all are <span class="math">\\(x\\)</span> counted.</p>
<section id="macs"><h2>MACs</h2><p>One.</p>
<div class="cell_input"><pre>costs.<span>measure</span>(model)</pre><button>Copy</button></div>
<figure><svg><text>0.2</text></svg><figcaption>It falls.</figcaption></figure>
</section>
<section id="end"><h2>The end</h2><dl><dt id="term-stem">Stem</dt><dd><p>The first layer.</p></dd>
<dt class="sig sig-object py" id="mixerlib.costs.measure"><span>measure</span>(model)</dt>
<dd><p>What it costs.</p></dd></dl></section>
</section></article><footer>Licence</footer></body></html>"""


def test_a_page_is_cut_at_its_headings_its_terms_and_its_objects():
    assert finding.sections(PAGE) == [
        ["counting", 1, "4. Counting", "Of 594,186 weights all are counted.", ""],
        ["macs", 2, "MACs", "One. It falls.", "costs.measure(model)"],
        ["end", 2, "The end", "", ""],
        ["term-stem", 7, "Stem", "The first layer.", ""],
        ["mixerlib.costs.measure", 7, "costs.measure", "What it costs.", "measure(model)"],
    ]


def test_the_index_is_a_script_that_a_page_may_hold(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "04-counting.html").write_text(
        PAGE.replace("One.", "&lt;/script&gt;")
    )
    for other in ("search", "notebooks/of-an-earlier-build"):
        (tmp_path / f"{other}.html").write_text(PAGE)
    environment = SimpleNamespace(found_docs={"notebooks/04-counting"})
    builder = SimpleNamespace(name="html")
    app = SimpleNamespace(outdir=str(tmp_path), builder=builder, env=environment)
    finding.write_index(app, None)
    text = (tmp_path / "_static" / "sections.js").read_text()
    assert "</script>" not in text
    index = json.loads(text.removeprefix("window.bookSections = ").rstrip(";\n"))
    assert [page["page"] for page in index] == ["notebooks/04-counting.html"]
    assert index[0]["title"] == "4. Counting"
    assert index[0]["sections"][1][3] == "</script> It falls."
