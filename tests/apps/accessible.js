// What a page must offer to those who hear it or have only a keyboard. Each line of the answer names an element and what is wrong.
() => {
    const wrong = [];
    const tell = (e, words) => wrong.push(words + ": " + e.outerHTML.slice(0, 120));
    const shown = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.closest("[aria-hidden=true]");
    const all = (selector) => Array.from(document.querySelectorAll(selector)).filter(shown);
    const text = (e) => (e ? e.textContent.trim() : "");
    const named = (e) => e.getAttribute("aria-label") || text(document.getElementById(e.getAttribute("aria-labelledby") || "\0")) || e.title;

    if (!document.documentElement.lang) wrong.push("the page does not say its language");
    if (!document.title.trim()) wrong.push("the page has no title");
    for (const landmark of ["header", "main"]) if (all(landmark).length !== 1) wrong.push(all(landmark).length + " " + landmark + " landmarks");
    for (const nav of all("nav")) if (!named(nav)) tell(nav, "a navigation without a name");
    const regions = all("nav, [role=region]").map((e) => e.tagName + named(e));
    for (const name of regions) if (regions.indexOf(name) !== regions.lastIndexOf(name)) wrong.push("two regions of one name: " + name);
    const ids = Array.from(document.querySelectorAll("[id]")).map((e) => e.id);
    for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("two elements of one id: " + id);

    let level = 0;
    for (const h of all("h1, h2, h3, h4")) {
        const own = Number(h.tagName[1]);
        if (own > level + 1) tell(h, "a heading that skips a level");
        if (!text(h)) tell(h, "an empty heading");
        level = own;
    }
    if (document.querySelectorAll("h1").length !== 1) wrong.push(document.querySelectorAll("h1").length + " first headings");

    for (const e of all("input:not([type=hidden]), select, textarea")) if (!named(e) && !(e.labels && text(e.labels[0]))) tell(e, "a control without a label");
    for (const e of all("a[href], button, summary")) if (!named(e) && !text(e)) tell(e, "nothing to call it by");
    for (const e of all("img:not([alt]), [role=img]:not([aria-label])")) tell(e, "a picture without text");
    for (const e of all("figure")) if (!named(e) && !e.querySelector("figcaption")) tell(e, "a figure without a name");
    for (const e of all("table")) if (!e.querySelector("th")) tell(e, "a table without headings");
    for (const e of all("*")) {
        const style = getComputedStyle(e);
        const scrolls = /auto|scroll/.test(style.overflowX + style.overflowY) && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1);
        if (scrolls && e.tabIndex < 0 && e !== document.body && !e.querySelector("a[href], button, input, [tabindex='0']")) tell(e, "scrolls, but not by the keyboard");
    }

    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = "#000"; canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
    const over = (top, below) => { const a = top[3] / 255; return [0, 1, 2].map((i) => top[i] * a + below[i] * (1 - a)); };
    const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = (e) => { const chain = []; for (let n = e; n; n = n.parentElement) chain.unshift(rgba(getComputedStyle(n).backgroundColor)); return chain.reduce((below, top) => over(top, below), [255, 255, 255]); };
    for (const e of all("body *")) {
        if (e.closest("svg") || !Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
        const back = ground(e), ink = over(rgba(getComputedStyle(e).color), back);
        const [low, high] = [light(back), light(ink)].sort((a, b) => a - b);
        const ratio = (high + 0.05) / (low + 0.05), size = parseFloat(getComputedStyle(e).fontSize);
        if (ratio < (size >= 24 ? 3 : 4.5)) tell(e, "contrast " + ratio.toFixed(2));
    }
    return wrong;
}
