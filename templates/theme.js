// Before the first paint: the colours that the reader chose, or the system's; and the pictures are sent for. After it: scripts.
(function () {
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch (e) { /* a sandboxed page keeps nothing */ }
  document.documentElement.dataset.theme = kept || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const told = document.currentScript ? document.currentScript.dataset : {}, pictures = told.pictures;
  if (pictures) window.workbenchPictures = fetch(pictures).then((answer) => { if (!answer.ok) throw new Error("pictures: " + answer.status); return answer.json(); });
  if (!told.scripts) return;
  const painted = new Promise((done) => {
    if (document.hidden || !(window.PerformanceObserver && (PerformanceObserver.supportedEntryTypes || []).includes("paint"))) { done(); return; }
    new PerformanceObserver(done).observe({ type: "paint", buffered: true });
    window.addEventListener("load", () => setTimeout(done, 500)); // whatever happens
  });
  window.workbenchLibraries = painted.then(() => Promise.all(told.scripts.split(" ").map((address) => new Promise((done) => {
    const script = document.createElement("script");
    script.src = address; script.async = false; script.onload = done; script.onerror = done;
    document.head.append(script);
  }))));
})();
