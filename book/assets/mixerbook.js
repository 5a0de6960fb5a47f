// What the pages do besides the theme: a term or a citation says on the spot what it leads to, and a page prints whole.
(() => {
  // A term's meaning comes from tips.js, a citation's text from the link's own title.
  const texts = new Map();
  for (const link of document.querySelectorAll("article a.reference.internal")) {
    const meaning = link.querySelector(".std-term") && (window.mixerBookTips || {})[decodeURIComponent(link.hash.slice(1))];
    if (meaning) texts.set(link, tip => { tip.innerHTML = meaning; });
    else if (link.title && link.closest(".bibtex-citation")) {
      const words = link.title;
      link.removeAttribute("title"); // or the browser would show it as well
      texts.set(link, tip => { tip.textContent = words; });
    }
  }

  // One box for all links. It stays while the pointer is on it, and Escape closes it.
  const tip = document.createElement("div");
  Object.assign(tip, {id: "link-tip", className: "link-tip", hidden: true});
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  let shown = null, timer = 0;

  // A page without a formula comes without MathJax; a meaning that has one brings it.
  const mathematics = () => new Promise(done => {
    if (window.MathJax?.typesetPromise) return done();
    const script = document.createElement("script");
    script.src = `${document.documentElement.dataset.content_root}_static/mathjax/startup.js`;
    script.onload = () => MathJax.startup.promise.then(done);
    document.head.append(script);
  });

  const place = link => {
    const box = link.getBoundingClientRect(), gap = 6, page = document.documentElement;
    const left = Math.max(8, Math.min(box.left, page.clientWidth - tip.offsetWidth - 8));
    const below = box.bottom + gap + tip.offsetHeight <= page.clientHeight || box.top < tip.offsetHeight + gap;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(below ? box.bottom + gap : box.top - gap - tip.offsetHeight) + scrollY}px`;
  };
  const hide = () => {
    clearTimeout(timer);
    tip.hidden = true;
    if (shown) shown.removeAttribute("aria-describedby");
    shown = null;
  };
  const show = link => {
    hide();
    texts.get(link)(tip);
    tip.hidden = false;
    link.setAttribute("aria-describedby", tip.id);
    shown = link;
    place(link);
    if (tip.querySelector(".math"))
      mathematics().then(() => MathJax.typesetPromise([tip])).then(() => { if (shown === link) place(link); });
  };
  const later = (action, wait) => { clearTimeout(timer); timer = setTimeout(action, wait); };
  for (const link of texts.keys()) {
    link.addEventListener("pointerenter", event => { if (event.pointerType !== "touch") later(() => show(link), 200); });
    link.addEventListener("pointerleave", () => later(hide, 300));
    link.addEventListener("focus", () => { if (link.matches(":focus-visible")) show(link); });
    link.addEventListener("blur", hide);
  }
  tip.addEventListener("pointerenter", () => clearTimeout(timer));
  tip.addEventListener("pointerleave", () => later(hide, 300));
  document.addEventListener("keydown", event => { if (event.key === "Escape") hide(); });

  // What is wider than its column scrolls, can be reached with the Tab key, and fades on the side where it goes on.
  // The theme makes code a Tab stop, this the rest.
  const CODE = "article div.highlight pre, article .cell_output pre";
  const BOXES = "article table, article .pst-scrollable-table-container, article .mixer-figure, article .audit-box, article .exercise-outcome, article div.drawing, " +
    "article mjx-container[display], article mjx-container.long, " + CODE;
  const fade = box => {
    const rest = box.scrollWidth - box.clientWidth;
    const scrolls = rest > 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
    box.classList.toggle("goes-on", scrolls && box.scrollLeft < rest - 1);
    box.classList.toggle("goes-back", scrolls && box.scrollLeft > 1);
    return scrolls;
  };
  const reach = () => {
    for (const formula of document.querySelectorAll("article p mjx-container:not([display])")) {
      formula.classList.remove("long", "goes-on", "goes-back"); // it may have room again
      const room = formula.closest("p").getBoundingClientRect().width; // none where it is folded away
      formula.classList.toggle("long", room > 0 && formula.getBoundingClientRect().width > room + 1);
    }
    for (const box of document.querySelectorAll(BOXES)) {
      const scrolls = fade(box);
      if (box.matches(CODE) || box.matches(".audit-box")) continue;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  document.addEventListener("scroll", event => { if (event.target.matches?.(BOXES)) fade(event.target); }, true);
  addEventListener("resize", reach);
  addEventListener("load", () => (window.MathJax?.startup?.promise || Promise.resolve()).then(reach));
  document.fonts?.addEventListener("loadingdone", reach); // the letters of formulas have their widths then

  // Code that was folded away may scroll once it is seen; the theme looks for such code when the window changes.
  const look = () => dispatchEvent(new Event("resize"));
  document.addEventListener("toggle", look, true);
  document.addEventListener("click", event => { if (event.target.closest(".admonition-title[data-button]")) look(); });

  // On paper nothing can be unfolded, and paper is light.
  let closed = [], theme = "";
  addEventListener("beforeprint", () => {
    hide();
    closed = [...document.querySelectorAll(
      "details:not([open], .above-input), .tag_hide-cell > details:not([open])")]; // but for code that draws
    closed.forEach(fold => { fold.open = true; });
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    closed.forEach(fold => { fold.open = false; });
    document.documentElement.dataset.theme = theme;
  });
})();
