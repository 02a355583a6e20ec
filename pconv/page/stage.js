// The photo on the page: how large it is shown, what paints on it, and before and after.

import { Mask, drawStep } from './mask.js';

const FIT_AT_MOST = 8;  // times enlarged; tiny pictures would be a few huge pixels else
const element = (id) => document.getElementById(id);
const [stage, sheet, canvas, ring] = ['stage', 'sheet', 'paint', 'ring'].map(element);
const [before, after, divider, slider] = ['before', 'after', 'divider', 'slider'].map(element);
const [size, sizeShown, zoom] = ['size', 'size-shown', 'zoom'].map(element);
const context = canvas.getContext('2d');

let mask = new Mask(1, 1);
let scale = 1;  // CSS pixels a pixel of the photo
let offset = { x: 0, y: 0 };  // of the canvas on the sheet, in CSS pixels
let brush = { x: 0, y: 0 };  // where the brush is, in pixels of the photo
let drag = null;
let changed = () => {};

export const currentMask = () => mask;
export const onChange = (callback) => { changed = callback; };
export const isComparing = () => document.body.dataset.mode === 'compare';
const tool = () => document.querySelector('input[name=tool]:checked').value;
const brushSize = () => Number(size.value);

export function setMode(mode) {
  document.body.dataset.mode = mode;
  layout();
}

// Start on a photo, which the image element `before` holds by now.
export function start() {
  mask = new Mask(before.naturalWidth, before.naturalHeight);
  brush = { x: (mask.width >> 1) + 0.5, y: (mask.height >> 1) + 0.5 };
  size.max = Math.max(20, Math.ceil(Math.max(mask.width, mask.height) / 5));
  zoom.value = 'fit';
  setBrushSize(Math.min(mask.width, mask.height) / 16);
  setMode('paint');
  refresh();
}

function setBrushSize(pixels) {
  size.value = Math.max(1, Math.round(pixels));
  sizeShown.value = `${size.value} px`;
  drawRing();
}

export function changeBrushSize(factor) {
  const wanted = Math.round(brushSize() * factor);
  setBrushSize(wanted === brushSize() ? wanted + Math.sign(factor - 1) : wanted);
}

// After a change of the mask. A stroke still going on is over: it may be undone or painted over.
export function refresh() {
  drag = null;
  draw();
  changed();
}

function layout() {
  if (document.body.dataset.mode === 'empty') return;
  const isNarrow = matchMedia('(max-width: 54rem)').matches;
  stage.classList.toggle('fit', zoom.value === 'fit');
  const room = isNarrow ? 0.62 * innerHeight : stage.clientHeight;
  const fit = Math.min(stage.clientWidth / mask.width, room / mask.height, FIT_AT_MOST);
  scale = zoom.value === 'fit' ? fit : Number(zoom.value);
  sheet.style.width = `${scale * mask.width}px`;
  sheet.style.height = `${scale * mask.height}px`;
  sheet.classList.toggle('coarse', scale >= 3);
  // The canvas is as large as what is seen of the sheet, and stays in sight when that is moved.
  const [width, height] = [
    Math.min(sheet.clientWidth, stage.clientWidth), Math.min(sheet.clientHeight, stage.clientHeight),
  ];
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  draw();
}

function draw() {
  const [inner, outer] = [canvas.getBoundingClientRect(), sheet.getBoundingClientRect()];
  offset = { x: inner.left - outer.left, y: inner.top - outer.top };
  context.resetTransform();
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.scale(devicePixelRatio, devicePixelRatio);
  context.translate(-offset.x, -offset.y);
  context.scale(scale, scale);
  mask.draw(context);
  drawRing();
}

function drawRing() {
  ring.style.width = ring.style.height = `${brushSize() * scale}px`;
  ring.style.left = `${brush.x * scale}px`;
  ring.style.top = `${brush.y * scale}px`;
  canvas.dataset.tool = ring.dataset.tool = tool();
}

