const K = 5, PLACES = [...Array(K).keys()], NONE = 1e-12; // less of a kernel's energy is rounding
const energy = matrix => matrix.flat().reduce((sum, x) => sum + x * x, 0);

// The row v of length 1 for which |Mv| is largest, by power iteration on MᵀM, each step of which
// squares it. Where several rows are equally good, one near the middle.
const best_row = matrix => {
  let a = PLACES.map(i => PLACES.map(j => PLACES.reduce((sum, r) => sum + matrix[r][i] * matrix[r][j], 0)));
  for (let step = 0; step < 40; step++) {
    const trace = PLACES.reduce((sum, i) => sum + a[i][i], 0), b = a.map(row => row.map(x => x / trace));
    a = PLACES.map(i => PLACES.map(j => PLACES.reduce((sum, r) => sum + b[i][r] * b[r][j], 0)));
  }
  let best = a[2];
  for (const i of [1, 3, 0, 4]) if (energy(a[i]) > (1 + 1e-6) * energy(best)) best = a[i];
  const length = Math.sqrt(energy(best));
  return best.map(x => x / length);
};

const outer = (u, v) => u.map(x => v.map(y => x * y));
const minus = (a, b) => a.map((row, i) => row.map((x, j) => x - b[i][j]));

// The pairs that make up a kernel, the best first: a column u, a row v, and the share of energy.
const pairs = kernel => {
  const whole = energy(kernel), found = [];
  for (let left = kernel; found.length < K && energy(left) > NONE * whole;) {
    const v = best_row(left), u = left.map(row => row.reduce((sum, x, j) => sum + x * v[j], 0));
    const sign = u.reduce((a, b) => Math.abs(b) > Math.abs(a) + NONE ? b : a) < 0 ? -1 : 1;
    left = minus(left, outer(u, v));
    found.push({u: u.map(x => sign * x), v: v.map(x => sign * x), share: energy(u) / whole});
  }
  return found;
};

// A map of numbers under a kernel of any height and width, with zeros around: "same" padding.
const convolve = (x, side, kernel) => {
  const up = kernel.length >> 1, before = kernel[0].length >> 1, y = new Float64Array(x.length);
  for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) kernel.forEach((row, a) => row.forEach((weight, b) => {
    const r = i + a - up, c = j + b - before;
    if (r >= 0 && c >= 0 && r < side && c < side) y[i * side + j] += weight * x[r * side + c];
  }));
  return y;
};
// First along the row, then down the column, for each pair.
const by_pairs = (x, side, some) => {
  const y = new Float64Array(x.length);
  for (const {u, v} of some) convolve(convolve(x, side, [v]), side, u.map(weight => [weight])).forEach((value, i) => { y[i] += value; });
  return y;
};

// The photograph, less its mean.
const grey = Float64Array.from(atob(photo), byte => byte.charCodeAt(0) / 127.5);
const mean = grey.reduce((a, b) => a + b) / grey.length, picture = grey.map(x => x - mean);
const side = Math.sqrt(grey.length);

const percent = share => share > 1 - 1e-9 ? "all" : `${(100 * share).toFixed(1)} %`;

