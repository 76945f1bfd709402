// The page: a recording or the microphone goes to the student, its scores to the chart and the table.

import { draw } from './chart.js';
import { Microphone, samplesOf } from './sound.js';
import { openStudent, windowStarts } from './student.js';

const LINES = 8;
const LIVE_S = 30;
const BREATH_MS = 50; // of computing, after which the page may draw and hear clicks

const part = (id) => document.getElementById(id);

/** What is shown: windows `{startS, endS, scores}` of one source, and whether more may come. */
export const shown = { source: '', live: false, windows: [], endS: 0, busy: false };

let student = null;
let microphone = null;
let turn = 0; // of the source; what an earlier one still computes is dropped
let drawing = false;
let colours = new Map(); // of the classes that are drawn; each keeps its own

function tell(problem) {
  part('problem').hidden = !problem;
  part('problem').textContent = problem;
}

/** Runs what may fail; a line on the page says why it did. */
async function guarded(work) {
  tell('');
  try {
    await work();
  } catch (error) {
    console.error(error);
    tell(error.message || String(error));
  }
}

function begin(source, live, endS) {
  turn += 1;
  Object.assign(shown, { source, live, windows: [], endS, busy: true });
  part('answer').hidden = true;
  colours = new Map();
  return turn;
}

async function answerFile(file) {
  stopMicrophone();
  const mine = begin(file.name, false, 0);
  try {
    const samples = await samplesOf(file, student.rate);
    if (mine !== turn) return;
    shown.endS = samples.length / student.rate;
    let since = performance.now();
    for (const first of windowStarts(samples.length, student.length, student.hop)) {
      await answer(mine, samples.slice(first, first + student.length), first / student.rate);
      if (performance.now() - since < BREATH_MS) continue;
      await new Promise((resume) => { setTimeout(resume); });
      if (mine !== turn) return;
      since = performance.now();
    }
    show();
  } finally {
    if (mine === turn) shown.busy = false;
  }
}

async function startMicrophone() {
  const mine = begin('Microphone', true, LIVE_S);
  part('microphone').disabled = true;
  let answering = false;
  const moved = async () => {
    if (answering || mine !== turn) return; // a slow device hears every other window
    answering = true;
    const startS = microphone.heard / microphone.rate - student.length / student.rate;
    await guarded(async () => {
      try {
        await answer(mine, await microphone.window(), startS);
      } catch (error) {
        stopMicrophone();
        throw error;
      }
    });
    answering = false;
  };
  try {
    const opened = await Microphone.open(student, moved, stopMicrophone);
    if (mine === turn) microphone = opened;
    else opened.stop(); // a recording was chosen meanwhile
  } finally {
    part('microphone').disabled = false;
    showMicrophone();
  }
}

function stopMicrophone() {
  microphone?.stop();
  microphone = null;
  turn += 1;
  shown.busy = false;
  showMicrophone();
}

function showMicrophone() {
  part('microphone').setAttribute('aria-pressed', String(microphone !== null));
  part('microphone').textContent = microphone ? 'Stop the microphone' : 'Start the microphone';
}

async function answer(mine, samples, startS) {
  const scores = await student.scores(samples);
  if (mine !== turn) return;
  shown.windows.push({ startS, endS: startS + samples.length / student.rate, scores });
  if (shown.live) {
    shown.endS = Math.max(LIVE_S, shown.windows.at(-1).endS);
    while (shown.windows[0].endS < shown.endS - LIVE_S) shown.windows.shift();
  }
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (shown.windows.length) show();
  });
}

/** Numbers of the classes by their highest score in what is shown, and the window it is in. */
function ranked() {
  const best = student.classes.map((_, number) => ({ number, window: shown.windows[0] }));
  for (const window of shown.windows) {
    for (const one of best) {
      if (window.scores[one.number] > one.window.scores[one.number]) one.window = window;
    }
  }
  const height = ({ number, window }) => window.scores[number];
  return best.sort((a, b) => height(b) - height(a));
}

function show() {
  const { windows, live } = shown;
  const best = ranked();
  const newest = windows.at(-1);
  const top = live
    ? { number: newest.scores.indexOf(Math.max(...newest.scores)), window: newest }
    : best[0];
  const { startS, endS, scores } = top.window;
  part('answer').hidden = false;
  part('source').textContent = shown.source;
  part('top').textContent = student.classes[top.number];
  part('top-score').textContent = `${percent(scores[top.number])}, ${startS.toFixed(2)} to ${endS.toFixed(2)} s`;
  part('score-heading').textContent = live ? 'Score now' : 'Highest score';
  const lines = coloured(best.slice(0, LINES));
  part('classes').replaceChildren(...lines.map(({ number, window, colour }) => (
    row(colour, student.classes[number], (live ? newest : window).scores[number])
  )));
  const left = student.classes.length - lines.length;
  part('left-out').textContent = left > 0 ? `${left} more classes have lower scores.` : '';
  redraw(lines);
}

function coloured(lines) {
  const drawn = new Set(lines.map(({ number }) => number));
  for (const number of colours.keys()) if (!drawn.has(number)) colours.delete(number);
  const taken = new Set(colours.values());
  const free = Array.from({ length: LINES }, (_, colour) => colour).filter((colour) => !taken.has(colour));
  for (const number of drawn) if (!colours.has(number)) colours.set(number, free.shift());
  return lines.map((line) => ({ ...line, colour: colours.get(line.number) }));
}

function redraw(lines = coloured(ranked().slice(0, LINES))) {
  const firstS = shown.live ? shown.endS - LIVE_S : 0;
  draw(part('chart'), shown.windows, lines, [firstS, shown.endS]);
}

function row(colour, name, score) {
  const line = document.createElement('tr');
  const [label, value, swatch] = ['td', 'td', 'span'].map((tag) => document.createElement(tag));
  swatch.className = `swatch line-${colour}`;
  label.append(swatch, name);
  value.textContent = percent(score);
  line.append(label, value);
  return line;
}

function percent(score) {
  return `${(100 * score).toFixed(1)} %`;
}

part('file').addEventListener('change', ({ target }) => {
  const [file] = target.files;
  if (file) guarded(() => answerFile(file));
  target.value = ''; // the same file may be chosen again
});
part('microphone').addEventListener('click', () => {
  if (microphone) stopMicrophone();
  else guarded(startMicrophone);
});
const drawAgain = () => { if (shown.windows.length) redraw(); };
addEventListener('resize', drawAgain);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAgain);

await guarded(async () => {
  student = await openStudent();
  const seconds = student.length / student.rate;
  document.title = student.name;
  part('name').textContent = student.name;
  part('about').textContent = `${student.classes.length} classes; windows of ${Number(seconds.toFixed(2))} s at ${student.rate} Hz`;
  part('file').disabled = false;
  part('microphone').disabled = false;
});
if (!student) part('about').textContent = 'No model was loaded.';