// The middle of the photo's pixel under the pointer: a brush of one pixel then covers one.
function place(event) {
  const corner = sheet.getBoundingClientRect();
  const pixel = (distance, length) =>
    Math.min(length - 1, Math.max(0, Math.floor(distance / scale))) + 0.5;
  return {
    x: pixel(event.clientX - corner.left, mask.width),
    y: pixel(event.clientY - corner.top, mask.height),
  };
}

function begin(event) {
  if (event.button !== 0 || !event.isPrimary) return;
  brush = place(event);
  canvas.setPointerCapture(event.pointerId);
  drag = STARTS[tool()](event);
  if (drag.step) {
    mask.add(drag.step);
    draw();
    changed();
  }
}

const stroke = (erase) => {
  const step = { kind: 'stroke', erase, size: brushSize(), points: [brush] };
  return {
    step,
    move(event) {
      const last = step.points.length - 1;
      for (const each of event.getCoalescedEvents?.() ?? [event]) step.points.push(place(each));
      drawStep(context, { ...step, points: step.points.slice(last) }, mask);
    },
  };
};

const STARTS = {
  brush: () => stroke(false),
  eraser: () => stroke(true),
  rectangle(event) {
    const corner = place(event);
    const step = { kind: 'rectangle' };
    const reach = (other) => {
      step.left = Math.min(corner.x, other.x) - 0.5;
      step.top = Math.min(corner.y, other.y) - 0.5;
      step.right = Math.max(corner.x, other.x) + 0.5;
      step.bottom = Math.max(corner.y, other.y) + 0.5;
    };
    reach(corner);
    return { step, move(other) { reach(place(other)); draw(); } };
  },
  move(event) {
    const start = { x: event.clientX + stage.scrollLeft, y: event.clientY + stage.scrollTop };
    return { move(other) { stage.scrollTo(start.x - other.clientX, start.y - other.clientY); } };
  },
};

canvas.addEventListener('pointerdown', begin);
canvas.addEventListener('pointermove', (event) => {
  brush = place(event);
  drawRing();
  drag?.move(event);
});
canvas.addEventListener('pointerup', () => { drag = null; });
canvas.addEventListener('pointercancel', () => {  // a second finger: the first meant no stroke
  if (drag?.step) mask.steps.pop();
  refresh();
});

// With the keyboard: arrows move the brush by half its size, or with Shift by a pixel.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener('keydown', (event) => {
  if (event.key === ' ') {
    mask.add(stroke(tool() === 'eraser').step);
    refresh();
  } else if (event.key in ARROWS) {
    const [right, down] = ARROWS[event.key];
    const far = event.shiftKey ? 1 : Math.max(1, Math.round(brushSize() / 2));
    const within = (value, length) => Math.min(length - 0.5, Math.max(0.5, value));
    brush = {
      x: within(Math.floor(brush.x) + 0.5 + right * far, mask.width),
      y: within(Math.floor(brush.y) + 0.5 + down * far, mask.height),
    };
    drawRing();
    ring.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  } else {
    return;
  }
  event.preventDefault();
});

size.addEventListener('input', () => setBrushSize(brushSize()));
zoom.addEventListener('change', () => {
  layout();
  stage.scrollTo((sheet.clientWidth - stage.clientWidth) / 2, (sheet.clientHeight - stage.clientHeight) / 2);
});
for (const radio of document.querySelectorAll('input[name=tool]')) {
  radio.addEventListener('change', drawRing);
}
stage.addEventListener('scroll', draw);
new ResizeObserver(layout).observe(stage);

export function slide(percent) {
  slider.value = percent;
  after.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
  divider.style.left = `${slider.value}%`;
}

const slideTo = (event) => {
  const { left, width } = sheet.getBoundingClientRect();
  slide(100 * (event.clientX - left) / width);
};
slider.addEventListener('input', () => slide(slider.value));
sheet.addEventListener('pointerdown', (event) => {
  if (!isComparing()) return;
  event.preventDefault();  // else the browser drags the picture
  sheet.setPointerCapture(event.pointerId);
  slideTo(event);
});
sheet.addEventListener('pointermove', (event) => {
  if (isComparing() && sheet.hasPointerCapture(event.pointerId)) slideTo(event);
});
