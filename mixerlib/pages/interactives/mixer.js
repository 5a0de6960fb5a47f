// `mixer.py` puts the data, network.js and alive.js before this.

// The weights of a network with those for places moved as an order moves the pixels: place p
// of the new image is place order[p] of the old one. Null where no layer has weights for places.
const movedAlong = (network, weights, order) => {
  const moved = weights.slice(), size = order.length;
  let any = false;
  for (const s of network.steps) {
    if (s.op !== "tokens") continue;
    any = true;
    for (let o = 0; o < s.leaving; o++) for (let p = 0; p < s.entering; p++) {
      const from = (s.leaving === size ? order[o] : o) * s.entering + (s.entering === size ? order[p] : p);
      moved[s.weight + o * s.entering + p] = weights[s.weight + from];
    }
    if (s.leaving === size) for (let o = 0; o < size; o++) moved[s.bias + o] = weights[s.bias + order[o]];
  }
  return any ? moved : null;
};

// Ink of 0 to 16 → what the network sees, with pixel order[p] at p
const input = (pixels, order) =>
  Float64Array.from(order, from => (Math.round(pixels[from] / 16 * 255) / 255 - data.mean) / data.std);

const begin = root => {
  const find = name => root.querySelector(name), side = data.side, count = side * side;
  const plain = Array.from({length: count}, (_, p) => p), order = data.order;
  const nets = data.networks.map(n => ({...n, values: weightsOf(n.weights, n.network.rows)}));
  const state = {pixels: [...data.samples[0].pixels], net: 0, shuffled: false, along: false, off: new Set(), at: 0};
  const pad = find(".pad"), seen = find(".seen");
  const [choice, clear, shuffle, along] = ["network", "clear", "shuffle", "along"].map(name => kit.field(root, name));

  const squares = svg => plain.map(p => svg.appendChild(kit.svg("rect", {
    x: p % side, y: Math.floor(p / side), width: 1, height: 1, fill: "currentColor",
    stroke: "currentColor", "stroke-opacity": .15, "stroke-width": .03,
  })));
  const cells = squares(pad), shown = squares(seen);
  const cursor = pad.appendChild(kit.svg("rect", {width: 1, height: 1, fill: "none", stroke: accent, "stroke-width": .12}));

  const build = () => rows(root, nets[state.net].network, state.off, () => update());
  const update = () => {
    const net = nets[state.net], seenOrder = state.shuffled ? order : plain;
    const moved = movedAlong(net.network, net.values, order);
    along.disabled = !moved || !state.shuffled;
    if (!moved) state.along = false;
    along.ariaPressed = state.along;
    shuffle.ariaPressed = state.shuffled;
    const image = input(state.pixels, seenOrder), before = performance.now();
    const results = run(net.network, state.shuffled && state.along ? moved : net.values, image, state.off);
    const spent = performance.now() - before, logits = results.at(-1);
    cells.forEach((cell, p) => cell.setAttribute("fill-opacity", state.pixels[p] / 16));
    shown.forEach((cell, p) => cell.setAttribute("fill-opacity", state.pixels[seenOrder[p]] / 16));
    const row = Math.floor(state.at / side), column = state.at % side;
    cursor.setAttribute("x", column); cursor.setAttribute("y", row);
    pad.ariaLabel = `Drawing: arrows move, space draws and erases. Row ${row + 1}, column ${column + 1}: ink ${state.pixels[state.at]} of 16`;
    const {ranked, percent} = bars(root, logits, data.classes);
    const guessed = k => `${data.classes[k] === "8" ? "an" : "a"} ${data.classes[k]} with ${percent(k)}`;
    const weights = !moved ? ", and it has no weights for places that could move along"
      : state.along ? ", and its weights for places have moved along: its logits are those of the plain digit" : "";
    kit.say(root, `${net.title} reads ${guessed(ranked[0])}, before ${guessed(ranked[1])}.`
      + (state.shuffled ? ` The pixels are shuffled${weights}.` : "") + switchedOff(root));
    find(".time").textContent = `It took ${Math.ceil(spent)} ms.`;
    maps(root, net.network, results);
  };

  const press = (button, act) => button.addEventListener("click", () => { act(); update(); });
  data.samples.forEach(({label, pixels}) => {
    const button = clear.cloneNode();
    button.removeAttribute("data-name");
    button.textContent = label;
    button.ariaLabel = `A ${label} of the test set`;
    press(button, () => { state.pixels = [...pixels]; });
    find(".samples").append(button);
  });
  press(clear, () => { state.pixels = plain.map(() => 0); });
  press(shuffle, () => { state.shuffled = !state.shuffled; state.along &&= state.shuffled; });
  press(along, () => { state.along = !state.along; });
  press(kit.field(root, "reset"), () => { state.off.clear(); state.shuffled = state.along = false; build(); });
  choice.parentElement.hidden = nets.length < 2;
  choice.addEventListener("change", () => { state.net = Number(choice.value); state.off.clear(); build(); update(); });

  let last = null, erases = false;
  const stroke = event => {  // ink falls on the pixels near the way of the pen
    const box = pad.getBoundingClientRect();
    const here = [(event.clientX - box.left) / box.width * side, (event.clientY - box.top) / box.height * side];
    const from = last || here, steps = Math.ceil(Math.hypot(here[0] - from[0], here[1] - from[1]) * 4) + 1;
    for (let s = 1; s <= steps; s++) {
      const x = from[0] + (here[0] - from[0]) * s / steps, y = from[1] + (here[1] - from[1]) * s / steps;
      plain.forEach(p => {
        const near = Math.hypot(p % side + .5 - x, Math.floor(p / side) + .5 - y);
        const ink = Math.round(16 * Math.min(1, Math.max(0, 1.3 - near)));
        state.pixels[p] = erases ? Math.min(state.pixels[p], 16 - ink) : Math.max(state.pixels[p], ink);
      });
    }
    last = here;
    update();
  };
  pad.addEventListener("pointerdown", event => { pad.setPointerCapture(event.pointerId); erases = event.shiftKey; stroke(event); });
  pad.addEventListener("pointermove", event => { if (last) stroke(event); });
  ["pointerup", "pointercancel"].forEach(name => pad.addEventListener(name, () => { last = null; }));
  pad.addEventListener("keydown", event => {
    const way = {ArrowUp: -side, ArrowDown: side, ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (way) state.at = (state.at + way + count) % count;
    else if (event.key === " ") state.pixels[state.at] = state.pixels[state.at] > 8 ? 0 : 16;
    else return;
    event.preventDefault();
    update();
  });

  kit.guess(root, value => ({right: value === data.guess.right, text: data.guess.text}));
  kit.on_theme(update);
  build();
  update();
};

kit.start("mixer", {data, run, weightsOf, movedAlong, input}, begin);
