const MOST = 100, LAST = 20; // experiments of a series; runs of each model

// Numbers from 0 to 1 that look drawn at random, and are the same each time: SplitMix in 32 bits.
const uniform = i => {
  let x = Math.imul(i + 1, 0x9e3779b9);
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (((x ^ (x >>> 15)) >>> 0) + .5) / 2 ** 32;
};
// Draws from the normal distribution, after Box and Muller.
const normal = i => Math.sqrt(-2 * Math.log(uniform(2 * i))) * Math.cos(2 * Math.PI * uniform(2 * i + 1));

// One experiment: n runs of A and of B, in points above B's true mean; the interval of the
// difference, with the spread pooled over both; and what it shows. More runs are further runs.
const experiment = ({gap, spread, n}, series, number) => {
  const draws = side => Array.from({length: n}, (_, j) => gap * (1 - side) + spread * normal(((series * MOST + number) * LAST + j) * 2 + side));
  const a = draws(0), b = draws(1), mean = runs => runs.reduce((x, y) => x + y) / n;
  const squares = runs => runs.reduce((sum, run) => sum + (run - mean(runs)) ** 2, 0);
  const difference = mean(a) - mean(b), half = quantiles[n] * Math.sqrt((squares(a) + squares(b)) / (2 * n - 2) * 2 / n);
  const outcome = Math.abs(difference) <= half ? "undecided" : difference > 0 && gap > 0 ? "right" : "wrong";
  return {a, b, means: [mean(a), mean(b)], difference, half, outcome};
};

// The normal distribution function, to 1e-7: Abramowitz and Stegun, 26.2.17.
const phi = x => {
  if (x > 0) return 1 - phi(-x);
  const t = 1 / (1 - .2316419 * x);
  return Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI) * t * (.319381530 + t * (-.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
};

// Student's quantile: the exported one, and beyond them its expansion in 1 / freedom.
const student = n => {
  if (quantiles[n]) return quantiles[n];
  const [z] = normals, f = 2 * n - 2;
  return z + (z ** 3 + z) / (4 * f) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * f ** 2) + (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * f ** 3);
};

// How often an experiment is right and wrong: its spread varies as chi does, so that is integrated
// over, by Simpson's rule.
const odds = (ratio, n) => {
  const f = 2 * n - 2, shift = ratio * Math.sqrt(n / 2), t = student(n), wide = 9 / Math.sqrt(2 * f), STEPS = 400;
  const low = Math.max(0, 1 - wide), step = (1 + wide - low) / STEPS;
  let all = 0, above = 0, below = 0;
  for (let i = 0; i <= STEPS; i++) {
    const s = low + i * step, density = s ? Math.exp((f - 1) * Math.log(s) + f * (1 - s * s) / 2) : 0;
    const weight = density * (i % STEPS ? i % 2 ? 4 : 2 : 1);
    all += weight;
    above += weight * phi(shift - t * s);
    below += weight * phi(-shift - t * s);
  }
  return ratio ? {right: above / all, wrong: below / all} : {right: 0, wrong: (above + below) / all};
};
const shown = (ratio, n) => { const {right, wrong} = odds(ratio, n); return right + wrong; };

// The runs of each model that show a difference as often as the target says. null: it is none.
const needed = ratio => {
  if (!ratio) return null;
  let n = Math.max(2, Math.floor(2 * ((normals[0] + normals[1]) / ratio) ** 2));
  while (shown(ratio, n) < target) n++;
  return n;
};

