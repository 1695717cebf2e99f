// Makes the picture larger and smaller by its attributes. The scrollbars of its box move it.
const picture = document.querySelector(".picture svg");
const buttons = document.getElementById("zoom");
if (picture && buttons) {
  const { width, height } = picture.viewBox.baseVal;
  let scale = 1;
  buttons.hidden = false;
  buttons.addEventListener("click", (event) => {
    const by = event.target.dataset.zoom;
    if (by === undefined) return;
    scale = by === "0" ? 1 : Math.min(8, Math.max(0.1, scale * Number(by)));
    picture.setAttribute("width", width * scale);
    picture.setAttribute("height", height * scale);
  });
}
