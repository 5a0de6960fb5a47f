// A row of a puzzle: what is printed, how many ones its unit is, and how many there are of each part.
const decimals = ([printed]) => printed.split(".")[1]?.length ?? 0;
const step = row => row[1] / 10 ** decimals(row); // one of the last printed digit, in ones
const value = row => Math.round(Number(row[0]) * 10 ** decimals(row)) * step(row);
const has = row => row.slice(2);

// What each part adds, and all of them, in whole numbers: ticks are how often each is counted.
const adds = (kind, counts, ticks) => kinds[kind].parts.map((part, i) =>
  counts[i] * (ticks[part.name] ?? 1) * (part.scaled && ticks[kinds[kind].factor.name] ? kinds[kind].factor.by : 1));
const total = (kind, counts, ticks) => adds(kind, counts, ticks).reduce((sum, count) => sum + count, 0);

// How a count has the printed digits: the audit's rule. null: it has others.
const fits = (row, exact) => {
  const u = step(row), digits = value(row) / u;
  if (exact === value(row)) return "exactly";
  if (Math.floor((2 * exact + u) / (2 * u)) === digits) return "rounded to the nearest";
  return Math.floor(exact / u) === digits ? "cut off" : null;
};

// Every choice of ticks: what a model has none of is not counted.
const choices = ({kind, rows}) => kinds[kind].parts.reduce(
  (all, {name, times}, i) => all.flatMap(ticks => (has(rows[0])[i] ? times : times.slice(0, 1)).map(t => ({...ticks, [name]: t}))),
  [0, 1].map(t => ({[kinds[kind].factor.name]: t})));

// How many of the source's numbers come out with these ticks.
const score = ({kind, rows}, ticks) => rows.filter(row => fits(row, total(kind, has(row), ticks))).length;

// Of all choices: how many have the printed digits, the most of the source's numbers that one of
// these gives, and how many of them give so many.
const known = new Map();
const search = puzzle => {
  if (!known.has(puzzle)) {
    const {kind, rows} = puzzle, all = choices(puzzle);
    const scores = all.filter(ticks => fits(rows[0], total(kind, has(rows[0]), ticks))).map(ticks => score(puzzle, ticks));
    const most = Math.max(0, ...scores);
    known.set(puzzle, {tried: all.length, fitting: scores.length, most, best: scores.filter(s => s === most).length});
  }
  return known.get(puzzle);
};

// The plain count that a guess compares with: all MACs, or the trained parameters in the print's unit.
const plain = ({kind, rows: [row], unit}) => total(kind, has(row), {
  work: {spatial: 1, biases: 0, norms: 0, gelu: 0, mean: 0},
  size: {bias: 1, scales: 1, head: 1, running: 0, bytes: unit === "MB" ? 1 : 0},
}[kind]);
const actual = puzzle => {
  const [row] = puzzle.rows, base = plain(puzzle);
  return fits(row, base) ? "same" : fits(row, 2 * base) ? "twice" : base > value(row) ? "fewer" : "more";
};

