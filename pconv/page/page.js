// The page: opens photos and masks, asks for fills, and wires the buttons.

import { stepFromPicture } from './mask.js';
import {
  changeBrushSize, currentMask, isComparing, onChange, refresh, setMode, slide, start,
} from './stage.js';

const element = (id) => document.getElementById(id);
const [before, after, status, error] = ['before', 'after', 'status', 'error'].map(element);
const [undo, redo, clear, invert] = ['undo', 'redo', 'clear', 'invert'].map(element);
const [fill, download, again] = ['fill', 'download', 'again'].map(element);

let photo = null;  // the file as it was when it was opened, which is what is filled
let maxBytes = Infinity;
let isBusy = false;

async function ask(path, fields = null) {
  const options = fields && { method: 'POST', body: new FormData() };
  for (const [name, value] of Object.entries(fields ?? {})) options.body.append(name, value);
  let answer;
  try {
    answer = await fetch(path, options ?? {});
  } catch {
    throw new Error('There is no answer: is pconv app still running?');
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.error ?? `The answer was ${answer.status} ${answer.statusText}`);
}

// Show a picture file in an image element, as the server reads it.
async function show(file, image) {
  const answer = await ask('view', { photo: file });
  const address = URL.createObjectURL(await answer.blob());
  try {
    image.src = address;
    await image.decode();
  } finally {
    URL.revokeObjectURL(address);
  }
}

// Do one thing at a time, say what and for how long, and tell what goes wrong.
async function during(words, work) {
  if (isBusy) return;
  isBusy = true;
  const started = performance.now();
  const [what, time] = [document.createElement('span'), document.createElement('span')];
  what.textContent = words;
  time.ariaHidden = 'true';  // not to be read out each second
  status.replaceChildren(what, ' ', time);
  error.textContent = '';
  document.body.classList.add('busy');
  update();
  const clock = setInterval(() => {
    time.textContent = `${Math.floor((performance.now() - started) / 1000)} s`;
  }, 1000);
  try {
    status.textContent = await work() ?? '';
  } catch (failure) {
    status.textContent = '';
    error.textContent = failure.message;
    error.scrollIntoView({ block: 'nearest' });  // on a phone it may be out of sight
  } finally {
    clearInterval(clock);
    document.body.classList.remove('busy');
    isBusy = false;
    update();
  }
}

function refuseLarge(file) {
  if (file.size > maxBytes) {
    const [found, most] = [file.size, maxBytes].map((n) => Math.round(n / 1e6));
    throw new Error(`${file.name} has ${found} MB; at most ${most} MB are taken.`);
  }
}

const openPhoto = (file) => during('Opening the photo', async () => {
  refuseLarge(file);
  // What is shown is what is filled, whatever becomes of the file on the disk.
  const shown = new File([await file.arrayBuffer()], file.name, { type: file.type });
  await show(shown, before);
  photo = shown;
  start();
  element('about-photo').textContent =
    `${file.name}, ${before.naturalWidth}x${before.naturalHeight} pixels`;
});

const loadMask = (file) => during('Loading the mask', async () => {
  refuseLarge(file);
  const image = new Image();
  await show(file, image);
  const found = `${image.naturalWidth}x${image.naturalHeight}`;
  const wanted = `${before.naturalWidth}x${before.naturalHeight}`;
  if (found !== wanted) {
    throw new Error(`${file.name} has ${found} pixels; wanted ${wanted}, as the photo has.`);
  }
  currentMask().add(stepFromPicture(image));
  setMode('paint');
  refresh();
});

