// What every interactive uses. The first on a page brings it for all; it leaves one name, mixerKit.
globalThis.mixerKit ??= (() => {
  const page = typeof document === "undefined" ? null : document;
  const api = {};

  // Keep what an interactive computes, for tests, and begin each of its roots on the page, once.
  const start = (name, functions, begin) => {
    api[name] = functions;
    page?.querySelectorAll(`[data-interactive="${name}"]:not([data-started])`).forEach(root => {
      root.dataset.started = "";
      begin(root);
    });
  };

  // An element of SVG with its attributes and children; text is a child too.
  const svg = (tag, attributes = {}, ...children) => {
    const element = page.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  const field = (root, name) => root.querySelector(`[data-name="${name}"]`);

  // The controls of a root as numbers or words; each slider's value is written beside its label.
  const values = root => Object.fromEntries([...root.querySelectorAll("input[data-name], select[data-name]")].map(input => {
    const beside = input.type === "range" && input.parentElement.querySelector(".value");
    if (beside) beside.textContent = input.dataset.shown ?? input.value;
    const value = input.type === "checkbox" ? Number(input.checked) : input.value;
    return [input.dataset.name, isNaN(value) ? value : Number(value)];
  }));

  // Do something whenever a control is turned.
  const on_input = (root, update) => root.querySelectorAll("input, select").forEach(input => input.addEventListener("input", update));

  // What stands below a text that grows and shrinks stays where it is: the text keeps the room that
  // it once had, as long as the page is as wide.
  const rooms = new WeakMap();
  const keep_room = element => {
    const before = rooms.get(element), wide = element.clientWidth;
    if (before?.wide !== wide) element.style.minHeight = "";
    const high = Math.max(before?.wide === wide ? before.high : 0, element.clientHeight);
    rooms.set(element, {wide, high});
    element.style.minHeight = `${high}px`;
  };

  // The sentence that says the state; a drawing says it too.
  const say = (root, text, wrong = false) => {
    const said = root.querySelector(".said");
    if (said.textContent !== text) said.textContent = text;
    said.classList.toggle("wrong", wrong);
    keep_room(said);
    root.querySelector(".drawing")?.setAttribute("aria-label", text);
  };

  // The opening guess. judge(value) → {right: true or false, text: why}; then(value) comes after it.
  // Returns what forgets the guess, for when the question has become another one.
  const guess = (root, judge, then = () => {}) => {
    const box = root.querySelector(".guess"), all = [...box.querySelectorAll("button")], verdict = box.querySelector(".verdict");
    const mark = chosen => all.forEach(button => button.setAttribute("aria-pressed", button === chosen));
    all.forEach(button => button.addEventListener("click", () => {
      const {right, text} = judge(button.value);
      mark(button);
      box.dataset.right = right;
      verdict.textContent = `${right ? "✓ Right." : "✗ Not so."} ${text}`;
      keep_room(verdict);
      then(button.value);
    }));
    return () => { mark(null); delete box.dataset.right; verdict.textContent = ""; };
  };

  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // The buttons play, step and again. next() makes one step and says whether there is another;
  // first() goes back. Who wants no motion sees the end of it at once.
  const player = (root, {next, first, wait = 700}) => {
    const play = field(root, "play");
    let timer = 0;
    const stop = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
    const run = () => {
      stop();
      if (calm()) { while (next()); return; }
      play.textContent = "Pause";
      timer = setInterval(() => { if (!root.isConnected || !next()) stop(); }, wait);
    };
    play.addEventListener("click", () => timer ? stop() : run());
    field(root, "step").addEventListener("click", () => { stop(); next(); });
    field(root, "again").addEventListener("click", () => { stop(); first(); });
    return {run, stop};
  };

  // Call redraw when the page turns dark or light: for what cannot be drawn in currentColor.
  const on_theme = redraw => {
    const attributeFilter = ["data-theme", "data-jp-theme-light"];
    for (const element of [page.documentElement, page.body]) new MutationObserver(redraw).observe(element, {attributes: true, attributeFilter});
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  };

  return {api, start, svg, field, values, on_input, say, guess, calm, player, on_theme};
})();