kit.start("convention", {puzzles, kinds, adds, total, fits, choices, score, search, plain, actual}, root => {
  const svg = kit.svg, drawing = root.querySelector(".drawing"), field = name => kit.field(root, name);
  const WIDE = 340, solved = new Set();
  const inUnit = (row, count, more = 3) => (count / row[1]).toLocaleString("en-US", {minimumFractionDigits: decimals(row) + more, maximumFractionDigits: decimals(row) + more});
  const whole = x => x.toLocaleString("en-US");
  let given = false; // whether the reader has said that no choice gives it

  // The drawing's parts stay, so that they can move: a bar on the whole scale, and the last digits.
  const word = (x, y, anchor = "start") => svg("text", {x, y, "text-anchor": anchor});
  const box = (y, height, more) => svg("rect", {x: 0, y, width: WIDE, height, fill: "none", ...more});
  const frame = {stroke: "currentColor", "stroke-opacity": .5};
  const bars = Array.from({length: 6}, () => box(18, 20, {width: 0}));
  const printed = svg("path", {stroke: "currentColor", "stroke-width": 2, d: "M0 13V43"}), slot = box(85, 18, {fill: accent});
  const units = svg("path", {stroke: "currentColor", "stroke-opacity": .4}), pointer = svg("path", {fill: warm, d: "M0 103l-6 12h12zM-1 85h2v18h-2z"});
  const texts = {counted: word(0, 10), print: word(0, 55, "middle"), near: word(0, 78), low: word(8, 121), high: word(WIDE - 8, 121, "end")};
  drawing.replaceChildren(box(18, 20, frame), ...bars, printed, slot, units, box(85, 18, frame), pointer, ...Object.values(texts));

  const draw = (puzzle, parts, count) => {
    const {kind, rows: [row], unit} = puzzle, target = value(row), u = step(row);
    const full = 1.05 * Math.max(target, ...choices(puzzle).map(ticks => total(kind, has(row), ticks)));
    let left = 0;
    bars.forEach((bar, i) => {
      bar.setAttribute("x", left);
      bar.setAttribute("width", WIDE * (parts[i] ?? 0) / full);
      bar.setAttribute("fill", kinds[kind].parts[i]?.color ?? "none");
      left += WIDE * (parts[i] ?? 0) / full;
    });
    const at = WIDE * target / full, reach = Math.max(.04 * target, 2.5 * u), place = x => WIDE * (x - target + reach) / (2 * reach);
    printed.style.transform = `translateX(${at}px)`;
    texts.print.setAttribute("x", Math.min(Math.max(at, 45), WIDE - 45));
    slot.setAttribute("x", place(target - u / 2));
    slot.setAttribute("width", place(target + u) - place(target - u / 2));
    slot.setAttribute("fill-opacity", fits(row, count) ? .9 : .35);
    const lines = [];
    const apart = reach > 30 * u ? 10 * u : u;
    for (let x = Math.ceil((target - reach) / apart) * apart; x <= target + reach; x += apart) lines.push(`M${place(x).toFixed(2)} 98v5`);
    units.setAttribute("d", lines.join(""));
    pointer.style.transform = `translateX(${Math.min(Math.max(place(count), 0), WIDE)}px)`;
    texts.counted.textContent = `counted: ${whole(count)}`;
    texts.print.textContent = `printed: ${row[0]} ${unit}${fits(row, count) ? " ✓" : ""}`;
    texts.near.textContent = "near the printed digits:";
    texts.low.textContent = place(count) < 0 ? "◀ far below" : inUnit(row, target - reach, 0);
    texts.high.textContent = place(count) > WIDE ? "far above ▶" : inUnit(row, target + reach, 0);
  };

  const fill = (puzzle, ticks, parts) => {
    const {kind, rows: [row]} = puzzle;
    root.querySelectorAll("table").forEach(table => {
      const shown = table.dataset.kind === kind;
      table.hidden = !shown;
      table.querySelectorAll("[data-name]").forEach(input => { input.disabled = !shown; });
    });
    kinds[kind].parts.forEach(({name}, i) => {
      const line = root.querySelector(`[data-part="${name}"]`), input = field(name);
      line.cells[1].textContent = inUnit(row, has(row)[i]);
      line.cells[2].textContent = inUnit(row, parts[i]);
      if (input) input.disabled = !has(row)[i];
      line.classList.toggle("unused", !has(row)[i]);
    });
  };

  const words = (puzzle, ticks, count) => {
    const {rows, rows: [row], unit, source, what} = puzzle, {tried, fitting, most, best} = search(puzzle);
    const how = fits(row, count), these = `the ${rows.length} such numbers in ${source}`;
    if (given && !fitting) return `Right: none of the ${tried} choices has the printed digits. The audit finds only other models that have them, one with ${puzzle.audit}.`;
    if (given) return `Not so: ${fitting} of the ${tried} choices ${fitting === 1 ? "has" : "have"} the printed digits.`;
    if (!how) {
      const off = count - value(row);
      return `You count ${inUnit(row, count)}\u00a0${unit}. Printed is ${row[0]}\u00a0${unit}: yours is ${inUnit(row, Math.abs(off))}\u00a0${unit} too ${off > 0 ? "much" : "little"}.`;
    }
    const now = score(puzzle, ticks), digits = `You count ${inUnit(row, count)}\u00a0${unit}: the printed digits${how === "exactly" ? "" : `, ${how}`}.`;
    if (now < most) return `${digits} But of ${these} your choice gives ${now}, and another gives ${most}. Go on.`;
    return `${digits} Your choice gives ${most} of ${these}, and none gives more${best > 1 ? `; ${best - 1} other ${best === 2 ? "choice does" : "choices do"} as well` : ""}. The audit's name for it: ${puzzle.audit}.`;
  };

  const update = () => {
    const ticks = kit.values(root), puzzle = puzzles[ticks.puzzle], {kind, rows: [row], source, what, name, unit} = puzzle;
    const parts = adds(kind, has(row), ticks), count = total(kind, has(row), ticks), {fitting, most} = search(puzzle);
    fill(puzzle, ticks, parts);
    draw(puzzle, parts, count);
    if (given ? !fitting : fits(row, count) && score(puzzle, ticks) === most) solved.add(ticks.puzzle);
    const bytes = unit === "MB" ? ", at four bytes each" : "";
    root.querySelector(".question").textContent = `${source} prints ${row[0]}\u00a0${unit} for ${name} (${what}). What is that, beside its ${kinds[kind].base}${bytes}?`;
    kit.say(root, `${words(puzzle, ticks, count)} Solved: ${solved.size} of ${puzzles.length}.`);
  };

  const forget = kit.guess(root, guessed => {
    const puzzle = puzzles[field("puzzle").value], {kind, rows: [row], unit} = puzzle;
    return {right: guessed === actual(puzzle), text: `The model has ${inUnit(row, plain(puzzle))}\u00a0${unit}${unit === "MB" ? " of" : ""} ${kinds[kind].base}; ${row[0]}\u00a0${unit} is printed. Tick what was counted.`};
  });
  const begin = () => {
    given = false;
    forget();
    root.querySelectorAll("table input").forEach(input => { input.checked = false; });
    root.querySelectorAll("table select").forEach(input => { input.value = "0"; });
    update();
  };
  kit.on_input(root, event => {
    given = false;
    if (event.target.dataset.name === "puzzle") begin(); else update();
  });
  field("none").addEventListener("click", () => { given = true; update(); });
  field("next").addEventListener("click", () => {
    field("puzzle").value = (Number(field("puzzle").value) + 1) % puzzles.length;
    begin();
  });
  update();
});
