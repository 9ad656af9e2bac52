// Before the first paint: the colours that the reader chose, or the system's; and the pictures are sent for.
(function () {
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch (e) { /* a sandboxed page keeps nothing */ }
  document.documentElement.dataset.theme = kept || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const pictures = document.currentScript && document.currentScript.dataset.pictures;
  if (pictures) window.workbenchPictures = fetch(pictures).then((answer) => { if (!answer.ok) throw new Error("pictures: " + answer.status); return answer.json(); });
})();
