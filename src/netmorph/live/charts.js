// Pictures on a canvas: axes, points and lines, and which point is under the pointer. Drawn in the light colours of the
// report; the page turns them over where the background is dark, as it does with the report's figures.

export const INK = "#1f2933", GREY = "#5b6773", LINE = "#e1e6eb", FAINT = "#c3cbd3", ACCENT = "#0072b2", RED = "#b3261e"
const LOW = [185, 215, 236], MIDDLE = [0, 114, 178], HIGH = [0, 54, 90]
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', sans-serif"
const NEAR = 14 // px between the pointer and the point that it means

/** A share of the way from low to high as a colour. */
export function shade(share) {
  const [from, to, part] = share < 0.5 ? [LOW, MIDDLE, 2 * share] : [MIDDLE, HIGH, 2 * share - 1]
  return `rgb(${from.map((low, at) => Math.round(low + (to[at] - low) * part)).join(" ")})`
}

/** A sharp and empty canvas of this height in px: its context, with the font of the page, and its width. */
export function blank(canvas, height) {
  const ratio = window.devicePixelRatio || 1, width = canvas.parentElement.clientWidth
  canvas.style.height = `${height}px`
  canvas.width = Math.round(width * ratio)
  canvas.height = Math.round(height * ratio)
  const context = canvas.getContext("2d")
  context.scale(ratio, ratio)
  context.font = FONT
  context.lineJoin = "round"
  return {context, width, height}
}

/** The range of numbers, a little wider; of nothing, from 0 to 1. */
export function range(numbers, room = 0.05) {
  let low = Infinity, high = -Infinity
  for (const number of numbers) {
    low = Math.min(low, number)
    high = Math.max(high, number)
  }
  if (low > high) return [0, 1]
  const wider = room * (high - low) || Math.abs(high) * room || 1
  return [low - wider, high + wider]
}

/** The same on a logarithmic axis. */
export function logRange(numbers, room = 0.05) {
  return range(numbers.map(Math.log), room).map(Math.exp)
}

/** Where lines across an axis stand: round numbers, about `count` of them. */
export function ticks([low, high], count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].find(factor => factor * power >= rough) * power
  const first = Math.ceil(low / step)
  return Array.from({length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1)}, (_, at) => (first + at) * step)
}

/** Likewise on a logarithmic axis: powers of ten with 1, 2 and 5 of them, as far as there is room. */
export function logTicks([low, high], count) {
  const steps = Math.log10(high / low) * 3 > count ? [1] : [1, 2, 5], found = []
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    found.push(...steps.map(step => step * power).filter(at => at >= low && at <= high))
  }
  const every = Math.ceil(found.length / count)
  return found.length > 1 ? found.filter((_, at) => at % every === 0) : ticks([low, high], count)
}

/**
 * Draw axes, and give what places points in them.
 *
 * x and y: {range, text, label, log}; text makes a number readable.
 */
export function axes(canvas, height, x, y) {
  const {context, width} = blank(canvas, height)
  const rows = ticks(y.range, Math.max(2, height / 60))
  const left = Math.ceil(Math.max(...rows.map(at => context.measureText(y.text(at)).width), 20)) + 14
  const right = width - 14, top = 26, bottom = height - 40
  const along = x.log ? value => Math.log(value / x.range[0]) / Math.log(x.range[1] / x.range[0])
    : value => (value - x.range[0]) / (x.range[1] - x.range[0])
  const X = value => left + (right - left) * along(value)
  const Y = value => bottom - (bottom - top) * Math.min(1, Math.max(0, (value - y.range[0]) / (y.range[1] - y.range[0])))
  context.strokeStyle = LINE
  context.fillStyle = GREY
  context.textBaseline = "middle"
  context.textAlign = "right"
  for (const at of rows) {
    line(context, [[left, Y(at)], [right, Y(at)]])
    context.fillText(y.text(at), left - 8, Y(at))
  }
  context.textAlign = "center"
  for (const at of (x.log ? logTicks : ticks)(x.range, Math.max(2, (right - left) / 90))) {
    context.fillText(x.text(at), X(at), bottom + 14)
  }
  context.fillText(x.label, (left + right) / 2, height - 10)
  context.textAlign = "left"
  context.fillText(y.label, 0, 10)
  return {context, width, X, Y}
}

/** A line through points in px. */
export function line(context, points) {
  context.beginPath()
  for (const [x, y] of points) context.lineTo(x, y)
  context.stroke()
}

/** A line that keeps its height until the next point. */
export function steps(context, points) {
  line(context, points.flatMap(([x, y], at) => (at ? [[x, points[at - 1][1]], [x, y]] : [[x, y]])))
}

/** A point in px, filled or as a ring. */
export function dot(context, x, y, radius, ring = false) {
  context.beginPath()
  context.arc(x, y, radius, 0, 2 * Math.PI)
  if (ring) context.stroke()
  else context.fill()
}

/** A cross: a network that failed. */
export function cross(context, x, y) {
  line(context, [[x - 3, y - 3], [x + 3, y + 3]])
  line(context, [[x - 3, y + 3], [x + 3, y - 3]])
}

/** Words beside colours, from the right end of the top line towards the left. */
export function legend(context, width, entries) {
  let right = width
  context.textBaseline = "middle"
  context.textAlign = "right"
  for (const {title, colour} of entries.toReversed()) {
    context.fillStyle = GREY
    context.fillText(title, right, 10)
    right -= context.measureText(title).width + 10
    context.fillStyle = colour
    dot(context, right, 10, 4)
    right -= 16
  }
}

/** Let points in px, {x, y, id}, be pointed at: `tip` gets the nearest one or null, `choose` one that is clicked. */
export function points(canvas, found, tip, choose) {
  const nearest = event => {
    let best = null, distance = NEAR ** 2
    for (const one of found) {
      const own = (one.x - event.offsetX) ** 2 + (one.y - event.offsetY) ** 2
      if (own < distance) [best, distance] = [one, own]
    }
    return best
  }
  canvas.onpointermove = event => {
    const one = nearest(event)
    canvas.style.cursor = one ? "pointer" : ""
    tip(one, canvas)
  }
  canvas.onpointerleave = () => tip(null, canvas)
  canvas.onclick = event => {
    const one = nearest(event)
    if (one) choose(one.id)
  }
}
