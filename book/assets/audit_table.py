"""The audit's verdicts as a table for the page, which a reader can filter.

The whole table stands in the HTML. A few lines of script, inlined, add the filters; without script
it is all there and the filters are not. No request leaves the page.
"""

from collections.abc import Mapping
from html import escape

from mixerlib.pages import VERDICTS, Entry, Published, Verdict

COLORS = dict(zip(VERDICTS, ("#5E7D2E", "#A3324E", "#7B68C8", "#B9AEE6", "#A9ADB3"), strict=True))

STYLE = """
.audit form { display: flex; flex-wrap: wrap; gap: 0.6rem 1.2rem; align-items: end; margin: 0; }
.audit form[hidden] { display: none; }
.audit label { display: flex; flex-direction: column; font-size: 0.85rem; gap: 0.15rem; }
.audit input, .audit select, .audit button {
  font: inherit; padding: 0 0.5rem; height: 2.2rem; margin: 0; border-radius: 0.25rem;
  max-width: 15rem;
  color: var(--pst-color-text-base); background: var(--pst-color-surface);
  border: 1px solid var(--pst-color-text-muted); }
.audit button { font-size: 0.85rem; }
.audit :is(input, select, button, .audit-box):focus-visible {
  outline: 2px solid var(--pst-color-primary); outline-offset: 1px; }
.audit [role=status] { margin: 0.6rem 0; color: var(--pst-color-text-base); }
.audit-box { overflow: auto; max-height: 75vh; border: 1px solid var(--pst-color-border); }
.bd-article .audit table { display: table; border-collapse: collapse; table-layout: fixed;
  min-width: 38rem; width: 100%; margin: 0; font-size: 0.85rem; line-height: 1.4; }
.audit caption { caption-side: top; text-align: left; padding: 0.5rem 0.6rem; font-size: 0.85rem;
  color: var(--pst-color-text-base); }
.bd-article .audit :is(th, td) { text-align: left; vertical-align: top; padding: 0.4rem 0.6rem;
  border-bottom: 1px solid var(--pst-color-border); background: none;
  color: var(--pst-color-text-base); overflow-wrap: break-word; }
.bd-article .audit thead th { position: sticky; top: 0; background: var(--pst-color-surface); }
.audit td.number { font-variant-numeric: tabular-nums; }
.bd-article .audit :is(td.number, th:first-child) { text-align: right; }
.audit col:nth-child(1) { width: 15%; } .audit col:nth-child(2) { width: 21%; }
.audit col:nth-child(3) { width: 27%; }
.audit .dot { display: inline-block; width: 0.65em; height: 0.65em; margin-right: 0.4em; }
.audit .remark { display: block; color: var(--pst-color-text-muted); }
@media (max-width: 600px) { /* a card for each number, and the page scrolls, not a box */
  .audit-box { max-height: none; border: 0; }
  .bd-article .audit table, .audit :is(tbody, caption) { display: block; min-width: 0; }
  .audit :is(thead, colgroup) { display: none; }
  .audit tr:not([hidden]) { display: grid; grid-template-columns: auto 1fr; margin: 0 0 0.8rem;
    border: 1px solid var(--pst-color-border); border-radius: 0.3rem; }
  .bd-article .audit td { border: 0; padding: 0.3rem 0.6rem; position: static; max-width: none; }
  .bd-article .audit td.number { text-align: left; }
  .audit td:nth-child(-n + 2) { font-weight: 600; }
  .audit td:nth-child(2) { text-align: right !important; }
  .audit td:nth-child(n + 3) { grid-column: 1 / -1; }
}
@media print { .audit-box { max-height: none; } .audit form { display: none; } }
"""

SCRIPT = """
{
  const all = document.querySelectorAll('.audit'); // a live notebook tells no current script
  const audit = document.currentScript?.closest('.audit') ?? all[all.length - 1];
  const form = audit.querySelector('form'), status = audit.querySelector('[role=status]');
  const rows = [...audit.querySelectorAll('tbody tr')];
  const filter = () => {
    const words = form.words.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every(word => text.includes(word))
        && (!form.verdict.value || row.dataset.verdict === form.verdict.value)
        && (!form.source.value || row.dataset.source === form.source.value);
      row.hidden = !fits;
      shown += fits;
    }
    status.textContent = `${shown} of ${rows.length} numbers shown.`;
  };
  form.addEventListener('input', filter);
  form.addEventListener('submit', event => event.preventDefault());
  form.addEventListener('reset', () => setTimeout(filter));
  form.hidden = false;
  filter();
}
"""


def table(published: Published, verdicts: Mapping[str, Verdict]) -> str:
    """Filters and table as one block of HTML."""
    used = dict.fromkeys(entry.document for entry in published.entries.values())
    sources = {name: published.documents[name]["title"] for name in used}
    rows = "".join(
        _row(published, entry, verdicts[entry.id]) for entry in published.entries.values()
    )
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Printed", "Verdict", "What it is", "Because")
    )
    return (
        f'<div class="audit"><style>{STYLE}</style>'
        '<form hidden aria-label="Filter the table">'
        '<label>Words <input name="words" type="search" autocomplete="off"></label>'
        f"{_choice('verdict', 'Verdict', dict(zip(VERDICTS, VERDICTS, strict=True)))}"
        f"{_choice('source', 'Source', sources)}"
        '<button type="reset">Show all</button></form>'
        f'<p role="status">{len(verdicts)} numbers.</p>'
        '<div class="audit-box" role="region" aria-label="All published numbers" tabindex="0">'
        "<table><caption>Every published number, its source, and what became of it.</caption>"
        f"<colgroup>{'<col>' * 4}</colgroup>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<script>{SCRIPT}</script></div>"
    )


def _choice(name: str, label: str, options: Mapping[str, str]) -> str:
    listed = "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>'
        for value, text in options.items()
    )
    return (
        f'<label>{label} <select name="{name}"><option value="">all</option>{listed}'
        "</select></label>"
    )


def _row(published: Published, entry: Entry, verdict: Verdict) -> str:
    document = published.documents[entry.document]
    unit = {"share": "", "times": "×"}.get(entry.unit, entry.unit)
    about = "about " if entry.about else "almost " if entry.below else ""
    what = f"{entry.name}: {entry.column}" if entry.column else entry.name
    remarks = "".join(f'<span class="remark">{escape(remark)}</span>' for remark in verdict.remarks)
    dot = f'<span class="dot" style="background: {COLORS[verdict.kind]}" aria-hidden="true"></span>'
    return (
        f'<tr data-verdict="{escape(verdict.kind)}" data-source="{escape(entry.document)}">'
        f'<td class="number">{about}{escape(entry.printed)} {escape(unit)}</td>'
        f"<td>{dot}{escape(verdict.kind)}</td>"
        f'<td>{escape(what)}<span class="remark">'
        f"{escape(document['title'])}, {escape(entry.where)}</span></td>"
        f"<td>{escape(verdict.reason)}{remarks}</td></tr>"
    )
