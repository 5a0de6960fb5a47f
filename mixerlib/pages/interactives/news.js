const DEPTH = 8, FAR = 300;

// How news of a channel passes the blocks. For each block: the segments it mixes, who has heard
// when they are mixed, and who after the channels are dealt out.
const news = (family, o, channel, blocks) => {
  let heard = Array.from({length: o.h}, (_, q) => q === channel);
  return Array.from({length: blocks}, (_, i) => {
    const mixed = segments(family, o, i), s = hands(family, o), after = [...heard];
    for (const [start, width] of mixed)
      if (after.slice(start, start + width).some(Boolean)) after.fill(true, start, start + width);
    heard = s > 1 ? after.map((_, q) => after[dealt_from(o, q, s)]) : after;
    return {mixed, after, heard};
  });
};
const count = heard => heard.filter(Boolean).length;

// The blocks after which all have heard; null: never.
const all_heard = (family, o, channel) => {
  const place = news(family, o, channel, FAR).findIndex(block => count(block.heard) === o.h);
  return place < 0 ? null : place + 1;
};

// The share of the channels that a channel hears after some blocks, on average.
const hears = (family, o, blocks) => {
  let pairs = blocks ? 0 : o.h;
  for (let channel = 0; blocks && channel < o.h; channel++) pairs += count(news(family, o, channel, blocks)[blocks - 1].heard);
  return pairs / o.h ** 2;
};

const options = v => ({h: v.h, d: v.blocks, s: uses_segments(v.family) ? v.s : 1, shuffle: shuffling.includes(v.family) ? v.shuffle : 0, alpha_num: 2, alpha_den: 3});
const LEFT = 22, CELL = 13, STRIP = 15, GAP = 9, WIRES = 22; // the drawing's own units

kit.start("news", {news, all_heard, hears, formulas, count}, root => {
  const field = name => kit.field(root, name), drawing = root.querySelector(".drawing");
  const h = field("channel").max - 0, svg = kit.svg;
  field("family").value = root.dataset.family;
  let before = 0; // the blocks that were shown last: what is new comes gently
  const whole = x => x.toLocaleString("en-US");

  const draw = (v, o, passed) => {
    const s = hands(v.family, o), pitch = STRIP + (s > 1 ? WIRES : GAP), color = colors[v.family];
    const top = row => 2 + row * pitch, x = q => LEFT + q * CELL, parts = [];
    const cell = (q, row, isNew) => svg("rect", {x: x(q) + .75, y: top(row) + .75, width: CELL - 1.5, height: STRIP - 1.5, fill: color, class: isNew ? "new" : ""});
    const strip = (row, mixed, heard, isNew, shown) => {
      parts.push(svg("text", {x: LEFT - 6, y: top(row) + 11.5, "text-anchor": "end"}, row ? `${row}` : ""));
      for (const [start, width] of mixed) parts.push(svg("rect", {x: x(start), y: top(row), width: width * CELL, height: STRIP, fill: color, opacity: .18}));
      parts.push(svg("rect", {x: x(0), y: top(row), width: h * CELL, height: STRIP, fill: "none", stroke: "currentColor", "stroke-opacity": .4}));
      if (!shown) return;
      heard.forEach((yes, q) => { if (yes) parts.push(cell(q, row, isNew)); });
      parts.push(svg("text", {x: x(h) + 6, y: top(row) + 11.5}, `${count(heard)}`));
    };
    const told = Array.from({length: h}, (_, q) => q === v.channel - 1);
    strip(0, [], told, false, true);
    passed.forEach(({mixed, after}, i) => {
      strip(i + 1, mixed, after, i + 1 > before && i + 1 === v.blocks, i < v.blocks);
      if (s > 1 && i < DEPTH - 1) for (let q = 0; q < h; q++) {
        const from = dealt_from(o, q, s), yes = i < v.blocks && after[from];
        parts.push(svg("line", {x1: x(from) + CELL / 2, y1: top(i + 1) + STRIP, x2: x(q) + CELL / 2, y2: top(i + 2), stroke: yes ? color : "currentColor", "stroke-opacity": yes ? 1 : .15, "stroke-width": yes ? 1.5 : 1}));
      }
    });
    drawing.setAttribute("viewBox", `0 0 ${x(h) + 26} ${top(DEPTH) + STRIP + 3}`);
    drawing.replaceChildren(...parts);
    before = v.blocks;
  };

  const update = () => {
    const v = {...kit.values(root), h}, o = options(v);
    for (const [name, used] of [["s", uses_segments(v.family)], ["shuffle", shuffling.includes(v.family)]]) {
      field(name).disabled = !used;
      field(name).parentElement.classList.toggle("unused", !used);
    }
    const passed = news(v.family, o, v.channel - 1, DEPTH);
    draw(v, o, passed);
    root.querySelector(".question").textContent = `${titles[v.family]}: tell channel ${v.channel} something. After how many blocks have all ${h} channels heard of it?`;
    const number = v.blocks ? count(passed[v.blocks - 1].heard) : 1;
    const mine = formulas[v.family](o).params, base = formulas.convmixer(o).params;
    kit.say(root, `${titles[v.family]}, after ${v.blocks} of ${DEPTH} blocks: ${number} of ${h} channels have heard of channel ${v.channel}. ` +
      `On average a channel hears ${(100 * hears(v.family, o, v.blocks)).toFixed(0)} % of all. ` +
      (v.blocks ? `So far the mixing has ${whole(mine)} parameters${mine === base ? "" : `; ConvMixer's would have ${whole(base)}`}.` : ""));
  };

  const show = blocks => { field("blocks").value = blocks; update(); };
  const player = kit.player(root, {
    next: () => { // on, until all have heard
      const v = kit.values(root), b = Math.min(v.blocks + 1, DEPTH);
      show(b);
      return b < DEPTH && count(news(v.family, options({...v, h}), v.channel - 1, b)[b - 1].heard) < h;
    },
    first: () => show(0),
  });
  const forget = kit.guess(root, guessed => {
    const v = {...kit.values(root), h}, needed = all_heard(v.family, options(v), v.channel - 1);
    const actual = needed === null ? "never" : needed > 4 ? "more" : `${needed}`;
    return {right: guessed === actual, text: needed === null
      ? `Some never hear of it: the walls between the segments stand in every block.`
      : `After ${needed} ${needed === 1 ? "block" : "blocks"} all have heard.`};
  }, () => { show(0); player.run(); });
  kit.on_input(root, event => {
    player.stop();
    if (event.target.dataset.name !== "blocks") forget();
    update();
  });
  drawing.addEventListener("click", event => {
    const box = drawing.getBoundingClientRect(), scale = drawing.viewBox.baseVal.width / box.width;
    const q = Math.floor(((event.clientX - box.left) * scale - LEFT) / CELL);
    if (q < 0 || q >= h) return;
    field("channel").value = q + 1;
    player.stop(); forget(); update();
  });
  update();
});
