// The page: asks the server for what has changed, and says and draws it.

import {points} from "./charts.js"
import {drawCourse, drawCurves, drawFront, drawTree} from "./pictures.js"
import {FAILED, PLANNED, TRAINED, compact, duration, score, take, totals, unsettled, valueText} from "./run.js"
import {withAncestors} from "./tree.js"

const AGAIN = {running: 2000, other: 10000, failed: 5000} // ms until the next question
const STATES = ["planned, or in training", "trained", "failed"]
const LISTED = 12 // of a network's ancestors and edits, the last ones
const at = id => document.getElementById(id)
const canvas = id => at(id).querySelector("canvas")

let networks = new Map()
let arms = []
let told = null // the last snapshot
let last = "" // its text, to know whether anything has changed
let state = null // what pictures are drawn from
let picked = null // the network that the user chose; without one, the best is shown
let times = 0 // that a snapshot was shown
let shown = {asked: "", network: null} // the network whose curves are shown

async function ask(path) {
  const answer = await fetch(path)
  const found = await answer.json()
  if (!answer.ok) throw new Error(found.error)
  return found
}

async function follow() {
  let again = AGAIN.failed
  try {
    let found = await ask(`run.json?from=${unsettled(networks)}`)
    // Another run in the same folder, or one that has ended or goes on again: then older networks may have changed.
    if (told && (found.file !== told.file || found.status !== told.status)) {
      if (found.file !== told.file) picked = null
      networks = new Map()
      arms = []
      found = await ask("run.json?from=0")
    }
    say("banner", "")
    say("spent", spent(found))
    const {age, ...rest} = found
    const text = JSON.stringify(rest)
    if (text !== last) {
      last = text
      told = found
      take(networks, arms, found)
      await show()
    }
    again = found.status === "running" ? AGAIN.running : AGAIN.other
  } catch (error) {
    const ended = error instanceof TypeError // what fetch says where nobody answers
    say("banner", ended ? `netmorph watch has ended, or is out of reach. This is how far the run was at ${new Date().toLocaleTimeString()}.` : error.message)
    if (ended && last) return setTimeout(follow, AGAIN.other)
  }
  return setTimeout(follow, again)
}

async function show() {
  const {criterion} = told
  state = {
    networks, criterion, arms,
    survivors: new Set(told.survivors),
    totals: totals(networks, arms.length, criterion),
  }
  const bests = state.totals.map(arm => arm.best).filter(Boolean)
  state.best = state.totals[0]?.best?.id ?? null // the leading arm's: its lineage is what there is to see
  state.champion = bests.reduce((one, other) => (!one || score(other, criterion) > score(one, criterion) ? other : one), null)
  state.chosen = picked ?? state.best
  document.title = `${told.title} – netmorph`
  say("kind", told.kind)
  say("status", told.status ?? "unknown")
  say("title", told.title)
  say("headline", headline())
  at("report").hidden = !told.report
  showBudget()
  showFound()
  at("search").hidden = told.kind === "train" || !networks.size
  at("chooser").hidden = at("search").hidden
  showArms()
  showQueue()
  showFailures()
  draw()
  await showNetwork()
  document.documentElement.dataset.shown = ++times // for whoever waits until it is there
}

function headline() {
  if (told.found?.verdict) return told.found.verdict
  const {criterion} = told
  if (told.kind === "train") {
    const done = told.epochs.filter(epoch => epoch.validation !== null)
    if (!done.length) return "No epoch is over yet."
    const best = done.reduce((a, b) => (score({value: b.validation}, criterion) > score({value: a.validation}, criterion) ? b : a))
    return `${done.length} epochs. The best, ${best.epoch}, reaches ${valueText(best.validation, criterion)} (${criterion.name}) on the validation set.`
  }
  const count = state.totals.reduce((sum, arm) => sum + arm.states[TRAINED], 0)
  if (!state.champion) return networks.size ? "No network is trained yet." : "Nothing is recorded yet."
  const one = state.champion
  return `Round ${told.round ?? 0}: ${count.toLocaleString("en-US")} networks trained. The best, network ${one.id} (${arm(one).title.toLowerCase()}), reaches ${valueText(one.value, criterion)} (${criterion.name}) on the validation set with ${compact(one.parameters)} parameters and ${compact(one.flops)}FLOPs per sample.`
}

