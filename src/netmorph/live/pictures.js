// The pictures of the page: each takes a canvas and what the page knows, and gives the points that can be pointed at.

import {ACCENT, FAINT, GREY, INK, RED, axes, blank, cross, dot, legend, line, logRange, range, shade, steps, ticks} from "./charts.js"
import {FAILED, PLANNED, compact, course, front, score, valueText, worst} from "./run.js"
import {nearestShown, place, related, withAncestors} from "./tree.js"

const SMALL = 150 // so many networks are all drawn as a tree; of more, the lines that live
const ROW = 22, TALLEST = 640
const MANY = 60 // of more rounds, the older ones stand closer together: what lives now began a few rounds ago

/** The value that chooses against FLOPs, the front of each arm, and rings around the networks that live on. */
export function drawFront(canvas, state) {
  const {criterion, arms, survivors, chosen} = state
  const trained = state.totals.flatMap(arm => arm.trained)
  const values = [worst(trained, criterion, 0.05), ...trained.map(one => one.value)]
  const shown = values.filter(value => score({value}, criterion) >= score({value: values[0]}, criterion))
  const {context, X, Y} = axes(
    canvas, 340,
    {range: logRange(trained.map(one => one.flops)), log: true, text: compact, label: "FLOPs of a sample"},
    valueAxis(range(shown), criterion),
  )
  const found = []
  state.totals.forEach((arm, at) => {
    context.fillStyle = context.strokeStyle = arms[at].colour
    context.globalAlpha = arm.trained.length > 300 ? 0.25 : 0.5
    for (const one of arm.trained) {
      const point = {x: X(one.flops), y: Y(one.value), id: one.id}
      found.push(point)
      dot(context, point.x, point.y, 3)
    }
    context.globalAlpha = 1
    context.lineWidth = 2
    steps(context, front(arm.trained, criterion).map(one => [X(one.flops), Y(one.value)]))
  })
  for (const {x, y, id} of found) ring(context, x, y, survivors.has(id), id === chosen)
  return found
}

/** The best value so far against training FLOPs, a line for each arm. */
export function drawCourse(canvas, state) {
  const {criterion, arms, networks} = state
  const lines = state.totals.map(arm => course(networks, arm.trained, criterion))
  const ends = lines.flat()
  const {context, X, Y} = axes(
    canvas, 340,
    {range: [0, 1.02 * Math.max(...ends.map(([flops]) => flops))], text: compact, label: "training FLOPs"},
    valueAxis(range(ends.map(([, value]) => value)), criterion),
  )
  const found = []
  lines.forEach((points, at) => {
    context.strokeStyle = context.fillStyle = arms[at].colour
    context.lineWidth = 2
    steps(context, points.map(([flops, value]) => [X(flops), Y(value)]))
    for (const [flops, value, id] of points) {
      found.push({x: X(flops), y: Y(value), id})
      dot(context, X(flops), Y(value), 2.5)
    }
  })
  return found
}

/** The tree: all networks, or of many the lines that live, with what became of the others as a cloud around them. */
export function drawTree(canvas, state) {
  const {networks, criterion, survivors, best, chosen} = state
  const all = related(networks)
  const living = all.filter(one => survivors.has(one.id) || one.state === PLANNED || one.id === best || one.id === chosen)
  const shown = withAncestors(networks, (all.length > SMALL ? living : all).map(one => one.id))
  const others = all.filter(one => !shown.has(one.id))
  const spine = withAncestors(networks, [best])
  const rows = place(networks, shown)
  const count = Math.max(0, ...rows.values()) + 1, pitch = Math.min(ROW, TALLEST / count)
  const {context, width} = blank(canvas, Math.max(120, count * pitch + 76))
  const last = Math.max(1, ...all.map(one => one.round))
  const ago = round => (last > MANY ? Math.log(1 + (last - round) / 10) : last - round)
  const X = round => 14 + (width - 28) * (1 - ago(round) / ago(0))
  const Y = row => 44 + pitch * row
  const column = X(last) - X(last - 1)
  const colour = colours(all.filter(one => one.value !== null), criterion)
  const found = []
  const put = (one, x, y, radius) => {
    found.push({x, y, id: one.id})
    context.strokeStyle = context.fillStyle = one.state === FAILED ? RED : one.state === PLANNED ? GREY : colour(one.value)
    context.lineWidth = 1.5
    if (one.state === FAILED) cross(context, x, y)
    else dot(context, x, y, radius, one.state === PLANNED)
  }
  const nearest = nearestShown(networks, others, shown)
  context.globalAlpha = 0.4
  for (const one of others) {
    const row = rows.get(nearest.get(one.id))
    // Beside the line that it left, always at the same place: scattered by its id.
    if (row !== undefined) put(one, X(one.round), Y(row) + pitch * (((one.id * 0.618) % 1) - 0.5) * 0.8, 1.5)
  }
  context.globalAlpha = 1
  for (const id of [...shown].sort((a, b) => spine.has(a) - spine.has(b))) {
    const one = networks.get(id), parent = networks.get(one.parent)
    if (!shown.has(one.parent)) continue
    context.strokeStyle = spine.has(id) ? ACCENT : survivors.has(id) || one.state === PLANNED ? GREY : FAINT
    context.lineWidth = spine.has(id) ? 2.5 : 1
    const bend = X(parent.round) + Math.min(10, (X(parent.round + 1) - X(parent.round)) / 2)
    const [from, to] = [Y(rows.get(parent.id)), Y(rows.get(id))]
    line(context, [[X(parent.round), from], [bend, from], [bend, to], [X(one.round), to]])
  }
  const radius = Math.max(1.5, Math.min(4, pitch / 4, column / 3))
  for (const id of shown) {
    const one = networks.get(id), x = X(one.round), y = Y(rows.get(id))
    put(one, x, y, radius)
    ring(context, x, y, survivors.has(id), id === chosen)
  }
  roundsBelow(context, width, X, last, Y(count - 1) + 26)
  scale(context, width, colour, criterion)
  return {found, left: others.length, all: all.length, closer: last > MANY}
}

