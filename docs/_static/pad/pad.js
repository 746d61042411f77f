/* The drawing pad of the home page: strokes become an image as MNIST's were made, and a network like lesson 4's classifies it.
   Nothing runs until something is drawn, and nothing is sent anywhere. */
"use strict";

const SIDE = 28, BOX = 20, CENTRE = 14; // pixels: the picture, the box of the digit, where its centre of mass goes
const STROKE = 0.075; // width of the pen, as a share of the pad
const INK = 0.1; // grey values above this count as part of the digit
const PERCENT = "\u00a0%"; // a line may not break before it

/* The network --------------------------------------------------------------------------------------------------- */

/* Return {weights, digits, labels} from the file that docs/pad/export.py writes, given in base64. */
function readNetwork(encoded) {
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const headerEnd = 4 + view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, headerEnd)));
  const weights = {};
  let at = headerEnd;
  for (const [name, shape] of header.weights) {
    const size = shape.reduce((product, length) => product * length, 1);
    weights[name] = Float32Array.from({ length: size }, (_, i) => fromHalf(view.getUint16(at + 2 * i, true)));
    at += 2 * size;
  }
  return { weights, labels: header.digits, digits: bytes.subarray(at) };
}

/* Return the number that 16 bits stand for (IEEE 754 half precision). */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/* Return ReLU(convolution) of maps (C, n, n) with kernels (K, C, 5, 5): (K, n - 4, n - 4), row after row. */
function convolve(maps, n, weight, bias) {
  const size = 5, channels = maps.length / (n * n), out = n - size + 1;
  const result = new Float32Array(bias.length * out * out);
  for (let k = 0; k < bias.length; k++) {
    const to = k * out * out;
    result.fill(bias[k], to, to + out * out);
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < size * size; i++) {
        const w = weight[(k * channels + c) * size * size + i];
        const from = c * n * n + Math.floor(i / size) * n + (i % size);
        for (let row = 0; row < out; row++) {
          const source = from + row * n, target = to + row * out;
          for (let column = 0; column < out; column++) result[target + column] += w * maps[source + column];
        }
      }
    }
  }
  for (let i = 0; i < result.length; i++) if (result[i] < 0) result[i] = 0;
  return result;
}

/* Return the largest of every 2 x 2 window of maps (C, n, n). */
function pool(maps, n) {
  const half = n / 2, result = new Float32Array(maps.length / 4);
  for (let i = 0; i < result.length; i++) {
    const row = Math.floor(i / half), from = 2 * row * n + 2 * (i % half); // maps lie below each other, 2 | n
    result[i] = Math.max(maps[from], maps[from + 1], maps[from + n], maps[from + n + 1]);
  }
  return result;
}

/* Return {logits, maps} for a picture of 784 grey values: ten numbers, and the first layer's 16 maps of 24 x 24. */
function forward(weights, picture) {
  const maps = convolve(picture, 28, weights["0.weight"], weights["0.bias"]);
  const second = convolve(pool(maps, 24), 12, weights["3.weight"], weights["3.bias"]);
  const features = pool(second, 8); // 32 maps of 4 x 4
  const dense = weights["7.weight"];
  const logits = Array.from(weights["7.bias"], (bias, unit) => {
    let sum = bias;
    for (let i = 0; i < features.length; i++) sum += dense[unit * features.length + i] * features[i];
    return sum;
  });
  return { logits, maps };
}