function spent({seconds, age, status}) {
  const since = status === "running" ? ` Last record ${duration(Math.round(age))} ago.` : ""
  return `${seconds === null ? "" : `${duration(seconds)}${status === "finished" ? "" : " so far"}.`}${since}`
}

/** The share of the budget that is gone, by whichever limit comes first. */
function showBudget() {
  const {budget, seconds, round} = told, flops = state.totals[0]?.flops ?? 0
  const shares = [[seconds, budget.seconds], [round, budget.rounds], [flops, budget.flops]]
  const gone = shares.filter(([, most]) => most).map(([used, most]) => (used ?? 0) / most)
  at("budget").hidden = !gone.length || told.status === "finished"
  at("budget").value = Math.max(0, ...gone)
}

function showFound() {
  const found = told.found
  at("found").hidden = !found
  if (!found) return
  say("tested", `test ${told.criterion.name}`)
  fill("found", found.rows.map(row => [row.name, row.id === null ? "" : link(row.id), row.test, row.validation]))
  at("found").querySelector("tbody tr")?.classList.add("first")
}

function showArms() {
  say("criterion", `validation ${told.criterion.name}`)
  const rows = state.totals.map((arm, place) => ({arm, look: arms[place]})).filter(({arm}) => arm.states.some(Boolean))
  fill("arms", rows.map(({arm, look}) => [
    [swatch(look.colour), look.title],
    arm.best ? link(arm.best.id) : "–",
    valueText(arm.best?.value, told.criterion),
    arm.states[TRAINED], arm.states[PLANNED], arm.states[FAILED],
    compact(arm.flops), duration(arm.seconds),
  ]))
}

function showQueue() {
  const waiting = state.totals.reduce((sum, arm) => sum + arm.states[PLANNED], 0)
  at("queue").hidden = !waiting
  const flops = told.queue.reduce((sum, one) => sum + one.training_flops, 0)
  say("queue-text", `${waiting} planned or in training, the longest training first${waiting > told.queue.length ? `; the first ${told.queue.length}` : ""}: ${compact(flops)}FLOPs.`)
  fill("queue", told.queue.map(one => [link(one.id), one.arm, one.parent === null ? "–" : link(one.parent), compact(one.training_flops), one.edits.join(", ")]), [1, 4])
}

function showFailures() {
  at("failures").hidden = !told.failures.length
  const count = state.totals.reduce((sum, arm) => sum + arm.states[FAILED], 0)
  say("failures-text", `${count === 1 ? "One network" : `${count} networks`} failed; the run goes on without.`)
  fill("failures", told.failures.map(one => [one.networks, link(one.latest), one.reason]), [2])
}

function draw() {
  if (!state || told.kind === "train") return
  const some = state.totals.some(arm => arm.trained.length)
  for (const id of ["front", "course"]) at(id).hidden = !some
  if (some) {
    const kept = state.survivors.size
    say("front-text", `Every trained network, in the colour of its arm; the line is the front of an arm${kept ? `, rings are the ${kept} networks that live on` : ""}.`)
    say("course-text", "Arms get equal training FLOPs; failed networks are not counted.")
    interactive("front", drawFront(canvas("front"), state))
    interactive("course", drawCourse(canvas("course"), state))
  }
  const tree = drawTree(canvas("lineage"), state)
  const cloud = tree.left ? ` Of ${tree.all.toLocaleString("en-US")} networks the lines that live are drawn; ${tree.left.toLocaleString("en-US")} others are dots beside the line that they left.` : ""
  say("lineage-text", `The thick line leads to the best of the ${arms[0].title.toLowerCase()}; rings live on, open circles are planned, crosses failed.${tree.closer ? " Older rounds stand closer together." : ""}${cloud}`)
  interactive("lineage", tree.found)
}

