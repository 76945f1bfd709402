// A line moves over a clip's charts while its sound plays; an entry of a legend hides what it names.
"use strict";

const models = (find) => Bokeh.documents.map(find).filter(Boolean);

for (const player of document.querySelectorAll("audio[data-clip]")) {
  const moveTo = (second) => {
    for (const number of [0, 1]) {
      const name = `${player.dataset.clip}-${number}`;
      for (const line of models((page) => page.get_model_by_name(name))) line.location = second;
    }
  };
  const follow = () => {
    moveTo(player.currentTime);
    if (!player.paused && !player.ended) requestAnimationFrame(follow);
  };
  player.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
    follow();
  });
  player.addEventListener("seeked", follow);
  player.addEventListener("ended", () => moveTo(-1));
}

for (const entry of document.querySelectorAll(".legend button")) {
  entry.addEventListener("click", () => {
    const visible = entry.getAttribute("aria-pressed") !== "true";
    entry.setAttribute("aria-pressed", String(visible));
    for (const id of entry.dataset.models.split(" "))
      for (const drawn of models((page) => page.get_model_by_id(id))) drawn.visible = visible;
  });
}