function softmax(logits) {
  const largest = Math.max(...logits), powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/* The picture --------------------------------------------------------------------------------------------------- */

/* Return the picture of 28 x 28 grey values that MNIST would have made of an image (n, n) of ink from 0 to 1, or null
   if there is none: the digit scaled to fit a box of 20 x 20, its centre of mass in the middle. */
function normalise(ink, n) {
  const box = extent(ink, n);
  if (!box) return null;
  const scale = Math.max(box.right - box.left + 1, box.bottom - box.top + 1, n / 7) / BOX; // a dot stays a dot
  const left = edges(box.x, scale), top = edges(box.y, scale);
  const rows = shrink(ink, n, n, top), columns = transpose(rows, SIDE, n);
  return transpose(shrink(columns, n, SIDE, left), SIDE, SIDE);

  /* The borders of the 28 new pixels, in old ones. The middle of pixel CENTRE is the centre of mass. */
  function edges(middle, width) {
    return Array.from({ length: SIDE + 1 }, (_, i) => middle + 0.5 + (i - CENTRE - 0.5) * width);
  }
}

/* Return where the ink is: the rows and columns it reaches, and its centre of mass (x, y). */
function extent(ink, n) {
  let left = n, right = -1, top = n, bottom = -1, mass = 0, x = 0, y = 0;
  for (let row = 0, i = 0; row < n; row++) {
    for (let column = 0; column < n; column++, i++) {
      const value = ink[i];
      if (value === 0) continue;
      mass += value;
      x += value * column;
      y += value * row;
      if (value <= INK) continue;
      if (column < left) left = column;
      if (column > right) right = column;
      if (row < top) top = row;
      bottom = row;
    }
  }
  return right < 0 ? null : { left, right, top, bottom, x: x / mass, y: y / mass };
}

/* Return an image of `rows` rows of `columns` numbers averaged to one row between every two neighbouring `borders`. */
function shrink(image, rows, columns, borders) {
  const result = new Float32Array((borders.length - 1) * columns);
  for (let i = 0; i + 1 < borders.length; i++) {
    const length = borders[i + 1] - borders[i];
    const first = Math.max(0, Math.floor(borders[i])), last = Math.min(rows, Math.ceil(borders[i + 1]));
    for (let row = first; row < last; row++) {
      const share = (Math.min(row + 1, borders[i + 1]) - Math.max(row, borders[i])) / length;
      for (let column = 0; column < columns; column++) {
        result[i * columns + column] += share * image[row * columns + column];
      }
    }
  }
  return result;
}

function transpose(image, rows, columns) {
  const result = new Float32Array(image.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = image[row * columns + column];
  }
  return result;
}

/* The page ------------------------------------------------------------------------------------------------------ */

/* Connect the elements of the pad. Return what a test may call. */
function startPad(root, encoded) {
  const network = readNetwork(encoded);
  const canvas = root.querySelector(".pad__canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
  const seen = root.querySelector(".pad__seen"), layer = root.querySelector(".pad__maps");
  const bars = [...root.querySelectorAll(".pad__bars li")], answer = root.querySelector(".pad__answer");
  const n = canvas.width;
  let last = null, isExample = false, next = 28, waiting = false;

  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = STROKE * n;

  function clear() {
    pen.clearRect(0, 0, n, n);
    isExample = false;
  }

  /* Return the ink on the pad, from 0 to 1: the opacity of its pixels. */
  function ink() {
    const pixels = pen.getImageData(0, 0, n, n).data, values = new Float32Array(n * n);
    for (let i = 0; i < values.length; i++) values[i] = pixels[4 * i + 3] / 255;
    return values;
  }

  /* Read what is on the pad and show it. Return the probabilities, or null for an empty pad. */
  function read() {
    const picture = normalise(ink(), n);
    const result = picture && forward(network.weights, picture);
    const probabilities = result && softmax(result.logits);
    show(picture, result && result.maps, probabilities);
    return probabilities;
  }

  function show(picture, maps, probabilities) {
    root.classList.toggle("pad--empty", !picture);
    paint(seen, picture || new Float32Array(SIDE * SIDE), SIDE, 1);
    paint(layer, maps || new Float32Array(16 * 24 * 24), 24, 4);
    const best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
    bars.forEach((bar, digit) => {
      const percent = probabilities ? 100 * probabilities[digit] : 0;
      bar.classList.toggle("is-best", digit === best);
      bar.style.setProperty("--share", `${percent}%`);
      bar.lastElementChild.textContent = probabilities ? `${percent < 0.05 || percent > 99.95 ? percent.toFixed(0) : percent.toFixed(1)}${PERCENT}` : "";
    });
  }

  const named = (digit) => `${digit === 8 ? "an" : "a"} ${digit}`;

  /* Say the answer in words; screen readers read it out when it changes. */
  function say(probabilities) {
    if (!probabilities) {
      answer.textContent = "Nothing is drawn yet.";
      return;
    }
    const order = probabilities.map((_, digit) => digit).sort((a, b) => probabilities[b] - probabilities[a]);
    const [first, second] = order, percent = 100 * probabilities[first];
    const sure = percent > 99.9 ? "more than 99.9" : percent.toFixed(percent > 99 ? 1 : 0);
    const doubt = percent < 90 ? ` Or is it ${named(second)}?` : "";
    answer.textContent = `The network classifies it as ${named(first)}, with a probability of ${sure}${PERCENT}.${doubt}`;
  }

  function readSoon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      read();
    });
  }

  /* Put one of the test digits on the pad, as large as it is in its frame. */
  function showExample() {
    clear();
    const stamp = new ImageData(SIDE, SIDE), from = (next % network.labels.length) * SIDE * SIDE;
    for (let i = 0; i < SIDE * SIDE; i++) stamp.data[4 * i + 3] = network.digits[from + i];
    next += 11; // another digit of another class
    const small = document.createElement("canvas");
    small.width = small.height = SIDE;
    small.getContext("2d").putImageData(stamp, 0, 0);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(small, 0, 0, n, n);
    isExample = true;
    say(read());
  }

  function place(event) {
    const frame = canvas.getBoundingClientRect(), zoom = n / frame.width;
    return { x: (event.clientX - frame.left) * zoom, y: (event.clientY - frame.top) * zoom };
  }

  function draw(to) {
    pen.beginPath();
    pen.moveTo(last.x, last.y);
    pen.lineTo(to.x, to.y);
    pen.stroke();
    last = to;
    readSoon();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    if (isExample) clear();
    last = place(event);
    draw(last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const steps = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    (steps.length ? steps : [event]).forEach((step) => draw(place(step)));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      if (!last) return;
      last = null;
      say(read());
    });
  }
  root.querySelector(".pad__example").addEventListener("click", showExample);
  root.querySelector(".pad__clear").addEventListener("click", () => {
    clear();
    say(read());
  });
  showExample();
  return { canvas, clear, read, logits: (picture) => forward(network.weights, picture).logits };
}

/* Paint maps of n x n numbers in rows of `across`, dark where they are large. */
function paint(canvas, maps, n, across) {
  const count = maps.length / (n * n), gap = count > 1 ? 2 : 0, pitch = n + gap;
  const largest = maps.reduce((most, value) => Math.max(most, value), 1);
  canvas.width = across * pitch - gap;
  canvas.height = Math.ceil(count / across) * pitch - gap;
  const context = canvas.getContext("2d"), image = context.createImageData(n, n);
  const colour = getComputedStyle(canvas).color.match(/[\d.]+/g).map(Number);
  for (let map = 0; map < count; map++) {
    for (let i = 0; i < n * n; i++) {
      image.data.set(colour.slice(0, 3), 4 * i);
      image.data[4 * i + 3] = (255 * maps[map * n * n + i]) / largest;
    }
    context.putImageData(image, (map % across) * pitch, Math.floor(map / across) * pitch);
  }
}

window.coursePad = startPad(document.querySelector(".pad"), window.padNetwork);
