// What a block does to its channels, for every strategy. `o` has h, s, shuffle, alpha_num, alpha_den.
const overlapping = ["splitmixer_i", "splitmixer_v"];
const shuffling = ["splitmixer_ii", "splitmixer_iii", "splitmixer_iv"];
const uses_segments = family => family !== "convmixer" && !overlapping.includes(family);

// The segments [start, width] that block i mixes, in order.
const segments = (family, o, i) => {
  const m = Math.floor(o.alpha_num * o.h / o.alpha_den), c = Math.floor(o.h / o.s);
  const widths = Array.from({length: o.s}, (_, j) => j < o.s - 1 ? c : o.h - (o.s - 1) * c);
  const all = widths.map((width, j) => [j * c, width]);
  switch (family) {
    case "convmixer": return [[0, o.h]];
    case "splitmixer_i": return [[i % 2 === 0 ? 0 : o.h - m, m]];
    case "splitmixer_v": return [[0, m], [o.h - m, m]];
    case "splitmixer_ii": return [all[i % o.s]];
    default: return all;
  }
};

// In how many hands the channels are dealt after a block (1: they stay), and which goes to place q.
const hands = (family, o) => family === "splitmixer_3d" || o.shuffle ? o.s : 1;
const dealt_from = (o, q, s) => (q % s) * (o.h / s) + Math.floor(q / s);
