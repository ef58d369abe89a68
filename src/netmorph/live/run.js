// A run as the page holds it: the networks that were told so far, and what they add up to.

export const PLANNED = 0, TRAINED = 1, FAILED = 2
const UNITS = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]

/** Take in a snapshot: networks that are new or no longer as they were, and arms that were not known before. */
export function take(networks, arms, snapshot) {
  const columns = snapshot.networks, names = Object.keys(columns)
  const places = snapshot.arms.map(arm => {
    const place = arms.findIndex(known => known.name === arm.name)
    return place < 0 ? arms.push(arm) - 1 : place
  })
  columns.arm = columns.arm.map(arm => places[arm])
  columns.id.forEach((id, at) => networks.set(id, Object.fromEntries(names.map(name => [name, columns[name][at]]))))
}

/** The id from which on networks may still change: the oldest planned one, or the next that will come. */
export function unsettled(networks) {
  let first = 0
  for (const one of networks.values()) {
    if (one.state === PLANNED) return one.id // they are in the order of their ids
    first = one.id + 1
  }
  return first
}

/** A value so turned that more is better. */
export const score = (one, criterion) => (criterion.higher_is_better ? one.value : -one.value)

/** For each arm by its position: how many networks are in each state, what they took, its best. */
export function totals(networks, count, criterion) {
  const found = Array.from({length: count}, () => ({states: [0, 0, 0], flops: 0, seconds: 0, best: null, trained: []}))
  for (const one of networks.values()) {
    const arm = found[one.arm]
    arm.states[one.state] += 1
    if (one.state !== TRAINED) continue
    arm.flops += one.training_flops
    arm.seconds += one.seconds
    if (one.value === null) continue
    arm.trained.push(one)
    if (!arm.best || score(one, criterion) > score(arm.best, criterion)) arm.best = one
  }
  return found
}

/** The networks that are better than all of no more FLOPs, from few to many. */
export function front(trained, criterion) {
  const kept = []
  const sorted = trained.toSorted((a, b) => a.flops - b.flops || score(b, criterion) - score(a, criterion))
  for (const one of sorted) {
    if (!kept.length || score(one, criterion) > score(kept.at(-1), criterion)) kept.push(one)
  }
  return kept
}

/** The best value so far against the training FLOPs of an arm: [FLOPs, value, id] wherever it rose, and at the end. */
export function course(networks, trained, criterion) {
  if (!trained.length) return []
  let spent = 0, best = null
  for (let id = trained[0].parent; networks.has(id); id = networks.get(id).parent) {
    spent += networks.get(id).training_flops // what a chain had before it was an arm of its own
  }
  const found = []
  for (const one of trained) {
    spent += one.training_flops
    if (best && score(one, criterion) <= score(best, criterion)) continue
    best = one
    found.push([spent, one.value, one.id])
  }
  return [...found, [spent, best.value, best.id]]
}

/** The lowest of values that a picture shows: the worst few would leave no room for the others. */
export function worst(trained, criterion, share) {
  const sorted = trained.map(one => score(one, criterion)).sort((a, b) => a - b)
  const found = sorted[Math.floor(share * sorted.length)]
  return criterion.higher_is_better ? found : -found
}

/** 1234567 -> "1.23 M". */
export function compact(count) {
  const [size, unit] = UNITS.find(([size]) => Math.abs(count) >= 0.9995 * size) ?? [1, ""]
  const number = String(Number((count / size).toPrecision(3)))
  return unit ? `${number} ${unit}` : number
}

/** A value as its criterion is told: 98.71%, 0.1234 or 254,321. */
export function valueText(value, criterion, digits = 2) {
  if (value === null || value === undefined) return "–"
  if (criterion.is_share) return `${(100 * value).toFixed(digits)}%`
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(4)))
}

/** 75 -> "1 min 15 s". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–"
  if (seconds < 60) return `${Number(seconds.toPrecision(seconds < 10 ? 1 : 2))} s`
  const minutes = Math.round(seconds / 60)
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds) % 60} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
