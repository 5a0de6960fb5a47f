const rows = {
  params: "trainable parameters", macs: "MACs", activations: "numbers kept for training",
  moved: "numbers moved, run one by one", moved_fused: "numbers moved, ideally fused",
};
const equal = ["splitmixer_iii", "splitmixer_3d"]; // their segments must be equally wide

// reach[o] is the set of channels, one bit each, that channel o hears after the first blocks.
const reach = (family, o, blocks) => {
  const words = Math.ceil(o.h / 32);
  let hears = Array.from({length: o.h}, (_, i) => {
    const row = new Uint32Array(words);
    row[i >> 5] = 1 << (i & 31);
    return row;
  });
  const s = hands(family, o);
  for (let i = 0; i < blocks; i++) {
    for (const [start, width] of segments(family, o, i)) {
      const any = new Uint32Array(words);
      for (let q = start; q < start + width; q++) hears[q].forEach((bits, w) => { any[w] |= bits; });
      for (let q = start; q < start + width; q++) hears[q] = any;
    }
    if (s > 1) hears = hears.map((_, q) => hears[dealt_from(o, q, s)]);
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

// The fields of the formulas, as the controls stand, for a family.
const options = (family, v) => {
  const [alpha_num, alpha_den = 1] = String(v.alpha).split("/").map(Number);
  return {h: v.h, d: v.d, k: v.k, p: v.p, n: 10, C_in: 3, H: v.side, W: v.side, gelu: 1, alpha_num, alpha_den,
    s: uses_segments(family) ? v.s : 1, shuffle: shuffling.includes(family) ? v.shuffle : 0};
};

// The strategies with the fewest MACs, among those that the controls allow.
const fewest = v => {
  const macs = Object.keys(titles).filter(f => f !== "convmixer" && !wrong(f, options(f, v))).map(f => [f, formulas[f](options(f, v)).macs]);
  const least = Math.min(...macs.map(([, count]) => count));
  return {least, families: macs.filter(([, count]) => count === least).map(([f]) => f)};
};

kit.start("explorer", {formulas, reach, heard, pairs, segments, wrong, beside, options, fewest}, root => {
  const field = name => kit.field(root, name);
  const body = root.querySelector("tbody"), canvas = root.querySelector("canvas");
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
    field("blocks").max = field("d").value;
    const v = kit.values(root), family = v.family, o = options(family, v);
    const used = {alpha: overlapping.includes(family), s: uses_segments(family), shuffle: shuffling.includes(family)};
    for (const [name, is] of Object.entries(used)) {
      field(name).disabled = !is;
      field(name).parentElement.classList.toggle("unused", !is);
    }
    const problem = wrong(family, o);
    if (problem) {
      body.innerHTML = Object.values(rows).map(label => `<tr><th scope="row">${label}</th>${"<td>–</td>".repeat(3)}</tr>`).join("");
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      return kit.say(root, problem, true);
    }
    const mine = formulas[family](o), base = formulas.convmixer(o);
    body.innerHTML = Object.entries(rows).map(([key, label]) =>
      `<tr><th scope="row">${label}</th><td>${whole(mine[key])}</td><td>${whole(base[key])}</td>` +
      `<td>${beside(mine[key], base[key])}</td></tr>`).join("");
    const hears = reach(family, o, v.blocks), share = pairs(hears) / o.h ** 2;
    draw(hears, family);
    kit.say(root, `${titles[family]}, after ${v.blocks} of ${o.d} blocks: a channel hears ` +
      `${(100 * share).toFixed(1)} % of the channels, on average. Row: the channel that hears. Column: the one that is heard.`);
  };

  const forget = kit.guess(root, guessed => {
    const v = kit.values(root), {least, families} = fewest(v), base = formulas.convmixer(options("convmixer", v)).macs;
    return {right: families.includes(guessed), text: families.length
      ? `${families.map(f => titles[f]).join(" and ")}: ${whole(least)} MACs; beside ConvMixer ${beside(least, base)}.`
      : wrong("convmixer", options("convmixer", v))};
  }, guessed => { field("family").value = guessed; update(); });
  kit.on_input(root, event => {
    if (!["family", "blocks"].includes(event.target.dataset.name)) forget();
    update();
  });
  kit.on_theme(update); // ConvMixer is drawn in the page's ink
  update();
});
