// Scores over time, as lines on a canvas.

const LEFT = 48;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 24;
const TICKS = [0, 0.25, 0.5, 0.75, 1];
const MIN_TICK_PX = 72;
const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600];

/** Draws windows `{startS, endS, scores}` in time; of each line `{number, colour}` the class of that number. */
export function draw(canvas, windows, lines, spanS) {
  const style = getComputedStyle(canvas);
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  pen.font = `12px ${style.fontFamily}`;
  const [firstS, lastS] = spanS;
  const place = {
    x: (timeS) => LEFT + ((timeS - firstS) / (lastS - firstS)) * (width - LEFT - RIGHT),
    y: (score) => TOP + (1 - score) * (height - TOP - BOTTOM),
  };
  drawAxes(pen, style, place, width, height, spanS);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, width - LEFT - RIGHT, height);
  pen.clip();
  for (const { number, colour } of lines.toReversed()) { // the likeliest lies on top
    pen.strokeStyle = style.getPropertyValue(`--line-${colour}`);
    drawLine(pen, place, windows, number);
  }
  pen.restore();
}

function drawAxes(pen, style, place, width, height, [firstS, lastS]) {
  pen.strokeStyle = style.getPropertyValue('--rule');
  pen.fillStyle = style.getPropertyValue('--quiet');
  pen.lineWidth = 1;
  pen.textAlign = 'right';
  pen.textBaseline = 'middle';
  pen.beginPath();
  for (const score of TICKS) {
    pen.moveTo(LEFT, place.y(score));
    pen.lineTo(width - RIGHT, place.y(score));
    pen.fillText(`${100 * score} %`, LEFT - 6, place.y(score));
  }
  pen.stroke();
  const most = Math.max(1, (width - LEFT - RIGHT) / MIN_TICK_PX);
  const stepS = STEPS_S.find((step) => (lastS - firstS) / step <= most) ?? (lastS - firstS) / most;
  pen.textBaseline = 'alphabetic';
  for (let tick = Math.ceil(firstS / stepS - 1e-6); tick * stepS <= lastS + 1e-6; tick += 1) {
    const x = place.x(tick * stepS);
    pen.textAlign = x > width - RIGHT - 20 ? 'right' : 'center';
    pen.fillText(`${Number((tick * stepS).toFixed(1))} s`, Math.min(x, width - RIGHT), height - 6);
  }
}

/** From centre to centre of the windows, level to both ends. */
function drawLine(pen, place, windows, number) {
  pen.lineWidth = 2;
  pen.lineJoin = 'round';
  pen.beginPath();
  pen.moveTo(place.x(windows[0].startS), place.y(windows[0].scores[number]));
  for (const { startS, endS, scores } of windows) {
    pen.lineTo(place.x((startS + endS) / 2), place.y(scores[number]));
  }
  pen.lineTo(place.x(windows.at(-1).endS), place.y(windows.at(-1).scores[number]));
  pen.stroke();
}
