// The hole, as the steps that painted it. Each can be undone; they are drawn again at whatever
// scale is wanted: as large as on the screen, or as large as the photo for the mask that is sent.

const COLOUR = '#e5006d';
const COLOUR_BYTES = 0xff6d00e5;  // the same as a pixel of a canvas, which stores red first
const BLACK = 0xff000000, WHITE = 0xffffffff;
// What is covered by a quarter belongs to the hole, so thin slanted lines have no gaps.
const LEAST_COVER = 64;
const ROWS = 256;  // of a large canvas that are held at once

export class Mask {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.steps = [];
    this.undone = [];
  }

  add(step) {
    this.steps.push(step);
    this.undone = [];
  }

  undo() {
    if (this.steps.length) this.undone.push(this.steps.pop());
  }

  redo() {
    if (this.undone.length) this.steps.push(this.undone.pop());
  }

  // One unit of the context is a pixel of the photo.
  draw(context) {
    for (const step of this.steps) drawStep(context, step, this);
  }

  // A canvas of the photo's size, white where known and black in the hole, and the hole's share.
  toPicture() {
    const canvas = new OffscreenCanvas(this.width, this.height);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    this.draw(context);
    let holes = 0;
    changePixels(context, (values) => {
      for (let i = 0; i < values.length; i++) {
        const isHole = values[i] >>> 24 >= LEAST_COVER;
        holes += isHole;
        values[i] = isHole ? BLACK : WHITE;
      }
    });
    return { canvas, share: holes / (this.width * this.height) };
  }
}

export function drawStep(context, step, { width, height }) {
  context.save();
  context.strokeStyle = context.fillStyle = COLOUR;
  if (step.kind === 'stroke') {
    const [{ x, y }] = step.points;
    // Wider, because what is covered by less than three quarters would stay hole.
    const width = step.size + (step.erase ? 0.7 : 0);
    context.globalCompositeOperation = step.erase ? 'destination-out' : 'source-over';
    context.lineCap = context.lineJoin = 'round';
    context.lineWidth = width;
    context.beginPath();  // a line of one point may not be drawn
    context.arc(x, y, width / 2, 0, 2 * Math.PI);
    context.fill();
    context.beginPath();
    for (const point of step.points) context.lineTo(point.x, point.y);
    context.stroke();
  } else if (step.kind === 'rectangle') {
    context.fillRect(step.left, step.top, step.right - step.left, step.bottom - step.top);
  } else if (step.kind === 'picture') {
    context.clearRect(0, 0, width, height);  // a loaded mask takes the place of what was painted
    context.imageSmoothingEnabled = false;
    context.drawImage(step.picture, 0, 0);
  } else if (step.kind === 'clear') {
    context.clearRect(0, 0, width, height);
  } else if (step.kind === 'invert') {
    context.globalCompositeOperation = 'source-out';  // colour where there is none, and only there
    context.fillRect(0, 0, width, height);
  }
  context.restore();
}

// Turn a mask file, held by an image element, into a step: white is known and black the hole.
export function stepFromPicture(image) {
  const picture = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = picture.getContext('2d', { willReadFrequently: true });
  context.fillStyle = 'white';
  context.fillRect(0, 0, picture.width, picture.height);
  context.drawImage(image, 0, 0);
  let odd = 0, holes = 0;
  changePixels(context, (values) => {
    for (let i = 0; i < values.length; i++) {
      const red = values[i] & 255, green = values[i] >> 8 & 255, blue = values[i] >> 16 & 255;
      const low = Math.min(red, green, blue), high = Math.max(red, green, blue);
      odd += high > 64 && low < 192;
      const isHole = low + high < 256;
      holes += isHole;
      values[i] = isHole ? COLOUR_BYTES : 0;
    }
  });
  if (odd > 0.05 * picture.width * picture.height) {
    throw new Error('This looks like a photo; wanted a mask: black is the hole, white is known.');
  }
  if (!holes) {
    throw new Error('This mask has no hole: black is the hole, white and transparent are known. ' +
      'Give a transparent mask a black ground.');
  }
  return { kind: 'picture', picture };
}

function changePixels(context, change) {
  const { width, height } = context.canvas;
  for (let y = 0; y < height; y += ROWS) {
    const band = context.getImageData(0, y, width, Math.min(ROWS, height - y));
    change(new Uint32Array(band.data.buffer));
    context.putImageData(band, 0, y);
  }
}
