// Loads the content of another page of the console into an element. The server wrote it, with every text escaped.
const html = globalThis.trustedTypes
  ? trustedTypes.createPolicy("remit", { createHTML: (text) => text })
  : { createHTML: (text) => text };

export async function load(url, into) {
  const asked = new URL(url, location.href);
  if (asked.origin !== location.origin) throw new Error("another site");
  asked.searchParams.set("part", "main");
  const answer = await fetch(asked, { redirect: "error" });
  const page = new DOMParser().parseFromString(html.createHTML(await answer.text()), "text/html");
  // Links of the other page are relative to it.
  for (const link of page.querySelectorAll("a[href]")) link.href = new URL(link.getAttribute("href"), asked).href;
  into.replaceChildren(...page.body.childNodes);
  return answer.ok;
}
