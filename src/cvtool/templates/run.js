"use strict";
// Without this script all grids stand below each other; with it, a slider chooses one.
const box = document.getElementById("grids");
if (box) {
  const frames = [...box.querySelectorAll("figure")];
  const slider = document.getElementById("when");
  const said = document.getElementById("which");
  const play = document.getElementById("play");
  let timer = 0;

  function show(index) {
    frames.forEach((frame, i) => { frame.hidden = i !== index; });
    const caption = frames[index].querySelector("figcaption").textContent;
    slider.value = index;
    slider.setAttribute("aria-valuetext", caption);
    said.textContent = caption;
  }

  function pause() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  }

  function start() {
    if (Number(slider.value) === frames.length - 1) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => {
      show(Number(slider.value) + 1);
      if (Number(slider.value) === frames.length - 1) pause();
    }, 600);
  }

  slider.max = frames.length - 1;
  slider.addEventListener("input", () => { pause(); show(Number(slider.value)); });
  play.addEventListener("click", () => { timer ? pause() : start(); });
  box.classList.add("one");
  document.getElementById("control").hidden = frames.length < 2;
  show(frames.length - 1);
}
// Moving pictures begin closed for those who asked their system for less motion.
const walk = document.getElementById("walk");
if (walk && matchMedia("(prefers-reduced-motion: reduce)").matches) walk.open = false;
