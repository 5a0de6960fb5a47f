// A network as a list of steps, run in plain JavaScript. `network_script.py` writes the list.
// A value is a table of channels × places, in float64: BatchNorm can enlarge float32's errors.
const half = bits => {  // the number that 16 bits of float16 mean, if it is finite
  const sign = bits >> 15 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
};
// Numbers of float16, in base64; where there are `rows`, one for each row, tensor by tensor: the weight
// itself, or, of a row of letters, the step of which each weight has so many, from −31 to 31.
const weightsOf = (words, rows = [[words.length, 0]]) => {
  const [base64, letters] = words.split("."), text = atob(base64), all = [];
  let at = 0, next = 0;
  for (const [count, columns] of rows) for (let row = 0; row < count && at < text.length; row++, at += 2) {
    const first = half(text.charCodeAt(at) | text.charCodeAt(at + 1) << 8);
    if (!columns) all.push(first);
    for (let i = 0; i < columns; i++) all.push(first * ((atob("AAA" + letters[next++]).charCodeAt(2) & 63) - 32));
  }
  return Float64Array.from(all);
};

// erf as a series of positive terms: 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·5 … (2n+1))
const erf = x => {
  if (x < 0) return -erf(-x);
  if (x > 5) return 1;
  let term = x, sum = x;
  for (let n = 3; term > 1e-12 * sum; n += 2) { term *= 2 * x * x / n; sum += term; }
  return 1.1283791670955126 * Math.exp(-x * x) * sum;
};
const activations = {
  gelu: x => x / 2 * (1 + erf(x * Math.SQRT1_2)),
  relu: x => Math.max(x, 0),
};

// out[o, p] = bias[o] + Σ W[o, i] x[from + i, p], written to the channels from `to` on
const mix = (x, places, out, w, {weight, bias, entering, leaving}, from, to) => {
  for (let o = 0; o < leaving; o++) {
    const row = out.subarray((to + o) * places, (to + o + 1) * places);
    row.fill(bias < 0 ? 0 : w[bias + o]);
    for (let i = 0; i < entering; i++) {
      const factor = w[weight + o * entering + i], at = (from + i) * places;
      for (let p = 0; p < places; p++) row[p] += factor * x[at + p];
    }
  }
};

const operations = {
  // a convolution of `groups` groups; the padding is that above and on the left
  conv: (x, s, w) => {
    const [rows, columns] = s.sides, [high, wide] = s.out, [kh, kw] = s.kernel;
    const entering = s.entering / s.groups, leaving = s.leaving / s.groups;
    const out = new Float64Array(s.leaving * high * wide);
    for (let o = 0; o < s.leaving; o++) {
      const first = Math.floor(o / leaving) * entering;
      for (let r = 0; r < high; r++) for (let c = 0; c < wide; c++) {
        let sum = s.bias < 0 ? 0 : w[s.bias + o];
        for (let i = 0; i < entering; i++) for (let a = 0; a < kh; a++) {
          const y = r * s.stride[0] + a - s.padding[0];
          if (y < 0 || y >= rows) continue;
          for (let b = 0; b < kw; b++) {
            const z = c * s.stride[1] + b - s.padding[1];
            if (z < 0 || z >= columns) continue;
            sum += w[s.weight + ((o * entering + i) * kh + a) * kw + b]
              * x[((first + i) * rows + y) * columns + z];
          }
        }
        out[(o * high + r) * wide + c] = sum;
      }
    }
    return out;
  },
  // segments mixed one after the other, each in the result of those before; the others pass
  segments: (x, s, w) => {
    let out = x;
    for (const part of s.parts) {
      const next = out.slice();
      mix(out, s.places, next, w, part, part.start, part.start);
      out = next;
    }
    return out;
  },
  linear: (x, s, w) => {  // across all channels, to another number of them
    const out = new Float64Array(s.leaving * s.places);
    mix(x, s.places, out, w, s, 0, 0);
    return out;
  },
  tokens: (x, s, w) => {  // across places, the same weights for every channel
    const out = new Float64Array(s.channels * s.leaving);
    for (let c = 0; c < s.channels; c++) for (let o = 0; o < s.leaving; o++) {
      let sum = s.bias < 0 ? 0 : w[s.bias + o];
      for (let p = 0; p < s.entering; p++) sum += w[s.weight + o * s.entering + p] * x[c * s.entering + p];
      out[c * s.leaving + o] = sum;
    }
    return out;
  },
  act: (x, s) => x.map(activations[s.name]),
  batchnorm: (x, s, w) => x.map((value, i) => {
    const c = Math.floor(i / s.places), scale = w[s.weight + c] / Math.sqrt(w[s.variance + c] + s.eps);
    return (value - w[s.mean + c]) * scale + w[s.bias + c];
  }),
  layernorm: (x, s, w) => {  // over the channels of each place
    const out = new Float64Array(x.length);
    for (let p = 0; p < s.places; p++) {
      let mean = 0, variance = 0;
      for (let c = 0; c < s.channels; c++) mean += x[c * s.places + p] / s.channels;
      for (let c = 0; c < s.channels; c++) variance += (x[c * s.places + p] - mean) ** 2 / s.channels;
      for (let c = 0; c < s.channels; c++)
        out[c * s.places + p] = (x[c * s.places + p] - mean) / Math.sqrt(variance + s.eps) * w[s.weight + c] + w[s.bias + c];
    }
    return out;
  },
  shuffle: (x, s) => {  // channel j·c + o of s segments goes to o·s + j
    const out = new Float64Array(x.length), channels = x.length / s.places, width = channels / s.segments;
    for (let j = 0; j < s.segments; j++) for (let o = 0; o < width; o++)
      out.set(x.subarray((j * width + o) * s.places, (j * width + o + 1) * s.places), (o * s.segments + j) * s.places);
    return out;
  },
  mean: (x, s) => Float64Array.from({length: x.length / s.places}, (_, c) =>
    x.subarray(c * s.places, (c + 1) * s.places).reduce((sum, value) => sum + value, 0) / s.places),
};

// The result of every step for one image. `off` names what is switched off, such as "residual 2",
// "space 0" or "channels 3": a residual's shortcut, or a block's mixing, which then lets x pass.
const run = (network, weights, image, off = new Set()) => {
  const results = [];
  let x = image;
  for (const step of network.steps) {
    const idle = step.part && off.has(`${step.part} ${step.block}`);
    if (step.op === "sum") {
      const shortcut = step.added < 0 ? image : results[step.added];
      if (idle) x = shortcut;
      else if (!off.has(`residual ${step.block}`)) x = x.map((value, i) => value + shortcut[i]);
    } else if (!idle) x = operations[step.op](x, step, weights);
    results.push(x);
  }
  return results;
};
