// The exported student: what its card promises, and its scores of a window of samples.

const MAX_CLASSES = 100_000;
const MAX_SAMPLES = 1 << 22;
const FULL_SCALE = 32_768;
// Of a student that takes any length.
const WINDOW_S = 1;

export class Problem extends Error {}

/** Opens card.json and model.onnx beside the page. */
export async function openStudent() {
  const contract = checkedContract(JSON.parse(await contentOf('card.json', 'text')).contract);
  const model = new Uint8Array(await contentOf('model.onnx', 'arrayBuffer'));
  const ort = await import('./ort.wasm.bundle.min.mjs');
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: new URL('ort-wasm-simd-threaded.wasm', import.meta.url).href };
  const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'] });
  if (String(session.inputNames) !== 'waveform' || !session.outputNames.includes('logits')) {
    throw new Problem('model.onnx is not the file that card.json is of. Serve a folder as export-student made it.');
  }
  return new Student(ort, session, contract);
}

class Student {
  #ort;
  #session;
  #shortest;

  constructor(ort, session, contract) {
    const { form, front_end: frontEnd } = contract;
    this.#ort = ort;
    this.#session = session;
    this.name = contract.student;
    this.classes = contract.classes;
    this.task = contract.task;
    this.rate = contract.sample_rate_hz;
    this.#shortest = form === 'static'
      ? contract.length_samples
      : frontEnd.window_samples + (contract.shortest_frames - 1) * frontEnd.hop_samples;
    this.length = form === 'static' ? this.#shortest : Math.max(this.#shortest, WINDOW_S * this.rate);
    this.hop = Math.max(1, Math.round(this.length / 4));
  }

  /** Scores of the classes, of at most `length` samples at `rate`; silence follows fewer. */
  async scores(samples) {
    const heard = new Float32Array(Math.max(samples.length, this.#shortest));
    heard.set(asCached(samples));
    const waveform = new this.#ort.Tensor('float32', heard, [1, heard.length]);
    const { logits } = await this.#session.run({ waveform }, ['logits']);
    if (logits.data.length !== this.classes.length) {
      throw new Problem(`model.onnx answers ${logits.data.length} classes, card.json names ${this.classes.length}.`);
    }
    return this.task === 'single' ? softmax(logits.data) : Array.from(logits.data, sigmoid);
  }
}

/** First samples of the windows of a recording; the last one ends with it. */
export function windowStarts(samples, length, hop) {
  const starts = [];
  for (let first = 0; first + length <= samples; first += hop) starts.push(first);
  const end = starts.length ? starts.at(-1) + length : 0;
  if (samples > end) starts.push(Math.max(0, samples - length));
  return starts;
}

/** The samples that a student was trained on: 16 bits, made quieter where they are louder. */
function asCached(samples) {
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample) * FULL_SCALE);
  const gain = FULL_SCALE * (peak > FULL_SCALE - 1 ? (FULL_SCALE - 1) / peak : 1);
  return samples.map((sample) => rounded(sample * gain) / FULL_SCALE);
}

/** Halves go to the even neighbour, as in NumPy: the mean of two channels has many. */
function rounded(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

function softmax(logits) {
  const highest = logits.reduce((a, b) => Math.max(a, b));
  const powers = Array.from(logits, (logit) => Math.exp(logit - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

function sigmoid(logit) {
  return 0.5 + 0.5 * Math.tanh(logit / 2);
}

async function contentOf(name, form) {
  const answer = await fetch(name).catch(() => null);
  if (!answer) throw new Problem(`${name} cannot be fetched. Serve the folder: python -m http.server`);
  if (!answer.ok) throw new Problem(`${name} is missing beside this page. Export the run: export-student RUN --to onnx --waveform`);
  return answer[form]();
}

function checkedContract(contract) {
  if (contract?.takes !== 'waveform') {
    throw new Problem('This student takes features, and the page gives samples. Export the run with --waveform.');
  }
  if (contract.form === 'step') {
    throw new Problem('This student takes one frame at a time, and the page gives windows. Export the run without --streaming.');
  }
  const { classes, front_end: frontEnd } = contract;
  const sizes = [contract.sample_rate_hz, contract.shortest_frames, frontEnd?.window_samples, frontEnd?.hop_samples];
  if (contract.form === 'static') sizes.push(contract.length_samples);
  const holds = ['static', 'dynamic'].includes(contract.form)
    && ['single', 'multi'].includes(contract.task)
    && typeof contract.student === 'string'
    && Array.isArray(classes) && classes.length > 0 && classes.length <= MAX_CLASSES
    && classes.every((name) => typeof name === 'string')
    && sizes.every((size) => Number.isInteger(size) && size > 0 && size <= MAX_SAMPLES);
  if (!holds) throw new Problem('card.json has a contract that does not hold. Export the run again.');
  return contract;
}
