// The book's search. sections.js brings every section's heading, text and code; this ranks them for a question in a
// reader's words and shows the best pages, each with the sections that answer. It needs no server.
(() => {
  // Words that say nothing of the subject, and words of questions.
  const STOP = new Set(("a an and any are as at be been but by can could did do does for from get had has have how i if in into is it its " +
    "many me much my not of on one or our should so some than that the their them then there these they this to use using versus vs was " +
    "over we were what when where which who why will with work would you your").split(" "));
  // What readers call what the book calls otherwise: either finds the other, a little lower.
  const SAME = [["gpu", "cuda", "device"], ["install", "setup", "pip"], ["pretrained", "checkpoint", "published"], ["flop", "flops"],
    ["fast", "speed", "throughput"], ["load", "loading", "load_weights"], ["dataset", "data"], ["picture", "image"],
    ["error", "mistake"], ["result", "accuracy"], ["colab", "notebook"], ["size", "width"], ["rf", "receptive"]];

  const plain = text => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[\u2010-\u2015\u2212]/g, "-")
    .replace(/\u2019/g, "'")
    .replace(/(\d)[,\u202f\u00a0](?=\d{3}\b)/g, "$1");

  // One form for the forms of a word: counts, counted, counting → count.
  const stem = word => {
    if (word.length < 4 || /[\d_]/.test(word)) return word;
    const short = word.replace(/'s$/, "").replace(/ies$/, "y").replace(/(ss|x|ch|sh)es$/, "$1").replace(/([^su])s$/, "$1")
      .replace(/(?<=.[aeiouy].*)(ing|ed|ly)$/, "").replace(/(?<=...)(ation|ion)$/, "").replace(/e$/, "");
    return short.replace(/([^aeiouls])\1$/, "$1") || word;
  };

  const SILENT = new Set([...STOP].map(stem)); // in the form that words have below

  // The words of a text. What hangs together, as load_weights or splitmixer-ii, counts whole and in its parts.
  const words = text => {
    const all = [];
    for (const [whole] of plain(text).matchAll(/\d+(?:\.\d+)+|[\p{L}\d]+(?:['_.-][\p{L}\d]+)*/gu)) {
      const parts = /^\d+(\.\d+)+$/.test(whole) ? [] : whole.split(/[_.-]+/);
      if (parts.length > 1) all.push(whole);
      all.push(...(parts.length ? parts : [whole]).map(stem));
    }
    return all;
  };

  // What a section is found by, and how much a word weighs there.
  const WEIGHTS = {title: 5, heading: 5, text: 1, code: 0.4};

  const WHOLE = 0.8; // of a page's words together, beside those of its best sections
  const REFERENCE = /book\/(api|changes)\.html/; // has every word; comes later, unless a name of the library is asked for

  const build = pages => {
    const docs = [], wholes = new Map(), spread = new Map();
    for (const {page, title, sections} of pages) {
      const above = [], whole = {counts: new Map(), length: 0};
      wholes.set(page, whole);
      for (const [anchor, level, heading, text, code] of sections) {
        while (above.length && above[above.length - 1].level >= level) above.pop();
        const path = above.slice(1).map(part => part.heading); // without the page's title
        above.push({level, heading});
        const fields = {title: level === 1 ? "" : title, heading, text, code};
        const counts = new Map();
        let length = 0;
        for (const [field, weight] of Object.entries(WEIGHTS)) {
          const list = words(fields[field]);
          if (field === "text" || field === "code") length += weight * list.length;
          const share = field === "title" ? weight * 0.5 : field === "heading" && level === 1 ? weight * 1.6 : weight;
          for (const word of list) counts.set(word, (counts.get(word) || 0) + share);
        }
        for (const [word, count] of counts) {
          spread.set(word, (spread.get(word) || 0) + 1);
          whole.counts.set(word, (whole.counts.get(word) || 0) + count);
        }
        whole.length += length;
        docs.push({page, title, anchor, level, heading, path, text, code, counts, length, list: null});
      }
    }
    const mean = all => all.reduce((sum, doc) => sum + doc.length, 0) / (all.length || 1);
    const rare = word => Math.log(1 + (docs.length - (spread.get(word) || 0) + 0.5) / ((spread.get(word) || 0) + 0.5));
    return {docs, wholes, spread, rare, mean: mean(docs), wholeMean: mean([...wholes.values()])};
  };

  // The terms of a question: each a list of [word, share], the word itself first.
  const terms = (index, question) => {
    const all = words(question.replace(/\bhow many\b/gi, "count")), kept = all.filter(word => !SILENT.has(word));
    return [...new Set(kept.length ? kept : all)].map(word => {
      const forms = new Map([[word, 1]]);
      for (const group of SAME) {
        const stems = group.map(stem);
        if (stems.includes(word)) stems.forEach(other => { if (!forms.has(other)) forms.set(other, 0.35); });
      }
      if (word.length > 3 || !index.spread.has(word)) // what begins so, as long as it is being typed
        for (const other of index.spread.keys())
          if (other.length > word.length && other.length <= word.length + 6 && other.startsWith(word) && !forms.has(other))
            forms.set(other, index.spread.has(word) ? 0.3 : 0.7);
      return [...forms];
    });
  };

  const score = (index, doc, asked, mean) => {
    let sum = 0, met = 0, whole = 0;
    for (const forms of asked) {
      const rarest = index.rare(forms[0][0]);
      let best = 0;
      for (const [word, share] of forms) {
        const count = doc.counts.get(word) || 0;
        if (count) best = Math.max(best, share * Math.min(index.rare(word), rarest) * count * 2.2 /
          (count + 1.2 * (0.4 + 0.6 * doc.length / mean)));
      }
      sum += best;
      whole += rarest;
      if (best) met += rarest;
    }
    return sum * (whole ? met / whole : 0) ** 1.5; // a section that has all the words comes first
  };

  // The best pages for a question, each with its best sections: [{page, title, score, sections}].
  const search = (index, question) => {
    const asked = terms(index, question), phrase = plain(question.replace(/["?]/g, "")).trim();
    const pages = new Map();
    for (const doc of index.docs) {
      let value = score(index, doc, asked, index.mean);
      if (!value) continue;
      if (plain(doc.heading) === phrase || plain(doc.title) === phrase && doc.level === 1) value *= 2;
      else if (asked.length > 1 && plain(doc.heading).includes(phrase)) value *= 1.6;
      else if (asked.length > 1 && plain(doc.text).includes(phrase)) value *= 1.3;
      const entry = pages.get(doc.page) || {page: doc.page, title: doc.title, sections: []};
      entry.sections.push({doc, value});
      pages.set(doc.page, entry);
    }
    for (const entry of pages.values()) {
      entry.sections.sort((a, b) => b.value - a.value);
      const [first, second, third] = entry.sections.map(section => section.value);
      // several sections on it, and its words all over the page: the page is about it
      entry.score = first + 0.25 * (second || 0) + 0.1 * (third || 0);
      entry.score += WHOLE * score(index, index.wholes.get(entry.page), asked, index.wholeMean);
      if (REFERENCE.test(entry.page) && !/[_.]\w/.test(phrase)) entry.score *= 0.6;
    }
    return [...pages.values()].sort((a, b) => b.score - a.score);
  };

  const api = {build, search, terms, words, stem};
  globalThis.mixerBookSearch = api;
  if (typeof document === "undefined") return;

  // --- the page ---------------------------------------------------------------------------------------------------

  const make = (tag, text, attributes = {}) => Object.assign(document.createElement(tag), {textContent: text}, attributes);

  // Some words around the first place where the question is answered, with its words marked.
  const excerpt = (doc, asked) => {
    const forms = new Set(asked.flatMap(term => term.map(([word]) => word)));
    const source = words(doc.text).some(word => forms.has(word)) || !doc.code ? doc.text : doc.code;
    const tokens = source.split(/(\s+)/), marked = tokens.map(token => words(token).some(word => forms.has(word)));
    let start = 0, most = -1;
    marked.forEach((mark, place) => {
      if (!mark) return;
      const count = marked.slice(place, place + 50).filter(Boolean).length;
      if (count > most) [start, most] = [Math.max(0, place - 12), count];
    });
    if (start % 2) start -= 1;
    const end = start + 62, p = make("p", start ? "… " : "", {className: "excerpt"});
    tokens.slice(start, end).forEach((token, place) => p.append(marked[start + place] ? make("mark", token) : token));
    if (end < tokens.length) p.append(" …");
    return p;
  };

  const show = question => {
    const box = document.getElementById("search-results");
    box.replaceChildren();
    if (!question.trim()) return;
    const index = build(window.bookSections || []), asked = terms(index, question), found = search(index, question);
    const pages = found.slice(0, 12);
    box.append(make("p", pages.length ? `The best ${pages.length} of ${found.length} pages that have some of these words`
      : "No page has any of these words.", {className: "search-summary", role: "status"}));
    if (pages.length === found.length && pages.length)
      box.firstChild.textContent = `${pages.length} page${pages.length > 1 ? "s" : ""} with some of these words`;
    const list = make("ol", "", {className: "search-pages"});
    for (const {page, title, sections} of pages) {
      const item = make("li", "");
      item.append(make("a", title, {href: page, className: "search-page"}));
      const inner = make("ul", "");
      for (const {doc} of sections.filter(({value}) => value > 0.4 * sections[0].value).slice(0, 3)) {
        const part = make("li", "");
        const name = doc.level === 1 ? "Beginning of the page" : [...doc.path, doc.heading].join(" › ");
        part.append(make("a", name, {href: `${page}#${encodeURIComponent(doc.anchor)}`}), excerpt(doc, asked));
        inner.append(part);
      }
      item.append(inner);
      list.append(item);
    }
    if (pages.length) box.append(list);
  };

  const question = new URLSearchParams(location.search).get("q") || "";
  document.querySelectorAll(".bd-search input[name=q]").forEach(input => { input.value = question; });
  show(question);
})();
