// Where the networks of a lineage stand. Parents are older than their children, so that their ids are smaller: one pass
// through the ids upwards or downwards is all that any of this takes, however many generations there are.

/** The networks with these ids, and all that they descend from. */
export function withAncestors(networks, ids) {
  const found = new Set()
  for (let id of ids) {
    while (networks.has(id) && !found.has(id)) {
      found.add(id)
      id = networks.get(id).parent
    }
  }
  return found
}

/** Networks that are part of a lineage: those with a parent or children, and those that a run begins with. */
export function related(networks) {
  const parents = new Set()
  for (const one of networks.values()) parents.add(one.parent)
  return [...networks.values()].filter(one => one.parent !== null || one.round + one.arm === 0 || parents.has(one.id))
}

/** Rows for a tree, id -> row from 0: each branch has rows of its own, a network stands in the middle of its children. */
export function place(networks, shown) {
  const ids = [...shown].sort((a, b) => a - b)
  const children = new Map(ids.map(id => [id, []]))
  const roots = []
  for (const id of ids) (children.get(networks.get(id).parent) ?? roots).push(id)
  const leaves = new Map(), first = new Map(), rows = new Map()
  for (const id of ids.toReversed()) {
    leaves.set(id, children.get(id).reduce((sum, child) => sum + leaves.get(child), 0) || 1)
  }
  const spread = (siblings, from) => {
    for (const id of siblings) {
      first.set(id, from)
      from += leaves.get(id)
    }
  }
  spread(roots, 0)
  for (const id of ids) spread(children.get(id), first.get(id))
  for (const id of ids.toReversed()) {
    const own = children.get(id)
    rows.set(id, own.length ? (rows.get(own[0]) + rows.get(own.at(-1))) / 2 : first.get(id))
  }
  return rows
}

/** For networks that are not shown, in the order of their ids: the nearest ancestor that is, or null. */
export function nearestShown(networks, others, shown) {
  const nearest = new Map()
  for (const one of others) {
    nearest.set(one.id, shown.has(one.parent) ? one.parent : nearest.get(one.parent) ?? null)
  }
  return nearest
}