kit.start("seeds", {uniform, normal, experiment, phi, odds, shown, needed}, root => {
  const svg = kit.svg, drawing = root.querySelector(".drawing"), field = name => kit.field(root, name);
  const answers = [...root.querySelectorAll(".guess button")].map(button => Number(button.value));
  let series = 0, count = 0, guessed = false;
  const settings = () => { const v = kit.values(root); return {gap: v.gap / 100, spread: v.spread / 100, n: v.n}; };
  const points = x => x.toFixed(2).replace("-", "−"), hundred = x => (100 * x).toFixed(x > 0 && x < .0095 ? 1 : 0);

  const draw = (v, done, known) => {
    const parts = [], last = done[done.length - 1], add = (tag, attributes, ...inside) => parts.push(svg(tag, attributes, ...inside));
    const word = (text, x, y, anchor = "start") => add("text", {x, y, "text-anchor": anchor}, text);
    const line = (d, more) => add("path", {d, fill: "none", stroke: "currentColor", ...more});
    // the runs of the last experiment
    const wide = 4 * v.spread, x = run => 24 + 306 * (run + wide) / (v.gap + 2 * wide);
    word(last ? `experiment ${done.length}: ${v.n} runs of each, and their means` : "the true means; nothing has been run yet", 0, 10);
    [[v.gap, "A", colors.right], [0, "B", colors.undecided]].forEach(([mean, name, color], side) => {
      const y = 30 + 22 * side;
      word(name, 4, y + 4);
      line(`M24 ${y}H330`, {"stroke-opacity": .25});
      line(`M${x(mean)} ${y - 9}v18`, {"stroke-dasharray": "3 2"});
      if (!last) return;
      (side ? last.b : last.a).forEach(run => add("circle", {cx: x(run), cy: y, r: 3.5, fill: color, class: "new"}));
      line(`M${x(last.means[side])} ${y - 9}v18`, {stroke: color, "stroke-width": 3});
    });
    // the intervals of the difference
    const reach = 1.5 * (v.gap + quantiles[v.n] * v.spread * Math.sqrt(2 / v.n)), y = d => 126 - 38 * Math.max(-1, Math.min(1, d / reach));
    word("intervals of the difference, the last on the right", 0, 80);
    line("M24 126H330", {"stroke-opacity": .7});
    line(`M24 ${y(v.gap)}H330`, {"stroke-dasharray": "3 2", "stroke-opacity": .7});
    word("0", 18, 130, "end");
    done.slice(-34).forEach(({difference, half, outcome}, i) => {
      const at = 32 + 9 * i;
      line(`M${at} ${y(difference - half)}V${y(difference + half)}`, {stroke: colors[outcome], "stroke-width": outcome === "undecided" ? 2 : 4, class: i === Math.min(done.length, 34) - 1 ? "new" : ""});
      add("circle", {cx: at, cy: y(difference), r: 2.5, fill: colors[outcome]});
    });
    // the power curve
    const px = n => 32 + 16 * (n - 2), py = share => 252 - 60 * share;
    word(known ? "how many of 100 are shown, against the runs of each" : "the power curve: guess first, or run", 0, 184);
    [0, .5, 1].forEach(share => { line(`M28 ${py(share)}H324`, {"stroke-opacity": .25}); word(`${100 * share}`, 24, py(share) + 4, "end"); });
    [2, 5, 10, 15, 20].forEach(n => word(`${n}`, px(n), 266, "middle"));
    if (known) {
      const curve = Array.from({length: LAST - 1}, (_, i) => `${px(i + 2)} ${py(shown(v.gap / v.spread, i + 2)).toFixed(2)}`);
      line(`M${curve.join("L")}`, {"stroke-width": 2});
      line(`M${px(v.n)} 192V252`, {"stroke-opacity": .4});
    }
    if (last) add("circle", {cx: px(v.n), cy: py(done.filter(e => e.outcome !== "undecided").length / done.length), r: 4.5, fill: colors.right});
    drawing.replaceChildren(...parts);
  };

  const update = () => {
    for (const name of ["gap", "spread"]) {
      field(name).dataset.shown = (field(name).value / 100).toFixed(2);
      field(name).setAttribute("aria-valuetext", field(name).dataset.shown);
    }
    const v = settings(), ratio = v.gap / v.spread, known = guessed || count > 0;
    const done = Array.from({length: count}, (_, i) => experiment(v, series, i)), last = done[count - 1];
    const tally = {right: 0, undecided: 0, wrong: 0}, {right, wrong} = odds(ratio, v.n);
    done.forEach(({outcome}) => { tally[outcome]++; });
    const expected = {right, wrong, undecided: 1 - right - wrong};
    for (const outcome of Object.keys(tally)) {
      const {cells} = root.querySelector(`[data-outcome=${outcome}]`);
      cells[1].textContent = tally[outcome];
      cells[2].textContent = count ? hundred(tally[outcome] / count) : "–";
      cells[3].textContent = known ? hundred(expected[outcome]) : "–";
    }
    draw(v, done, known);
    root.querySelector(".question").textContent = v.gap
      ? `A is truly better than B by ${points(v.gap)} points, and single runs have a standard deviation of ${points(v.spread)}. We run each ${v.n} times. In how many of 100 such experiments does the interval of the difference leave 0 out?`
      : `A and B are truly equal, and single runs have a standard deviation of ${points(v.spread)}. We run each ${v.n} times. In how many of 100 such experiments does the interval of the difference leave 0 out all the same?`;
    const shows = {right: "so A is shown to be better, which is right", wrong: v.gap ? "so B seems better, which is wrong" : "so they seem to differ, which is wrong", undecided: "so no difference is shown"};
    kit.say(root, (last
      ? `Experiment ${count}: the means differ by ${points(last.difference)} ± ${points(last.half)} points, ${shows[last.outcome]}. So far ${tally.right} right, ${tally.undecided} not shown, ${tally.wrong} wrong.`
      : `Nothing has been run yet: ${v.n} runs of each, a true difference of ${points(v.gap)} points, a deviation of ${points(v.spread)}.`)
      + (known && v.gap ? ` To show this difference in ${100 * target} of 100 takes ${needed(ratio).toLocaleString("en-US")} runs of each.` : ""));
  };

  const player = kit.player(root, {
    next: () => { count = Math.min(count + 1, MOST); update(); return count < MOST; },
    first: () => { series++; count = 0; update(); },
    wait: 250,
  });
  const forget = kit.guess(root, answer => {
    const v = settings(), share = 100 * shown(v.gap / v.spread, v.n);
    const nearest = answers.reduce((best, one) => Math.abs(one - share) < Math.abs(best - share) ? one : best);
    return {right: Number(answer) === nearest, text: `In ${hundred(share / 100)} of 100. Run some, and see.`};
  }, () => { guessed = true; update(); });
  kit.on_input(root, () => { player.stop(); forget(); guessed = false; update(); });
  update();
});
