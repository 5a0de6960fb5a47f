// What a network in the page shows: its channels, its switches and its logits. After network.js.
const accent = "#7B68C8";  // what is below zero

// A row of maps for the stem and each block, with the block's switches
const rows = (root, network, off, changed) => {
  const words = {residual: "residual", space: "spatial mixing", channels: "channel mixing"};
  root.querySelector(".blocks").replaceChildren(...network.shown.map(({title, step}) => {
    const line = document.createElement("div"), block = network.steps[step].block;
    line.className = "row";
    line.innerHTML = `<span class="name">${title}</span>`;
    if (block !== undefined) for (const [part, word] of Object.entries(words)) {
      const label = document.createElement("label"), key = `${part} ${block}`, box = document.createElement("input");
      Object.assign(box, {type: "checkbox", checked: !off.has(key), ariaLabel: `${word} of ${title}`});
      box.addEventListener("change", () => { off[box.checked ? "delete" : "add"](key); changed(); });
      label.append(box, word);
      line.append(label);
    }
    line.insertAdjacentHTML("beforeend", `<canvas role="img" aria-label="The channels after ${title}"></canvas>`);
    return line;
  }));
};

const switchedOff = root => {
  const off = [...root.querySelectorAll(".blocks input:not(:checked)")].map(box => `the ${box.ariaLabel}`);
  return off.length > 2 ? ` Off: ${off.length} parts of the blocks.` : off.length ? ` Off: ${off.join(" and ")}.` : "";
};

// Every channel a square, in rows of 32, of 16 on a phone
const maps = (root, network, results) => network.shown.forEach(({step, places}, i) => {
  const canvas = root.querySelectorAll(".blocks canvas")[i], x = results[step];
  const channels = x.length / places, wide = Math.round(Math.sqrt(places)), high = places / wide;
  const columns = Math.min(channels, root.clientWidth < 520 ? 16 : 32), lines = Math.ceil(channels / columns);
  canvas.width = columns * (wide + 1) - 1; canvas.height = lines * (high + 1) - 1;
  const pen = canvas.getContext("2d"), ink = getComputedStyle(root).color;
  const top = x.map(Math.abs).sort()[Math.floor(.99 * x.length)] || 1;
  x.forEach((value, i) => {
    const c = Math.floor(i / places), p = i % places;
    pen.globalAlpha = Math.min(1, Math.abs(value) / top);
    pen.fillStyle = value < 0 ? accent : ink;
    pen.fillRect((c % columns) * (wide + 1) + p % wide, Math.floor(c / columns) * (high + 1) + Math.floor(p / wide), 1, 1);
  });
  pen.globalAlpha = .18; pen.fillStyle = ink;
  for (let c = wide; c < canvas.width; c += wide + 1) pen.fillRect(c, 0, 1, canvas.height);
  for (let r = high; r < canvas.height; r += high + 1) pen.fillRect(0, r, canvas.width, 1);
});

const tenths = value => (Math.round(10 * value) / 10 || 0).toFixed(1);  // and never −0.0

// The logits as bars; returns the classes by their share, and the share of each in words
const bars = (root, logits, classes) => {
  const top = Math.max(...logits), powers = [...logits].map(v => Math.exp(v - top)), sum = powers.reduce((a, b) => a + b);
  const ranked = [...powers.keys()].sort((a, b) => powers[b] - powers[a]), box = root.querySelector(".logits");
  const reach = Math.max(...logits.map(Math.abs), 1e-9), percent = k => `${(100 * powers[k] / sum).toFixed(0)} %`;
  box.innerHTML = [...logits].map((value, k) => {
    const tag = k === ranked[0] ? "b" : "span", wide = 50 * Math.abs(value) / reach;
    return `<${tag}>${classes[k]}</${tag}><div class="bar"><i style="width:${wide}%;left:${value < 0 ? 50 - wide : 50}%"></i></div><span class="number">${tenths(value).replace("-", "−")}</span>`;
  }).join("");
  box.ariaLabel = "Logits: " + [...logits].map((v, k) => `${classes[k]}: ${tenths(v)}`).join(", ");
  return {ranked, percent};
};
