// Pictures whose points tell what they are: under the pointer, at a tap, and by the arrow keys.
(() => {
  const REACH = 24; // pixels from the pointer
  const EDGE = 8; // pixels between the words and the edge of the screen
  const GAP = 16; // pixels between the words and their point
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function enliven(figure, number) {
    const [stage, mark, tip, tile, text, hint, said] = ["stage", "mark", "tip", "tile", "text", "hint", "said"].map(
      (name) => figure.querySelector(`.hover-${name}`)
    );
    const spots = JSON.parse(figure.querySelector("script").textContent);
    if (!spots.length) return;
    const image = stage.querySelector("img");
    let current = -1; // where the keys go on from, also after closing

    // The number of the spot that costs least, by its distance from (x, y) in pixels of the picture; -1 for none.
    function cheapest(x, y, cost) {
      const { offsetWidth: width, offsetHeight: height } = image;
      const costs = spots.map((spot) => cost(spot[0] * width - x, spot[1] * height - y));
      const best = costs.reduce((least, value, at) => (value < costs[least] ? at : least), 0);
      return costs[best] < Infinity ? best : -1;
    }

    function under(event, reach) {
      const box = image.getBoundingClientRect();
      const cost = (right, down) => (Math.hypot(right, down) <= reach ? Math.hypot(right, down) : Infinity);
      return cheapest(event.clientX - box.left, event.clientY - box.top, cost);
    }

    function towards([right, down]) {
      const [x, y] = [spots[current][0] * image.offsetWidth, spots[current][1] * image.offsetHeight];
      return cheapest(x, y, (dx, dy) => {
        const ahead = dx * right + dy * down;
        return ahead > 0.5 ? ahead + 2 * Math.abs(dx * down + dy * right) : Infinity;
      });
    }

    function close() {
      tip.hidden = mark.hidden = true;
      said.textContent = "";
    }

    function show(at, aloud = false) {
      if (at < 0) return close();
      current = at;
      const [x, y, label, picture] = spots[at];
      const [headline, ...rest] = label.split("\n");
      text.replaceChildren(Object.assign(document.createElement("strong"), { textContent: headline }), rest.join("\n"));
      if (tile) turn(picture, Number(tile.dataset.columns), Number(tile.dataset.side));
      tip.hidden = mark.hidden = false;
      put(image.offsetLeft + x * image.offsetWidth, image.offsetTop + y * image.offsetHeight, aloud);
      if (aloud) said.textContent = label;
    }

    function turn(picture, columns, side) {
      tile.hidden = picture === undefined;
      tile.style.objectPosition = `${-side * (picture % columns)}px ${-side * Math.floor(picture / columns)}px`;
    }

    function put(left, top, scrolls) {
      mark.style.left = `${left}px`;
      mark.style.top = `${top}px`;
      if (scrolls) mark.scrollIntoView({ block: "nearest", behavior: "instant" });
      const box = stage.getBoundingClientRect();
      const most = document.documentElement.clientWidth - EDGE - tip.offsetWidth - box.left;
      const above = top - tip.offsetHeight - GAP;
      tip.style.left = `${Math.max(EDGE - box.left, Math.min(most, left - tip.offsetWidth / 2))}px`;
      tip.style.top = `${box.top + above < EDGE ? top + GAP : above}px`;
    }

    function press(event) {
      const last = spots.length - 1;
      const jumps = { Home: 0, End: last, PageUp: Math.max(0, current - 1), PageDown: Math.min(last, current + 1) };
      if (!(event.key in ARROWS) && !(event.key in jumps)) return;
      event.preventDefault();
      const next = current < 0 ? 0 : event.key in jumps ? jumps[event.key] : towards(ARROWS[event.key]);
      show(next < 0 ? current : next, true);
    }

    hint.hidden = false;
    hint.id = `hover-hint-${number}`;
    const attributes = { tabindex: 0, role: "application", "aria-label": image.alt, "aria-describedby": hint.id };
    Object.entries(attributes).forEach(([name, value]) => stage.setAttribute(name, value));
    stage.addEventListener("pointermove", (event) => event.pointerType === "touch" || show(under(event, REACH)));
    stage.addEventListener("pointerleave", close);
    stage.addEventListener("click", (event) => show(under(event, Infinity), true));
    stage.addEventListener("keydown", press);
    stage.addEventListener("blur", close);
    document.addEventListener("click", (event) => stage.contains(event.target) || close());
    document.addEventListener("keydown", (event) => event.key === "Escape" && close());
    addEventListener("resize", () => tip.hidden || show(current));
  }

  document.querySelectorAll(".hover").forEach(enliven);
})();
