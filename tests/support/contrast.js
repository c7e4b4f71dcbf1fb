const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

function rgba(colour) {
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}

function over([r, g, b, a], below) {
  return [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
}

function ground(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
}

function opacity(element) {
  let product = 1;
  for (let e = element; e; e = e.parentElement) product *= getComputedStyle(e).opacity;
  return product;
}

function luminance(colour) {
  const [r, g, b] = colour.map((value) => {
    const c = value / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function ratio(one, other) {
  const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

function contrast(element, colour) {
  const below = ground(element);
  const [r, g, b, a] = rgba(colour);
  return ratio(over([r, g, b, a * opacity(element)], below), below);
}

function colourOf(element) {
  const style = getComputedStyle(element);
  return element instanceof SVGElement ? style.fill : style.color;
}

const faint = [];
let seen = 0;
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  const words = texts.currentNode.data.trim();
  if (!words || !element.checkVisibility({ visibilityProperty: true })) continue;
  if (["SCRIPT", "NOSCRIPT", "OPTION"].includes(element.tagName)) continue;
  seen += 1;
  const found = contrast(element, colourOf(element));
  if (found < 4.5) faint.push([words, found]);
}
for (const field of document.querySelectorAll("input, textarea, select")) {
  if (!field.checkVisibility()) continue;
  seen += 1;
  const found = Math.min(contrast(field, getComputedStyle(field).color), contrast(field, getComputedStyle(field, "::placeholder").color));
  if (found < 4.5) faint.push([field.id, found]);
}
if (seen < 5) faint.push(["the page shows next to nothing", seen]);
return faint;
