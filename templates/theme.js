// Before the first paint: the colours that the reader chose, or the system's.
(function () {
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch (e) { /* a sandboxed page keeps nothing */ }
  document.documentElement.dataset.theme = kept || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
})();