kit.start("kernel", {pairs, convolve, by_pairs, picture, side}, root => {
  const find = name => root.querySelector(name), svg = kit.svg, pad = find(".pad"), select = kit.field(root, "preset");
  const brushes = [...root.querySelectorAll(".brush button[value]")], pictures = [...root.querySelectorAll("canvas")];
  const most = list => Math.max(...list.map(Math.abs), NONE);
  const preset = name => kernels[name].map(row => row.map(x => x / most(kernels[name].flat()))); // the largest is 1, as the brush
  const state = {kernel: preset(select.value), at: [2, 2], brush: 1};
  const color = x => ({fill: x < 0 ? warm : accent, "fill-opacity": Math.min(1, Math.abs(x))});
  const cell = (x, y, value, more) => svg("rect", {x, y, width: 1, height: 1, stroke: "currentColor", "stroke-opacity": .35, "stroke-width": .03, ...color(value), ...more});
  const squares = (matrix, scale) => matrix.flatMap((row, i) => row.map((x, j) => cell(j, i, x / scale)));

  const paint = (canvas, y, low, high) => {
    canvas.width = canvas.height = side;
    const pen = canvas.getContext("2d"), image = pen.createImageData(side, side);
    y.forEach((value, i) => {
      const shade = 255 * (value - low) / (high - low || 1);
      image.data.set([shade, shade, shade, 255], 4 * i);
    });
    pen.putImageData(image, 0, 0);
  };

  const bar = (all, used) => {
    const parts = [];
    let x = 0;
    all.forEach(({share}, i) => {
      const width = 338 * share;
      parts.push(svg("rect", {x: x + 1, y: 1, width, height: 16, fill: accent, "fill-opacity": i < used ? 1 : .25, stroke: "currentColor", "stroke-opacity": .5}));
      if (share > .2) parts.push(svg("text", {x: x + 3, y: 30}, `${i + 1}. ${percent(share)}`));
      x += width;
    });
    find(".drawing").replaceChildren(...parts);
  };

  const update = () => {
    const {kernel, at} = state, used = kit.values(root).pairs, all = pairs(kernel), some = all.slice(0, used);
    const made = some.map(({u, v}) => outer(u, v)).reduce((sum, pair) => minus(sum, pair.map(row => row.map(x => -x))), kernel.map(row => row.map(() => 0)));
    const left = minus(kernel, made), scale = most(kernel.flat());
    const cursor = svg("rect", {x: at[1], y: at[0], width: 1, height: 1, fill: "none", stroke: "currentColor", "stroke-width": .1, class: "cursor"});
    pad.replaceChildren(...squares(kernel, scale), cursor);
    pad.ariaLabel = `Kernel: arrows move, space paints. Row ${at[0] + 1}, column ${at[1] + 1}: ${kernel[at[0]][at[1]].toFixed(2)}`;
    const strips = used > 1 || !all.length ? [] : [
      ...all[0].u.map((x, i) => cell(-1.3, i, x / most(all[0].u))), ...all[0].v.map((x, j) => cell(j, -1.3, x / most(all[0].v)))];
    find(".made").replaceChildren(...squares(made, scale), ...strips);
    find(".rest").replaceChildren(...squares(left, scale));
    find(".many").textContent = `= its best pair${used > 1 ? "s" : ""}`;
    brushes.forEach(button => button.setAttribute("aria-pressed", Number(button.value) === state.brush));

    const whole = convolve(picture, side, kernel), part = by_pairs(picture, side, some), rest = whole.map((y, i) => y - part[i]);
    const low = Math.min(...whole), high = Math.max(...whole), half = (high - low) / 2;
    paint(pictures[0], whole, low, high);
    paint(pictures[1], part, low, high);
    paint(pictures[2], rest, -half || -1, half || 1);
    bar(all, used);

    const kept = some.reduce((sum, {share}) => sum + share, 0), work = 2 * K * used, name = names[select.value], one = used === 1;
    if (!all.length) { kit.say(root, "The kernel is empty: paint something."); return; }
    kit.say(root, `${name[0].toUpperCase()}${name.slice(1)}: ${one ? "the best pair keeps" : `the best ${used} pairs keep`} ${percent(kept)} of it` +
      ` and ${one ? "takes" : "take"} ${work} multiplications a pixel${work < K * K ? `, the kernel ${K * K}` : `: more than the kernel's ${K * K}`}. ` +
      `Its rank is ${all.length}${all.length > 1 ? `: so many pairs make it exactly` : ""}. ` +
      (kept > 1 - 1e-9 ? "The photographs are the same." : `What is left has ${(100 * energy([...rest]) / energy([...whole])).toFixed(1)} % of the filtered photograph's energy.`));
  };

  const take = name => { select.value = name; if (kernels[name]) state.kernel = preset(name); update(); };
  const own = () => { select.value = "own"; update(); };
  const dab = () => { state.kernel[state.at[0]][state.at[1]] = state.brush; own(); };
  select.addEventListener("input", () => take(select.value));
  kit.field(root, "pairs").addEventListener("input", update);
  brushes.forEach(button => button.addEventListener("click", () => { state.brush = Number(button.value); update(); }));
  kit.field(root, "clear").addEventListener("click", () => { state.kernel = state.kernel.map(row => row.map(() => 0)); own(); });

  let painting = false;
  const touch = event => {
    const box = pad.getBoundingClientRect(), {x, y, width, height} = pad.viewBox.baseVal;
    const place = [(event.clientY - box.top) / box.height * height + y, (event.clientX - box.left) / box.width * width + x].map(Math.floor);
    if (place.some(p => p < 0 || p >= K)) return;
    state.at = place;
    dab();
  };
  pad.addEventListener("pointerdown", event => { pad.setPointerCapture(event.pointerId); painting = true; touch(event); });
  pad.addEventListener("pointermove", event => { if (painting) touch(event); });
  ["pointerup", "pointercancel"].forEach(name => pad.addEventListener(name, () => { painting = false; }));
  pad.addEventListener("keydown", event => {
    const way = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    if (!way && event.key !== " ") return;
    event.preventDefault();
    if (!way) { dab(); return; }
    state.at = state.at.map((p, i) => (p + way[i] + K) % K);
    update();
  });

  root.querySelectorAll(".guess button").forEach(button => { // a picture of each
    button.prepend(svg("svg", {viewBox: "0 0 5 5", class: "icon", "aria-hidden": "true"}, ...squares(preset(button.value), 1)));
  });
  kit.guess(root, name => {
    const all = pairs(kernels[name]), right = all.length === 1;
    return {right, text: right ? `All rows of the ${names[name]} are multiples of one row.`
      : `Of the ${names[name]} the best row and column keep ${percent(all[0].share)}. It takes ${all.length} pairs to make it.`};
  }, name => { kit.field(root, "pairs").value = 1; take(name); });
  update();
});