/** The epochs of a network and its ancestors, one behind another; a line where one begins. */
export function drawCurves(canvas, epochs, criterion) {
  const values = epochs.flatMap(epoch => [epoch.train, epoch.validation]).filter(value => value !== null)
  const late = epochs.slice(Math.floor(epochs.length / 20)).flatMap(one => [one.train, one.validation])
  const {context, width, X, Y} = axes(
    canvas, 300,
    {range: [0.5, epochs.length + 0.5], text: at => (Number.isInteger(at) ? String(at) : ""), label: "epoch"},
    valueAxis(range(epochs.length > 20 ? late.filter(value => value !== null) : values), criterion),
  )
  context.strokeStyle = FAINT
  context.lineWidth = 1
  context.setLineDash([3, 3])
  epochs.forEach((epoch, at) => {
    if (at && epoch.network !== epochs[at - 1].network) line(context, [[X(at + 0.5), 26], [X(at + 0.5), 260]])
  })
  context.setLineDash([])
  const parts = [["train", GREY], ["validation", ACCENT]]
  for (const [part, colour] of parts) {
    context.strokeStyle = context.fillStyle = colour
    context.lineWidth = 2
    const told = epochs.map((epoch, at) => [X(at + 1), epoch[part]]).filter(([, value]) => value !== null)
    line(context, told.map(([x, value]) => [x, Y(value)]))
    if (told.length < 60) for (const [x, value] of told) dot(context, x, Y(value), 2.5)
  }
  legend(context, width, parts.map(([title, colour]) => ({title, colour})))
}

function valueAxis(ends, criterion) {
  const digits = ends[1] - ends[0] < 0.05 ? 2 : 0
  return {range: ends, text: value => valueText(value, criterion, digits), label: `validation ${criterion.name}`}
}

function ring(context, x, y, survives, chosen) {
  if (!survives && !chosen) return
  context.strokeStyle = chosen ? ACCENT : INK
  context.lineWidth = chosen ? 2.5 : 1.2
  dot(context, x, y, chosen ? 8 : 6, true)
}

function colours(known, criterion) {
  if (!known.length) return () => GREY
  const scores = known.map(one => score(one, criterion)).sort((a, b) => a - b)
  const low = scores[Math.floor(scores.length / 10)], high = scores.at(-1)
  const share = value => Math.min(1, Math.max(0, (score({value}, criterion) - low) / (high - low || 1)))
  const colour = value => (value === null ? GREY : shade(share(value)))
  const turned = number => (criterion.higher_is_better ? number : -number)
  return Object.assign(colour, {low: turned(low), high: turned(high)})
}

/** What the colours of the nodes mean, at the right end of the top line. */
function scale(context, width, colour, criterion) {
  if (colour.low === undefined) return
  const [low, high] = [colour.low, colour.high].map(value => valueText(value, criterion))
  context.textBaseline = "middle"
  context.textAlign = "right"
  context.fillStyle = GREY
  context.fillText(high, width, 10)
  const right = width - context.measureText(high).width - 8
  for (let at = 0; at < 80; at += 1) {
    context.fillStyle = shade(at / 79)
    context.fillRect(right - 80 + at, 5, 1.5, 10)
  }
  context.fillStyle = GREY
  context.fillText(`${criterion.name} ${low}`, right - 88, 10)
}

function roundsBelow(context, width, X, last, y) {
  context.fillStyle = GREY
  context.textAlign = "center"
  const agos = [0, ...[1, 10, 100, 1000, 10000].flatMap(power => [power, 2 * power, 5 * power])]
  const even = ticks([0, last], width / 70).filter(Number.isInteger).toReversed()
  let free = Infinity // from here on to the left
  for (const round of last > MANY ? agos.map(ago => last - ago) : even) {
    if (round < 0 || X(round) > free - 40) continue
    context.fillText(String(round), X(round), y)
    free = X(round)
  }
  context.textAlign = "left"
  context.fillText("round", 0, 10)
}
