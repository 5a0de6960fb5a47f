const SIDE = 32; // pixels of the image
const options = v => ({h: v.h, d: v.d, k: v.k, p: v.p, n: v.n, C_in: 3, H: SIDE, W: SIDE, s: 1, shuffle: 0, gelu: 1, alpha_num: 1, alpha_den: 1});
const params = v => formulas.convmixer(options(v)).params;
const total = v => Object.values(params(v)).reduce((sum, count) => sum + count, 0);

// How many times as many parameters there are when one letter is doubled.
const doubled = v => Object.fromEntries([..."hdkpn"].map(letter => [letter, total({...v, [letter]: 2 * v[letter]}) / total(v)]));

// What a piece says of the network as the letters stand.
const told = (piece, v) => {
  const numbers = {...v, t: SIDE / v.p, r: 1 + v.d * (v.k - 1)};
  return piece.words.replace(/\{(\w)\}/g, (_, letter) => numbers[letter]);
};

// The shapes between the boxes of the drawing: words, place, and the boxes with which one lights up:
// those that it leaves, and for the image the one that takes it.
const shapes = v => {
  const t = SIDE / v.p, map = `${v.h} × ${t} × ${t}`, three = where => ["conv", "gelu", "norm"].map(what => `${where} ${what}`);
  return [
    [`image, 3 × ${SIDE} × ${SIDE}`, 189, 13, "middle", ["stem conv"]],
    [map, 196, 70, "start", three("stem")],
    [map, 196, 207, "start", ["block", "add", ...three("spatial"), ...three("channel")]],
    [`${v.h} numbers`, 196, 268, "start", ["pool", "flatten"]],
    [`${v.n} scores`, 189, 326, "middle", ["linear"]],
  ];
};

kit.start("tweet", {pieces, params, total, doubled, told}, root => {
  const svg = kit.svg, drawing = root.querySelector(".drawing"), code = root.querySelector(".code");
  const field = name => kit.field(root, name), whole = x => x.toLocaleString("en-US");
  pieces.forEach((piece, i) => {
    const span = document.createElement("span");
    span.textContent = piece.text;
    span.dataset.piece = i;
    code.append(span, document.createElement("wbr"));
  });

  // A box of the drawing: its name, place, size, and what stands in it.
  const boxes = v => {
    const layers = (where, y, words) => [[`${where} conv`, 74, y, 112, words], [`${where} gelu`, 192, y, 50, "GELU"], [`${where} norm`, 248, y, 50, "norm"]];
    return [
      ...layers("stem", 30, `${v.p}×${v.p}, stride ${v.p}`), ...layers("spatial", 92, `${v.k}×${v.k}, depthwise`),
      ["add", 176, 122, 26, "+"], ...layers("channel", 154, "1×1, all channels"),
      ["pool", 74, 224, 112, "mean"], ["flatten", 192, 224, 106, "flatten"], ["linear", 74, 280, 224, `linear, ${v.h} → ${v.n}`],
    ];
  };
  const draw = (v, lit) => {
    const parts = [], line = d => parts.push(svg("path", {d, fill: "none", stroke: "currentColor", "stroke-opacity": .5}));
    const word = (text, x, y, anchor = "middle", bright = false) => parts.push(svg("text", {x, y, "text-anchor": anchor, class: bright ? "lit" : ""}, text));
    parts.push(svg("rect", {x: 56, y: 78, width: 256, height: 110, rx: 6, "stroke-dasharray": "4 3", class: `box ${lit.includes("block") ? "lit" : ""}`}));
    for (const [from, to] of [[18, 30], [54, 92], [116, 124], [146, 154], [178, 224], [248, 280], [304, 314]]) line(`M189 ${from}V${to}`);
    line("M189 84H66V134H176"); // the residual
    for (const [name, x, y, width, text] of boxes(v)) {
      parts.push(svg("rect", {x, y, width, height: 24, rx: 3, class: `box ${lit.includes(name) ? "lit" : ""}`}));
      word(text, x + width / 2, y + 16);
    }
    shapes(v).forEach(([text, x, y, anchor, boxes]) => word(text, x, y, anchor, boxes.some(box => lit.includes(box))));
    word(`× ${v.d}`, 318, 137, "start");
    ["stem", "space", "channels", "", "head"].forEach((text, i) => word(text, 0, [46, 108, 170, 0, 240][i], "start"));
    drawing.replaceChildren(...parts);
  };

  const update = () => {
    const v = kit.values(root), piece = pieces[v.piece - 1], all = total(v);
    code.querySelectorAll("span").forEach((span, i) => span.classList.toggle("lit", i === v.piece - 1));
    draw(v, piece.boxes);
    const layer = piece.layer && ` The ${piece.layer} has ${whole(params(v)[piece.layer])} of the network's ${whole(all)} parameters.`;
    kit.say(root, `${piece.text.trim()}\u2003${piece.equation ? `(${piece.equation})\u2003` : ""}${told(piece, v)}${layer || ` The network has ${whole(all)} parameters.`}`);
  };

  const choose = event => {
    const span = event.target.closest("[data-piece]");
    if (!span || field("piece").value - 1 === Number(span.dataset.piece)) return;
    field("piece").value = Number(span.dataset.piece) + 1;
    update();
  };
  code.addEventListener("click", choose);
  code.addEventListener("pointermove", event => { if (event.pointerType === "mouse") choose(event); });
  const forget = kit.guess(root, letter => {
    const factors = Object.entries(doubled(kit.values(root))).sort((a, b) => b[1] - a[1]);
    return {right: factors[0][0] === letter, text: `Doubled, ${factors.map(([l, factor]) => `${l} gives ${factor.toFixed(2)} times as many`).join(", ")}.`};
  });
  kit.on_input(root, event => {
    if (event.target.dataset.name !== "piece") forget();
    update();
  });
  update();
});
