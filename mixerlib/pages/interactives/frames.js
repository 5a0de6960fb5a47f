// Frames that were made beforehand; `frames.py` puts the data before this.

// The number of the frame for these values of the controls. A frame that does not depend on a
// control has "*" in its place.
const frameOf = chosen => data.keys.findIndex(key => key.every((part, i) => part === "*" || part === chosen[i]));

kit.start("frames", {data, frameOf}, root => {
  const fields = data.names.map(name => kit.field(root, name)), all = [...root.querySelectorAll("[data-frame]")];
  const update = () => {
    const at = frameOf(fields.map(field => field.value));
    all.forEach((frame, i) => { frame.hidden = i !== at; });
    fields.forEach((field, i) => {  // a control without effect cannot be turned
      field.disabled = data.keys[at][i] === "*";
      field.parentElement.classList.toggle("unused", field.disabled);
    });
    kit.say(root, data.says[at]);
  };
  kit.on_input(root, update);
  kit.guess(root, value => ({right: value === data.guess.right, text: data.guess.text}));
  update();
});
