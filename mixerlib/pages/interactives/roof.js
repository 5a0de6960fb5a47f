// `roof_page.py` puts `data` before this. A row: the layers' role, how many there are, and of one
// of them MACs and numbers moved of one image, and weights. A machine: MACs and
// bytes a second; in `data` in units of 10⁹.

// The two bills of each row, in seconds an image, in a batch that reads its weights once.
const bills = (rows, machine, width, batch) => rows.map(([role, many, macs, moved, weights]) => ({
  role, many, macs, moved: width * (moved + weights / batch),
  by_macs: many * macs / machine.macs, by_bytes: many * width * (moved + weights / batch) / machine.bytes,
}));
// The least time, if both bills are paid at once, and the most, if one after the other.
const band = list => [
  list.reduce((sum, {by_macs, by_bytes}) => sum + Math.max(by_macs, by_bytes), 0),
  list.reduce((sum, {by_macs, by_bytes}) => sum + by_macs + by_bytes, 0),
];
const rows_of = (family, form) => data.rows[family][form];
// How many times as fast as ConvMixer, from least to most. v: family, form, width, batch.
const speeds = (v, machine) => {
  const [base, one] = ["convmixer", v.family].map(f => band(bills(rows_of(f, v.form), machine, v.width, v.batch)));
  return [base[0] / one[0], base[1] / one[1]].sort((a, b) => a - b);
};
// At a balance, in MACs a byte, if both bills are paid at once.
const speed_at = (v, balance) => {
  const [base, one] = ["convmixer", v.family].map(f => band(bills(rows_of(f, v.form), {macs: balance, bytes: 1}, v.width, v.batch))[0]);
  return base / one;
};
const LOWEST = -3, HIGHEST = 5; // powers of ten: the balances that the sliders reach
// The balances at which one model overtakes the other.
const crossings = v => {
  const ahead = power => speed_at(v, 10 ** power) - 1, found = [];
  for (let i = 0; i < 400; i++) {
    let [low, high] = [i, i + 1].map(place => LOWEST + (HIGHEST - LOWEST) * place / 400);
    if (ahead(low) * ahead(high) > 0 || ahead(low) === 0) continue;
    for (let step = 0; step < 60; step++) {
      const middle = (low + high) / 2;
      if (ahead(low) * ahead(middle) <= 0) high = middle; else low = middle;
    }
    found.push(10 ** high);
  }
  return found;
};

const three = x => Number(x.toPrecision(3)).toLocaleString("en-US", {maximumSignificantDigits: 3});
const time = seconds => seconds < 1e-3 ? `${three(1e6 * seconds)} µs` : `${three(1e3 * seconds)} ms`;
const rate = x => x < 1e12 ? `${three(x / 1e9)} G` : `${three(x / 1e12)} T`;