const fillHole = () => during('Filling', async () => {
  const method = document.querySelector('input[name=method]:checked');
  const { canvas, share } = currentMask().toPicture();
  if (!share) throw new Error('Nothing is painted: there is no hole to fill.');
  if (share === 1) throw new Error('All is painted: leave some of the photo to go by.');
  const mask = await canvas.convertToBlob({ type: 'image/png' });
  const answer = await ask('fill', { photo, mask, method: method.value });
  const took = /dur=(\d+)/.exec(answer.headers.get('Server-Timing'))[1] / 1000;
  const filled = await answer.blob();
  await show(filled, after);
  URL.revokeObjectURL(download.href);
  download.href = URL.createObjectURL(filled);
  const ending = filled.type === 'image/tiff' ? '.tif' : '.png';
  download.download = photo.name.replace(/\.[^.]*$/, '') + '-filled' + ending;
  setMode('compare');
  slide(50);
  element('stage').scrollIntoView({ block: 'nearest' });
  const percent = Number((100 * share).toPrecision(2));  // from 99.5 on the text is 1.0e+2
  const mode = answer.headers.get('Became-RGB');
  return `Filled ${percent} % of the photo in ${took.toFixed(1)} s (${method.dataset.title}). ` +
    (mode ? `Its pixels were ${mode} and became RGB.` : 'All other pixels are as they were.');
});

function update() {
  const { steps, undone } = currentMask();
  const canPaint = photo && !isComparing() && !isBusy;
  for (const part of document.querySelectorAll('.bar fieldset')) part.disabled = !canPaint;
  undo.disabled = clear.disabled = !steps.length;
  redo.disabled = !undone.length;
  element('mask').disabled = !photo || isBusy;
  element('photo').disabled = isBusy;
  fill.disabled = !photo || isBusy || !steps.length;
}

async function listMethods() {
  const answer = await (await ask('methods')).json();
  maxBytes = answer.max_bytes;
  const first = answer.methods.find((method) => !method.missing);
  for (const { name, title, use, missing } of answer.methods) {
    const row = element('method-row').content.cloneNode(true);
    const radio = row.querySelector('input');
    Object.assign(radio, { value: name, disabled: Boolean(missing), checked: name === first.name });
    radio.dataset.title = title;
    row.querySelector('strong').textContent = title;
    row.querySelector('small').textContent = missing ?? use;
    element('methods').append(row);
  }
}

const change = (act) => () => {
  act(currentMask());
  refresh();
};
onChange(update);
undo.addEventListener('click', change((mask) => mask.undo()));
redo.addEventListener('click', change((mask) => mask.redo()));
clear.addEventListener('click', change((mask) => mask.add({ kind: 'clear' })));
invert.addEventListener('click', change((mask) => mask.add({ kind: 'invert' })));
fill.addEventListener('click', fillHole);
again.addEventListener('click', () => { setMode('paint'); status.textContent = ''; update(); });

for (const [id, load] of [['photo', openPhoto], ['mask', loadMask]]) {
  element(id).addEventListener('change', ({ target }) => {
    if (target.files.length) load(target.files[0]);
    target.value = '';  // so that the same file can be chosen again
  });
}
addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dragging');
});
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('dragging');
});
addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dragging');
  const [file] = event.dataTransfer.files;
  const isMask = photo && event.target.closest('#mask-button');
  if (file) (isMask ? loadMask : openPhoto)(file);
});

const TOOL_KEYS = { b: 'brush', e: 'eraser', r: 'rectangle', m: 'move' };
addEventListener('keydown', (event) => {
  const key = event.key.toLowerCase();
  const isCommand = event.ctrlKey || event.metaKey;
  if (event.altKey || event.target.matches('select')) return;
  if (isCommand && (key === 'y' || key === 'z')) {
    (key === 'y' || event.shiftKey ? redo : undo).click();
  } else if (!isCommand && (key === '[' || key === ']')) {
    changeBrushSize(key === ']' ? 1.2 : 1 / 1.2);
  } else if (!isCommand && key in TOOL_KEYS) {
    document.querySelector(`input[name=tool][value=${TOOL_KEYS[key]}]`).click();
  } else {
    return;
  }
  event.preventDefault();
});

slide(50);
update();
listMethods().catch((failure) => { error.textContent = failure.message; });
