// What every page has: copy buttons, and the local time in the title of each time. Without this script both are missing,
// and nothing else.
for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

export function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const found = new Date(time.dateTime);
    if (!Number.isNaN(found.getTime())) time.title = found.toLocaleString();
  }
}

localTimes(document);
