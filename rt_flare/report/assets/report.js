"use strict";

// A chart's values at one point: asked for with the mouse, a finger, or the slider below it.
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const { labels, x, values } = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const slider = figure.querySelector("input[type=range]");
  const output = figure.querySelector("output");
  const entries = [...figure.querySelectorAll("[data-entry]")];
  const boxes = entries.map((entry) => entry.querySelector("input"));

  const show = (point) => {
    slider.value = point;
    slider.setAttribute("aria-valuetext", labels[point]);
    cursor.setAttribute("x1", x[point]);
    cursor.setAttribute("x2", x[point]);
    cursor.classList.remove("off");
    const title = document.createElement("b");
    title.textContent = `${labels[point]}: `;
    const parts = entries.flatMap((entry, number) => {
      if ((boxes[number] && !boxes[number].checked) || values[number][point] === "") return [];
      const part = document.createElement("span");
      part.textContent = `${entry.dataset.entry} ${values[number][point]}`;
      return [part, " "];
    });
    output.replaceChildren(title, ...parts);
  };

  slider.addEventListener("input", () => show(Number(slider.value)));
  const follow = (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let nearest = 0;
    x.forEach((place, point) => {
      if (Math.abs(place - at) < Math.abs(x[nearest] - at)) nearest = point;
    });
    show(nearest);
  };
  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerdown", follow);
  boxes.forEach((box, number) => {
    box?.addEventListener("change", () => {
      for (const part of svg.querySelectorAll(`[data-part="${number}"]`)) part.classList.toggle("off", !box.checked);
      if (!cursor.classList.contains("off")) show(Number(slider.value));
    });
  });
}

// A long table, a page at a time; a search looks through all pages.
for (const block of document.querySelectorAll("[data-paged]")) {
  const bodies = [...block.querySelectorAll("tbody")];
  const rows = [...block.querySelectorAll("tbody > tr")];
  const [back, on] = block.querySelectorAll("button");
  const place = block.querySelector("[role=status]");
  const search = block.querySelector("input[type=search]");
  const most = 200;
  let page = 0;

  const turn = (by) => {
    page = Math.min(Math.max(page + by, 0), bodies.length - 1);
    const wanted = search.value.trim().toLowerCase();
    let found = 0;
    if (wanted) {
      for (const row of rows) {
        const fits = row.textContent.toLowerCase().includes(wanted) && ++found <= most;
        row.hidden = !fits;
      }
    } else {
      for (const row of rows) row.hidden = false;
    }
    bodies.forEach((body, number) => { body.hidden = !wanted && number !== page; });
    back.disabled = Boolean(wanted) || page === 0;
    on.disabled = Boolean(wanted) || page === bodies.length - 1;
    place.textContent = wanted
      ? `${found} found${found > most ? `, the first ${most} shown` : ""}`
      : `page ${page + 1} of ${bodies.length}, ${rows.length} rows`;
  };

  block.querySelector(".pager").hidden = false;
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  search.addEventListener("input", () => turn(0));
  turn(0);
}
