// A network for colour pictures; `pictures.py` puts the data, network.js and alive.js before this.

// Red, green and blue of every pixel → what the network sees, with pixel order[p] at place p
const input = (pixels, order) => Float64Array.from({length: 3 * order.length}, (_, i) => {
  const c = Math.floor(i / order.length);
  return (pixels[3 * order[i % order.length] + c] / 255 - data.mean[c]) / data.std[c];
});
const bytes = base64 => Uint8Array.from(atob(base64), sign => sign.charCodeAt(0));

const begin = root => {
  const find = name => root.querySelector(name), field = name => kit.field(root, name), side = data.side, count = side * side;
  const plain = Array.from({length: count}, (_, p) => p);
  const nets = data.networks.map(n => ({...n, values: weightsOf(n.weights)}));
  const state = {pixels: bytes(data.samples[0].pixels), net: 0, shuffled: false, off: new Set(), at: count / 2 + side / 2};
  const pad = find(".pad"), seen = find(".seen"), cursor = find(".cursor"), shuffle = field("shuffle");

  const show = (canvas, order) => {
    const pen = canvas.getContext("2d"), picture = pen.createImageData(side, side);
    order.forEach((from, p) => picture.data.set([...state.pixels.subarray(3 * from, 3 * from + 3), 255], 4 * p));
    pen.putImageData(picture, 0, 0);
  };
  const build = () => rows(root, nets[state.net].network, state.off, () => update());
  const update = () => {
    const net = nets[state.net], order = state.shuffled ? data.order : plain;
    shuffle.ariaPressed = state.shuffled;
    const before = performance.now(), results = run(net.network, net.values, input(state.pixels, order), state.off);
    const spent = performance.now() - before;
    show(pad, plain); show(seen, order);
    const row = Math.floor(state.at / side), column = state.at % side, color = state.pixels.subarray(3 * state.at, 3 * state.at + 3);
    cursor.style.left = `${100 * column / side}%`; cursor.style.top = `${100 * row / side}%`;
    pad.ariaLabel = `Picture: arrows move, space paints ${field("color").value}. Row ${row + 1}, column ${column + 1}: red ${color[0]}, green ${color[1]}, blue ${color[2]}`;
    const {ranked, percent} = bars(root, results.at(-1), data.classes);
    const named = k => `${/^[aeiou]/.test(data.classes[k]) ? "an" : "a"} ${data.classes[k]} with ${percent(k)}`;
    kit.say(root, `${net.title} sees ${named(ranked[0])}, before ${named(ranked[1])}.`
      + (state.shuffled ? " The pixels are shuffled." : "") + switchedOff(root));
    find(".time").textContent = `It took ${Math.ceil(spent)} ms.`;
    maps(root, net.network, results);
  };

  const press = (name, act) => field(name).addEventListener("click", () => { act(); update(); });
  data.samples.forEach(({label, pixels}) => {
    const button = shuffle.cloneNode();
    button.removeAttribute("data-name");
    button.textContent = label;
    button.addEventListener("click", () => { state.pixels = bytes(pixels); update(); });
    find(".samples").append(button);
  });
  const color = () => data.colors[field("color").value];
  field("color").addEventListener("change", () => update());
  press("fill", () => plain.forEach(p => state.pixels.set(color(), 3 * p)));
  press("shuffle", () => { state.shuffled = !state.shuffled; });
  press("reset", () => { state.off.clear(); state.shuffled = false; build(); });
  field("network").parentElement.hidden = nets.length < 2;
  field("network").addEventListener("change", event => { state.net = Number(event.target.value); state.off.clear(); build(); update(); });

  // A picture of the reader's: its middle, made smaller by halves, so that no pixel is passed over
  field("file").addEventListener("change", async event => {
    const [file] = event.target.files;
    if (!file) return;
    let whole;
    try { whole = await createImageBitmap(file); } catch { kit.say(root, `${file.name} cannot be read as a picture.`, true); return; }
    let size = Math.min(whole.width, whole.height), from = whole, x = (whole.width - size) / 2, y = (whole.height - size) / 2;
    do {
      const next = Math.max(side, Math.ceil(size / 2)), canvas = Object.assign(document.createElement("canvas"), {width: next, height: next});
      canvas.getContext("2d").drawImage(from, x, y, size, size, 0, 0, next, next);
      [from, size, x, y] = [canvas, next, 0, 0];
    } while (size > side);
    const {data: colors} = from.getContext("2d").getImageData(0, 0, side, side);
    plain.forEach(p => state.pixels.set(colors.subarray(4 * p, 4 * p + 3), 3 * p));
    update();
  });

  let last = null;
  const dot = (x, y) => plain.forEach(p => {
    if (Math.hypot(p % side + .5 - x, Math.floor(p / side) + .5 - y) < 1.6) state.pixels.set(color(), 3 * p);
  });
  const stroke = event => {
    const box = pad.getBoundingClientRect();
    const here = [(event.clientX - box.left) / box.width * side, (event.clientY - box.top) / box.height * side];
    const from = last || here, steps = Math.ceil(Math.hypot(here[0] - from[0], here[1] - from[1]) * 2) + 1;
    for (let s = 1; s <= steps; s++) dot(from[0] + (here[0] - from[0]) * s / steps, from[1] + (here[1] - from[1]) * s / steps);
    last = here;
    update();
  };
  pad.addEventListener("pointerdown", event => { pad.setPointerCapture(event.pointerId); stroke(event); });
  pad.addEventListener("pointermove", event => { if (last) stroke(event); });
  ["pointerup", "pointercancel"].forEach(name => pad.addEventListener(name, () => { last = null; }));
  pad.addEventListener("keydown", event => {
    const way = {ArrowUp: -side, ArrowDown: side, ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (way) state.at = (state.at + way + count) % count;
    else if (event.key === " ") dot(state.at % side + .5, Math.floor(state.at / side) + .5);
    else return;
    event.preventDefault();
    update();
  });

  kit.guess(root, value => ({right: value === data.guess.right, text: data.guess.text}));
  kit.on_theme(update);
  build();
  update();
};

kit.start("pictures", {data, run, weightsOf, input}, begin);
