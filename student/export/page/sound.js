// Samples of a file and of the microphone: mono, at the student's rate.

import { Problem } from './student.js';

/** Decodes and resamples a file, as far as the browser knows its format. */
export async function samplesOf(file, rate) {
  const context = offline(1, rate);
  const bytes = await file.arrayBuffer();
  let sound;
  try {
    sound = await context.decodeAudioData(bytes);
  } catch {
    throw new Problem(`${file.name} is no audio that this browser can decode.`);
  }
  const mono = new Float32Array(sound.length);
  for (let number = 0; number < sound.numberOfChannels; number += 1) {
    const channel = sound.getChannelData(number);
    for (let i = 0; i < mono.length; i += 1) mono[i] += channel[i] / sound.numberOfChannels;
  }
  if (mono.length === 0) throw new Problem(`${file.name} holds no samples.`);
  if (!mono.every(Number.isFinite)) throw new Problem(`${file.name} holds samples that are not finite numbers.`);
  return mono;
}

/** The microphone as a window that slides on: `window()` gives the newest samples. */
export class Microphone {
  /** Calls `moved` after each `hop` samples, from the first full window on; `ended` if it is unplugged. */
  static async open(student, moved, ended) {
    const stream = await permitted();
    try {
      const { context, source } = connected(stream, student.rate);
      await context.audioWorklet.addModule('recorder.js');
      const recorder = new AudioWorkletNode(context, 'recorder');
      source.connect(recorder).connect(context.destination); // silence; a node without an end may sleep
      await context.resume();
      stream.getAudioTracks()[0].onended = ended;
      return new Microphone(student, stream, context, recorder.port, moved);
    } catch (error) {
      stop(stream);
      throw error;
    }
  }

  constructor(student, stream, context, port, moved) {
    const perSample = context.sampleRate / student.rate;
    const hop = student.hop * perSample;
    this.heard = 0; // samples
    this.rate = context.sampleRate;
    this.student = student;
    this.stream = stream;
    this.context = context;
    this.held = new Float32Array(Math.round(student.length * perSample));
    let turn = this.held.length;
    port.onmessage = ({ data: block }) => {
      this.held.copyWithin(0, block.length);
      this.held.set(block, this.held.length - block.length);
      this.heard += block.length;
      if (this.heard < turn) return;
      while (turn <= this.heard) turn += hop;
      moved();
    };
  }

  /** The newest window at the student's rate. */
  async window() {
    if (this.rate === this.student.rate) return this.held.slice();
    const context = offline(this.student.length, this.student.rate);
    const source = context.createBufferSource();
    source.buffer = context.createBuffer(1, this.held.length, this.rate);
    source.buffer.copyToChannel(this.held, 0);
    source.connect(context.destination);
    source.start();
    return (await context.startRendering()).getChannelData(0);
  }

  stop() {
    stop(this.stream);
    if (this.context.state !== 'closed') this.context.close();
  }
}

function offline(length, rate) {
  try {
    return new OfflineAudioContext(1, length, rate);
  } catch {
    throw new Problem(`This browser has no sound at ${rate} Hz, which the student takes.`);
  }
}

async function permitted() {
  if (!navigator.mediaDevices) {
    throw new Problem('A page has the microphone over https or on this device (http://localhost) only.');
  }
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    if (error.name === 'NotAllowedError') {
      throw new Problem('The microphone was refused. Allow it for this page in the browser, and start again.');
    }
    if (error.name === 'NotFoundError') throw new Problem('There is no microphone.');
    throw new Problem(`The microphone cannot be used: ${error.message}`);
  }
}

/** A context at the student's rate, or where a browser takes only the microphone's own, at that. */
function connected(stream, rate) {
  const context = new AudioContext({ sampleRate: rate });
  try {
    return { context, source: context.createMediaStreamSource(stream) };
  } catch (error) {
    context.close();
    if (error.name !== 'NotSupportedError') throw error;
    const own = new AudioContext();
    return { context: own, source: own.createMediaStreamSource(stream) };
  }
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
