"use strict";
/* Draws the figures that stand in this page as JSON, keeps the plots over ticks at the same range with one cursor,
   re-themes them, and hands out their data. Nothing is loaded from anywhere. */
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = new Map();      // name -> the element plotly draws in
  const linked = [];            // plots over all ticks: one range for all of them
  const touch = matchMedia("(pointer: coarse)").matches;
  const darkSystem = matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false, doubleClick: "reset", displayModeBar: touch ? false : "hover",
    modeBarButtons: [["toImage", "resetScale2d"]],
  };

  const dark = () => (root.dataset.theme || (darkSystem.matches ? "dark" : "light")) === "dark";
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function theme() {
    return {
      "font.color": colour("--ink"),
      "hoverlabel.bgcolor": colour("--card"),
      "hoverlabel.bordercolor": colour("--rule"),
      "hoverlabel.font.color": colour("--ink"),
      "modebar.bgcolor": "rgba(0,0,0,0)",
      "modebar.color": colour("--soft"),
      "modebar.activecolor": colour("--accent"),
    };
  }

  function dressed(layout) {
    const copy = structuredClone(layout);
    copy.font = { ...copy.font, color: colour("--ink") };
    copy.hoverlabel = { bgcolor: colour("--card"), bordercolor: colour("--rule"), font: { color: colour("--ink"), size: 12 } };
    copy.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent") };
    copy.dragmode = touch ? false : "zoom"; // a finger scrolls the page
    return copy;
  }

  /* The highest and lowest points in view, so that a zoom into prices is not a flat line. */
  function fitted(gd, range) {
    const update = {};
    for (const axis of gd.layout.meta?.fit ?? []) {
      let low = Infinity, high = -Infinity;
      for (const trace of gd.data) {
        if ((trace.yaxis ?? "y") !== axis) continue;
        trace.x.forEach((x, at) => {
          const y = trace.y[at];
          if (y === null || x < range[0] || x > range[1]) return;
          low = Math.min(low, y);
          high = Math.max(high, y);
        });
      }
      if (low > high) continue;
      const room = (high - low || Math.abs(high) * 1e-4 || 1) * 0.06;
      update[axis.replace("y", "yaxis") + ".range"] = [low - room, high + room];
    }
    return update;
  }

  let following = false;
  function link(gd) {
    linked.push(gd);
    gd.on("plotly_relayout", (change) => {
      if (following || !Object.keys(change).some((key) => key.startsWith("xaxis."))) return;
      following = true;
      const range = gd.layout.xaxis.range.slice();
      const moves = linked.map((other) => Plotly.relayout(other, {
        ...(other === gd ? {} : { "xaxis.range": range }), ...fitted(other, range),
      }));
      Promise.all(moves).finally(() => { following = false; });
    });
    let asked = null, pointing = false;
    const others = () => linked.filter((other) => other !== gd && inView(other));
    gd.on("plotly_hover", (event) => {
      if (pointing || !gd.matches(":hover")) return;
      const x = event.xvals ? event.xvals[0] : event.points[0].x;
      if (asked !== null) cancelAnimationFrame(asked);
      asked = requestAnimationFrame(() => {
        asked = null;
        pointing = true;
        for (const other of others()) Plotly.Fx.hover(other, { xval: x }, ["xy"]);
        pointing = false;
      });
    });
    gd.on("plotly_unhover", () => { for (const other of others()) Plotly.Fx.unhover(other); });
  }

  function inView(element) {
    const box = element.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  }

  async function draw(name) {
    const gd = document.getElementById("plot-" + name);
    const figure = figures[name].figure;
    plots.set(name, gd);
    await Plotly.newPlot(gd, figure.data, dressed(figure.layout), config);
    if (gd.closest("section").id === "timeline") link(gd);
  }

  /* An event to look at closely. */
  function choose(event) {
    const name = event.target.dataset.plot;
    const figure = figures[name].variants[event.target.selectedIndex];
    Plotly.react(plots.get(name), figure.data, dressed(figure.layout), config);
  }

  /* Another slice of the grid of settings. */
  function slice() {
    const { prevalence_threshold_bps: heights, prevalence_pct: shares, z } = figures.heatmap.figure.slices;
    const [height, share] = ["height", "share"].map((axis) => document.getElementById("slice-" + axis));
    document.getElementById("shown-height").textContent = heights[height.value] + " bps";
    document.getElementById("shown-share").textContent = shares[share.value] + " %";
    const gd = plots.get("heatmap");
    const lags = z[height.value][share.value];
    const { x, y } = figures.heatmap.figure.data[0];
    const never = lags.flatMap((row, at) => row.flatMap((lag, column) => (lag === null ? [[x[column], y[at]]] : [])));
    Plotly.restyle(gd, { z: [lags.map((row) => row.map((lag) => (lag === false ? null : lag)))] }, [0]);
    Plotly.restyle(gd, { x: [never.map((cell) => cell[0])], y: [never.map((cell) => cell[1])] }, [1]);
  }

  /* Tab-separated, one line a point. */
  function table(gd) {
    const lines = ["series\tx\ty\tvalue"];
    for (const trace of gd.data) {
      if (trace.hoverinfo === "skip" && trace.mode === "markers") continue; // dots that repeat points of a line
      if (trace.type === "heatmap") {
        trace.z.forEach((row, at) => row.forEach((z, column) => lines.push([trace.name, trace.x[column], trace.y[at], z ?? ""].join("\t"))));
      } else {
        trace.y.forEach((y, at) => lines.push([trace.name, trace.x ? trace.x[at] : trace.x0 + at, y ?? "", ""].join("\t")));
      }
    }
    return lines.join("\n") + "\n";
  }

  async function copy(event) {
    const button = event.target;
    const text = table(plots.get(button.dataset.plot));
    try {
      await navigator.clipboard.writeText(text);
      const was = button.textContent;
      button.textContent = "copied";
      setTimeout(() => { button.textContent = was; }, 1500);
    } catch {
      const dialog = document.getElementById("by-hand");
      const area = dialog.querySelector("textarea");
      area.value = text;
      dialog.showModal();
      area.focus();
      area.select();
    }
  }

  function retheme() {
    document.getElementById("theme").textContent = dark() ? "Light" : "Dark";
    for (const gd of plots.values()) Plotly.relayout(gd, theme());
  }

  async function start() {
    document.getElementById("theme").addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      retheme();
    });
    darkSystem.addEventListener("change", retheme);
    for (const button of document.querySelectorAll("button.copy")) button.addEventListener("click", copy);
    for (const select of document.querySelectorAll("select[data-plot]")) select.addEventListener("change", choose);
    for (const input of document.querySelectorAll("input[type=range]")) input.addEventListener("input", slice);
    document.querySelector("#by-hand button").addEventListener("click", () => document.getElementById("by-hand").close());
    for (const name of Object.keys(figures)) {
      await draw(name);
      await new Promise((resume) => { setTimeout(resume); }); // the page stays usable between two plots
    }
    retheme();
    root.dataset.drawn = "yes";
  }

  start();
})();
