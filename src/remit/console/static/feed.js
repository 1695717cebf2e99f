// Asks for the newest decisions every two seconds while the page is looked at, until somebody pauses it.
import { load } from "./fragment.js";
import { localTimes } from "./page.js";

const feed = document.getElementById("feed");
const pause = document.getElementById("pause");
const state = document.getElementById("feed-state");
let paused = false;

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  state.textContent = paused ? "Paused." : "";
});

async function again() {
  if (!paused && !document.hidden && !feed.contains(document.activeElement)) {
    const whole = document.createElement("div");
    try {
      const well = await load(location.href, whole);
      const newest = whole.querySelector("#feed");
      if (!well || !newest) {
        state.textContent = "The server does not show these decisions any more.";
        feed.replaceChildren();
        return;
      }
      const scrolled = feed.querySelector(".scroll")?.scrollLeft ?? 0;
      feed.replaceChildren(...newest.childNodes);
      localTimes(feed);
      const box = feed.querySelector(".scroll");
      if (box) box.scrollLeft = scrolled;
      state.textContent = "";
    } catch {
      state.textContent = "The console cannot be reached; trying again.";
    }
  }
  setTimeout(again, 2000);
}

setTimeout(again, 2000);
