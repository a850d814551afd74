"use strict";
// Without this script before and after are side by side; with it they lie on each other, and a slider moves their border.
for (const box of document.querySelectorAll(".compare")) {
  const pair = box.querySelector(".pair");
  const slider = box.querySelector("input");
  const [before, after] = [...pair.querySelectorAll("figcaption")].map((caption) => caption.textContent.trim());

  function show(percent) {
    slider.value = percent;
    box.style.setProperty("--at", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} % ${before}, ${100 - slider.value} % ${after}`);
  }

  function follow(event) {
    const place = pair.getBoundingClientRect();
    show(Math.round((100 * (event.clientX - place.left)) / place.width));
  }

  slider.addEventListener("input", () => show(slider.value));
  pair.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    pair.setPointerCapture(event.pointerId);
    follow(event);
  });
  pair.addEventListener("pointermove", (event) => {
    if (pair.hasPointerCapture(event.pointerId)) follow(event);
  });
  box.querySelector(".control").hidden = false;
  box.classList.add("sliding");
  show(50);
}
