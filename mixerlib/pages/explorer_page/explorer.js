(() => {
/* FORMULAS */
/* TITLES */
/* COLORS */
const rows = {
  params: "trainable parameters", macs: "MACs", activations: "numbers kept for training",
  moved: "numbers moved, run one by one", moved_fused: "numbers moved, ideally fused",
};
const overlapping = ["splitmixer_i", "splitmixer_v"];
const equal = ["splitmixer_iii", "splitmixer_3d"];
const shuffling = ["splitmixer_ii", "splitmixer_iii", "splitmixer_iv"];

// The segments [start, width] that block i mixes, in order.
const segments = (family, o, i) => {
  const m = Math.floor(o.alpha_num * o.h / o.alpha_den), c = Math.floor(o.h / o.s);
  const widths = Array.from({length: o.s}, (_, j) => j < o.s - 1 ? c : o.h - (o.s - 1) * c);
  const all = widths.map((width, j) => [j * c, width]);
  switch (family) {
    case "convmixer": return [[0, o.h]];
    case "splitmixer_i": return [[i % 2 === 0 ? 0 : o.h - m, m]];
    case "splitmixer_v": return [[0, m], [o.h - m, m]];
    case "splitmixer_ii": return [all[i % o.s]];
    default: return all;
  }
};

// reach[o] is the set of channels, one bit each, that channel o hears after the first blocks.
const reach = (family, o, blocks) => {
  const words = Math.ceil(o.h / 32);
  let hears = Array.from({length: o.h}, (_, i) => {
    const row = new Uint32Array(words);
    row[i >> 5] = 1 << (i & 31);
    return row;
  });
  const deals = family === "splitmixer_3d" || o.shuffle ? o.s : 1;
  for (let i = 0; i < blocks; i++) {
    for (const [start, width] of segments(family, o, i)) {
      const any = new Uint32Array(words);
      for (let q = start; q < start + width; q++) hears[q].forEach((bits, w) => { any[w] |= bits; });
      for (let q = start; q < start + width; q++) hears[q] = any;
    }
    if (deals > 1) {
      const c = o.h / deals, dealt = [];
      for (let q = 0; q < o.h; q++) dealt.push(hears[(q % deals) * c + Math.floor(q / deals)]);
      hears = dealt;
    }
  }
  return hears;
};
const heard = (row, i) => (row[i >> 5] >>> (i & 31)) & 1;
const pairs = hears => hears.reduce((sum, row) => {
  let count = 0;
  for (let i = 0; i < hears.length; i++) count += heard(row, i);
  return sum + count;
}, 0);

// How a cost lies beside ConvMixer's, in words: "44.0 % less", "47.9 % more", "the same".
const beside = (mine, base) => {
  const percent = 100 * Math.abs(mine - base) / base, amount = percent < 0.05 ? "under 0.1" : percent.toFixed(1);
  return mine === base ? "the same" : `${amount} % ${mine < base ? "less" : "more"}`;
};

// What is wrong with the options, in words; empty when nothing is.
const wrong = (family, o) => {
  if (o.H % o.p) return `A patch of ${o.p} pixels does not divide an image of ${o.H}.`;
  if (overlapping.includes(family)) return "";
  if (o.s > o.h) return `${o.s} segments need at least as many channels.`;
  if (family !== "convmixer" && (equal.includes(family) || o.shuffle) && o.h % o.s)
    return `${o.s} segments do not divide ${o.h} channels, as this strategy needs.`;
  return "";
};

const start = root => {
  const field = name => root.querySelector(`[data-name=${name}]`);
  const body = root.querySelector("tbody"), said = root.querySelector(".said");
  const canvas = root.querySelector("canvas");
  const whole = x => x.toLocaleString("en-US");

  const draw = (hears, family) => {
    const h = hears.length, paint = canvas.getContext("2d");
    canvas.width = canvas.height = h;
    paint.fillStyle = colors[family] === "currentColor" ? getComputedStyle(root).color : colors[family];
    hears.forEach((row, o) => {
      for (let i = 0; i < h; i++) if (heard(row, i)) paint.fillRect(i, o, 1, 1);
    });
  };

  const update = () => {
    root.querySelectorAll("input[type=range]").forEach(input => {
      input.parentElement.querySelector(".value").textContent = input.value;
    });
    const family = field("family").value, [num, den] = field("alpha").value.split("/").map(Number);
    const number = name => Number(field(name).value), side = number("side");
    const usesRatio = overlapping.includes(family), usesSegments = !usesRatio && family !== "convmixer";
    for (const [name, used] of [["alpha", usesRatio], ["s", usesSegments], ["shuffle", shuffling.includes(family)]]) {
      field(name).disabled = !used;
      field(name).parentElement.classList.toggle("unused", !used);
    }
    field("blocks").max = number("d");
    const o = {h: number("h"), d: number("d"), k: number("k"), p: number("p"), n: 10, C_in: 3, H: side, W: side,
      s: usesSegments ? number("s") : 1, shuffle: shuffling.includes(family) ? number("shuffle") : 0, gelu: 1,
      alpha_num: num, alpha_den: den};
    const blocks = Math.min(number("blocks"), o.d), problem = wrong(family, o);
    field("blocks").parentElement.querySelector(".value").textContent = blocks;
    said.classList.toggle("wrong", problem !== "");
    if (problem) {
      body.innerHTML = ""; said.textContent = problem;
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      canvas.setAttribute("aria-label", problem);
      return;
    }
    const mine = formulas[family](o), base = formulas.convmixer(o);
    body.innerHTML = Object.entries(rows).map(([key, label]) =>
      `<tr><th scope="row">${label}</th><td>${whole(mine[key])}</td><td>${whole(base[key])}</td>` +
      `<td>${beside(mine[key], base[key])}</td></tr>`).join("");
    const hears = reach(family, o, blocks), share = pairs(hears) / o.h ** 2;
    draw(hears, family);
    const text = `${titles[family]}, after ${blocks} of ${o.d} blocks: a channel hears ` +
      `${(100 * share).toFixed(1)} % of the channels, on average. Row: the channel that hears. Column: the one that is heard.`;
    said.textContent = text;
    canvas.setAttribute("aria-label", text);
  };
  root.querySelectorAll("input, select").forEach(input => input.addEventListener("input", update));
  // ConvMixer is drawn in the page's ink, which changes with its theme.
  new MutationObserver(update).observe(document.documentElement, {attributes: true, attributeFilter: ["data-theme"]});
  update();
};

const api = {formulas, reach, heard, pairs, segments, wrong, beside};
if (typeof document === "undefined") globalThis.mixerExplorer = api;
else {
  const here = document.currentScript && document.currentScript.closest(".mixer-explorer");
  const all = here ? [here] : [...document.querySelectorAll(".mixer-explorer")];
  all.filter(root => !root.dataset.started).forEach(root => { root.dataset.started = "yes"; start(root); });
}
})();
