// Conveniences only: without this script the page shows the same.
"use strict";

function readStyle() {
  return document.getElementById("figure-style").textContent;
}

function saveFigure(figure) {
  const shown = [...figure.querySelectorAll("svg")].find((svg) => svg.getClientRects().length > 0);
  const copy = shown.cloneNode(true);
  const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
  style.textContent = readStyle();
  copy.insertBefore(style, copy.firstChild);
  copy.setAttribute("data-scheme", "light");
  const blob = new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = figure.dataset.figure + ".svg";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

for (const button of document.querySelectorAll("button.save")) {
  button.hidden = false;
  button.addEventListener("click", () => saveFigure(button.closest("figure")));
}

const tools = document.querySelector(".tools");
if (tools) {
  const split = document.getElementById("pick-split");
  const words = document.getElementById("pick-words");
  const rows = [...document.querySelectorAll(".question")];
  const choose = () => {
    const wanted = words.value.trim().toLowerCase();
    for (const row of rows) {
      const asked = row.querySelector(".asked").textContent.toLowerCase();
      row.hidden = (split.value && row.dataset.split !== split.value) || !asked.includes(wanted);
    }
  };
  split.addEventListener("change", choose);
  words.addEventListener("input", choose);
  tools.hidden = false;
}