/** The network that is chosen: what is recorded of it, and its curves. */
async function showNetwork() {
  if (told.kind === "train") {
    at("network").hidden = !told.epochs.length
    say("network-text", "Epoch by epoch, on the training and the validation set.")
    if (told.epochs.length) curves(told.epochs)
    return
  }
  const id = state.chosen, one = networks.get(id)
  at("network").hidden = !one
  if (!one) return
  const asked = `${told.file} ${id} ${one.state}`
  if (asked !== shown.asked) {
    shown = {asked, network: null}
    try {
      const network = await ask(`network.json?id=${id}`)
      if (shown.asked === asked) shown.network = network
    } catch (error) {
      shown.asked = ""
      say("banner", error.message)
    }
  }
  const network = shown.network
  if (!network) return
  say("network-title", `Network ${id}`)
  say("network-text", network.epochs.length
    ? "Epoch by epoch, of the network and its last ancestors; dashes are births." : "None of its epochs is recorded.")
  canvas("network").hidden = !network.epochs.length
  if (network.epochs.length) curves(network.epochs)
  const edits = network.edits.slice(-LISTED).map(({network, edit}) => `${network}: ${edit}`)
  const before = withAncestors(networks, [id]).size - 1 - network.ancestors.slice(-LISTED).length
  const facts = [
    ["arm", `${network.arm}, round ${one.round}`],
    ["state", network.failure ? `failed: ${network.failure}` : state.survivors.has(id) ? "trained, lives on" : STATES[one.state]],
    ["descends from", [before ? `${before} before ` : "", ...network.ancestors.slice(-LISTED).flatMap(id => [link(id), " "])]],
    ["validation", Object.entries(network.numbers).map(([name, text]) => `${name} ${text}`).join(", ")],
    ["size", `${compact(one.parameters)} parameters, ${compact(one.flops)}FLOPs per sample`],
    ["training", `${compact(one.training_flops)}FLOPs, ${duration(one.seconds)}`],
    [before || network.edits.length > LISTED ? "last edits" : "edits", edits.length ? [list(edits)] : ""],
  ]
  at("network-facts").replaceChildren(...facts.filter(([, value]) => value.length).flatMap(([name, value]) => [element("dt", name), element("dd", value)]))
}

function curves(epochs) {
  drawCurves(canvas("network"), epochs, told.criterion)
  const text = valueText(epochs.at(-1).validation, told.criterion)
  canvas("network").setAttribute("aria-label", `${told.criterion.name} over ${epochs.length} epochs, ${text} in the last`)
}

function choose(id) {
  if (!networks.has(id)) return
  picked = id
  state.chosen = id
  draw()
  showNetwork()
}

function interactive(id, found) {
  const picture = canvas(id)
  picture.setAttribute("aria-label", at(`${id}-text`).textContent)
  points(picture, found, tip, choose)
}

function tip(point, picture) {
  at("tip").hidden = !point
  if (!point) return
  const one = networks.get(point.id)
  const value = one.value === null ? STATES[one.state] : `${told.criterion.name} ${valueText(one.value, told.criterion)}`
  at("tip").textContent = `${one.id} (${arm(one).title.toLowerCase()}, round ${one.round}): ${value}, ${compact(one.parameters)} parameters, ${compact(one.flops)}FLOPs`
  const box = picture.getBoundingClientRect(), wide = document.documentElement.clientWidth
  at("tip").style.top = `${box.top + window.scrollY + point.y + 14}px`
  at("tip").style.left = `${Math.max(8, Math.min(box.left + point.x, wide - at("tip").offsetWidth - 16))}px`
}

const arm = one => arms[one.arm]

function say(id, text) {
  at(id).textContent = text
  if (id === "banner") at(id).hidden = !text
}

/** Rows into the body of a table: what is given is text or elements, never HTML. */
function fill(id, rows, texts = []) {
  const body = rows.map(cells => {
    const row = element("tr", cells.map(cell => element("td", cell)))
    for (const place of texts) row.children[place].className = "text"
    return row
  })
  at(id).querySelector("tbody").replaceChildren(...body)
}

function element(name, content) {
  const made = document.createElement(name)
  made.append(...[content].flat())
  return made
}

function link(id) {
  const made = element("button", String(id))
  made.onclick = () => {
    choose(id)
    at("network").scrollIntoView({block: "nearest"})
  }
  return made
}

function list(texts) {
  return element("ul", texts.map(text => element("li", text)))
}

function swatch(colour) {
  const made = element("i", "")
  made.className = "swatch"
  made.style.background = colour
  return made
}

at("chooser").querySelector("input").onchange = event => choose(Number(event.target.value))
let width = 0
new ResizeObserver(() => {
  if (!told || document.body.clientWidth === width) return
  width = document.body.clientWidth
  draw()
  showNetwork()
}).observe(document.body)
follow()