kit.start("roof", {data, bills, band, speeds, speed_at, crossings}, root => {
  const svg = kit.svg, field = name => kit.field(root, name), drawing = root.querySelector(".drawing"), second = root.querySelector(".race");
  const state = {}; // the machine as it is: MACs and bytes a second
  const title = () => field("family").selectedOptions[0].text;
  const word = (text, x, y, more = {}) => svg("text", {x, y, ...more}, text);
  const line = (d, opacity = 1, more = {}) => svg("path", {d, fill: "none", stroke: "currentColor", "stroke-opacity": opacity, ...more});
  const rect = (x, y, width, height, role) => svg("rect", {x, y, width, height, fill: data.fills[role][0], "fill-opacity": data.fills[role][1]});
  const POWERS = [-1, 0, 1, 2, 3], log = Math.log10, clamp = (x, low, high) => Math.max(low, Math.min(high, x));

  // The roof: intensity from left to right, the rate that it allows from below to above.
  const X = [-1.25, 3], Y = [9, 15.2], LEFT = 84, RIGHT = 336, TOP = 18, BOTTOM = 204;
  const across = power => LEFT + (power - X[0]) / (X[1] - X[0]) * (RIGHT - LEFT);
  const up = power => BOTTOM - (clamp(power, ...Y) - Y[0]) / (Y[1] - Y[0]) * (BOTTOM - TOP);
  const at = power => ({"text-anchor": power > 2 ? "end" : "middle"});
  const roof = (v, both) => {
    const parts = [word("MACs a second", 0, 11), word("no MACs", 59, 220, at(0)), word("MACs a byte", 338, 236, at(3))];
    [9, 12, 15].forEach((power, i) => parts.push(line(`M${LEFT} ${up(power)}H${RIGHT}`, .2), word(`1 ${"GTP"[i]}`, 0, up(power) + 4)));
    for (const power of POWERS) parts.push(line(`M${across(power)} ${TOP}V${BOTTOM}`, .2), word(10 ** power, across(power), 220, at(power)));
    const [flat, slope] = [log(state.macs), log(state.bytes)], start = Math.max(X[0], Y[0] - slope), ridge = clamp(flat - slope, start, X[1]);
    const top = power => up(Math.min(flat, slope + power));
    parts.push(line(`M${across(start)} ${top(start)}L${across(ridge)} ${top(ridge)}H${RIGHT}`, 1, {"stroke-width": 2.5}));
    for (const [place, {family, list, least}] of both.entries()) {
      const color = data.colors[family], idle = list.filter(b => !b.macs), shares = new Map();
      const dot = (x, y, share) => parts.push(svg("circle", {cx: x, cy: y, r: 2.5 + 9 * Math.sqrt(share), fill: color, "fill-opacity": .55, stroke: color}));
      dot(52 + 14 * place, BOTTOM - 12, band(idle)[0] / least);
      for (const b of list.filter(b => b.macs)) { // those at one place are one dot
        const key = (b.macs / b.moved).toPrecision(4), before = shares.get(key);
        shares.set(key, {...b, share: (before?.share ?? 0) + band([b])[0] / least});
      }
      for (const {role, macs, moved, share} of shares.values()) {
        const power = clamp(log(macs / moved), ...X), x = across(power), y = top(power), far = 2.5 + 9 * Math.sqrt(share);
        dot(x, y, share);
        if (role < 2) parts.push(word(["channels", "space"][role], x, place ? y + far + 10 : y - far - 2, {"text-anchor": place ? "start" : "end"}));
      }
    }
    drawing.replaceChildren(...parts);
  };

  // Two bars, as far as they have come at a moment, and the speed at every balance.
  const bars = (both, moment) => {
    const longest = Math.max(...both.map(({least}) => least)), parts = [];
    both.forEach(({family, list, least}, row) => {
      const y = 16 + 40 * row, first = least === Math.min(...both.map(one => one.least));
      parts.push(word(row ? title() : "ConvMixer", 0, y - 4), word(moment < least ? "…" : time(least), 338, y - 4, {...at(3), "font-weight": first ? 700 : 400}));
      let before = 0;
      data.roles.forEach((_, role) => {
        const spent = band(list.filter(b => b.role === role))[0], shown = clamp(moment - before, 0, spent);
        parts.push(rect(338 * before / longest, y, 338 * shown / longest, 16, role));
        before += spent;
      });
    });
    data.roles.forEach((role, i) => {
      const x = 114 * (i % 3), y = 88 + 16 * Math.floor(i / 3);
      parts.push(rect(x, y, 10, 10, i), word(role, x + 14, y + 9));
    });
    return parts;
  };
  const FROM = -1.5, TO = 3, LOW = 212, HIGH = 144;
  const dial = (v, machine, found) => {
    const powers = Array.from({length: 91}, (_, i) => FROM + (TO - FROM) * i / 90), y_of = powers.map(power => speed_at(v, 10 ** power));
    const most = Math.max(2, Math.ceil(Math.max(...y_of))), x = power => 16 + (clamp(power, FROM, TO) - FROM) / (TO - FROM) * 320, y = s => LOW - s / most * (LOW - HIGH);
    const parts = [word("speed, ConvMixer = 1", 0, 134), word("balance, MACs a byte", 338, 238, at(3))], color = data.colors[v.family];
    for (let s = 0; s <= most; s++) parts.push(line(`M16 ${y(s)}H336`, s === 1 ? .8 : .2), word(s, 0, y(s) + 4));
    for (const power of POWERS) parts.push(word(10 ** power, x(power), LOW + 13, at(power)));
    parts.push(line("M" + powers.map((power, i) => `${x(power).toFixed(1)} ${y(y_of[i]).toFixed(1)}`).join("L"), 1, {stroke: color, "stroke-width": 2.5}));
    for (const balance of found) parts.push(line(`M${x(log(balance))} ${y(1) - 8}v16`), word(`equal at ${three(balance)}`, x(log(balance)) + 4, y(1) - 6));
    const here = machine.macs / machine.bytes;
    parts.push(line(`M${x(log(here))} ${HIGH}V${LOW}`, .6), svg("circle", {cx: x(log(here)), cy: y(speed_at(v, here)), r: 5, fill: color, stroke: "currentColor"}));
    return parts;
  };

  const show = turned => { // how the machine stands in the sliders
    for (const key of ["macs", "bytes"]) {
      if (key !== turned) field(key).value = Math.round(data.steps * log(state[key] / 1e9));
      field(key).dataset.shown = `${rate(state[key])}${key === "bytes" ? "B" : ""}/s`;
      field(key).setAttribute("aria-valuetext", field(key).dataset.shown);
    }
  };
  const use = ({macs, bytes}, dtype, times = 1) => Object.assign(state, {macs: 1e9 * times * macs[dtype], bytes: 1e9 * bytes});
  const take = () => { // the rates of a machine that is known
    const known = data.machines[field("machine").value];
    if (known) {
      if (!known.macs[field("dtype").value]) field("dtype").value = "float32";
      use(known, field("dtype").value);
    }
    for (const option of field("dtype").options) option.disabled = !!known && !known.macs[option.value];
  };

  let race = 0, seen = null, words = "";
  const bars_at = moment => second.replaceChildren(...bars(seen.both, moment), ...seen.rest);
  const update = turned => {
    show(turned);
    const v = kit.values(root), name = title();
    v.width = data.widths[v.dtype];
    const both = ["convmixer", v.family].map(family => {
      const list = bills(rows_of(family, v.form), state, v.width, v.batch);
      return {family, list, least: band(list)[0]};
    });
    const found = crossings(v), balance = state.macs / state.bytes, [low, high] = speeds(v, state).map(s => s.toFixed(2));
    cancelAnimationFrame(race);
    seen = {both, rest: dial(v, state, found)};
    roof(v, both);
    bars_at(Infinity);
    const below = speed_at(v, 10 ** LOWEST) > 1;
    words = `${data.machines[v.machine] ? field("machine").selectedOptions[0].text : "Your machine"}: ${rate(state.macs)} MACs and ${rate(state.bytes)}B a second, a balance of ${three(balance)} MACs a byte. ` +
      `In ${v.dtype} and batches of ${v.batch} ${name} is predicted to be ${low === high ? low : `${low} to ${high}`} times as fast as ConvMixer: ${time(both[1].least)} an image at best, and ConvMixer ${time(both[0].least)}. ` +
      (found.length ? `It is the faster one ${below ? "below" : "above"} a balance of ${found.map(three).join(", the slower one again from ")}.` : `It is the ${below ? "faster" : "slower"} one at every balance.`);
    kit.say(root, words);
    second.setAttribute("aria-label", `Bars: ConvMixer ${time(both[0].least)}, ${name} ${time(both[1].least)} an image. Below them the speed of ${name} from ${speed_at(v, 10 ** FROM).toFixed(2)} to ${speed_at(v, 10 ** TO).toFixed(2)} over the balance.`);
  };

  kit.on_input(root, event => {
    const {name} = event.target.dataset;
    if (name === "macs" || name === "bytes") {
      state[name] = 1e9 * 10 ** (event.target.value / data.steps);
      field("machine").value = "own";
    }
    take();
    update(name);
  });
  field("race").addEventListener("click", () => {
    update();
    const end = () => {
      const [base, mine] = seen.both.map(({least}) => least);
      kit.say(root, `${words} The race: ${base === mine ? "both are there at once" : mine < base ? `${title()} is there first` : "ConvMixer is there first"}.`);
    };
    if (kit.calm()) { end(); return; }
    const longest = Math.max(...seen.both.map(({least}) => least));
    let begun = 0;
    const run = now => {
      begun ||= now;
      const share = (now - begun) / 2500;
      bars_at(share < 1 ? share * longest : Infinity);
      if (share < 1 && root.isConnected) race = requestAnimationFrame(run);
      else end();
    };
    race = requestAnimationFrame(run);
  });
  kit.guess(root, guessed => {
    const v = {family: "splitmixer_i", form: "alone", width: 4, batch: 64};
    const [before, after] = [1, 2].map(times => speeds(v, use(data.machines[data.first], "float32", times))[0]);
    return {right: guessed === (after > before ? "more" : after < before ? "less" : "same"),
      text: `It goes from ${before.toFixed(2)} to ${after.toFixed(2)}. SplitMixer saves multiplications, and they have become cheap; it moves more numbers, and that costs as before.`};
  }, () => {
    use(data.machines[data.first], "float32", 2);
    for (const [name, value] of Object.entries({machine: "own", dtype: "float32", family: "splitmixer_i", form: "alone", batch: "64"})) field(name).value = value;
    take();
    update();
  });
  take();
  update();
});
