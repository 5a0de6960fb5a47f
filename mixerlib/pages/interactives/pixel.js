const SIDE = 32, COLORS_IN = 3;
const whole = x => x.toLocaleString("en-US");

// Equations (1.1) and (1.2): the patch and the place of a pixel, its row and column in the table.
const place = ({q, u, v, p}) => {
  const a = Math.floor(u / p), b = Math.floor(v / p), e = u % p, f = v % p;
  return {a, b, e, f, t: a * (SIDE / p) + b, j: (q * p + e) * p + f, rows: (SIDE / p) ** 2, columns: COLORS_IN * p ** 2};
};

// MACs of the embedding and of all blocks of ConvMixer-256/8 with this patch.
const macs = p => {
  const layers = formulas.convmixer({h: 256, d: 8, k: 5, p, n: 10, C_in: COLORS_IN, H: SIDE, W: SIDE, s: 1, shuffle: 0, gelu: 1, alpha_num: 1, alpha_den: 1}).macs;
  return {embedding: layers.stem, blocks: layers["spatial mixing"] + layers["channel mixing"]};
};

kit.start("pixel", {place, macs}, root => {
  const svg = kit.svg, drawing = root.querySelector(".drawing"), field = name => kit.field(root, name);
  const PHOTO = 150, TOP = 18, UNIT = PHOTO / SIDE, LEFT = 166;

  const draw = (p, u, v, at) => {
    const parts = [], word = (text, x, y, anchor = "start") => parts.push(svg("text", {x, y, "text-anchor": anchor}, text));
    const box = (x, y, width, height, more) => parts.push(svg("rect", {x, y, width, height, fill: "none", ...more}));
    word(`image, ${SIDE} × ${SIDE}`, 0, 12);
    const image = svg("image", {href: photo, x: 0, y: TOP, width: PHOTO, height: PHOTO});
    parts.push(image);
    let cuts = "";
    if (p > 1) for (let x = 0; x <= SIDE; x += p) cuts += `M${x * UNIT} ${TOP}v${PHOTO}M0 ${TOP + x * UNIT}h${PHOTO}`;
    parts.push(svg("path", {d: cuts, stroke: "#fff", "stroke-opacity": .6, "stroke-width": .7, "pointer-events": "none"}));
    box(at.b * p * UNIT, TOP + at.a * p * UNIT, p * UNIT, p * UNIT, {stroke: accent, "stroke-width": 2.5, "pointer-events": "none"});
    box(v * UNIT, TOP + u * UNIT, UNIT, UNIT, {stroke: warm, "stroke-width": 2.5, "pointer-events": "none"});
    // The table, not to scale: wider and lower with each doubling of p.
    const width = 24 + 28 * Math.log2(p), height = PHOTO - 25 * Math.log2(p), row = Math.max(3, height / at.rows), column = Math.max(3, width / at.columns);
    const x = LEFT + Math.min(at.j * width / at.columns, width - column), y = TOP + Math.min(at.t * height / at.rows, height - row);
    word(`table, ${whole(at.rows)} × ${whole(at.columns)}`, LEFT, 12);
    box(LEFT, TOP, width, height, {stroke: "currentColor", "stroke-opacity": .6});
    box(LEFT, y, width, row, {fill: accent, "fill-opacity": .45});
    box(x, TOP, column, height, {fill: "currentColor", "fill-opacity": .15});
    box(x, y, column, row, {fill: warm});
    const now = macs(p), most = macs(1);
    ["embedding", "blocks"].forEach((part, i) => {
      const y = 186 + 34 * i;
      word(part, 0, y + 11);
      box(68, y, 272, 14, {stroke: "currentColor", "stroke-opacity": .4});
      box(68, y, 272 * now[part] / most[part], 14, {fill: accent});
      word(`${whole(now[part])} MACs`, 68, y + 26);
    });
    drawing.replaceChildren(...parts);
  };

  const update = () => {
    field("step").dataset.shown = 2 ** field("step").value;
    field("step").setAttribute("aria-valuetext", field("step").dataset.shown);
    const {step, u, v, q} = kit.values(root), p = 2 ** step, at = place({q, u, v, p});
    draw(p, u, v, at);
    const share = 100 * macs(p).blocks / macs(1).blocks;
    kit.say(root, `u = ${u} = ${p}·${at.a} + ${at.e} and v = ${v} = ${p}·${at.b} + ${at.f}: the pixel goes to ` +
      `row t = ${at.a}·${SIDE / p} + ${at.b} = ${at.t} and column j = (${q}·${p} + ${at.e})·${p} + ${at.f} = ${at.j}. ` +
      `The embedding takes ${whole(macs(p).embedding)} multiplications, the same for every p; the blocks of ConvMixer-256/8 take ${share.toFixed(1)} % of what they take at p = 1.`);
  };
  kit.on_input(root, update);
  kit.guess(root, guessed => {
    const [before, after] = [macs(2), macs(4)];
    return {right: Number(guessed) === after.embedding / before.embedding,
      text: `The embedding takes ${whole(before.embedding)} at p = 2 and ${whole(after.embedding)} at p = 4: a quarter of the patches, each four times as large. Only what follows is less: the blocks go from ${whole(before.blocks)} to ${whole(after.blocks)}.`};
  });
  drawing.addEventListener("click", event => {
    const box = drawing.getBoundingClientRect(), scale = drawing.viewBox.baseVal.width / box.width;
    const v = Math.floor((event.clientX - box.left) * scale / UNIT), u = Math.floor(((event.clientY - box.top) * scale - TOP) / UNIT);
    if (u < 0 || v < 0 || u >= SIDE || v >= SIDE) return;
    field("u").value = u;
    field("v").value = v;
    update();
  });
  update();
});
