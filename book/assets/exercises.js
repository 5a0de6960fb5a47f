// Exercises that ask for numbers alone are checked in the page, with no kernel and no network. A
// form's data are those of `mixerlib.pages.exercises`: labels, values and tolerances, and the wrong
// answers that have a message. They are packed, so that nobody reads an answer by chance.
(() => {
  "use strict";

  // A number as people write it: 1,024, −3, 12.5 %, 2/3, 1e-3. NaN for what is none.
  function read(text) {
    let plain = text.trim().replace(/−/g, "-").replace(/[,_\s]/g, "");
    const scale = plain.endsWith("%") ? 100 : 1;
    plain = plain.replace(/%$/, "");
    if (!/^[-+]?[\d.]+(e[-+]?\d+)?(\/[\d.]+)?$/i.test(plain)) return NaN;
    const [above, below = "1"] = plain.split("/");
    return Number(above) / Number(below) / scale;
  }

  // A field's text as a value of its kind; undefined where it cannot be read.
  function given(field, text) {
    if (typeof field.value === "boolean") return text === "" ? undefined : text === "yes";
    if (typeof field.value === "string") return text.trim().toLowerCase().replace(/\s+/g, " ") || undefined;
    const number = read(text);
    return Number.isFinite(number) ? number : undefined;
  }

  const close = (yours, expected, tolerance) =>
    typeof expected === "number" ? Math.abs(yours - expected) <= tolerance * Math.abs(expected) : yours === expected;

  // What to say to the texts of all fields, and which of them are right.
  function judge(data, texts) {
    const values = Object.fromEntries(data.fields.map((field, i) => [field.label, given(field, texts[i])]));
    const unread = data.fields.find(field => values[field.label] === undefined);
    if (unread) return { message: `Fill in ${unread.label}.`, right: [] };
    const tolerance = Object.fromEntries(data.fields.map(field => [field.label, field.tolerance]));
    const right = data.fields.map(field => close(values[field.label], field.value, field.tolerance));
    if (right.every(Boolean)) return { message: "Right.", right };
    const wrong = new Set(data.fields.filter((_, i) => !right[i]).map(field => field.label));
    const known = data.mistakes.filter(mistake => {
      const said = Object.entries(mistake.values);
      return said.some(([label]) => wrong.has(label))
        && said.every(([label, value]) => close(values[label], value, tolerance[label]));
    });
    return { message: `Not yet. ${known.map(mistake => mistake.message).join(" ")}`.trim(), right };
  }

  if (typeof module === "object") { module.exports = { read, judge }; return; } // for the tests

  function build(form) {
    const bytes = Uint8Array.from(atob(form.dataset.exercise), sign => sign.charCodeAt(0));
    const data = JSON.parse(new TextDecoder().decode(bytes));
    const make = (kind, settings, parent = form) => parent.appendChild(Object.assign(document.createElement(kind), settings));
    form.setAttribute("aria-label", "Check your answer in the page");
    const inputs = data.fields.map(field => {
      const label = make("label", { textContent: data.fields.length > 1 ? field.label : "your answer" });
      const truth = typeof field.value === "boolean";
      const input = make(truth ? "select" : "input", {}, label);
      if (truth) for (const word of ["", "yes", "no"]) make("option", { textContent: word, value: word }, input);
      else Object.assign(input, { type: "text", autocomplete: "off", inputMode: typeof field.value === "number" ? "decimal" : "text" });
      const mark = make("span", { className: "exercise-mark" }, label);
      return { input, mark };
    });
    make("button", { type: "submit", textContent: "Check" });
    const said = make("output", {});
    said.setAttribute("aria-live", "polite");
    form.addEventListener("submit", event => {
      event.preventDefault();
      const { message, right } = judge(data, inputs.map(({ input }) => input.value));
      inputs.forEach(({ input, mark }, i) => {
        mark.textContent = right.length ? (right[i] ? "✓" : "✗") : "";
        input.setAttribute("aria-invalid", String(right[i] === false));
      });
      said.textContent = message;
    });
    form.hidden = false;
  }

  document.querySelectorAll("form[data-exercise]").forEach(build);
})();
