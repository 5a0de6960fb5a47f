// The curves of finished runs, played again; `replay.py` puts the data before this.

// The last epoch of a run, up to this one, that has this value; undefined where none has.
const last = (curve, epoch, name) => curve.filter(row => row.epoch <= epoch && row[name] !== null).at(-1);

const percent = share => `${(100 * share).toFixed(1)}%`;
const told = (runs, epoch) => epoch
  ? `After epoch ${epoch} of ${data.epochs}: ` + runs.map(run => {
      const train = last(run.curve, epoch, "train_loss"), test = last(run.curve, epoch, "test_accuracy");
      const read = test ? `${percent(test.test_accuracy)} of the test images right${test.epoch < epoch ? ` after epoch ${test.epoch}` : ""}` : "not tested yet";
      return `${runs.length > 1 ? `${run.label}: ` : ""}training loss ${train ? train.train_loss.toFixed(3) : "none"}, ${read}`;
    }).join("; ") + "."
  : `Nothing is trained yet. Play ${runs.length > 1 ? "the runs" : "the run"}, or go step by step.`;

kit.start("replay", {data, told}, root => {
  const epochs = kit.field(root, "epochs"), all = [...root.querySelectorAll("[data-quantity]")];
  // a curve is drawn whole: what is still to come lies behind the edge of this rectangle
  const edges = all.map((drawn, i) => {
    const svg = drawn.querySelector("svg"), edge = kit.svg("rect", {x: 0, y: 0, width: 0, height: data.height});
    const name = `replay-${Math.random().toString(36).slice(2)}-${i}`;
    svg.prepend(kit.svg("clipPath", {id: name}, edge));
    svg.querySelectorAll("polyline").forEach(line => line.setAttribute("clip-path", `url(#${name})`));
    svg.querySelectorAll("circle").forEach(end => { end.style.display = "none"; });
    return edge;
  });
  const update = () => {
    const {quantity} = kit.values(root), epoch = Number(epochs.value);
    all.forEach((drawn, i) => {
      drawn.hidden = drawn.dataset.quantity !== quantity;
      edges[i].setAttribute("width", epoch ? data.left + epoch / data.epochs * data.width + 2 : 0);
    });
    kit.say(root, `${told(data.runs, epoch)} You see the ${quantity}.`);
  };
  const player = kit.player(root, {
    next: () => { epochs.value = Number(epochs.value) + 1; update(); return Number(epochs.value) < data.epochs; },
    first: () => { epochs.value = 0; update(); },
    wait: 250,
  });
  kit.on_input(root, () => { player.stop(); update(); });
  kit.guess(root, value => ({right: value === data.guess.right, text: data.guess.text}), () => player.run());
  update();
});
